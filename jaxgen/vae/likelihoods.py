"""Decoder likelihoods: how the raw outputs of a decoder network become a distribution over pixels.

Each is a distribution over pixel values 0 to levels - 1, so that every one of them gives comparable
nats per image: the Gaussian ones are densities of dequantized pixels, whose expected log-density
bounds the discrete log-likelihood.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.distributions import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Normal,
    bound_log_var,
)
from jaxgen.types import Array


class Likelihood(NamedTuple):
    """A family of decoder distributions.

    Attributes:
        num_outputs: network outputs per pixel and channel.
        is_density: True if the distribution is a density of dequantized pixels, False if a mass on
            the pixel values.
        distribution: ``outputs [B, ..., num_outputs] -> distribution over x [B, ...]``.
    """

    num_outputs: int
    is_density: bool
    distribution: Callable[[Array], Any]


def bernoulli(*, levels: int) -> Likelihood:
    """Bernoulli pixels, for binary data alone.

    Args:
        levels: must be 2.

    Returns:
        One logit per pixel.

    Raises:
        ValueError: if `levels` is not 2: grey values have no likelihood under it.
    """
    if levels != 2:
        raise ValueError(
            f"levels: {levels}, expected 2 for a Bernoulli likelihood; choose a categorical, "
            "discretized_logistic or gaussian one"
        )
    return Likelihood(1, False, lambda outputs: Bernoulli(outputs[..., 0]))


def categorical(*, levels: int) -> Likelihood:
    """Independent categorical pixels: exact for any data, with one logit per level.

    Args:
        levels: number of pixel values, at least 2.

    Returns:
        `levels` logits per pixel.
    """
    return Likelihood(levels, False, Categorical)


def discretized_logistic(*, levels: int) -> Likelihood:
    """Logistic density integrated over each pixel's bin, with a location and a scale per pixel.

    Args:
        levels: number of pixel values, at least 2.

    Returns:
        Location (as a share of the range) and log-scale per pixel.

    Source:
        Kingma et al. 2016, "Improved variational inference with inverse autoregressive flow",
        appendix C.5; open edge bins: Salimans et al. 2017, "PixelCNN++", equation 2.
    """
    half_range = levels / 2.0

    def distribution(outputs: Array) -> DiscretizedLogistic:
        outputs = at_least_float32(outputs)
        log_scale = bound_log_var(outputs[..., 1], low=-7.0, high=3.0) + math.log(half_range)
        return DiscretizedLogistic(half_range * (1.0 + outputs[..., 0]) - 0.5, log_scale, levels)

    return Likelihood(2, False, distribution)


def gaussian(*, levels: int, std: float = 0.1) -> Likelihood:
    """Gaussian density of dequantized pixels with a fixed standard deviation.

    Args:
        levels: number of pixel values, at least 2.
        std: standard deviation as a share of the pixel range, positive.

    Returns:
        One mean per pixel.

    Raises:
        ValueError: if `std` is not positive.
    """
    if not std > 0.0:
        raise ValueError(f"std: {std}, expected above 0, as a share of the pixel range")
    log_var = 2.0 * math.log(std * levels)

    def distribution(outputs: Array) -> Normal:
        mean = 0.5 * levels * (1.0 + at_least_float32(outputs[..., 0]))
        return Normal(mean, jnp.full_like(mean, log_var))

    return Likelihood(1, True, distribution)


def gaussian_learned_variance(*, levels: int) -> Likelihood:
    """Gaussian density of dequantized pixels with a mean and a variance per pixel.

    The variance is bounded below by that of the dequantization noise, 1/12 of a squared level,
    below which no density of dequantized data can gain.

    Args:
        levels: number of pixel values, at least 2.

    Returns:
        Mean and log-variance per pixel.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix C.2.
    """
    lowest, highest = -math.log(12.0), 2.0 * math.log(levels)

    def distribution(outputs: Array) -> Normal:
        outputs = at_least_float32(outputs)
        mean = 0.5 * levels * (1.0 + outputs[..., 0])
        raw_log_var = outputs[..., 1] + 2.0 * math.log(0.25 * levels)
        return Normal(mean, bound_log_var(raw_log_var, low=lowest, high=highest))

    return Likelihood(2, True, distribution)


def usual(*, levels: int) -> Likelihood:
    """The distribution that suits pixels of so many values.

    Args:
        levels: number of pixel values, 2 to 256.

    Returns:
        `bernoulli` for 2 levels, `categorical` up to 32, else `discretized_logistic`.

    Raises:
        ValueError: if `levels` is outside 2 to 256.
    """
    if levels == 2:
        return bernoulli(levels=levels)
    return categorical(levels=levels) if levels <= 32 else discretized_logistic(levels=levels)


BY_NAME: dict[str, Callable[..., Likelihood]] = {
    "bernoulli": bernoulli,
    "categorical": categorical,
    "discretized_logistic": discretized_logistic,
    "gaussian": gaussian,
    "gaussian_learned_variance": gaussian_learned_variance,
}
"""Every likelihood, a function of `levels`, for those who choose one by a word."""
