"""Formulas of diffusion in NumPy, and data whose bounds are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxgen.diffusion import schedules

KINDS = ("noise", "x0", "v", "velocity")
LOG_SNR = np.array([-8.0, -1.0, 0.5, 10.0])
SCHEDULE = schedules.LogSnrLinear(-12.0, 12.0)
NUM = 3000
X = np.array([1.7, -0.4])

each_kind = pytest.mark.parametrize("kind", KINDS)


def amplitudes(log_snr):
    return np.sqrt(special.expit(log_snr)), np.sqrt(special.expit(-log_snr))


def mixture():
    """Data, noise and their mixture at the levels `LOG_SNR`, with its factors."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 4, 3, 2))
    a, s = (row[:, None, None] for row in amplitudes(LOG_SNR))
    return x, noise, a * x + s * noise, a, s


def plain_target(x, noise, a, s, kind):
    return {"noise": noise, "x0": x, "v": a * noise - s * x, "velocity": noise - x}[kind]


def unit_normal(x_t, log_snr, condition):
    """The denoiser of data N(0, I)."""
    return jnp.sqrt(jax.nn.sigmoid(log_snr))[:, None] * x_t


def any_number(grid):
    """With the number of steps as an array, for which there is one program."""
    return grid._replace(num_steps=jnp.int32(grid.num_steps))


def assert_mean(found, expected):
    """An estimate of one number is within five standard errors."""
    assert abs(np.mean(found) - expected) < 5.0 * np.std(found) / np.sqrt(len(found))
