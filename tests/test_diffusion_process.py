"""Conversions between data, noise and predictions, beside float64 NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_references import KINDS, LOG_SNR, amplitudes, each_kind, mixture, plain_target
from scipy import stats

from jaxgen.diffusion import grids, losses, process, schedules, trees


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def mixed():
    """Data, noise and their mixture by plain formulas."""
    return mixture()


def test_amplitudes_at_all_levels(float64):
    log_snr = np.array([-np.inf, -40.0, -1.0, 0.0, 13.3, 40.0, np.inf])
    for found, expected in zip(process.amplitudes(log_snr), amplitudes(log_snr), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    a, s = process.amplitudes(jnp.bfloat16(2.0))
    assert (a.dtype, s.dtype) == (jnp.float32, jnp.float32)


@each_kind
def test_all_predictions_mean_the_same_data_and_noise(kind, mixed, float64):
    x, noise, x_t, a, s = mixed
    np.testing.assert_allclose(process.diffuse(x, noise, LOG_SNR), x_t, rtol=1e-10)
    prediction = process.target(x, noise, LOG_SNR, kind)
    np.testing.assert_allclose(prediction, plain_target(x, noise, a, s, kind), rtol=1e-10)
    found = process.x0_of(prediction, x_t, LOG_SNR, kind)
    np.testing.assert_allclose(found, x, rtol=1e-8)
    np.testing.assert_allclose(process.noise_of(found, x_t, LOG_SNR), noise, rtol=1e-5)


@each_kind
def test_a_wrong_prediction_is_converted_as_the_formulas_have_it(kind, mixed, float64):
    x, noise, x_t, a, s = mixed
    wrong = np.cos(x + noise)
    expected = {
        "noise": (x_t - s * wrong) / a,
        "x0": wrong,
        "v": a * x_t - s * wrong,
        "velocity": (x_t - s * wrong) / (a + s),
    }[kind]
    denoise = process.denoiser(lambda x_t, log_snr, shift: wrong + shift, kind)
    np.testing.assert_allclose(denoise(x_t, LOG_SNR, 0.0), expected, rtol=1e-10)
    assert np.all(denoise(x_t, LOG_SNR, 1.0) != expected)
    tree = {"a": x_t, "b": [x_t[:, 0]]}
    found = process.x0_of({"a": wrong, "b": [wrong[:, 0]]}, tree, LOG_SNR, kind)
    np.testing.assert_allclose(found["a"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["b"][0], expected[:, 0], rtol=1e-10)


@each_kind
def test_one_level_serves_all_examples(kind, mixed):
    x, noise, *_ = (jnp.asarray(array, jnp.float32) for array in mixed)
    one, rows = jnp.float32(0.7), jnp.full(4, 0.7)
    for convert in (process.target, process.x0_of):
        found = convert(x, noise, one, kind)
        np.testing.assert_allclose(found, convert(x, noise, rows, kind), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "end"),
    [*itertools.product(KINDS[1:], (-np.inf, np.inf)), ("noise", np.inf)],
)
def test_ends_of_the_process_are_finite(kind, end, mixed):
    x, noise, *_ = (jnp.asarray(array, jnp.float32) for array in mixed)
    x_t = process.diffuse(x, noise, jnp.float32(end))
    np.testing.assert_array_equal(x_t, x if end > 0.0 else noise)
    prediction = process.target(x, noise, jnp.float32(end), kind)
    found = process.x0_of(prediction, x_t, jnp.float32(end), kind)
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-6)


def test_noise_is_that_of_the_example_in_every_leaf():
    keys = jax.random.split(jax.random.key(0), 5)
    x = jnp.zeros((5, 3))
    noise = process.draw_noise(jax.random.key(0), x)
    np.testing.assert_array_equal(process.draw_noise(keys, x), noise)
    np.testing.assert_array_equal(process.draw_noise(keys[3:4], x[3:4])[0], noise[3])
    np.testing.assert_array_equal(process.draw_noise(keys, {"a": x})["a"], noise)
    two = process.draw_noise(keys, [x, x])
    assert np.all(two[0] != two[1])
    np.testing.assert_array_equal(process.draw_noise(keys[3:4], [x[3:4]] * 2)[1][0], two[1][3])
    with pytest.raises(ValueError, match="^key: "):
        process.draw_noise(keys[:2], x)


def test_noise_is_standard_normal():
    noise = np.asarray(process.draw_noise(jax.random.key(0), [jnp.zeros((2000, 5))] * 2))
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-6
    error = np.corrcoef(noise.transpose(0, 2, 1).reshape(10, -1)) - np.eye(10)
    assert np.all(np.abs(error) * np.sqrt(2000) < 5.0)


def test_sums_of_trees(mixed):
    x, y, *_ = mixed
    found = trees.combine((2.0, [x, x[:, 0]]), (LOG_SNR, [y, y[:, 0]]))
    expected = 2.0 * x + LOG_SNR[:, None, None] * y
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[:, 0], rtol=1e-5)
    distance = trees.squared_distance([jnp.asarray(x), x[:, 0]], [jnp.asarray(y), y[:, 0]])
    error = (x - y) ** 2
    np.testing.assert_allclose(distance, error.sum((1, 2)) + error[:, 0].sum(1), rtol=1e-5)
    assert trees.squared_distance(jnp.bfloat16(x), jnp.bfloat16(y)).dtype == jnp.float32
    np.testing.assert_allclose(trees.add_leaves({"a": x, "b": (y, y)}), x + 2.0 * y)


@each_kind
def test_grids_must_leave_a_prediction_something_to_say(kind):
    cosine = grids.grid_of_betas(grids.cosine_betas(1000), 10)
    without = grids.grid_of_betas(np.array([0.1, 1.0]), 2)
    process.check_grid(grids.grid_of_betas(grids.linear_betas(1000), 10), kind)
    for grid in (cosine, without):
        if kind == "noise":
            with pytest.raises(ValueError, match=r"^grid: begins .* predicted noise is (2.*|inf)"):
                process.check_grid(grid, kind)
        else:
            process.check_grid(grid, kind)


def test_words_without_meaning_are_refused():
    with pytest.raises(ValueError, match="spacing: 'even', expected time or log_snr"):
        grids.sampling_grid(schedules.Cosine(), 2, spacing="even")
    with pytest.raises(ValueError, match="spacing: 'time', expected trailing or linspace"):
        grids.grid_of_betas(grids.linear_betas(4), 2, spacing="time")
    with pytest.raises(ValueError, match="num_steps: 2.5, expected an integer"):
        grids.sampling_grid(schedules.Cosine(), 2.5)
    with pytest.raises(ValueError, match="kind: 'nois', expected noise, x0, v, velocity"):
        process.denoiser(lambda x, log_snr, condition: x, "nois")
    with pytest.raises(AssertionError, match="shape"):
        losses.noise_prediction(
            jax.random.key(0), lambda x, *_: x[:, :1], jnp.ones((3, 2)), schedules.Cosine()
        )
