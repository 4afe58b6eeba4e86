"""The windows of images that a convolution sees: taken out, and added up where they overlap."""

import math

import jax.numpy as jnp
from jax import lax

from jaxgen.nn.geometry import Geometry, Pair
from jaxgen.types import Array

_BLOCK_SIZE = 2**20
"""Numbers in the windows of one block; four times as many take up to 1.2 times as long."""

_CHANNELS_AT_ONCE = 16
"""Pixels of fewer are put in a row in two steps, columns before rows, in 0.3 to 0.6 of the time."""

_COLUMNS = 16
"""A product with a multiple of so many columns takes 0.7 of the time of one with fewer, as 54."""


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
    rows = [slice(u, height + 1 - geometry.kernel[0] + u, down) for u in range(geometry.kernel[0])]
    columns = [
        slice(v, width + 1 - geometry.kernel[1] + v, right) for v in range(geometry.kernel[1])
    ]
    if x.shape[3] < _CHANNELS_AT_ONCE:
        x = jnp.concatenate([x[:, :, column] for column in columns], axis=3)
        windows = jnp.concatenate([x[:, row] for row in rows], axis=3)
    else:
        windows = jnp.concatenate([x[:, row, column] for row in rows for column in columns], axis=3)
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
    w = jnp.pad(w, ((0, fill[0]), (0, fill[1]), (0, 0), (0, 0))).reshape(-1, w.shape[3])
    num = w.shape[0]
    w = jnp.pad(w, ((0, -num % _COLUMNS), (0, 0)))
    # Sums of half precision lose digits and overflow.
    wide = jnp.promote_types(y.dtype, jnp.float32)
    windows = jnp.dot(y.reshape(-1, y.shape[3]), w.T, preferred_element_type=wide)[:, :num]
    # In two steps, of which explicit sharding understands each.
    windows = windows.reshape(batch, rows, columns, num)
    windows = windows.reshape(batch, rows, columns, down, height, across, width, channels)
    image = jnp.zeros((batch, *geometry.size, channels), wide)
    size = (rows * height, geometry.size[1])
    for u in range(down):
        line = jnp.zeros((batch, *size, channels), wide)
        for v in range(across):
            block = jnp.swapaxes(windows[:, :, :, u, :, v], 2, 3)
            block = block.reshape(batch, rows * height, columns * width, channels)
            line += place(block, (0, v * width - geometry.low[1]), size)
        # Without it each block is placed in the whole image: twice as many additions.
        line = lax.optimization_barrier(line)
        image += place(line, (u * height - geometry.low[0], 0), geometry.size)
    return image.astype(y.dtype)
