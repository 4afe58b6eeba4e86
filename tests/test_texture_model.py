"""The stationary Gaussian against dense matrices: density, products, denoising, transport."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import texture_references as reference

from jaxgen.classical import texture

SHAPES = ((6, 5, 1), (5, 4, 3), (4, 4, 2), (1, 5, 1), (3, 1, 3))


def dense(u, noise_variance):
    """Mean and covariance of the model of an exemplar that is taken as it is."""
    size, channels = u.shape[:2], u.shape[2]
    mean = np.broadcast_to(u.mean(axis=(0, 1)), u.shape).ravel()
    covariance = reference.shifts_covariance(reference.spot(u))
    return mean, covariance + noise_variance * np.eye(size[0] * size[1] * channels)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_density_is_the_dense_one(shape, key):
    u = reference.exemplar(shape)
    x = np.random.default_rng(1).normal(size=(3, *shape)) * 2.0 + 3.0
    mean, covariance = dense(u, 0.3)
    expected = reference.log_density(x.reshape(3, -1), mean, covariance)
    with jax.enable_x64(True):
        model = texture.fit_periodic(jnp.asarray(u), noise_variance=0.3)
        found = jax.jit(lambda model, x: model.log_prob(x))(model, jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    single = texture.fit_periodic(jnp.asarray(u, jnp.float32), noise_variance=0.3)
    found = single.log_prob(jnp.asarray(x, jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_density_of_grey_is_that_of_the_spectrum():
    """``-1/2 sum [ln 2 pi s + |y^|^2 / (M N s)]``."""
    u, x = reference.exemplar((6, 5, 1)), reference.exemplar((6, 5, 1), seed=1)
    s = np.abs(np.fft.fft2(reference.spot(u)[..., 0])) ** 2 + 1e-3
    y = np.abs(np.fft.fft2(x[..., 0] - u.mean())) ** 2
    expected = -0.5 * (np.log(2.0 * np.pi * s) + y / (30 * s)).sum()
    with jax.enable_x64(True):
        model = texture.fit_periodic(jnp.asarray(u), noise_variance=1e-3)
        np.testing.assert_allclose(model.log_prob(jnp.asarray(x)[None])[0], expected, rtol=1e-12)


def test_draws_have_the_density_that_is_expected(key):
    """``-ln p`` of the model's own draws averages to its entropy, of variance n / 2."""
    model = texture.fit(jnp.asarray(reference.exemplar((5, 6, 2)), jnp.float32), noise_variance=0.1)
    num, n = 2000, 60
    nats = -np.asarray(model.log_prob(model.sample(key, num)))
    covariance = reference.shifts_covariance(np.asarray(model.spot, float)) + 0.1 * np.eye(n)
    entropy = 0.5 * np.linalg.slogdet(2.0 * np.pi * np.e * covariance)[1]
    assert abs(nats.mean() - entropy) < 4 * np.sqrt(0.5 * n / num)


@pytest.mark.parametrize("shape", SHAPES)
def test_products_and_denoising_are_the_dense_ones(shape):
    u, x = reference.exemplar(shape), np.random.default_rng(2).normal(size=(2, *shape))
    mean, covariance = dense(u, 0.2)
    flat = x.reshape(2, -1)
    with jax.enable_x64(True):
        model = texture.fit_periodic(jnp.asarray(u), noise_variance=0.2)
        product, solved = model.multiply(jnp.asarray(x)), model.solve(jnp.asarray(x))
        denoised = model.denoise(jnp.asarray(x), 0.7)
    np.testing.assert_allclose(product.reshape(2, -1), flat @ covariance, atol=1e-11)
    np.testing.assert_allclose(
        solved.reshape(2, -1), np.linalg.solve(covariance, flat.T).T, atol=1e-11
    )
    noisy = covariance + 0.7 * np.eye(len(mean))
    expected = mean + (flat - mean) @ np.linalg.solve(noisy, covariance)
    np.testing.assert_allclose(denoised.reshape(2, -1), expected, atol=1e-11)


@pytest.mark.parametrize("shape", [(6, 7, 3), (1, 1, 1), (1, 1, 3), (2, 2, 1)])
def test_flat_and_tiny_exemplars_have_a_density(shape, key):
    model = texture.fit(jnp.full(shape, 7, jnp.uint8), noise_variance=0.5)
    x = model.sample(key, 3)
    n = np.prod(shape)
    distance = ((np.asarray(x) - 7.0) ** 2).reshape(3, -1).sum(axis=1)
    expected = -0.5 * (distance / 0.5 + n * np.log(2.0 * np.pi * 0.5))
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-4)


def test_the_fit_takes_the_periodic_part_and_the_known_sites():
    u = jnp.asarray(reference.exemplar((6, 5, 2)), jnp.float32)
    parts = texture.periodic_plus_smooth(u)
    np.testing.assert_allclose(texture.fit(u).spot, texture.fit_periodic(parts.periodic).spot)
    np.testing.assert_allclose(texture.fit(u).mean, u.mean(axis=(0, 1)), rtol=1e-5)
    known = np.arange(30).reshape(6, 5) % 3 > 0
    masked = texture.fit_masked(u, known)
    np.testing.assert_array_equal(masked.spot, texture.make_masked_spot(u, known)[1])
    for fit in (texture.fit, texture.fit_periodic):
        with pytest.raises(ValueError, match="noise_variance: 0.0, expected above 0"):
            fit(u, noise_variance=0.0)


# --- Transport ---


def pair(shape):
    """Two models with next to no noise, and their dense means and covariances."""
    exemplars = [reference.exemplar(shape, seed) for seed in (0, 1)]
    exemplars[1] = 1.0 + 2.0 * exemplars[1]
    models = [texture.fit_periodic(jnp.asarray(u), noise_variance=1e-30) for u in exemplars]
    return models, [dense(u, 0.0) for u in exemplars]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distance_is_the_dense_one(shape):
    with jax.enable_x64(True):
        (p, q), (dense_p, dense_q) = pair(shape)
        found = float(texture.wasserstein_distance(p, q))
    np.testing.assert_allclose(found, reference.wasserstein(*dense_p, *dense_q), rtol=1e-6)


@pytest.mark.parametrize("shape", [(6, 5, 1), (5, 4, 3)])
def test_shifts_and_signs_of_a_spot_are_no_distance(shape):
    with jax.enable_x64(True):
        (p, _), _ = pair(shape)
        for spot in (-p.spot, jnp.roll(p.spot, (2, 3), axis=(0, 1)), texture.texton(p.spot)):
            assert float(texture.wasserstein_distance(p, p.replace(spot=spot))) < 1e-12
        if shape[2] > 1:  # But of one channel alone they are.
            other = p.replace(spot=p.spot.at[..., 0].multiply(-1.0))
            assert float(texture.wasserstein_distance(p, other)) > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_mixtures_lie_on_the_shortest_way(shape):
    with jax.enable_x64(True):
        (p, q), _ = pair(shape)
        whole = float(texture.wasserstein_distance(p, q))
        for weight in (0.0, 0.3, 0.5, 1.0):
            mixed = jax.jit(texture.mix)(p, q, weight)
            ways = [float(texture.wasserstein_distance(model, mixed)) for model in (p, q)]
            np.testing.assert_allclose(ways, [weight * whole, (1 - weight) * whole], atol=1e-9)
        for weight, end in ((0.0, p), (1.0, q)):
            mixed = texture.mix(p, q, weight)
            found, expected = map(texture.autocovariance, (mixed.spot, end.spot))
            np.testing.assert_allclose(found, expected, atol=1e-12)
            np.testing.assert_allclose(mixed.mean, end.mean)
            np.testing.assert_allclose(mixed.noise_variance, end.noise_variance)


def test_models_of_other_sizes_do_not_mix():
    p, q = (texture.fit(jnp.ones(shape)) for shape in ((4, 5, 1), (5, 4, 1)))
    for function in (texture.wasserstein_distance, lambda p, q: texture.mix(p, q, 0.5)):
        with pytest.raises(
            ValueError, match=r"q: shape \(5, 4, 1\), expected that of p, \(4, 5, 1\)"
        ):
            function(p, q)


def test_numbers_out_of_range_and_images_without_pixels_are_refused():
    p = texture.fit(jnp.ones((4, 5, 1)))
    for weight in (2.0, -1, float("nan")):
        with pytest.raises(ValueError, match=rf"weight: {weight}, expected in \[0, 1\]"):
            texture.mix(p, p, weight)
    with pytest.raises(ValueError, match="noise_variance: -0.5, expected at least 0"):
        p.denoise(jnp.ones((1, 4, 5, 1)), -0.5)
    for fit in (texture.fit, texture.fit_periodic):
        with pytest.raises(ValueError, match=r"u: shape \(0, 5, 1\), expected an image"):
            fit(jnp.ones((0, 5, 1)))


# --- Structure ---


def test_structure_is_what_phases_hold(key):
    gaussian = np.random.default_rng(0).normal(size=(96, 96, 1))
    blobs = (np.random.default_rng(0).random((96, 96, 1)) > 0.98).astype(float)
    gaps = {}
    for name, u in (("gaussian", gaussian), ("blobs", blobs)):
        u = jnp.asarray(u, jnp.float32)
        gaps[name] = float(texture.structure_gap(key, u, texture.fit(u).spot))
    assert gaps["gaussian"] < 0.2 and gaps["blobs"] > 5.0


def test_kurtosis_is_that_of_the_differences_of_known_sites():
    u = np.random.default_rng(0).normal(size=(7, 6, 2))
    known = np.random.default_rng(1).random((7, 6)) > 0.3
    found = texture.difference_kurtosis(jnp.asarray(np.where(known[..., None], u, np.nan)), known)
    expected = []
    for axis in (0, 1):
        for shift in (1, 2, 4):
            a, b = (
                np.take(u, range(*r), axis)
                for r in ((shift, u.shape[axis]), (0, u.shape[axis] - shift))
            )
            both = np.take(known, range(shift, u.shape[axis]), axis)
            both = both & np.take(known, range(u.shape[axis] - shift), axis)
            d = (a - b)[both]
            expected.append(((d**4).mean(axis=0) / (d**2).mean(axis=0) ** 2 - 3.0).mean())
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    flat = texture.difference_kurtosis(jnp.ones((3, 1, 1)))
    np.testing.assert_array_equal(flat, np.zeros(2))
    assert (
        texture.structure_gap(jax.random.key(0), jnp.ones((1, 1, 1)), jnp.zeros((1, 1, 1))) == 0.0
    )
