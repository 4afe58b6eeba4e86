"""Between pixels 0 to levels - 1, the range of networks, and continuous data with log-dets."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, sample_by_example, sum_event
from jaxgen.types import Array, Key


def pixel_values(x: Array, levels: int) -> Array:
    """Integer pixels as floats, and NaN for what is no pixel of the data.

    Other types are refused while a program is traced: images in [0, 1] have but two pixel values,
    and a model of them learns next to nothing.

    Args:
        x: integer pixel values 0 to levels - 1, any shape.
        levels: number of pixel values, 2 to 256.

    Returns:
        float32 of the shape of `x`; NaN where `x` is outside 0 to levels - 1.

    Raises:
        ValueError: if `x` is not of an integer type or `levels` is outside 2 to 256.
    """
    _check_levels(levels)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f'batch["x"]: {x.dtype}, expected uint8 pixels 0 to {levels - 1}')
    values = at_least_float32(x)
    # Types cannot tell grey images given as binary ones; a NaN stops their training at once.
    return jnp.where((values >= 0.0) & (values < levels), values, jnp.nan)


def to_model_range(x: Array, levels: int) -> Array:
    """Scales pixels linearly to [-1, 1]: ``y = 2 x / (levels - 1) - 1``.

    Args:
        x: integer pixel values 0 to levels - 1, any shape.
        levels: number of pixel values, 2 to 256.

    Returns:
        float32 of the shape of `x`; NaN where `x` is outside 0 to levels - 1.

    Raises:
        ValueError: if `x` is not of an integer type or `levels` is outside 2 to 256.
    """
    return dequantized_to_model_range(pixel_values(x, levels), levels)


def dequantized_to_model_range(x: Array, levels: int) -> Array:
    """The scale of `to_model_range` for pixels with noise.

    Args:
        x: dequantized or corrupted pixels in [0, levels), any shape.
        levels: number of pixel values, 2 to 256.

    Returns:
        float32 of the shape of `x`, from -1 to a little above 1.

    Raises:
        ValueError: if `levels` is outside 2 to 256.
    """
    _check_levels(levels)
    return at_least_float32(x) * (2.0 / (levels - 1)) - 1.0


def from_model_range(y: Array, levels: int) -> Array:
    """Inverse of `to_model_range`, rounded and clipped to valid pixel values.

    Args:
        y: values about [-1, 1], any shape.
        levels: number of pixel values, 2 to 256.

    Returns:
        uint8 of the shape of `y`, 0 to levels - 1.

    Raises:
        ValueError: if `levels` is outside 2 to 256.
    """
    _check_levels(levels)
    x = (at_least_float32(y) + 1.0) * (0.5 * (levels - 1))
    return jnp.clip(jnp.round(x), 0.0, levels - 1.0).astype(jnp.uint8)


def dequantize(key: Key, x: Array, levels: int) -> Array:
    """Adds uniform noise in [0, 1) to each pixel, so that no density can spike on its values.

    ``ln P(x) >= E_u ln p(x + u)`` for a density p on [0, levels): the density bounds the discrete
    likelihood, with no constant. The noise is a multiple of 2^-16, so that the sum is exact in
    float32 and ``floor`` gives x back; full precision would round 255 + u up to 256 about once in
    10^5 pixels.

    Args:
        key: random key, or one for each example, `[B]`.
        x: integer pixel values 0 to levels - 1, `[B, ...]`.
        levels: number of pixel values, 2 to 256.

    Returns:
        float32 of the shape of `x`, in [0, levels); NaN where `x` is outside 0 to levels - 1.

    Raises:
        ValueError: if `x` is not of an integer type or `levels` is outside 2 to 256.

    Source:
        Theis et al. 2016, "A note on the evaluation of generative models", section 3.1.
    """
    bits = sample_by_example(functools.partial(jax.random.bits, dtype=jnp.uint16), key, x.shape)
    return pixel_values(x, levels) + at_least_float32(bits) * 2.0**-16


def logit_transform(x: Array, *, levels: int, alpha: float = 0.05) -> tuple[Array, Array]:
    """Maps dequantized pixels to the real line by a logit.

    ``y = logit(s)`` with ``s = alpha + (1 - 2 alpha) x / levels``, and
    ``ln |dy/dx| = ln[(1 - 2 alpha) / levels] - ln s - ln(1 - s)``.

    Args:
        x: dequantized pixels in [0, levels], `[B, ...]`.
        levels: number of pixel values, 2 to 256.
        alpha: margin that keeps y finite, in (0, 0.5).

    Returns:
        y, float32 of the shape of `x`, and the log-determinant of the whole map, `[B]` in nats:
        ``ln p(x)`` in pixel units is ``ln p(y) + log_det``.

    Raises:
        ValueError: if `levels` is outside 2 to 256 or `alpha` outside (0, 0.5).

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 4.1; with the symmetric
        margin of Papamakarios et al. 2017, "Masked autoregressive flow for density estimation".
    """
    slope = _logit_slope(levels, alpha)
    x = at_least_float32(x)
    # 1 - s from levels - x: taking s itself from 1 leaves few digits at the bright end.
    log_s, log_one_minus_s = jnp.log(alpha + slope * x), jnp.log(alpha + slope * (levels - x))
    return log_s - log_one_minus_s, sum_event(math.log(slope) - log_s - log_one_minus_s)


def inverse_logit_transform(y: Array, *, levels: int, alpha: float = 0.05) -> tuple[Array, Array]:
    """Inverse of `logit_transform`: ``x = levels (sigmoid(y) - alpha) / (1 - 2 alpha)``.

    Args:
        y: `[B, ...]`, any real values.
        levels: number of pixel values, 2 to 256.
        alpha: as in `logit_transform`, in (0, 0.5).

    Returns:
        x, float32 of the shape of `y`, beyond [0, levels] by at most
        ``alpha levels / (1 - 2 alpha)``; and the log-determinant of this map, `[B]` in nats, the
        negative of the forward one.

    Raises:
        ValueError: if `levels` is outside 2 to 256 or `alpha` outside (0, 0.5).

    Source:
        Papamakarios et al. 2017, "Masked autoregressive flow for density estimation".
    """
    slope = _logit_slope(levels, alpha)
    y = at_least_float32(y)
    log_density = jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
    return (jax.nn.sigmoid(y) - alpha) / slope, sum_event(log_density - math.log(slope))


def bits_per_dim(nats: Array, num_dims: int) -> Array:
    """Converts nats per image to bits per dimension, ``nats / (num_dims ln 2)``.

    Args:
        nats: negative log-likelihood of the pixels, `[B]`.
        num_dims: height times width times channels, at least 1.

    Returns:
        float32 `[B]`.

    Raises:
        ValueError: if `num_dims` is below 1.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", section 5.1.
    """
    if num_dims < 1:
        raise ValueError(f"num_dims: {num_dims}, expected at least 1")
    return at_least_float32(nats) / (num_dims * math.log(2.0))


def _check_levels(levels: int) -> None:
    if not 2 <= levels <= 256:
        raise ValueError(f"levels: {levels}, expected 2 to 256 (pixels are uint8)")


def _logit_slope(levels: int, alpha: float) -> float:
    _check_levels(levels)
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha: {alpha}, expected in (0, 0.5)")
    return (1.0 - 2.0 * alpha) / levels
