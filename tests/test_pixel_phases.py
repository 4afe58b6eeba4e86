"""Sines that tell a network where a noisy pixel lies between the pixel values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion import PixelPhases, UNet
from jaxgen.pixels import to_model_range


class Passing(nn.Module):
    """Gives back what it is given."""

    def __call__(self, x, log_snr, condition=None, *, dropout_keys=None):
        return jnp.roll(x, -1, axis=-1)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_phases_are_those_of_one_and_of_two_pixel_steps(levels):
    values = np.arange(levels)
    x = np.asarray(to_model_range(jnp.asarray(values, jnp.uint8), levels))
    seen = []

    class Keeping(nn.Module):
        def __call__(self, x, log_snr, condition=None, *, dropout_keys=None):
            seen.append(np.asarray(x))
            return x

    image = jnp.asarray(x).reshape(1, levels, 1, 1)
    y = PixelPhases(Keeping(), levels).apply({}, image, jnp.zeros(1))
    np.testing.assert_array_equal(y, image)
    found = seen[0].reshape(levels, 5)
    # At pixel values a whole step is at a multiple of pi, and half a step at one of pi / 2.
    phase = np.pi * (2.0 * values - (levels - 1))
    expected = [x, np.sin(phase), np.cos(phase), np.sin(phase / 2), np.cos(phase / 2)]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=2e-4)


def test_a_network_of_any_kind_keeps_its_shapes():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    network = PixelPhases(UNet((4,), num_blocks=1), 256)
    condition, keys = jnp.ones((2, 3)), jax.random.split(jax.random.key(1), 2)
    variables = network.init(jax.random.key(2), x, jnp.zeros(2), condition)
    y = network.apply(variables, x, jnp.zeros(2), condition, dropout_keys=keys)
    assert y.shape == x.shape and y.dtype == jnp.float32
    wide = PixelPhases(Passing(), 256).apply({}, x, jnp.zeros(2))
    np.testing.assert_array_equal(wide[..., 0], x[..., 1])
