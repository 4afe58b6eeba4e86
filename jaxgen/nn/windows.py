"""The windows of images that a convolution sees: taken out, and added up where they overlap."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.nn.geometry import Geometry, Pair
from jaxgen.types import Array

_BLOCK_SIZE = 2**20
"""Numbers in the windows of one block; four times as many take up to 1.2 times as long."""


def place(block: Array, start: Pair, size: Pair) -> Array:
    """Put a block into an image of zeros; what lies outside is cut off.

    Args:
        block: `[B, h, w, C]`.
        start: row and column of the image at which the block begins; they may be negative.
        size: of the image.

    Returns:
        Images, `[B, *size, C]`.
    """
    (top, left), (height, width) = start, block.shape[1:3]
    rows, columns = (top, size[0] - top - height, 0), (left, size[1] - left - width, 0)
    return lax.pad(block, jnp.zeros((), block.dtype), [(0, 0, 0), rows, columns, (0, 0, 0)])


def take_windows(x: Array, geometry: Geometry) -> Array:
    """Put the pixels of each window in a row, so that a convolution is a product of matrices.

    Args:
        x: images, `[B, H, W, C]`.
        geometry: of the convolution.

    Returns:
        Windows, `[B h w, kh kw C]`.
    """
    x = place(x, geometry.low, geometry.covered)
    (down, right), (height, width) = geometry.stride, geometry.covered
    shifted = [
        x[
            :,
            u : height + 1 - geometry.kernel[0] + u : down,
            v : width + 1 - geometry.kernel[1] + v : right,
        ]
        for u, v in np.ndindex(geometry.kernel)
    ]
    windows = jnp.concatenate(shifted, axis=3)
    return windows.reshape(-1, windows.shape[3])


def overlap_add(y: Array, w: Array, geometry: Geometry) -> Array:
    """Make windows as products of features and kernel, and add them up where they overlap.

    It takes so many examples at a time as keep their windows in the cache.

    Args:
        y: features, `[B, h, w, O]`.
        w: kernel, `[kh, kw, C, O]`.
        geometry: of the convolution whose adjoint this is.

    Returns:
        Images, `[B, H, W, C]`.
    """
    num_blocks = 1
    if isinstance(y.shape[0], int):  # Otherwise it is a symbol of `jax.export`.
        num_windows = math.prod(y.shape[:3])
        num_blocks = min(-(-num_windows * math.prod(w.shape[:3]) // _BLOCK_SIZE), y.shape[0])
    if num_blocks <= 1:
        return _overlap_add(y, w, geometry)
    block_size = -(-y.shape[0] // num_blocks)
    return lax.map(lambda y: _overlap_add(y[None], w, geometry)[0], y, batch_size=block_size)


def _overlap_add(y: Array, w: Array, geometry: Geometry) -> Array:
    """All windows by one product, cut into blocks of a stride, which are shifted and added."""
    batch, rows, columns, _ = y.shape
    (height, width), channels = geometry.stride, w.shape[2]
    down, across = (-(-k // s) for k, s in zip(geometry.kernel, geometry.stride, strict=True))
    fill = (down * height - w.shape[0], across * width - w.shape[1])
    w = jnp.pad(w, ((0, fill[0]), (0, fill[1]), (0, 0), (0, 0)))
    windows = jnp.dot(y.reshape(-1, y.shape[3]), w.reshape(-1, w.shape[3]).T)
    windows = windows.reshape(batch, rows, columns, down, height, across, width, channels)
    image = jnp.zeros((batch, *geometry.size, channels), y.dtype)
    for u, v in np.ndindex(down, across):
        block = jnp.swapaxes(windows[:, :, :, u, :, v], 2, 3)
        block = block.reshape(batch, rows * height, columns * width, channels)
        start = (u * height - geometry.low[0], v * width - geometry.low[1])
        image += place(block, start, geometry.size)
    return image
