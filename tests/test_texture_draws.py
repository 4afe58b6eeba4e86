"""Spots, their periodic part, tapers, and draws by random phases and by noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import texture_references as reference

from jaxgen.classical import texture

SIZES = ((8, 8), (7, 8), (7, 7), (8, 7))
METHODS = (texture.random_phase_noise, texture.spot_noise)


# --- Periodic plus smooth ---


def laplacian(u, *, is_periodic):
    """The sum of the neighbours' differences; without wrapping of those inside."""
    total = np.zeros_like(u)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        difference = np.roll(u, step, axis=axis) - u
        if not is_periodic:
            outside = [slice(None)] * 3
            outside[axis] = 0 if step == 1 else -1
            difference[tuple(outside)] = 0.0
        total += difference
    return total


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 5, 3), (1, 6, 1), (2, 3, 1), (1, 1, 2)])
def test_the_periodic_part_solves_its_equation(shape):
    u = np.random.default_rng(1).normal(size=shape) * 50.0
    with jax.enable_x64(True):
        periodic, smooth = map(np.asarray, texture.periodic_plus_smooth(jnp.asarray(u)))
    np.testing.assert_allclose(periodic + smooth, u, atol=1e-12)
    np.testing.assert_allclose(smooth.mean(axis=(0, 1)), 0.0, atol=1e-12)
    np.testing.assert_allclose(
        laplacian(periodic, is_periodic=True), laplacian(u, is_periodic=False), atol=1e-11
    )


def test_a_ramp_keeps_its_slope_over_the_side_and_a_jump():
    u = np.broadcast_to(np.arange(9.0)[:, None, None], (9, 6, 1))
    with jax.enable_x64(True):
        periodic = np.asarray(texture.periodic_plus_smooth(jnp.asarray(u)).periodic)
    np.testing.assert_allclose(
        periodic - periodic[0], np.arange(9.0)[:, None, None] / 9 + 0 * u, atol=1e-12
    )
    np.testing.assert_allclose(periodic[-1] - periodic[0], 8 / 9, atol=1e-12)


# --- Spots ---


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (3, 40), (2, 9), (1, 1)])
def test_a_taper_keeps_the_squares_and_is_0_at_the_border(size):
    w = texture.taper(size)
    np.testing.assert_allclose((w**2).sum(), size[0] * size[1])
    border = np.concatenate([w[0], w[-1], w[:, 0], w[:, -1]])
    assert w.min() >= 0.0 and (min(size) < 3 or border.max() == 0.0)


def test_an_enlarged_spot_keeps_scale_mean_and_border():
    u = reference.exemplar((48, 40, 2))
    with jax.enable_x64(True):
        spot = texture.make_spot(jnp.asarray(u))[1]
        large = np.asarray(texture.enlarge_spot(spot, (144, 120)))
        same = texture.enlarge_spot(spot, (48, 40))
        wide = np.asarray(texture.enlarge_spot(spot, (48, 41)))
    np.testing.assert_allclose(same, spot, atol=1e-15)
    np.testing.assert_allclose(large.sum(axis=(0, 1)), 0.0, atol=1e-12)
    for edge in (large[0], large[47], large[:, 0], large[:, 39], large[48:], large[:, 40:]):
        assert np.all(edge == 0.0)
    assert np.all(wide[:, 0] == 0.0) and np.any(wide[0] != 0.0)  # Only the side that grows.
    np.testing.assert_allclose((large**2).sum(), (np.asarray(spot) ** 2).sum(), rtol=0.1)


@pytest.mark.parametrize("size", [(7, 20), (20, 7), (7, 7)])
def test_a_spot_larger_than_the_canvas_is_refused(size):
    spot = jnp.zeros((8, 8, 1))
    for function in (texture.enlarge_spot, texture.pad_spot):
        with pytest.raises(ValueError, match=rf"size: {size[0]}x{size[1]}, expected at least 8x8"):
            function(spot, size)


def test_a_masked_spot_takes_known_sites_alone():
    u = reference.exemplar((5, 6, 2))
    known = np.random.default_rng(0).random((5, 6)) > 0.4
    broken = np.where(known[..., None], u, np.nan)
    with jax.enable_x64(True):
        mean, spot = texture.make_masked_spot(jnp.asarray(broken), known)
        whole = texture.make_masked_spot(jnp.asarray(u), np.ones((5, 6), bool))
        plain = texture.make_spot(jnp.asarray(u))
    np.testing.assert_allclose(mean, u[known].mean(axis=0), atol=1e-12)
    expected = np.where(known[..., None], u - u[known].mean(axis=0), 0.0) / np.sqrt(known.sum())
    np.testing.assert_allclose(spot, expected, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), whole, plain)
    with pytest.raises(ValueError, match="0 sites, .* hides everything"):
        texture.make_masked_spot(jnp.asarray(u), np.zeros((5, 6), bool))
    with pytest.raises(ValueError, match=r"known: shape \(6, 5\), expected .* \(5, 6\)"):
        texture.make_masked_spot(jnp.asarray(u), np.ones((6, 5), bool))


@pytest.mark.parametrize("size", SIZES)
def test_a_texton_is_the_same_model_about_one_pixel(size):
    u = reference.exemplar((*size, 3))
    with jax.enable_x64(True):
        spot = texture.make_spot(jnp.asarray(u))[1]
        texton = np.asarray(texture.texton(spot))
        found = texture.autocovariance(jnp.asarray(texton))
    np.testing.assert_allclose(found, reference.circular_autocovariance(u), atol=1e-12)
    total = np.abs(texton.sum(axis=-1))
    assert np.unravel_index(total.argmax(), size) == (0, 0)


# --- Draws ---


@pytest.mark.parametrize("size", [*SIZES, (2, 2), (1, 6)])
@pytest.mark.parametrize("is_double", [True, False])
def test_random_phases_keep_modulus_mean_variance_and_autocovariance(size, is_double, key):
    u = reference.exemplar((*size, 2))
    tolerance = 1e-12 if is_double else 1e-4
    with jax.enable_x64(is_double):
        spot = texture.make_spot(jnp.asarray(u))[1]
        y = texture.random_phase_noise(key, spot)
        assert y.dtype == (jnp.float64 if is_double else jnp.float32)
        y = np.asarray(y, np.float64)
    modulus = np.abs(np.fft.fft2(u - u.mean(axis=(0, 1)), axes=(0, 1)))
    np.testing.assert_allclose(np.abs(np.fft.fft2(y, axes=(0, 1))), modulus, atol=100 * tolerance)
    np.testing.assert_allclose(y.mean(axis=(0, 1)), 0.0, atol=tolerance)
    np.testing.assert_allclose(y.var(axis=(0, 1)), u.var(axis=(0, 1)), rtol=tolerance)
    np.testing.assert_allclose(
        reference.circular_autocovariance(y), reference.circular_autocovariance(u), atol=tolerance
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_mean_is_exact_in_every_draw_and_the_phases_are_odd(size, key):
    """A random sign of frequency 0 would turn half of the means over; phases without their
    opposites would lose half of the variance with the imaginary part.
    """
    u = 5.0 + reference.exemplar((*size, 1))
    with jax.enable_x64(True):
        model = texture.fit_periodic(jnp.asarray(u))
        draws = np.asarray(model.sample_random_phases(key, 100))
        spots = jax.vmap(texture.spot_noise, (0, None))(jax.random.split(key, 100), model.spot)
    np.testing.assert_allclose(draws.mean(axis=(1, 2, 3)), u.mean(), atol=1e-12)
    np.testing.assert_allclose(np.asarray(spots).mean(axis=(1, 2, 3)), 0.0, atol=1e-12)
    np.testing.assert_allclose(draws.var(axis=(1, 2, 3)), u.var(), rtol=1e-12)
    ratio = np.fft.fft2(draws[..., 0] - u.mean()) / np.fft.fft2(u[..., 0] - u.mean())
    ratio[:, 0, 0] = 1.0
    phases = ratio.reshape(100, *size)
    opposite = np.roll(phases[:, ::-1, ::-1], 1, axis=(1, 2))
    np.testing.assert_allclose(phases, np.conj(opposite), atol=1e-9)
    assert len(np.unique(np.round(np.angle(phases[:, 0, 1]), 6))) == 100


def test_random_phases_are_uniform(key):
    spot = texture.make_spot(jnp.asarray(reference.exemplar((5, 6, 1)), jnp.float32))[1]
    draws = jax.vmap(texture.random_phase_noise, (0, None))(jax.random.split(key, 4000), spot)
    ratio = np.fft.fft2(np.asarray(draws)[..., 0]) / np.fft.fft2(np.asarray(spot)[..., 0])
    unit = ratio[:, 1, 2] / np.abs(ratio[:, 1, 2])
    for power in (1, 2, 3):  # Means of e^(i k theta), each of variance 1 / N.
        assert abs((unit**power).mean()) < 4 / np.sqrt(4000)


@pytest.mark.parametrize("method", METHODS)
def test_flat_and_periodic_exemplars_stay_finite(method, key):
    """Their spectra are 0 at most frequencies."""
    flat = texture.fit(jnp.full((6, 7, 3), 128.0))
    np.testing.assert_allclose(method(key, flat.spot), 0.0, atol=1e-4)
    wave = 2.0 + jnp.cos(2.0 * jnp.pi * jnp.arange(8.0) / 4.0)[:, None, None] * jnp.ones((8, 6, 1))
    y = method(key, texture.fit_periodic(wave).spot)
    assert np.all(np.isfinite(y))
    if method is texture.random_phase_noise:  # A sinusoid keeps its amplitude.
        np.testing.assert_allclose(np.var(y), 0.5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_grey_stored_as_colour_stays_grey(method, key):
    u = jnp.repeat(jnp.asarray(reference.exemplar((7, 8, 1)), jnp.float32), 3, axis=-1)
    y = np.asarray(method(key, texture.make_spot(u)[1]))
    np.testing.assert_allclose(y[..., :1] + 0 * y, y, atol=1e-5)  # Rounding differs by channel.


@pytest.mark.parametrize("method", METHODS)
def test_a_channel_alone_is_that_of_the_stack(method, key):
    """The axes of the transforms are the rows and columns."""
    u = jnp.asarray(reference.exemplar((7, 8, 3)), jnp.float32)
    spot = texture.make_spot(u)[1]
    for channel in range(3):
        one = slice(channel, channel + 1)
        alone = method(key, texture.make_spot(u[..., one])[1])
        np.testing.assert_allclose(alone, method(key, spot)[..., one], atol=1e-5)


def test_noise_has_the_covariance_of_the_circular_shifts(key):
    """Within four standard errors, cross-covariances of the channels among them."""
    num, u = 20_000, reference.exemplar((3, 4, 2))
    spot = texture.make_spot(jnp.asarray(u, jnp.float32))[1]
    keys = jax.random.split(key, num)
    x = np.asarray(jax.vmap(texture.spot_noise, (0, None))(keys, spot), np.float64).reshape(num, -1)
    expected = reference.shifts_covariance(reference.spot(u))
    variance = np.diag(expected)
    error = np.sqrt((np.outer(variance, variance) + expected**2) / num)
    assert np.abs((x.T @ x / num - expected) / error).max() < 4.0


def test_the_variance_of_noise_fluctuates_as_known(key):
    """The spatial variance of a draw has the variance ``2 sum' |u^|^4 / (M N)^4``."""
    num, u = 20_000, reference.exemplar((4, 5, 1))
    spot = texture.make_spot(jnp.asarray(u, jnp.float32))[1]
    y = jax.vmap(texture.spot_noise, (0, None))(jax.random.split(key, num), spot)
    found = np.asarray(y).var(axis=(1, 2, 3))
    power = np.abs(np.fft.fft2(u[..., 0] - u.mean())) ** 4
    expected = 2.0 * power.sum() / 20**4
    assert abs(found.mean() - u.var()) < 4 * np.sqrt(expected / num)
    np.testing.assert_allclose(found.var(), expected, rtol=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_a_larger_canvas_keeps_mean_and_variance(method, key):
    """The scale is that of the exemplar's pixels, not of the canvas."""
    u = 100.0 + 20.0 * np.random.default_rng(0).normal(size=(40, 44, 1))
    model = texture.fit_periodic(jnp.asarray(u, jnp.float32)).enlarged((120, 132))
    y = np.asarray(model.mean[None, None] + method(key, model.spot))
    assert y.shape == (120, 132, 1)
    np.testing.assert_allclose(y.mean(), u.mean(), rtol=1e-5)
    np.testing.assert_allclose(y.var(), u.var(), rtol=0.12)


def test_opposite_borders_meet_on_a_torus_alone():
    """A part of a canvas that is larger by the exemplar has independent borders."""
    x = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    u = jnp.asarray(np.sin(x)[:, None, None] + np.cos(x)[None, :, None], jnp.float32)
    model = texture.fit_periodic(u)
    on_torus = texture.autocovariance(model.spot)[15, 0, 0, 0]
    on_plane = texture.autocovariance(model.enlarged((32, 32)).spot)[15, 0, 0, 0]
    assert on_torus > 0.9 and abs(on_plane) < 1e-6


def test_draws_follow_their_keys_and_compile(key):
    model = texture.fit(jnp.asarray(reference.exemplar((6, 5, 2)), jnp.float32))
    keys = jax.random.split(key, 4)
    many = model.sample(keys, 4)
    np.testing.assert_allclose(model.sample(keys[2:3], 1)[0], many[2], atol=1e-5)
    jitted = jax.jit(lambda model, key: model.sample(key, 4))(model, key)
    np.testing.assert_allclose(jitted, model.sample(key, 4), atol=1e-5)
    with pytest.raises(ValueError, match=r"key: shape \(4,\), expected one key or keys \[3\]"):
        model.sample_random_phases(keys, 3)
