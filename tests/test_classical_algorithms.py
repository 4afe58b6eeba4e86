"""Gaussians and mixtures as algorithms: pixels and vectors, exact bounds, devices, batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.classical import gaussian, mixture
from jaxgen.classical.vectors import PIXEL_NOISE, from_vectors, to_vectors

LEVELS, SHAPE = 5, (3, 2, 2)
X = np.random.default_rng(0).integers(0, LEVELS, (48, *SHAPE)).astype(np.uint8)
X[..., 1, 0] = 2  # Constant pixels.
KEY = jax.random.key(0)


def full():
    fit = functools.partial(gaussian.fit, noise_variance=PIXEL_NOISE)
    return gaussian.gaussian_algorithm(fit, SHAPE, levels=LEVELS, num_importance_samples=4)


def em(**settings):
    values = {"kind": "diagonal", "num_components": 3, **settings}
    return mixture.mixture_algorithm(SHAPE, levels=LEVELS, **values)


def test_pixels_stand_in_the_middle_of_their_bins_and_come_back():
    vectors = to_vectors(jnp.asarray(X), LEVELS)
    np.testing.assert_array_equal(vectors, X.reshape(48, -1) + 0.5)
    np.testing.assert_array_equal(from_vectors(vectors, SHAPE, LEVELS), X)
    far = from_vectors(jnp.array([[-3.0, 0.0, 4.99, 99.0]]), (2, 2, 1), LEVELS)
    np.testing.assert_array_equal(far.reshape(-1), [0, 0, 4, 4])
    with pytest.raises(ValueError, match="float32, expected uint8"):
        to_vectors(jnp.zeros((1, 2, 2, 1)), LEVELS)
    points = jnp.ones((4, 2))
    np.testing.assert_array_equal(from_vectors(to_vectors(points, None), (2,), None), points)


def test_the_loss_of_a_gaussian_is_the_mean_over_the_noise_of_a_pixel():
    algorithm = full()
    state = jax.jit(algorithm.init)(KEY, {"x": X})
    state, metrics = jax.jit(algorithm.step)(state, {"x": X}, KEY)
    assert int(state.step) == 1
    flat = X.reshape(48, -1)
    covariance = np.cov(flat.T, bias=True) + PIXEL_NOISE * np.eye(12)
    np.testing.assert_allclose(state.params.covariance(), covariance, atol=1e-5)
    draws = np.random.default_rng(1).random((400, *flat.shape)) + flat[None]
    log_probs = jax.jit(state.params.log_prob)(draws.reshape(-1, 12).astype(np.float32))
    error = np.std(log_probs) / np.sqrt(len(log_probs))
    assert abs(float(metrics["loss"]) + float(np.mean(log_probs))) < 5 * error


@pytest.mark.parametrize("make", [full, em])
def test_evaluations_bound_the_mass_of_pixels_and_samples_are_pixels(make):
    algorithm = make(num_importance_samples=64) if make is em else make()
    batch = {"x": X}
    state = jax.jit(algorithm.init)(KEY, batch)
    state, _ = jax.jit(algorithm.step)(state, batch, KEY)
    metrics = jax.jit(algorithm.evaluate)(state, batch, KEY)
    name = "iw64" if make is em else "iw4"
    bits = -metrics["dequantized"] / (12 * np.log(2))
    np.testing.assert_allclose(metrics["dequantized_bits_per_dim"], bits, rtol=1e-5)
    assert np.mean(metrics[name]) > np.mean(metrics["dequantized"])
    samples = jax.jit(algorithm.sample, static_argnums=2)(state, KEY, 500)
    assert samples.shape == (500, *SHAPE) and samples.dtype == np.uint8 and samples.max() < LEVELS
    np.testing.assert_allclose(np.mean(samples, axis=0), np.mean(X, axis=0), atol=0.6)
    with pytest.raises(ValueError, match="label: given, expected None"):
        algorithm.sample(state, KEY, 2, np.zeros(2, np.int32))


def test_vectors_have_an_exact_likelihood():
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    algorithm = gaussian.gaussian_algorithm(gaussian.fit, (3,), levels=None)
    state, metrics = algorithm.step(jax.jit(algorithm.init)(KEY, {"x": x}), {"x": x}, KEY)
    values = algorithm.evaluate(state, {"x": x}, KEY)
    assert set(values) == {"log_likelihood", "log_likelihood_bits_per_dim"}
    assert float(metrics["loss"]) == pytest.approx(
        -float(np.mean(values["log_likelihood"])), rel=1e-5
    )
    assert algorithm.sample(state, KEY, 4).dtype == np.float32


@pytest.mark.parametrize("kind", ["diagonal", "factor_analysis"])
def test_steps_of_em_lower_the_loss_and_devices_agree(kind):
    settings = {"kind": kind, "num_factors": 2 if kind == "factor_analysis" else 0}
    algorithm = em(**settings)
    state = jax.jit(algorithm.init)(KEY, {"x": X})
    assert state.statistics is None
    step = jax.jit(algorithm.step)
    apart = jax.pmap(
        functools.partial(algorithm.step, axis_name="d"),
        axis_name="d",
        in_axes=(None, 0, None),
    )
    losses, other = [], state
    for _ in range(6):
        shared, _ = apart(other, {"x": X.reshape(8, 6, *SHAPE)}, KEY)
        other = jax.tree.map(lambda a: a[0], shared)
        state, metrics = step(state, {"x": X}, KEY)
        losses.append(float(metrics["loss"]))
    assert np.all(np.diff(losses) < 1e-4) and losses[-1] < losses[0] - 0.1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
        state.params,
        other.params,
    )


def test_a_gaussian_of_many_devices_is_that_of_one():
    algorithm = full()
    state = jax.jit(algorithm.init)(KEY, {"x": X})
    alone, _ = algorithm.step(state, {"x": X}, KEY)
    apart = jax.pmap(
        functools.partial(algorithm.step, axis_name="d"), axis_name="d", in_axes=(None, 0, None)
    )(state, {"x": X.reshape(8, 6, *SHAPE)}, KEY)[0]
    np.testing.assert_allclose(apart.params.cholesky[0], alone.params.cholesky, atol=1e-4)


def test_batches_keep_statistics():
    algorithm = em(forgetting=0.6)
    state = jax.jit(algorithm.init)(KEY, {"x": X[:16]})
    step = jax.jit(algorithm.step)
    for i in range(12):
        state, metrics = step(state, {"x": X[16 * (i % 3) : 16 * (i % 3) + 16]}, KEY)
    assert state.statistics is not None and np.isfinite(metrics["loss"])
    assert float(jnp.sum(state.statistics.share)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_variance": 0.0}, "min_variance: 0.0, expected above 0"),
        ({"forgetting": 0.5}, "forgetting: 0.5, expected in"),
        ({"forgetting": 1.5}, "forgetting: 1.5, expected in"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        em(**settings)


def test_factor_analysis_agrees_with_a_mixture_of_one():
    x = np.random.default_rng(3).normal(size=(40, 5)) @ np.random.default_rng(4).normal(size=(5, 5))
    with jax.enable_x64(True):
        for rows in (x, x[:4]):
            q = 2
            fitted = gaussian.fit_factor_analysis(rows, q, num_steps=15, noise_variance=0.1)
            begin = gaussian.fit_ppca(jnp.asarray(rows), q, noise_variance=0.1)
            params = mixture.Mixture(
                jnp.zeros(1), jax.tree.map(lambda a: a[None], begin), "factor_analysis"
            )
            step = jax.jit(functools.partial(mixture.em_step, noise_variance=0.1))
            for _ in range(15):
                params = step(params, rows, min_variance=1e-9).mixture
            np.testing.assert_allclose(fitted.noise, params.components.noise[0], rtol=1e-6)
            np.testing.assert_allclose(
                fitted.covariance(), params.component(0).covariance(), rtol=1e-6, atol=1e-8
            )


def test_a_fit_in_one_call_stops_where_it_climbs_no_more():
    rng = np.random.default_rng(0)
    centres = np.array([[-4.0, 0.0], [3.0, 1.0]])
    x = np.concatenate([rng.normal(c, 0.5, (300, 2)) for c in centres]).astype(np.float32)

    @functools.partial(jax.jit, static_argnames=("num", "max_steps"))
    def fit(x, num, max_steps):
        return mixture.fit(KEY, x, kind="diagonal", num_components=num, max_steps=max_steps)

    fitted = fit(x, 2, 300)
    order = np.argsort(fitted.components.mean[:, 0])
    np.testing.assert_allclose(np.asarray(fitted.components.mean)[order], centres, atol=0.15)
    np.testing.assert_allclose(fitted.components.noise, 0.25, rtol=0.2)
    again = mixture.em_step(fitted, x, min_variance=1e-4)
    gain = float(jnp.mean(again.mixture.log_prob(x)) - jnp.mean(again.log_prob))
    assert 0.0 <= gain + 1e-5 < 1e-3
    few, many = (float(jnp.mean(fit(x, 6, num).log_prob(x))) for num in (1, 300))
    assert few < many - 1e-3
