"""Samplers in one program for each, the exact denoisers that they are fed with, and their steps."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxgen.diffusion import grids
from jaxgen.diffusion.samplers import ddim, dpm_solver, heun, plms

DETERMINISTIC = {"ddim": ddim, "plms": plms, "dpm_solver": dpm_solver, "heun": heun}
BETAS = grids.linear_betas(1000)
C = np.array([0.05, 0.2, 0.5, 1.0])
START = np.array([[-2.0], [-0.7], [0.2], [1.1]])

each_sampler = pytest.mark.parametrize("name", DETERMINISTIC)

TRACES = collections.Counter()


@functools.cache
def program(sampler, denoise, num_frames=0, *, is_patched=False):
    """One program for any grid, `(key, x, grid, condition, **knobs) -> x`."""

    @jax.jit
    def run(key, x, grid, condition=None, **knobs):
        leaf = jax.tree.leaves(x)[0]
        TRACES[sampler, denoise, num_frames, is_patched, leaf.shape, leaf.dtype] += 1
        return sampler(key, denoise, x, grid, condition=condition, num_frames=num_frames, **knobs)

    return run


def amplitudes(log_snr, xp=jnp):
    return (1.0 / xp.sqrt(1.0 + xp.exp(sign * log_snr)) for sign in (-1.0, 1.0))


def gaussian(x, log_snr, mean=None):
    """Of data N(mean, c^2), a column for each c."""
    a, s = (row[:, None] for row in amplitudes(log_snr))
    mean = 0.0 if mean is None else mean
    square = jnp.asarray(C, x.dtype)[None] ** 2
    return mean + a * square / (a**2 * square + s**2) * (x - a * mean)


def constant(x, log_snr, value):
    return jnp.full_like(x, value)


def two_points(x, log_snr, scale=None):
    """Of data that are -1 or 1, equally likely."""
    a, s = amplitudes(log_snr)
    return jnp.tanh((a / s**2)[:, None] * x * (1.0 if scale is None else scale))


def two_points_numpy(x, a, s, scale=1.0):
    return np.tanh(scale * a * x / s**2)


def levels(grid):
    """Factors of data and noise at the levels of a grid."""
    last = int(grid.num_steps) + 1
    return np.exp(grid.log_a[:last]), np.exp(grid.log_s[:last])


def golden_levels(num_steps):
    return references.amplitudes_of_betas(BETAS, references.trailing_steps(1000, num_steps))


def second_row(_, like):
    """Draws that are 0 in the first example and 1 in the second, for `noise_in_second_row`."""
    return jnp.broadcast_to(jnp.arange(2.0, dtype=like.dtype)[:, None], like.shape)


def rows(sampler, denoise, grid, condition=None, *, num_frames=0, **knobs):
    """An example from 1 without noise and one from 0, under `noise_in_second_row`."""
    start = jnp.array([[1.0], [0.0]]) * jnp.ones((1, len(C)))
    run = program(sampler, denoise, num_frames, is_patched=True)
    return jax.device_get(run(jax.random.key(0), start, grid, condition, **knobs))


def states_of_rows(*args, **knobs):
    """The states after each step, `[N + 1, 2, 4]`, of as many frames as serve any number."""
    num_steps = args[2].num_steps
    _, frames = rows(*args, num_frames=1001, **knobs)
    step = (np.arange(1001) * num_steps + 500) // 1000
    return frames[np.searchsorted(step, np.arange(num_steps + 1))]


def factor_and_added(*args, **knobs):
    """What a sampler multiplies with and adds in each step, one row for each c."""
    frames = states_of_rows(*args, **knobs)
    factor = frames[1:, 0] / frames[:-1, 0]
    return factor.T, (frames[1:, 1] - factor * frames[:-1, 1]).T
