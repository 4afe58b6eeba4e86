"""The distance of two texture models, and the mixtures on the shortest way between them."""

import jax
import jax.numpy as jnp

from jaxgen.classical.texture.stationary import StationaryGaussian
from jaxgen.types import Array


@jax.jit
def wasserstein_distance(p: StationaryGaussian, q: StationaryGaussian) -> Array:
    """The Wasserstein-2 distance between the textures, without their white noise.

    ``W2^2 = H W |m_p - m_q|^2 + sum_k [|h_p^|^2 + |h_q^|^2 - 2 |h_p^* . h_q^|]`` with unnormalised
    transforms and, at each frequency, the inner product over the channels; of one channel the sum
    is ``sum_k (|h_p^| - |h_q^|)^2``. Shifts and signs of a spot change nothing.

    Args:
        p: a model.
        q: another, of the same shape.

    Returns:
        A number, at least 0, in the units of the images.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Xia et al. 2014, "Synthesizing and mixing stationary Gaussian texture models".
    """
    h_p, h_q = _spectra(p, q)
    # |h_p - e^(i phi) h_q|^2 at the best phase phi: a sum of squares, of which none cancels.
    squares = jnp.abs(h_p - h_q * _best_phase(h_p, h_q)) ** 2
    num = p.spot.shape[0] * p.spot.shape[1]
    return jnp.sqrt(num * jnp.sum((p.mean - q.mean) ** 2) + jnp.sum(squares))


def mix(p: StationaryGaussian, q: StationaryGaussian, weight: Array | float) -> StationaryGaussian:
    """The model at a share of the shortest way from one to another.

    The spot is ``(1 - t) h_p^ + t e^(i phi) h_q^`` with the phase phi, common to the channels of a
    frequency, that brings the second nearest to the first; means, and the deviations of the white
    noise, go straight. The ends are the two models; the distances from them to the mixture are t
    and 1 - t of that between them.

    Args:
        p: the model at weight 0.
        q: that at weight 1, of the same shape.
        weight: t, in [0, 1].

    Returns:
        The mixture.

    Raises:
        ValueError: if the shapes differ, or the weight is out of its range.

    Source:
        Xia et al. 2014, "Synthesizing and mixing stationary Gaussian texture models".
    """
    if isinstance(weight, float | int) and not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight: {weight}, expected in [0, 1]")
    h_p, h_q = _spectra(p, q, half=True)
    spectrum = (1.0 - weight) * h_p + weight * h_q * _best_phase(h_p, h_q)
    spot = jnp.fft.irfft2(spectrum, s=p.size, axes=(-3, -2))
    first, second = jnp.sqrt(p.noise_variance), jnp.sqrt(q.noise_variance)
    noise_variance = ((1.0 - weight) * first + weight * second) ** 2
    mean = (1.0 - weight) * p.mean + weight * q.mean
    return StationaryGaussian(mean, spot, noise_variance)


def _spectra(
    p: StationaryGaussian, q: StationaryGaussian, *, half: bool = False
) -> tuple[Array, Array]:
    """The transforms of both spots."""
    if p.spot.shape != q.spot.shape:
        raise ValueError(
            f"q: shape {q.spot.shape}, expected that of p, {p.spot.shape}: bring both to one canvas"
        )
    transform = jnp.fft.rfft2 if half else jnp.fft.fft2
    return transform(p.spot, axes=(-3, -2)), transform(q.spot, axes=(-3, -2))


def _best_phase(h_p: Array, h_q: Array) -> Array:
    """``e^(i phi)`` that makes the inner product of each frequency real and positive."""
    product = jnp.sum(jnp.conj(h_p) * h_q, axis=-1, keepdims=True)
    return jnp.exp(-1j * jnp.angle(product))
