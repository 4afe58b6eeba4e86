"""Latents: geometry against NumPy, ends, degenerate vectors and distributions."""

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

from jaxgen import latents

EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)
VECTORS = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))
WEIGHTS = np.array([0.0, 0.25, 0.5, 1.0], np.float32)
PATHS = pytest.mark.parametrize("path", [latents.lerp, latents.slerp])


def pair():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(3, 4)).astype(np.float32) for _ in range(2))


def test_lerp_equals_numpy():
    start, end = pair()
    value = latents.lerp(start, end, WEIGHTS)
    expected = [np.asarray(start) + float(w) * np.asarray(end - start) for w in WEIGHTS]
    np.testing.assert_allclose(value, np.stack(expected, axis=1), rtol=1e-5, atol=1e-6)


def test_slerp_equals_a_rotation():
    start, end = pair()
    value = latents.slerp(start, 3.0 * end, WEIGHTS)
    expected = [
        [references.slerp(a, 3.0 * b, float(w)) for w in WEIGHTS]
        for a, b in zip(np.asarray(start), np.asarray(end), strict=True)
    ]
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


@PATHS
@EXAMPLES
@given(start=VECTORS, end=VECTORS)
def test_ends_and_symmetry(path, start, end):
    value = np.asarray(path(start, end, WEIGHTS))
    scale = 1e-5 * (1 + np.abs(start).max() + np.abs(end).max())
    np.testing.assert_allclose(value[:, 0], start, atol=scale)
    np.testing.assert_allclose(value[:, -1], end, atol=scale)
    back = np.asarray(path(end, start, 1.0 - WEIGHTS))
    np.testing.assert_allclose(value, back, atol=10 * scale)


def test_slerp_interpolates_lengths():
    start, end = pair()
    length = np.linalg.norm(latents.slerp(start, end, WEIGHTS), axis=-1)
    ends = np.linalg.norm(start, axis=-1), np.linalg.norm(end, axis=-1)
    expected = np.stack([(1 - w) * ends[0] + w * ends[1] for w in np.asarray(WEIGHTS)], axis=1)
    np.testing.assert_allclose(length, expected, rtol=1e-5)


def test_slerp_is_finite_between_degenerate_vectors():
    start = np.array([[3.0, 4.0]], np.float32)

    @jax.jit
    def middle_and_slope(end):
        def middle(end):
            return latents.slerp(start, end, np.array([0.5], np.float32))[0, 0]

        return middle(end), jax.jacobian(middle)(end)

    for factor in np.array([1.0, 2.0, 1.0 + 1e-6, -1.0, 0.0], np.float32):
        value, slope = middle_and_slope(factor * start)
        np.testing.assert_allclose(value, 0.5 * (1.0 + factor) * start[0], rtol=1e-5, atol=1e-5)
        chex.assert_tree_all_finite(slope)
    zero = np.zeros((3, 4), np.float32)
    assert not np.any(np.asarray(latents.slerp(zero, zero, WEIGHTS)))


@PATHS
def test_paths_take_images_and_bfloat16(path):
    start, end = (a[:, :, None, None].astype(jnp.bfloat16) for a in pair())
    value = path(start, end, WEIGHTS)
    chex.assert_shape(value, (3, 4, 4, 1, 1))
    chex.assert_type(value, jnp.float32)
    flat = path(start[:, :, 0, 0], end[:, :, 0, 0], WEIGHTS)
    np.testing.assert_allclose(value[..., 0, 0], flat, rtol=1e-5, atol=1e-6)
    with pytest.raises(AssertionError):
        path(start, end[:1], WEIGHTS)


def test_attribute_vector():
    z = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    label = np.array([0, 3, 3, 1, 3, 2, 0, 0])
    value = latents.attribute_vector(jnp.asarray(z), jnp.asarray(label == 3))
    expected = z[[1, 2, 4]].mean(0) - z[[0, 3, 5, 6, 7]].mean(0)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    opposite = latents.attribute_vector(jnp.asarray(z + 100.0), label != 3)
    np.testing.assert_allclose(opposite, -expected, atol=1e-4)


def test_a_latent_is_shifted_along_a_straight_line():
    rng = np.random.default_rng(0)
    z, direction = (rng.normal(size=9).astype(np.float32) for _ in range(2))
    weights = np.linspace(-2.0, 3.0, 7, dtype=np.float32)
    exact = z.astype(np.float64) + weights[:, None] * direction.astype(np.float64)
    np.testing.assert_allclose(latents.shift(z, direction, weights), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(latents.shift(z, direction, np.zeros(7, np.float32))[0], z)
    with pytest.raises(AssertionError):
        latents.shift(np.ones(3), np.ones(2), np.ones(1))


def test_a_latent_moves_along_a_direction_and_keeps_its_length():
    """A right angle of equal lengths: the direction of the sum, and the length of the start."""
    z, direction = np.float32([3.0, 0.0]), np.float32([0.0, 3.0])
    moved = latents.move(z, direction, np.float32([0.0, 1.0, -1.0, 1e6]))
    half = 3.0 / math.sqrt(2.0)
    np.testing.assert_allclose(
        moved, [[3.0, 0.0], [half, half], [half, -half], [0.0, 3.0]], atol=1e-5
    )
    chex.assert_tree_all_finite(latents.move(z, -z, np.float32([0.0, 1.0, 1.0, 1.0])))
    rng = np.random.default_rng(0)
    z, direction = (rng.normal(size=9).astype(np.float32) for _ in range(2))
    weights = np.linspace(-2.0, 3.0, 7, dtype=np.float32)
    moved = np.asarray(latents.move(z, direction, weights))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), np.linalg.norm(z), rtol=1e-5)
    exact = z.astype(np.float64) + weights[:, None] * direction.astype(np.float64)
    exact *= np.linalg.norm(z) / np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(moved, exact, rtol=1e-4, atol=1e-5)
    with pytest.raises(AssertionError):
        latents.move(np.ones(3), np.ones(2), np.ones(1))


@pytest.mark.parametrize("present", [True, False])
def test_attribute_vector_needs_both_groups(present):
    with pytest.raises(ValueError, match=r"has_attribute: .* expected some but not all"):
        latents.attribute_vector(np.zeros((4, 2)), np.full((4,), present))


def test_traversal_changes_one_dimension():
    z = jnp.arange(6.0).reshape(2, 3)
    value = jax.jit(latents.traversal, static_argnums=1)(z, 1, jnp.array([-1.0, 0.0, 7.0, 9.0]))
    chex.assert_shape(value, (2, 4, 3))
    expected = np.repeat(np.asarray(z)[:, None], 4, axis=1)
    expected[:, :, 1] = [-1.0, 0.0, 7.0, 9.0]
    np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("dimension", [-1, 3])
def test_traversal_checks_the_dimension(dimension):
    with pytest.raises(ValueError, match=f"dimension: {dimension}, expected 0 to 2"):
        latents.traversal(np.zeros((2, 3)), dimension, np.zeros(1))


@pytest.mark.parametrize("threshold", [0.5, 2.0, 10.0])
def test_truncated_normal_equals_scipy(threshold):
    draws = latents.truncated_normal(jax.random.key(0), (5_000, 4), threshold=threshold)
    draws = np.asarray(draws, np.float64).ravel()
    assert np.all(np.abs(draws) <= threshold)
    reference = stats.truncnorm(-threshold, threshold)
    variance = reference.var()
    assert abs(draws.mean()) < 5 * math.sqrt(variance / len(draws))
    fourth = reference.moment(4)
    error = math.sqrt((fourth - variance**2) / len(draws))
    assert abs((draws**2).mean() - variance) < 5 * error


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_truncated_normal_checks_the_threshold(threshold):
    with pytest.raises(ValueError, match=r"threshold: .* expected above 0"):
        latents.truncated_normal(jax.random.key(0), (1,), threshold=threshold)


def test_normal_grid_equals_scipy():
    grid = latents.normal_grid(3, 5)
    chex.assert_shape(grid, (15, 2))
    rows = np.asarray(grid).reshape(3, 5, 2)
    np.testing.assert_allclose(rows[0, :, 0], stats.norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9]), atol=1e-6)
    np.testing.assert_allclose(rows[:, 0, 1], stats.norm.ppf([5 / 6, 0.5, 1 / 6]), atol=1e-6)
    assert np.all(rows[..., 0] == rows[:1, :, 0])
    np.testing.assert_allclose(rows, -rows[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize(("name", "sizes"), [("num_rows", (0, 2)), ("num_columns", (2, 0))])
def test_normal_grid_checks_its_size(name, sizes):
    with pytest.raises(ValueError, match=f"{name}: 0, expected at least 1"):
        latents.normal_grid(*sizes)
