"""Bijectors made of bijectors, and linear ones, beside the same arithmetic in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.flows.bijectors import (
    ActNorm,
    Affine,
    Coupling,
    Flatten,
    Inverse,
    InvertibleConv,
    MaskedAutoregressive,
    Permutation,
    Repeat,
    Spline,
    chain,
)
from jaxgen.flows.bijectors.composition import Concatenate, OnFirst
from jaxgen.flows.bijectors.multiscale import Split, Squeeze
from jaxgen.flows.conditioners import MADE, MLPConditioner
from jaxgen.flows.models import image_bijector

ORDER = (2, 0, 1)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def filled(module, x, rng, **kwargs):
    """Random parameters of a module."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, method="encode", **kwargs))
    return jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape), shapes)


def encode(module, variables, x):
    z, log_det = module.apply(variables, x, method="encode")
    return jax.tree.map(np.asarray, z), np.asarray(log_det)


def network(params, x):
    """A fully connected network of rectified units."""
    *hidden, last = (params[f"Dense_{i}"] for i in range(len(params)))
    for layer in hidden:
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0.0)
    return x @ last["kernel"] + last["bias"]


def affine(x, raw, bound=2.0):
    """``x exp(s) + t`` of raw parameters `[B, 2, D]`, and s."""
    log_scale = bound * np.tanh(raw[:, 1] / bound)
    return x * np.exp(log_scale) + raw[:, 0], log_scale


def test_a_repeated_chain_is_one_layer_after_another(rng):
    x = rng.normal(size=(4, 3))
    module = Repeat(chain(ActNorm(), Permutation(ORDER)), 5, unroll=2)
    variables = filled(module, x, rng)
    own = variables["params"]["block"]["bijectors_0"]
    expected, log_det = x, 0.0
    for shift, log_scale in zip(own["shift"], own["log_scale"], strict=True):
        expected = ((expected + shift) * np.exp(log_scale))[:, ORDER]
        log_det += log_scale.sum()
    z, found = encode(module, variables, x)
    np.testing.assert_allclose(z, expected, rtol=1e-10)
    np.testing.assert_allclose(found, np.full(4, log_det), rtol=1e-10)
    turned = {"params": {"bijector": variables["params"]}}
    again, back = encode(Inverse(module), turned, z)
    np.testing.assert_allclose(again, x, rtol=1e-9)
    np.testing.assert_allclose(back, -found, rtol=1e-10)


def test_an_invertible_convolution_is_a_product_of_three_matrices(rng):
    x = rng.normal(size=(2, 3, 2, 4))
    variables = filled(InvertibleConv(), x, rng)
    lower, upper, raw = (variables["params"][name] for name in ("lower", "upper", "log_scale"))
    # For rows: P, U^T (below) and L^T are those of the map of columns.
    scale = np.exp(np.asarray(jnp.tanh(raw / 2.0)) * 2.0)
    kernel = (np.tril(lower, -1) + np.diag(scale)) @ (np.triu(upper, 1) + np.eye(4))
    kernel = kernel[:, ::-1]
    z, log_det = encode(InvertibleConv(), variables, x)
    np.testing.assert_allclose(z, np.einsum("bhwc,cd->bhwd", x, kernel), rtol=1e-8)
    expected = 6.0 * np.linalg.slogdet(kernel)[1]
    np.testing.assert_allclose(log_det, [expected, expected], rtol=1e-8)


@pytest.mark.parametrize("moves_first", [False, True])
def test_a_coupling_moves_a_part_by_a_network_of_the_other(rng, moves_first):
    x = rng.normal(size=(4, 5))
    module = Coupling(Affine(), MLPConditioner((7, 6)), moves_first)
    variables = filled(module, x, rng)
    first, second = x[:, :3], x[:, 3:]
    kept, moved = (second, first) if moves_first else (first, second)
    raw = network(variables["params"]["conditioner"], kept).reshape(4, 2, -1)
    moved, log_scale = affine(moved, raw)
    expected = np.concatenate((moved, kept) if moves_first else (kept, moved), axis=1)
    z, log_det = encode(module, variables, x)
    np.testing.assert_allclose(z, expected, rtol=1e-10)
    np.testing.assert_allclose(log_det, log_scale.sum(axis=1), rtol=1e-10)


def test_an_autoregressive_layer_is_a_loop_over_numbers(rng):
    """Each number by the raw parameters that the network gives where only those before it are known."""
    z, made = rng.normal(size=(3, 4)), MADE((8,), is_reversed=True)
    module = MaskedAutoregressive(Affine(), made)
    variables = filled(module, z, rng)
    x, log_det = np.zeros_like(z), 0.0
    for place in range(4):
        number = int(np.flatnonzero(made.degrees(4) == place)[0])
        own = {"params": variables["params"]["made"]}
        raw = np.asarray(made.apply(own, jnp.asarray(x), None, 2))[:, :, number]
        log_scale = 2.0 * np.tanh(raw[:, 1] / 2.0)
        x[:, number] = (z[:, number] - raw[:, 0]) * np.exp(-log_scale)
        log_det -= log_scale
    found, back = module.apply(variables, z, method="decode")
    np.testing.assert_allclose(found, x, rtol=1e-10)
    np.testing.assert_allclose(back, log_det, rtol=1e-10)


def test_parts_are_taken_moved_and_joined(rng):
    image, other = rng.normal(size=(2, 4, 2, 3)), rng.normal(size=(2, 5))
    module = OnFirst(ActNorm())
    variables = filled(module, (image, other), rng)
    own = variables["params"]["bijector"]
    (moved, kept), log_det = encode(module, variables, (image, other))
    np.testing.assert_allclose(moved, (image + own["shift"]) * np.exp(own["log_scale"]), rtol=1e-10)
    np.testing.assert_array_equal(kept, other)
    np.testing.assert_allclose(log_det, np.full(2, 8.0 * own["log_scale"].sum()), rtol=1e-10)
    joined, zero = encode(Concatenate(((4, 2, 3), (5,))), {}, (image, other))
    np.testing.assert_array_equal(joined, np.concatenate([image.reshape(2, -1), other], axis=1))
    flat, _ = encode(Flatten((4, 2, 3)), {}, image)
    np.testing.assert_array_equal(flat, image.reshape(2, -1))
    np.testing.assert_array_equal(zero, np.zeros(2))
    squeezed, _ = encode(Squeeze(), {}, image)
    parts = [image[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    np.testing.assert_array_equal(np.sort(squeezed), np.sort(np.concatenate(parts, axis=-1)))
    assert squeezed.shape == (2, 2, 1, 12)


def test_a_split_is_a_normal_of_what_leaves_given_the_rest(rng):
    x = rng.normal(size=(3, 5))
    module = Split(MLPConditioner((6,)))
    variables = filled(module, (x,), rng)
    kept, latents = x[:, :3], x[:, 3:]
    raw = network(variables["params"]["conditioner"], kept).reshape(3, 2, 2)
    expected, log_scale = affine(latents, raw)
    (found, left), log_det = encode(module, variables, (x,))
    np.testing.assert_array_equal(found, kept)
    np.testing.assert_allclose(left, expected, rtol=1e-10)
    np.testing.assert_allclose(log_det, log_scale.sum(axis=1), rtol=1e-10)


def test_a_spline_of_a_chain_keeps_what_lies_outside_of_its_box(rng):
    x = np.array([[0.1, 9.0], [0.2, -9.0]])
    module = chain(Coupling(Spline(), MLPConditioner((4,))))
    z, log_det = encode(module, filled(module, x, rng), x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, np.zeros(2))


@pytest.mark.parametrize("model", ["glow", "maf"])
def test_every_product_of_a_flow_is_in_full_precision(model):
    # A GPU multiplies float32 with ten bits by default, and the way back amplifies the rest.
    bijector = image_bijector(model, (4, 4, 3), num_layers=2, num_levels=1, hidden_sizes=(8,))
    x = jnp.zeros((2, 4, 4, 3))
    variables = bijector.init(jax.random.key(0), x, method="encode")
    program = jax.make_jaxpr(lambda x: bijector.apply(variables, x, method="encode"))(x)
    precisions = product_precisions(program.jaxpr)
    assert len(precisions) >= 3
    assert set(precisions) == {"HIGHEST"}


def product_precisions(jaxpr):
    """The precision of every product and convolution of a program, inner ones included."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv"):
            precision = equation.params["precision"]
            first = precision[0] if isinstance(precision, tuple) else precision
            found.append(getattr(first, "name", str(first)).upper())
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "jaxpr")):
            if hasattr(value, "jaxpr"):
                found += product_precisions(value.jaxpr)
    return found
