"""Convolutions of a known geometry as matrix products with the windows of the images."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.nn.geometry import Geometry, Pair
from jaxgen.types import Array

_WINDOWS_SIZE = 2**20
"""Numbers in the windows of one product; four times as many take up to 1.2 times as long."""


def place(block: Array, start: Pair, size: Pair) -> Array:
    """Puts a block into an image of zeros; what lies outside is cut off.

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


def conv(x: Array, w: Array, geometry: Geometry) -> Array:
    """`jaxgen.nn.conv` of a known geometry: the windows times the kernel.

    Args:
        x: images, `[B, H, W, C]`.
        w: kernel, `[kh, kw, C, O]`.
        geometry: of the convolution.

    Returns:
        Features, `[B, h, w, O]`.
    """
    y = jnp.dot(_windows(x, geometry), w.reshape(-1, w.shape[3]))
    return y.reshape(len(x), *geometry.output, w.shape[3])


def conv_kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """`jaxgen.nn.conv_kernel_gradient` of a known geometry: the windows times the features.

    Args:
        x: images, `[B, H, W, C]`.
        y: features, `[B, h, w, O]`.
        geometry: of the convolution.

    Returns:
        Kernel, `[kh, kw, C, O]`.
    """
    w = jnp.dot(_windows(x, geometry).T, y.reshape(-1, y.shape[3]))
    return w.reshape(*geometry.kernel, x.shape[3], y.shape[3])


def conv_transpose(y: Array, w: Array, geometry: Geometry) -> Array:
    """`jaxgen.nn.conv_transpose` of a known geometry: windows from products, added up where they overlap.

    It takes so many examples at a time as keep their windows in the cache.

    Args:
        y: features, `[B, h, w, O]`.
        w: kernel, `[kh, kw, C, O]`.
        geometry: of the convolution whose adjoint this is.

    Returns:
        Images, `[B, H, W, C]`.
    """
    windows_size = math.prod(y.shape[:3]) * math.prod(w.shape[:3])
    num_blocks = min(-(-windows_size // _WINDOWS_SIZE), len(y))
    if num_blocks <= 1:
        return _overlap_add(y, w, geometry)
    block_size = -(-len(y) // num_blocks)
    return lax.map(lambda y: _overlap_add(y[None], w, geometry)[0], y, batch_size=block_size)


def _windows(x: Array, geometry: Geometry) -> Array:
    """The pixels of each window in a row: `[B h w, kh kw C]`."""
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
