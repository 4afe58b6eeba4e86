"""What every sampler keeps to: calls of the denoiser, frames, gradients, data of any form."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from sampler_runs import (
    DETERMINISTIC,
    START,
    C,
    each_sampler,
    gaussian,
    levels,
    program,
    second_row,
    two_points,
    two_points_numpy,
)

from jaxgen.diffusion import grids, samplers, schedules
from jaxgen.diffusion.samplers import ancestral, ddim, dpm_solver, heun, plms


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def noise_in_second_row(monkeypatch):
    monkeypatch.setattr(samplers.stochastic, "draw_noise", second_row)


@pytest.mark.parametrize(
    ("sampler", "calls"), [(ddim, 5), (ancestral, 5), (plms, 5), (dpm_solver, 5), (heun, 9)]
)
def test_the_number_of_calls(sampler, calls, noise_in_second_row):
    levels_called = []

    def denoise(x, log_snr, condition):
        levels_called.append(float(log_snr[0]))
        return 0.5 * x

    grid = grids.sampling_grid(schedules.Cosine(), 5)
    with jax.disable_jit():
        sampler(jax.random.key(0), denoise, jnp.ones((2, 1)), grid)
    assert len(levels_called) == calls
    expected = [grid.log_snr(i) for i in range(5)]
    np.testing.assert_allclose(sorted(set(levels_called)), expected, rtol=1e-5)
    assert np.all(np.diff(levels_called) >= 0.0)


SAMPLERS = {**DETERMINISTIC, "ancestral": ancestral}


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_agree_and_frames_and_batches_make_no_difference(name):
    keys, x = jax.random.split(jax.random.key(3), 4), jnp.asarray(START, jnp.float32)
    grid, run = grids.sampling_grid(schedules.Linear(), 6), program(SAMPLERS[name], two_points, 7)
    last, frames = run(keys, x, grid)
    # Traced anew for another shape, which shows what a function would remember.
    alone, _ = run(keys[1:2], x[1:2], grid)
    np.testing.assert_allclose(alone[0], last[1], rtol=1e-6)
    np.testing.assert_array_equal(run(keys, x, grid)[0], last)
    if name == "ancestral":
        np.testing.assert_array_equal(run(jax.random.key(3), x, grid)[0], last)
    assert_frames_are_the_states(frames, x, last)
    without = program(SAMPLERS[name], two_points)(keys, x, grid)
    np.testing.assert_allclose(without, last, rtol=1e-5)


def assert_frames_are_the_states(frames, x, last):
    np.testing.assert_array_equal(frames[0], x)
    np.testing.assert_array_equal(frames[6], last)
    assert len(np.unique(frames[:, 0])) == 7


@pytest.mark.parametrize("num_frames", [1, 3])
def test_fewer_frames_are_spread_evenly(num_frames):
    x, grid = jnp.asarray(START, jnp.float32), grids.sampling_grid(schedules.Linear(), 6)
    _, every = program(ddim, two_points, 7)(jax.random.split(jax.random.key(0), 4), x, grid)
    _, frames = program(ddim, two_points, num_frames)(jax.random.key(0), x, grid)
    expected = every[:1] if num_frames == 1 else every[:: 6 // (num_frames - 1)]
    np.testing.assert_allclose(frames, expected, rtol=1e-6)


@each_sampler
def test_gradients_reach_through_all_steps(name, float64):
    """In x and in a number of the denoiser, as differences of the NumPy method have it."""
    grid = grids.sampling_grid(schedules.Cosine(), 4)
    a, s = levels(grid)

    def loss(x, scale):
        x = DETERMINISTIC[name](jax.random.key(0), two_points, x, grid, condition=scale)
        return jnp.sum(x * jnp.arange(1.0, 5.0)[:, None])

    def value(point):
        denoise = functools.partial(two_points_numpy, scale=point[4])
        x = getattr(references, name)(denoise, point[:4, None], a, s)
        return np.sum(x[:, 0] * np.arange(1.0, 5.0))

    by_x, by_scale = jax.jit(jax.grad(loss, argnums=(0, 1)))(START, 0.1)
    expected = references.finite_difference(value, np.append(START, 0.1))
    np.testing.assert_allclose(np.append(by_x, by_scale), expected, rtol=1e-5, atol=1e-8)


def test_gradients_reach_through_random_steps(float64):
    grid = grids.sampling_grid(schedules.Cosine(), 4)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(ancestral(jax.random.key(0), gaussian, x, grid))))(
        jnp.ones((1, len(C)))
    )
    factor, _ = references.gaussian_steps(*levels(grid), C, 1.0)
    np.testing.assert_allclose(slope[0], factor.prod(axis=1), rtol=1e-9)


def two_points_of_trees(x, log_snr, condition):
    return jax.tree.map(
        lambda leaf: two_points(leaf.reshape(len(leaf), -1), log_snr).reshape(leaf.shape), x
    )


@each_sampler
def test_data_may_be_trees(name):
    row, grid = jnp.asarray(START, jnp.float32), grids.sampling_grid(schedules.Linear(), 4)
    tree = {"a": row[:2], "b": (row[2:, :, None],)}
    run = functools.partial(program, DETERMINISTIC[name])
    found, frames = run(two_points_of_trees, 2)(jax.random.key(0), tree, grid)
    expected = run(two_points)(jax.random.key(0), row, grid)
    np.testing.assert_allclose(found["a"], expected[:2], rtol=1e-5)
    np.testing.assert_allclose(found["b"][0][:, :, 0], expected[2:], rtol=1e-5)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[1], frames), found)


def test_leaves_have_noise_of_their_own():
    x, grid = jnp.ones((2, 3)), grids.bound_grid(schedules.Linear(), 4)
    run = program(ancestral, two_points_of_trees)
    drawn = run(jax.random.key(0), {"a": x, "b": x}, grid)
    assert np.all(drawn["a"] != drawn["b"])
