"""Pixels: round trips, what is no pixel, log-determinants against autodiff, and units."""

import math

import chex
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxgen import pixels

logit_transform = jax.jit(pixels.logit_transform, static_argnames=("levels", "alpha"))
inverse_logit_transform = jax.jit(pixels.inverse_logit_transform, static_argnames="levels")
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_model_range_round_trip(levels):
    x = jnp.arange(levels, dtype=jnp.uint8)
    y = pixels.to_model_range(x, levels)
    chex.assert_type(y, jnp.float32)
    np.testing.assert_allclose(y, np.linspace(-1.0, 1.0, levels), atol=1e-6)
    back = pixels.from_model_range(y, levels)
    chex.assert_type(back, jnp.uint8)
    np.testing.assert_array_equal(back, x)


def test_from_model_range_rounds_and_clips():
    y = jnp.array([-1e9, -1.5, -0.95, 0.0, 0.95, 1.5, 1e9], jnp.bfloat16)
    np.testing.assert_array_equal(pixels.from_model_range(y, 5), [0, 0, 0, 2, 4, 4, 4])
    np.testing.assert_array_equal(pixels.from_model_range(y, 256)[::6], [0, 255])


@pytest.mark.parametrize("levels", [-1, 0, 1, 257])
def test_levels_are_checked(levels):
    x = np.zeros((1, 2), np.float32)
    for call in (
        lambda: pixels.to_model_range(x.astype(np.uint8), levels),
        lambda: pixels.dequantized_to_model_range(x, levels),
        lambda: pixels.from_model_range(x, levels),
        lambda: pixels.dequantize(jax.random.key(0), x.astype(np.uint8), levels),
        lambda: pixels.logit_transform(x, levels=levels),
        lambda: pixels.inverse_logit_transform(x, levels=levels),
    ):
        with pytest.raises(ValueError, match=f"levels: {levels}, expected 2 to 256"):
            call()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.bool_])
def test_floats_are_no_pixels(dtype):
    """Images in [0, 1] are refused while a program is traced."""
    x = jax.ShapeDtypeStruct((2, 3, 3, 1), dtype)
    message = rf'batch\["x"\]: {jnp.dtype(dtype)}, expected uint8 pixels 0 to 255'
    for function in (
        lambda x: pixels.pixel_values(x, 256),
        lambda x: pixels.to_model_range(x, 256),
        lambda x: pixels.dequantize(jax.random.key(0), x, 256),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(function, x)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_values_beyond_the_levels_are_no_numbers(dtype):
    """Of an integer type only a value can tell: the NaN stops a loop, and no other pixel changes."""
    x = np.array([[0, 1, 16], [17, 3, 100]], dtype)
    if dtype is np.int32:
        x[1, 1] = -1
    inside = (x >= 0) & (x < 17)
    noisy = jax.jit(pixels.dequantize, static_argnums=2)(jax.random.key(0), x, 17)
    scaled = jax.jit(pixels.to_model_range, static_argnums=1)(x, 17)
    for values in (np.asarray(noisy), np.asarray(scaled)):
        np.testing.assert_array_equal(np.isnan(values), ~inside)
    np.testing.assert_array_equal(np.floor(noisy)[inside], x[inside])
    np.testing.assert_allclose(np.asarray(scaled)[inside], x[inside] / 8.0 - 1.0, rtol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 0.0, 0.5, 0.9, float("nan")])
def test_alpha_is_checked(alpha):
    for transform in (pixels.logit_transform, pixels.inverse_logit_transform):
        with pytest.raises(ValueError, match=r"alpha: .* expected in \(0, 0.5\)"):
            transform(np.zeros((1, 2)), levels=17, alpha=alpha)


@pytest.mark.parametrize("value", [0, 16, 255])
def test_dequantize_is_uniform_and_exactly_invertible(value):
    x = np.full((1000, 100), value, np.uint8)
    y = np.asarray(jax.jit(pixels.dequantize, static_argnums=2)(jax.random.key(0), x, 256)).ravel()
    assert y.dtype == np.float32
    np.testing.assert_array_equal(np.floor(y), value)
    u = y.astype(np.float64) - value
    num = len(u)
    assert abs(u.mean() - 0.5) < 5 * math.sqrt(1 / 12 / num)
    # Var[(u - 1/2)^2] = 1/80 - 1/144 = 1/180.
    assert abs(((u - 0.5) ** 2).mean() - 1 / 12) < 5 * math.sqrt(1 / 180 / num)
    counts = np.histogram(u, bins=10, range=(0, 1))[0]
    assert np.all(np.abs(counts - num / 10) < 5 * math.sqrt(0.09 * num))


def test_noise_of_an_image_depends_on_its_key_alone():
    x = np.zeros((2, 3, 3, 1), np.uint8)
    dequantize = jax.jit(lambda key: pixels.dequantize(key, x, 17))
    keys = jax.random.split(jax.random.key(0))
    first, again, other = (
        np.asarray(dequantize(key))
        for key in (jax.random.key(0), keys, keys.at[1].set(jax.random.key(1)))
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[0], other[0])
    assert np.any(first[1] != other[1])


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("alpha", [1e-6, 0.05, 0.49])
def test_logit_transform_equals_float64(levels, alpha):
    x = np.random.default_rng(0).uniform(0, levels, (3, 2, 2, 1)).astype(np.float32)
    x[0, 0, 0, 0], x[0, 0, 1, 0] = 0.0, levels
    y, log_det = logit_transform(x, levels=levels, alpha=alpha)
    expected, expected_log_det = references.logit_transform(x, levels, alpha)
    chex.assert_type([y, log_det], jnp.float32)
    chex.assert_shape(log_det, (3,))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-5, atol=1e-5)


@EXAMPLES
@given(hnp.arrays(np.float32, (2, 6), elements=st.floats(0, 17, width=32)))
def test_logit_round_trip(x):
    y, log_det = logit_transform(x, levels=17)
    back, inverse_log_det = inverse_logit_transform(y, levels=17)
    np.testing.assert_allclose(back, x, atol=2e-5)
    np.testing.assert_allclose(log_det, -inverse_log_det, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("transform", [pixels.logit_transform, pixels.inverse_logit_transform])
def test_log_det_equals_the_jacobian(transform):
    # As inputs of the inverse the values are small, since float32 autodiff of a sigmoid saturates.
    scale = 1.0 if transform is pixels.logit_transform else 0.25
    x = np.float32(scale) * np.array([[0.3, 8.0, 16.9], [2.0, 5.5, 0.01]], np.float32)
    _, log_det = jax.jit(lambda x: transform(x, levels=17))(x)
    jacobians = jax.jit(jax.vmap(jax.jacobian(lambda row: transform(row[None], levels=17)[0][0])))(
        x
    )
    for jacobian, value in zip(jacobians, log_det, strict=True):
        np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], value, rtol=1e-4, atol=1e-5)


def test_inverse_logit_is_stable_and_bounded_far_out():
    y = np.array([[-1e4, -100.0, 0.0, 100.0, 1e4]], np.float32)
    x, log_det = inverse_logit_transform(y, levels=17)
    overshoot = 0.05 * 17 / 0.9
    np.testing.assert_allclose(x[0, ::2], [-overshoot, 8.5, 17 + overshoot])
    assert np.all(np.isfinite(log_det))
    # Far out the log-density of a logistic is -|y|.
    expected = -2 * (1e4 + 100) - 2 * math.log(2) - 5 * math.log(0.9 / 17)
    np.testing.assert_allclose(log_det, [expected], rtol=1e-6)
    slope = jax.jit(
        jax.grad(lambda v: sum(jnp.sum(a) for a in pixels.inverse_logit_transform(v, levels=17)))
    )
    chex.assert_tree_all_finite(slope(y))


def test_logit_density_integrates_to_one():
    """A logistic density pulled back to pixels has mass 1 - 2 alpha on [0, levels]."""
    x = np.linspace(0.0, 17.0, 2001, dtype=np.float32)[:, None]
    y, log_det = (np.asarray(a, np.float64) for a in logit_transform(x, levels=17))
    log_prob = stats.logistic.logpdf(y[:, 0]) + log_det
    mass = np.trapezoid(np.exp(log_prob), x[:, 0].astype(np.float64))
    assert mass == pytest.approx(0.9, abs=1e-5)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.bfloat16])
def test_logit_transform_takes_any_dtype(dtype):
    y, log_det = jax.eval_shape(
        lambda x: pixels.logit_transform(x, levels=17), jax.ShapeDtypeStruct((2, 3), dtype)
    )
    assert y.dtype == log_det.dtype == jnp.float32


@pytest.mark.parametrize(("levels", "bits"), [(256, 8.0), (17, 4.087)])
def test_uniform_bits(levels, bits):
    nats = jnp.full((2,), 12 * math.log(levels))
    value = pixels.bits_per_dim(nats, 12)
    np.testing.assert_allclose(value, [bits, bits], atol=5e-4)
    np.testing.assert_allclose(value, references.bits_per_dim(nats, 12), rtol=1e-6)


def test_bits_per_dim_does_not_depend_on_the_tiling():
    nats = jnp.array([10.0, 20.0])
    np.testing.assert_allclose(
        pixels.bits_per_dim(nats, 7), pixels.bits_per_dim(4 * nats, 28), rtol=1e-6
    )
    chex.assert_type(pixels.bits_per_dim(nats.astype(jnp.bfloat16), 7), jnp.float32)


def test_bits_per_dim_checks_its_dimensions():
    with pytest.raises(ValueError, match="num_dims: 0, expected at least 1"):
        pixels.bits_per_dim(jnp.zeros(2), 0)
