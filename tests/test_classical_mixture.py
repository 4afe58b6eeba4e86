"""Mixtures of Gaussians as densities: SciPy, sums to one, starts, draws and completions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture_runs import blobs, covariances, fitted, run
from scipy import special, stats

from jaxgen.classical import gaussian, mixture
from jaxgen.classical.mixture import KINDS


def dense_joint(params, x):
    """``ln pi_k N_k(x)`` by SciPy, `[B, K]`."""
    weights = np.exp(params.logits - special.logsumexp(params.logits))
    return np.stack(
        [
            np.log(w) + stats.multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(
                weights, np.asarray(params.components.mean), covariances(params), strict=True
            )
        ],
        axis=1,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_density_and_responsibilities_are_those_of_scipy(kind):
    with jax.enable_x64(True):
        params, x = fitted(kind)
        joint = dense_joint(params, x)
        np.testing.assert_allclose(params.log_prob(x), special.logsumexp(joint, axis=1), rtol=1e-9)
        np.testing.assert_allclose(
            params.responsibilities(x), special.softmax(joint, axis=1), atol=1e-9
        )
        weights = special.softmax(np.asarray(params.logits))
        np.testing.assert_allclose(
            params.expectation(), weights @ np.asarray(params.components.mean)
        )


@pytest.mark.parametrize("kind", ["full", "diagonal", "ppca"])
def test_a_density_of_the_plane_integrates_to_one(kind):
    x = blobs(size=2).astype(np.float32)
    settings = {"num_factors": 1} if kind == "ppca" else {}
    begin = mixture.start(jax.random.key(0), x, kind=kind, num_components=3, **settings)
    params = run(begin, x, num_steps=3)[0]
    axis = np.linspace(-25.0, 25.0, 501, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(np.asarray(params.log_prob(points), float)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1.0, abs=1e-3)


def test_weights_count_by_their_logarithm():
    parts = gaussian.FactorGaussian(jnp.zeros((2, 3)), jnp.zeros((2, 3, 0)), jnp.ones((2, 3)))
    params = mixture.Mixture(jnp.log(jnp.array([0.9, 0.1])) + 7.0, parts, "diagonal")
    joint = params.joint_log_prob(jnp.zeros((1, 3)))
    assert float(joint[0, 0] - joint[0, 1]) == pytest.approx(np.log(9.0), rel=1e-5)
    assert float(params.log_prob(jnp.zeros((1, 3)))[0]) == pytest.approx(
        -1.5 * np.log(2 * np.pi), rel=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "num", "size", "q", "expected"),
    [
        ("full", 10, 784, 0, 3_085_049),
        ("tied", 3, 4, 0, 2 + 12 + 10),
        ("diagonal", 3, 4, 0, 2 + 24),
        ("spherical", 3, 4, 0, 2 + 12 + 3),
        ("ppca", 3, 4, 2, 2 + 3 * (4 + 8 - 1 + 1)),
        ("factor_analysis", 3, 4, 2, 2 + 3 * (4 + 8 - 1 + 4)),
    ],
)
def test_free_parameters_are_counted(kind, num, size, q, expected):
    like = jax.eval_shape(
        lambda x: mixture.start(jax.random.key(0), x, kind=kind, num_components=num, num_factors=q),
        jax.ShapeDtypeStruct((20, size), jnp.float32),
    )
    assert like.num_parameters() == expected


def test_draws_are_of_all_components_and_differ_by_key():
    params, _ = fitted("full")
    x = np.asarray(params.sample(jax.random.key(0), 6000), float)
    weights = special.softmax(np.asarray(params.logits, float))
    counts = np.asarray(params.responsibilities(x), float).sum(0)
    assert np.all(np.abs(counts - 6000 * weights) < 6 * np.sqrt(6000 * weights))
    # Not sorted by component: neighbours are as often of one component as any two.
    label = np.argmax(params.responsibilities(x), axis=1)
    assert np.mean(label[1:] == label[:-1]) == pytest.approx(np.sum(weights**2), abs=0.05)
    assert not np.array_equal(x, params.sample(jax.random.key(1), 6000))
    keys = jax.random.split(jax.random.key(3), 5)
    np.testing.assert_allclose(params.sample(keys[2:], 3), params.sample(keys, 5)[2:], rtol=1e-5)


@pytest.mark.parametrize("kind", ["full", "factor_analysis"])
def test_completion_takes_both_component_and_numbers_from_what_is_known(kind):
    with jax.enable_x64(True):
        params, x = fitted(kind)
        mask = np.array([True, True, False, False])
        given = params.condition(x[:4], mask)
        joint = params.log_prob(x[:4])
        marginal = params.log_prob(x[:4], mask)
        np.testing.assert_allclose(given.log_prob(x[:4]), joint - marginal, rtol=1e-10)
        matrices, means = covariances(params), np.asarray(params.components.mean)
        weights = np.log(special.softmax(np.asarray(params.logits)))
        observed = np.stack(
            [
                weights[k]
                + stats.multivariate_normal(means[k, :2], matrices[k, :2, :2]).logpdf(x[:4, :2])
                for k in range(3)
            ],
            axis=1,
        )
        shares = special.softmax(observed, axis=1)
        np.testing.assert_allclose(params.responsibilities(x[:4], mask), shares, atol=1e-9)
        expected = sum(
            shares[:, k, None]
            * (
                means[k, 2:]
                + (x[:4, :2] - means[k, :2])
                @ np.linalg.solve(matrices[k, :2, :2], matrices[k, :2, 2:])
            )
            for k in range(3)
        )
        np.testing.assert_allclose(given.expectation()[:, 2:], expected, rtol=1e-8)
        many = params.condition(np.repeat(x[:1], 4000, axis=0), mask).sample(jax.random.key(0))
        error = np.std(many[:, 2:], axis=0) / np.sqrt(4000)
        assert np.all(np.abs(np.mean(many[:, 2:], axis=0) - expected[0]) < 5 * error)
        np.testing.assert_array_equal(many[:, :2], np.repeat(x[:1, :2], 4000, axis=0))
        none = params.condition(x[:4], np.zeros(4, bool))
        np.testing.assert_allclose(none.expectation(), np.tile(params.expectation(), (4, 1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "round"}, "kind: round, expected one of full"),
        ({"num_components": 0}, "num_components: 0, expected 1 to the number of examples, 9"),
        ({"num_components": 10}, "num_components: 10, expected 1 to"),
        ({"kind": "ppca", "num_factors": 4}, "num_factors: 4, expected 1 to 3 for 4 numbers"),
        ({"kind": "ppca"}, "num_factors: 0, expected 1 to 3"),
        ({"num_factors": 2}, "num_factors: 2, expected 0 for full covariances"),
    ],
)
def test_a_start_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        mixture.start(
            jax.random.key(0), blobs(num=9), **{"kind": "full", "num_components": 2, **settings}
        )


def test_a_start_spreads_its_means_and_tells_one_covariance():
    x = np.concatenate([np.full((50, 2), -100.0), np.full((50, 2), 100.0), np.full((2, 2), 0.0)])
    x += 0.1 * np.random.default_rng(0).normal(size=x.shape)
    for seed in range(5):
        begin = mixture.start(
            jax.random.key(seed), x.astype(np.float32), kind="diagonal", num_components=3
        )
        assert sorted(np.round(np.asarray(begin.components.mean)[:, 0] / 100)) == [-1, 0, 1]
        assert np.all(begin.components.noise < 0.1)


def test_numpy_arrays_are_fitted_outside_of_jit():
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    params = mixture.fit(jax.random.key(0), x, kind="diagonal", num_components=2, max_steps=2)
    assert np.all(np.isfinite(params.log_prob(x)))


def test_arrays_of_another_shape_are_refused():
    params, x = fitted("diagonal")
    x = np.asarray(x)
    for bad, others in (
        (x[:, :-1], {}),
        (x[..., None], {}),
        (x, {"weight": np.ones(3)}),
        (x, {"observed": np.ones(x.shape[1], bool)}),
    ):
        with pytest.raises(AssertionError, match="shape"):
            mixture.em_step(params, bad, min_variance=1e-3, **others)
    with pytest.raises(ValueError, match=r"observed: float(32|64), expected booleans"):
        mixture.em_step(params, x, min_variance=1e-3, observed=np.ones(x.shape))
    with pytest.raises(AssertionError, match="rank"):
        mixture.start(jax.random.key(0), x[..., None], kind="full", num_components=2)


@pytest.mark.parametrize("name", ["min_variance", "tolerance"])
def test_negative_numbers_are_refused(name):
    x = np.zeros((5, 2), np.float32)
    with pytest.raises(ValueError, match=f"{name}: -1.0, expected at least 0"):
        mixture.fit(jax.random.key(0), x, kind="full", num_components=2, **{name: -1.0})


def test_a_floor_of_nothing_and_data_for_their_density_are_refused():
    params, x = fitted("diagonal")
    with pytest.raises(ValueError, match="min_variance: 0.0, expected above 0"):
        mixture.em_step(params, x, min_variance=0.0)
    with pytest.raises(AssertionError, match="rank"):
        mixture.bic(params, x)


def test_keys_and_numbers_that_are_none_are_refused():
    params, x = fitted("diagonal")
    with pytest.raises(ValueError, match=r"key: int32 \(\), expected a typed key"):
        mixture.start(0, x, kind="full", num_components=2)
    with pytest.raises(ValueError, match="num: -1, expected at least 0"):
        params.sample(jax.random.key(0), -1)
    for k in (-1, params.num_components):
        with pytest.raises(ValueError, match=f"k: {k}, expected 0 to {params.num_components - 1}"):
            params.component(k)


def test_an_eager_step_is_compiled_once(caplog):
    params, x = fitted("diagonal")
    params = mixture.em_step(params, x, min_variance=1e-3).mixture
    with jax.log_compiles():
        params = mixture.em_step(params, x, min_variance=1e-3).mixture
        assert not caplog.messages
        mixture.em_step(params, x[1:], min_variance=1e-3)
        assert any("jit(_em_step)" in message for message in caplog.messages)


def test_no_example_is_refused():
    params, x = fitted("diagonal")
    with pytest.raises(ValueError, match="x: 0 examples, expected at least 1"):
        mixture.em_step(params, x[:0], min_variance=1e-3)
    with pytest.raises(ValueError, match="x: 0 examples, expected at least 1"):
        mixture.start(jax.random.key(0), x[:0], kind="full", num_components=1)
