"""Changes of resolution without parameters."""

import chex
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.nn.geometry import pair
from jaxgen.types import Array


def upsample_nearest(x: Array, factor: int = 2) -> Array:
    """Repeat each pixel: `y[b, i, j, c] = x[b, i // f, j // f, c]`.

    Args:
        x: features, `[B, H, W, C]`.
        factor: positive integer `f`.

    Returns:
        Features, `[B, f H, f W, C]`.

    Raises:
        ValueError: if `factor` is not a positive integer.

    Source:
        Odena et al. 2016, "Deconvolution and Checkerboard Artifacts".
    """
    chex.assert_rank(x, 4)
    factor, _ = pair("factor", factor)
    batch, height, width, channels = x.shape
    blocks = jnp.broadcast_to(
        x[:, :, None, :, None, :], (batch, height, factor, width, factor, channels)
    )
    return blocks.reshape(batch, height * factor, width * factor, channels)


def average_pool(x: Array, factor: int = 2) -> Array:
    """Average disjoint blocks of `f x f` pixels; blocks at the last edges may be smaller.

    `y[b, i, j, c]` is the mean of the pixels of block `(i, j)` that exist, so that any image size
    works and a constant image stays constant.

    Args:
        x: features, `[B, H, W, C]`, floating.
        factor: positive integer `f`.

    Returns:
        Features, `[B, ceil(H / f), ceil(W / f), C]`.

    Raises:
        ValueError: if `factor` is not a positive integer.

    Source:
        LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", section II.
    """
    chex.assert_rank(x, 4)
    factor, _ = pair("factor", factor)
    height, width = x.shape[1:3]
    window, ends = (1, factor, factor, 1), (-height % factor, -width % factor)
    padding = ((0, 0), (0, ends[0]), (0, ends[1]), (0, 0))
    # Not a reshape and a mean over two axes: on a CPU that takes twice the time.
    total = lax.reduce_window(x, np.zeros((), x.dtype), lax.add, window, window, padding)
    rows = np.minimum(factor, height - factor * np.arange(total.shape[1]))
    columns = np.minimum(factor, width - factor * np.arange(total.shape[2]))
    weight = 1.0 / (rows[:, None] * columns[None, :])
    return total * jnp.asarray(weight[None, :, :, None], x.dtype)


def space_to_depth(x: Array, factor: int = 2) -> Array:
    """Move blocks of `f x f` pixels into channels: a permutation of the entries of each image.

    `y[b, i, j, (u f + v) C + c] = x[b, f i + u, f j + v, c]`.

    Args:
        x: features, `[B, H, W, C]`.
        factor: positive integer `f` that divides `H` and `W`.

    Returns:
        Features, `[B, H / f, W / f, f^2 C]`.

    Raises:
        ValueError: if `factor` is not a positive integer or does not divide the image size.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 3.6.
    """
    chex.assert_rank(x, 4)
    factor, _ = pair("factor", factor)
    batch, height, width, channels = x.shape
    if height % factor or width % factor:
        raise ValueError(
            f"factor: {factor}, expected a divisor of the image size {(height, width)}"
        )
    blocks = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    depth = jnp.swapaxes(blocks, 2, 3)
    return depth.reshape(*depth.shape[:3], factor * factor * channels)


def depth_to_space(y: Array, factor: int = 2) -> Array:
    """Undo `space_to_depth`: `x[b, f i + u, f j + v, c] = y[b, i, j, (u f + v) C + c]`.

    Args:
        y: features, `[B, h, w, f^2 C]`.
        factor: positive integer `f`.

    Returns:
        Features, `[B, f h, f w, C]`.

    Raises:
        ValueError: if `factor` is not a positive integer or its square does not divide `f^2 C`.

    Source:
        Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient
        Sub-Pixel Convolutional Neural Network", equation 4, up to the order of the channels.
    """
    chex.assert_rank(y, 4)
    factor, _ = pair("factor", factor)
    batch, height, width, channels = y.shape
    if channels % factor**2:
        raise ValueError(f"factor: {factor}, expected its square to divide the {channels} channels")
    blocks = y.reshape(batch, height, width, factor, factor, channels // factor**2)
    image = jnp.swapaxes(blocks, 2, 3)
    return image.reshape(batch, height * factor, width * factor, channels // factor**2)
