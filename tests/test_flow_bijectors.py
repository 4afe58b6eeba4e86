"""Every bijector: there and back, and its log-determinant against the autodiff Jacobian."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from jaxgen.flows import image_bijector, make_base, make_image_flow, vector_bijector
from jaxgen.flows.bijectors import (
    ActNorm,
    Additive,
    Affine,
    CheckerboardCoupling,
    Coupling,
    Flatten,
    Inverse,
    InvertibleConv,
    MaskedAutoregressive,
    Permutation,
    Planar,
    Radial,
    Repeat,
    Spline,
    chain,
    multiscale,
)
from jaxgen.flows.conditioners import MADE, ConvConditioner, MLPConditioner

B = 3
mlp, conv = functools.partial(MLPConditioner, (6,)), functools.partial(ConvConditioner, 4)
ELEMENTWISE = {"additive": Additive(), "affine": Affine(), "spline": Spline(num_bins=4, limit=5.0)}


def glow(shape, num_levels=2):
    def level(_):
        return [Repeat(chain(ActNorm(), InvertibleConv(), Coupling(Affine(), conv())), 2)]

    return multiscale(shape, num_levels, level, conv)


LAYERS = {
    "planar": (Planar(), (4,)),
    "radial": (Radial(), (4,)),
    "actnorm": (ActNorm(), (2, 3, 2)),
    "1x1 convolution": (InvertibleConv(), (2, 2, 3)),
    "permutation": (Permutation((2, 0, 1)), (2, 3)),
    "checkerboard": (CheckerboardCoupling(Affine(), conv(), True), (3, 5, 1)),
    "channels": (Coupling(Affine(), conv()), (2, 3, 3)),
    "scan": (Repeat(chain(Coupling(Affine(), mlp()), Permutation((2, 0, 1))), 3), (3,)),
    "glow of one scale": (glow((2, 2, 1), 1), (2, 2, 1)),
    "glow of 4x4": (glow((4, 4, 1)), (4, 4, 1)),
    "glow of 5x7 in colours": (glow((5, 7, 3)), (5, 7, 3)),
    **{
        f"{kind} {name}": (layer, (5,))
        for name, elementwise in ELEMENTWISE.items()
        for kind, layer in {
            "coupling": Coupling(elementwise, mlp(), True),
            "maf": MaskedAutoregressive(elementwise, MADE((6,), is_reversed=True)),
            "iaf": Inverse(MaskedAutoregressive(elementwise, MADE((6,)))),
        }.items()
    },
}
CONDITIONAL = {
    name for name in LAYERS if any(s in name for s in ("coupling", "maf", "iaf", "glow"))
}
each_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def programs(name):
    """Of a layer: how to make parameters, and its two ways with the Jacobian of one example."""
    layer, shape = LAYERS[name]

    x = jnp.zeros((B, *shape))
    condition = jnp.ones((B, 2)) if name in CONDITIONAL else None
    start = jax.eval_shape(lambda: layer.init(jax.random.key(0), x, condition, method="encode"))

    @jax.jit
    def run(variables, x, condition):
        z, there = layer.apply(variables, x, condition, method="encode")
        again, back = layer.apply(variables, z, condition, method="decode")
        own = None if condition is None else condition[:1]

        def flat(first):
            return ravel_pytree(layer.apply(variables, first[None], own, method="encode")[0])[0]

        jacobian = jax.jacfwd(flat)(x[0]).reshape(x[0].size, x[0].size)
        return z, there, again, back, jacobian

    return start, run


def filled(start, rng, scale):
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape)), start)


@each_layer
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.0, 0.3))
def test_log_det_is_that_of_the_jacobian_and_the_way_back_is_exact(name, seed, scale):
    start, run = programs(name)
    rng = np.random.default_rng(seed)
    x = jnp.asarray(2.0 * rng.normal(size=(B, *LAYERS[name][1])))
    condition = jnp.asarray(rng.normal(size=(B, 2))) if name in CONDITIONAL else None
    with jax.enable_x64(True):
        variables = filled(start, rng, scale)
        z, there, again, back, jacobian = run(variables, x, condition)
    assert there.shape == back.shape == (B,)
    assert sum(leaf.size for leaf in jax.tree.leaves(z)) == x.size
    np.testing.assert_allclose(np.linalg.slogdet(np.asarray(jacobian))[1], there[0], atol=1e-8)
    np.testing.assert_allclose(again, x, atol=1e-8)
    np.testing.assert_allclose(there, -back, atol=1e-8)


@pytest.mark.parametrize("name", sorted(CONDITIONAL))
def test_a_condition_counts_and_examples_are_alone(name):
    start, run = programs(name)
    rng = np.random.default_rng(0)
    variables, x = filled(start, rng, 0.3), jnp.asarray(rng.normal(size=(B, *LAYERS[name][1])))
    condition = jnp.ones((B, 2))
    z, *_ = run(variables, x, condition)
    other_z, *_ = run(variables, x, condition.at[1:].set(-1.0))
    for before, after in zip(jax.tree.leaves(z), jax.tree.leaves(other_z), strict=True):
        np.testing.assert_allclose(before[0], after[0], atol=1e-12)
    moved = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a[1:] - b[1:])), z, other_z)
    assert max(jax.tree.leaves(moved)) > 1e-3
    changed, *_ = run(variables, x.at[1:].set(9.0), condition)
    for before, after in zip(jax.tree.leaves(z), jax.tree.leaves(changed), strict=True):
        np.testing.assert_allclose(before[0], after[0], atol=1e-12)


def test_planar_and_radial_match_their_formulas():
    rng = np.random.default_rng(1)
    x, (w, u, center) = rng.normal(size=(B, 4)), rng.normal(size=(3, 4))
    planar = {"params": {"w": w, "u": u, "b": 0.3}}
    radial = {"params": {"center": center, "alpha": 0.4, "beta": -0.7}}
    found = Planar().apply(planar, x, method="encode"), Radial().apply(radial, x, method="encode")
    for i in range(B):
        expected = references.planar(x[i], w, u, 0.3), references.radial(x[i], center, 0.4, -0.7)
        for (z, log_det), (one, one_log_det) in zip(found, expected, strict=True):
            np.testing.assert_allclose(z[i], one, rtol=1e-10)
            np.testing.assert_allclose(log_det[i], one_log_det, atol=1e-10)


def test_planar_keeps_its_strength_where_it_is_not_in_danger():
    """``m(3) = 2.05``, and what is flat or huge stays finite."""
    w, x = np.array([1.0, 0.0]), np.array([[0.0, 0.0]])
    step = 1e-6
    params = {"w": w, "u": np.array([3.0, 0.0]), "b": 0.0}
    z = Planar().apply({"params": params}, x + step * w, method="encode")[0]
    assert z[0, 0] / step - 1.0 == pytest.approx(2.05, abs=2e-3)
    for size in (200.0, -200.0):
        far = {"params": {**params, "u": np.array([size, 1.0])}}
        z, log_det = Planar().apply(far, 3.0 * w[None], method="encode")
        again, _ = Planar().apply(far, z, method="decode")
        assert np.all(np.isfinite(log_det))
        np.testing.assert_allclose(again, 3.0 * w[None], atol=1e-6)


@pytest.mark.parametrize("layer", [Planar(), Radial()])
def test_gradients_of_roots_are_those_of_finite_differences(layer):
    rng = np.random.default_rng(2)
    z = jnp.asarray(rng.normal(size=(1, 3)))
    variables = layer.init(jax.random.key(3), z, method="encode")
    flat, unravel = ravel_pytree(variables)
    flat = jnp.asarray(np.asarray(flat) + 0.1 * rng.normal(size=flat.shape))

    def total(flat):
        x, log_det = layer.apply(unravel(flat), z, method="decode")
        return jnp.sum(jnp.sin(x)) + jnp.sum(log_det)

    expected = references.finite_difference(lambda p: float(total(p)), np.asarray(flat))
    np.testing.assert_allclose(jax.grad(total)(flat), expected, atol=1e-7)


def spline_parameters(rng, std, num=4):
    raw, spline = std * rng.normal(size=(3 * num - 1, 1)), ELEMENTWISE["spline"]
    bound = lambda r, c: c * np.tanh(r / c)  # noqa: E731
    sizes = [
        np.exp(bound(raw[part], spline.max_log_ratio))
        for part in (slice(0, num), slice(num, 2 * num))
    ]
    widths, heights = (10.0 * s[:, 0] / s.sum() for s in sizes)
    slopes = np.concatenate(
        [[1.0], np.exp(bound(raw[2 * num :], spline.max_log_slope))[:, 0], [1.0]]
    )
    return raw, widths, heights, slopes


@pytest.mark.parametrize("std", [0.0, 1.0, 5.0])
def test_spline_matches_its_formula_and_starts_as_the_identity(std):
    raw, widths, heights, slopes = spline_parameters(np.random.default_rng(4), std)
    x = np.concatenate([np.linspace(-6.0, 6.0, 49), -5.0 + np.cumsum(widths)[:-1]])[:, None]
    z, _ = ELEMENTWISE["spline"].encode(x, np.broadcast_to(raw, (len(x), *raw.shape)))
    expected = [references.rational_quadratic(v, widths, heights, slopes, 5.0) for v in x[:, 0]]
    np.testing.assert_allclose(z[:, 0], expected, atol=1e-12)
    if std == 0.0:
        np.testing.assert_allclose(z, x, atol=1e-12)


@pytest.mark.parametrize("std", [1.0, 3.0, 5.0, 10.0])
def test_float32_splines_come_back_whatever_their_parameters(std):
    rng = np.random.default_rng(5)
    with jax.enable_x64(False):
        raw = jnp.asarray(std * rng.normal(size=(20_000, 23, 1)), jnp.float32)
        x = jnp.asarray(rng.normal(size=(20_000, 1)) * 2.0, jnp.float32)
        z, there = Spline().encode(x, raw)
        again, back = Spline().decode(z, raw)
        assert np.all(np.isfinite(again)) and np.all(np.isfinite(there + back))
        # The least slope is about 1e-5, and the error is rounding divided by it.
        assert np.max(np.abs(again - x)) < 1e-2
        assert np.quantile(np.abs(again - x), 0.99) < 1e-3


def test_spline_edges_are_exact_and_gradients_are_finite_there():
    raw = jnp.asarray(3.0 * np.random.default_rng(6).normal(size=(11, 1)))
    spline = ELEMENTWISE["spline"]
    knots = -5.0 + np.cumsum(spline_parameters(np.random.default_rng(6), 3.0)[1])[:-1]
    for value in (-5.0, 5.0, 1e6, -1e6, *knots):
        for function in (spline.encode, spline.decode):
            y, log_slope = function(jnp.full((1,), value), raw)
            gradient = jax.grad(lambda x, r, f=function: jnp.sum(f(x, r)[0] + f(x, r)[1]), (0, 1))
            for leaf in jax.tree.leaves(gradient(jnp.full((1,), value), raw)):
                assert np.all(np.isfinite(leaf))
            if abs(value) >= 5.0:
                assert float(y[0]) == value and float(log_slope[0]) == 0.0


def test_affine_scales_are_bounded_on_both_sides():
    raw = jnp.asarray([[0.0, 1e9], [0.0, -1e9]])[:, :, None]
    z, log_slope = Affine(max_log_scale=2.0).encode(jnp.ones((2, 1)), raw)
    np.testing.assert_allclose(log_slope[:, 0], [2.0, -2.0])
    np.testing.assert_allclose(z[:, 0], np.exp([2.0, -2.0]))


@pytest.mark.parametrize("model", ["real_nvp", "spline", "nice", "maf"])
def test_a_fresh_flow_standardises_and_reorders(model):
    """Its last layers start at zero: the log-determinant is that of the standardisation alone."""
    x = jnp.asarray(7.0 + 3.0 * np.random.default_rng(7).normal(size=(50, 5)))
    bijector = vector_bijector(model, 5, num_layers=4, hidden_sizes=(8,))
    (z, log_det), _ = bijector.init_with_output(jax.random.key(0), x, method="encode")
    np.testing.assert_allclose(log_det, -np.sum(np.log(x.std(axis=0))), rtol=1e-4)
    standard = (x - x.mean(axis=0)[None]) / x.std(axis=0)[None]
    np.testing.assert_allclose(np.sort(z, axis=1), np.sort(standard, axis=1), atol=1e-4)


def test_actnorm_starts_with_the_batch_and_a_lone_example_is_finite():
    x = jnp.asarray(np.random.default_rng(8).normal(5.0, 3.0, size=(8, 3, 3, 2)))
    (z, _), variables = ActNorm().init_with_output(jax.random.key(0), x, method="encode")
    np.testing.assert_allclose(z.mean(axis=(0, 1, 2)), 0.0, atol=1e-9)
    np.testing.assert_allclose(z.std(axis=(0, 1, 2)), 1.0, atol=1e-9)
    again = ActNorm().apply(variables, 2.0 * x, method="encode")[0]
    assert np.max(np.abs(again - z)) > 1.0  # The data of later batches change nothing.
    (z, log_det), _ = ActNorm().init_with_output(jax.random.key(0), x[:1, 0, 0], method="encode")
    assert np.all(np.isfinite(z)) and np.all(np.isfinite(log_det))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_actnorm_of_half_precision_starts_and_counts_in_float32(dtype):
    x = jnp.asarray(np.random.default_rng(9).normal(128.0, 40.0, size=(16, 16, 16, 2)), dtype)
    (z, log_det), variables = ActNorm().init_with_output(jax.random.key(0), x, method="encode")
    expected = ActNorm().apply(variables, x.astype(jnp.float32), method="encode")
    chex.assert_trees_all_equal((z, log_det), expected)
    assert z.dtype == log_det.dtype == jnp.float32
    np.testing.assert_allclose(z.std(axis=(0, 1, 2)), 1.0, atol=1e-3)


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(("num", "size"), [(2, 8), (5, 2), (5, 9), (1, 3)])
def test_made_sees_every_predecessor_and_nothing_else(num, size, is_reversed):
    made = MADE((size, size), is_reversed)
    x = jnp.asarray(np.random.default_rng(9).normal(size=(1, num)))
    shapes = jax.eval_shape(lambda: made.init(jax.random.key(0), x, None, 2))
    rng = np.random.default_rng(10)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes)
    jacobian = jax.jit(jax.jacfwd(lambda x: made.apply(variables, x[None], None, 2)[0]))(x[0])
    place = made.degrees(num)
    for output in jacobian:
        np.testing.assert_array_equal(output != 0.0, place[None, :] < place[:, None])


def test_jacobi_and_sequential_inverses_agree():
    z = jnp.asarray(np.random.default_rng(11).normal(size=(B, 6)))
    layer = MaskedAutoregressive(Affine(), MADE((7,)))
    start = jax.jit(functools.partial(layer.init, method="encode"))(jax.random.key(0), z)
    variables = filled(start, np.random.default_rng(12), 0.5)
    expected = layer.apply(variables, z, method="decode")
    jacobi = MaskedAutoregressive(Affine(), MADE((7,)), "jacobi")
    for a, b in zip(jacobi.apply(variables, z, method="decode"), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)

    def num_sweeps(variables):
        return layer.apply(variables, z, method="decode_by_jacobi")[2]

    assert 2 <= num_sweeps(variables) <= 6
    assert num_sweeps(start) == 1  # The fresh layer moves nothing.


def test_depth_does_not_lengthen_a_program():
    def length(num):
        layer = Repeat(Coupling(Affine(), mlp()), num)
        x = jnp.zeros((B, 4))
        return str(
            jax.make_jaxpr(lambda k: layer.init_with_output(k, x, method="encode"))(
                jax.random.key(0)
            )
        ).count("\n")

    assert length(2) == length(20)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="num_levels: 3, expected at least 1 and at most 2"):
        multiscale((6, 5, 1), 3, lambda _: [], conv)
    with pytest.raises(ValueError, match=r"shape: \(4,\)"):
        multiscale((4,), 1, lambda _: [], conv)
    with pytest.raises(ValueError, match="num_dims: 1"):
        vector_bijector("spline", 1, num_layers=2)
    with pytest.raises(ValueError, match="num_layers: 3, expected an even number"):
        vector_bijector("maf", 2, num_layers=3)
    with pytest.raises(ValueError, match="bijectors: none"):
        chain()
    with pytest.raises(ValueError, match="model: 'planar', expected one of nice, real_nvp"):
        image_bijector("planar", (4, 4, 1), num_layers=2)
    with pytest.raises(ValueError, match="model: 'glow', expected one of planar"):
        vector_bijector("glow", 3, num_layers=2)
    with pytest.raises(ValueError, match="inverse: 'none', expected one of sequential, jacobi"):
        vector_bijector("maf", 3, num_layers=2, inverse="none")
    with pytest.raises(ValueError, match="num_features: 0, expected at least 1"):
        image_bijector("glow", (4, 4, 1), num_layers=2, num_features=0)
    with pytest.raises(ValueError, match="num_components: -1, expected at least 0"):
        make_base(3, -1)
    with pytest.raises(ValueError, match="levels: 2.5, expected a whole number from 2 to 256"):
        make_image_flow(chain(Flatten((2, 2, 1))), (2, 2, 1), levels=2.5)
    for base in (make_base(7), make_base(7, 2)):
        with pytest.raises(ValueError, match=r"z: shape \(2, 3\), expected \[B, 7\]"):
            base.init(jax.random.key(0), jnp.zeros((2, 3)), method="log_prob")
    x = jnp.zeros((2, 2, 3))
    assert Flatten((2, 3)).apply({}, x, method="encode")[0].shape == (2, 6)
