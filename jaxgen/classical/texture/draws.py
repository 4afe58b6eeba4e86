"""New textures of a spot: random phases, or the spot convolved with white noise."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array, Key


@jax.jit
def random_phase_noise(key: Key, spot: Array) -> Array:
    """A draw whose Fourier moduli are exactly those of the exemplar: ``sqrt(R T) h^ e^(i theta)``.

    The phases are those of the transform of a real white noise, one for all channels: odd, uniform,
    0 or pi where a frequency is its own opposite, and 0 at frequency 0. So every draw has the
    circular autocovariance, the variance and the mean of the spot, up to rounding. It is not
    Gaussian and has no density.

    Args:
        key: random key.
        spot: `[R, T, C]`, on the canvas that is wanted.

    Returns:
        A draw without the mean of the exemplar, `[R, T, C]` in the units of the spot.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    noise = _noise_spectrum(key, spot)
    # Not noise / abs(noise), which is NaN at a 0; the sign of frequency 0 would turn the mean over.
    phase = jnp.exp(1j * jnp.angle(noise)).at[0, 0].set(1.0)
    return _filtered(spot, phase * np.sqrt(spot.shape[0] * spot.shape[1]))


@jax.jit
def spot_noise(key: Key, spot: Array) -> Array:
    """A draw of asymptotic discrete spot noise: the spot convolved with white noise, ``h * X``.

    One field of noise for all channels. A stationary Gaussian field, whose mean, variance and
    autocovariance are those of the spot in expectation.

    Args:
        key: random key.
        spot: `[R, T, C]`, on the canvas that is wanted.

    Returns:
        A draw without the mean of the exemplar, `[R, T, C]` in the units of the spot.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    return _filtered(spot, _noise_spectrum(key, spot))


def _noise_spectrum(key: Key, spot: Array) -> Array:
    """The transform of white noise, over half of the frequencies: `[R, T // 2 + 1]`."""
    chex.assert_rank(spot, 3)
    noise = jax.random.normal(key, spot.shape[:2], spot.dtype)
    return jnp.fft.rfft2(noise, axes=(-2, -1))


def _filtered(spot: Array, spectrum: Array) -> Array:
    """The spot convolved, around the border, with what has a spectrum."""
    product = jnp.fft.rfft2(spot, axes=(-3, -2)) * spectrum[..., None]
    return jnp.fft.irfft2(product, s=spot.shape[:2], axes=(-3, -2))
