"""Guidance and thresholds: functions from denoiser to denoiser, to be composed as wanted.

A guided denoiser has the guided score. Thresholds come after guidance, and are for data within
bounds: they have no place among latents.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.diffusion.process import Denoiser, amplitudes
from jaxgen.diffusion.trees import combine
from jaxgen.types import Array, PyTree


def classifier_free(denoise: Denoiser, scale: Array | float, *, without: Any) -> Denoiser:
    """Moves the estimate from that without a condition past that with it, ``u + scale (c - u)``.

    At scale 1 it is the conditional denoiser, at 0 the unconditional one; the paper's w is scale -
    1. What it samples is not ``p(x) p(y|x)^scale``. It calls the denoiser once, with twice the
    examples.

    Args:
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``, trained with and without.
        scale: any number.
        without: the condition, arrays `[1, ...]` or `[B, ...]`, that stands for none.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x``.

    Source:
        Ho & Salimans 2022, "Classifier-free diffusion guidance", equation 6.
    """

    def guided(x_t: PyTree, log_snr: Array, condition: Any) -> PyTree:
        nothing = jax.tree.map(lambda u, c: jnp.broadcast_to(u, c.shape), without, condition)
        both = [
            jax.tree.map(lambda *two: jnp.concatenate(two), *pair)
            for pair in ((x_t, x_t), (log_snr, log_snr), (nothing, condition))
        ]
        estimates = denoise(*both)
        num = len(log_snr)
        u, c = (
            jax.tree.map(lambda e, part=part: e[part], estimates)
            for part in (slice(num), slice(num, None))
        )
        return combine((1.0 - scale, u), (scale, c))

    return guided


def classifier(
    denoise: Denoiser, log_prob: Callable[[Array, Array, Any], Array], scale: Array | float
) -> Denoiser:
    """Adds the gradient of a classifier of noisy data to the score, times a scale.

    ``x0 + scale s^2 / a grad ln p(y|x_t)``, the gradient at `x_t` itself, for each example.

    Args:
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``; it is given the condition, too.
        log_prob: ``(x_t, log_snr [B], condition) -> ln p(condition|x_t)``, `[B]`.
        scale: any number; 1 is Bayes' rule.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x``.

    Source:
        Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", section 4.2.
    """

    def guided(x_t: PyTree, log_snr: Array, condition: Any) -> PyTree:
        gradient = jax.grad(lambda x: jnp.sum(log_prob(x, log_snr, condition)))(x_t)
        a, s = amplitudes(log_snr)
        return combine(
            (1.0, denoise(x_t, log_snr, condition)), (scale * jnp.square(s) / a, gradient)
        )

    return guided


def clip(denoise: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """Keeps the estimates within bounds; the noise that a sampler derives follows.

    Args:
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        low: least value of the data.
        high: greatest value, above `low`.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x``.

    Raises:
        ValueError: if the bounds are not in order.
    """
    if not low < high:
        raise ValueError(f"low, high: {low}, {high}, expected the lower first")

    def clipped(x_t: PyTree, log_snr: Array, condition: Any = None) -> PyTree:
        return jax.tree.map(lambda x: jnp.clip(x, low, high), denoise(x_t, log_snr, condition))

    return clipped


def dynamic_threshold(denoise: Denoiser, *, quantile: float = 0.995) -> Denoiser:
    """Scales an example down to [-1, 1] where many of its numbers leave it, and clips the rest.

    With q the quantile of the absolute values, at least 1: ``clip(x, -q, q) / q``.

    Args:
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        quantile: in (0, 1].

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x``.

    Raises:
        ValueError: if `quantile` is out of its range.

    Source:
        Saharia et al. 2022, "Photorealistic text-to-image diffusion models with deep language
        understanding", section 2.3.
    """
    if not 0.0 < quantile <= 1.0:
        raise ValueError(f"quantile: {quantile}, expected in (0, 1]")

    def each(x: Array) -> Array:
        bound = jnp.quantile(jnp.abs(x).reshape(len(x), -1), quantile, axis=1)
        bound = jnp.maximum(bound, 1.0).reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.clip(x, -bound, bound) / bound

    def thresholded(x_t: PyTree, log_snr: Array, condition: Any = None) -> PyTree:
        return jax.tree.map(each, denoise(x_t, log_snr, condition))

    return thresholded
