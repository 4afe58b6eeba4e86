"""The three convolutions of `jaxgen.nn.convolution` as XLA's CPU compiler computes them fast.

XLA CPU has a fast path for convolutions in the dimension order NHWC x HWIO -> NHWC only. In the
entry computation it reorders others; inside `scan`, `while` and `cond` it does not, and what
autodiff derives there (from `lax.conv_transpose` anywhere) runs 7 to 90 times slower. That path in
turn multiplies with the zeros of a dilated image and is slow for one channel and for 1 x 1 kernels,
where a product of matrices wins.
"""

import functools
import math
import operator
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from jaxgen.nn.geometry import Geometry, Pair
from jaxgen.nn.windows import overlap_add, place, take_windows
from jaxgen.types import Array

_ORDER = ("NHWC", "HWIO", "NHWC")

# In the convolution of a kernel's gradient examples are channels, and images are transposed for it.
# Blocks of examples that stay in the cache save 2 to 6 % of a training step: 64 of small images
# such as 14 x 14 of 64 channels, 32 of others. Compilation bounds their number.
_SMALL_IMAGE = 2**14
_BLOCK_OF_SMALL, _BLOCK_OF_LARGE = 64, 32
_MAX_BLOCKS = 8

_FEW_CHANNELS = 3
"""Images with at most as many channels are made by products; measured on cases of 1, 3 and 8."""

_MANY_FEATURES = 96
"""From so many features on a product takes 0.6 to 0.95 of the time, traffic of windows included."""

_NARROW_WINDOW = 256
"""From many channels to few at stride 1, products with so small windows of the few take 0.2 to 0.9
of the time; measured on 12 to 128 channels to 1 to 28. Windows of 300 take up to 1.7 times it."""

_SMALL_WINDOW, _CACHED_WINDOWS = 32, 2**21
"""From one or few channels to many, products take 0.3 to 0.9 of the time where a window has so few
numbers, or all windows together; others take up to 3 times as long."""

_MOST_WINDOWS = 2**24
"""Numbers in all windows of a kernel's gradient, which must not take more memory than images."""


def _narrows(wide: int, narrow: int, geometry: Geometry) -> bool:
    """Whether few channels beside many have windows small enough for products of the few."""
    is_small = narrow * math.prod(geometry.kernel) <= _NARROW_WINDOW
    return geometry.stride == (1, 1) and is_small and 5 * narrow <= 2 * wide


def _widens(x: Array, features: int, geometry: Geometry) -> bool:
    """Whether the windows of `x`, few channels that become many, are worth their memory."""
    is_small = x.shape[3] * math.prod(geometry.kernel) <= _SMALL_WINDOW
    is_small |= _num_in_windows(x, geometry) <= _CACHED_WINDOWS
    return is_small and (x.shape[3] == 1 or 5 * x.shape[3] <= 2 * features)


def _num_in_windows(x: Array, geometry: Geometry) -> float:
    if not isinstance(x.shape[0], int):  # A symbol of `jax.export`.
        return math.inf
    return x.shape[0] * math.prod(geometry.output) * math.prod(geometry.kernel) * x.shape[3]


def _fits_cache(channels: int, geometry: Geometry) -> bool:
    """Whether the windows of one example, which `overlap_add` makes, stay in the cache."""
    num = math.prod(geometry.output) * math.prod(geometry.kernel) * channels
    return num <= _CACHED_WINDOWS


def _adjoint(geometry: Geometry) -> Geometry:
    """Of the windows of `y` about each pixel of `x`, at stride 1."""
    low, high = (
        (geometry.kernel[0] - 1 - padding[0], geometry.kernel[1] - 1 - padding[1])
        for padding in (geometry.low, geometry.high)
    )
    return Geometry((1, 1), low, high, geometry.output, geometry.kernel)


def conv(x: Array, w: Array, geometry: Geometry) -> Array:
    """Convolve: a product for 1 x 1 kernels, and between one or few channels and many.

    Args:
        x: images, `[B, H, W, C]`.
        w: kernel, `[kh, kw, C, O]`.
        geometry: of the convolution.

    Returns:
        Features, `[B, h, w, O]`.
    """
    if geometry.kernel == (1, 1) or _widens(x, w.shape[3], geometry):
        y = jnp.dot(take_windows(x, geometry), w.reshape(-1, w.shape[3]))
        return y.reshape(x.shape[0], *geometry.output, w.shape[3])
    adjoint = _adjoint(geometry)
    if _narrows(x.shape[3], w.shape[3], geometry) and _fits_cache(w.shape[3], adjoint):
        return overlap_add(x, jnp.swapaxes(w[::-1, ::-1], 2, 3), adjoint)
    padding = list(zip(geometry.low, geometry.high, strict=True))
    return _canonical(x, w, padding, stride=geometry.stride)


def conv_transpose(y: Array, w: Array, geometry: Geometry) -> Array:
    """Transpose: by a product for few channels or many features, else without dilation.

    Where the stride does not divide the kernel, the dilated convolution is left as the fastest.

    Args:
        y: features, `[B, h, w, O]`.
        w: kernel, `[kh, kw, C, O]`.
        geometry: of the convolution whose adjoint this is.

    Returns:
        Images, `[B, H, W, C]`.
    """
    sizes = zip(geometry.kernel, geometry.stride, strict=True)
    is_sub_pixel = geometry.stride != (1, 1) and all(
        kernel % stride == 0 for kernel, stride in sizes
    )
    has_many_features = is_sub_pixel and w.shape[3] >= _MANY_FEATURES
    has_few_channels = w.shape[2] <= _FEW_CHANNELS or _narrows(w.shape[3], w.shape[2], geometry)
    is_product = (has_few_channels or has_many_features) and _fits_cache(w.shape[2], geometry)
    if is_product or geometry.kernel == (1, 1):
        return overlap_add(y, w, geometry)
    if is_sub_pixel:
        return _sub_pixel(y, w, geometry)
    flipped = jnp.swapaxes(w[::-1, ::-1], 2, 3)
    if geometry.stride == (1, 1) and _widens(y, w.shape[2], _adjoint(geometry)):
        return conv(y, flipped, _adjoint(geometry))
    # Dilate `y` by the stride.
    padding = [
        (kernel - 1 - low, size + low + kernel - 1 - covered)
        for kernel, low, size, covered in zip(
            geometry.kernel, geometry.low, geometry.size, geometry.covered, strict=True
        )
    ]
    return _canonical(y, flipped, padding, image_dilation=geometry.stride)


def conv_kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """Correlate: a product for 1 x 1 kernels and windows of few channels, else convolutions.

    Args:
        x: images, `[B, H, W, C]`.
        y: features, `[B, h, w, O]`.
        geometry: of the convolution.

    Returns:
        Kernel, `[kh, kw, C, O]`.
    """
    # Of one channel only with a stride, by which `_block_kernel_gradient` dilates.
    is_strided = x.shape[3] == 1 and geometry.stride != (1, 1)
    is_small = _num_in_windows(x, geometry) <= _MOST_WINDOWS
    if geometry.kernel == (1, 1) or (is_strided and is_small):
        w = jnp.dot(take_windows(x, geometry).T, y.reshape(-1, y.shape[3]))
        return w.reshape(*geometry.kernel, x.shape[3], y.shape[3])
    adjoint = _adjoint(geometry)
    if _narrows(x.shape[3], y.shape[3], geometry) and _num_in_windows(y, adjoint) <= _MOST_WINDOWS:
        w = jnp.dot(take_windows(y, adjoint).T, x.reshape(-1, x.shape[3]))
        # Without it the product is turned round, which takes 1.2 times as long.
        w = lax.optimization_barrier(w).reshape(*geometry.kernel, y.shape[3], x.shape[3])
        return jnp.swapaxes(w[::-1, ::-1], 2, 3)
    block_size = _BLOCK_OF_SMALL if math.prod(x.shape[1:]) < _SMALL_IMAGE else _BLOCK_OF_LARGE
    num_blocks = 1
    if isinstance(x.shape[0], int):  # Otherwise it is a symbol of `jax.export`.
        num_blocks = max(1, min(-(-x.shape[0] // block_size), _MAX_BLOCKS))
    blocks = zip(jnp.array_split(x, num_blocks), jnp.array_split(y, num_blocks), strict=True)
    parts = (_block_kernel_gradient(*block, geometry) for block in blocks)
    return functools.reduce(operator.add, parts)


def _block_kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """The gradient by a convolution in which channels and examples have changed places."""
    sizes = zip(geometry.covered, geometry.low, geometry.size, strict=True)
    high = [covered - low - size for covered, low, size in sizes]
    # Last pixels that no window reaches are cut off: negative padding would leave the fast path.
    x = x[:, : geometry.size[0] + min(high[0], 0), : geometry.size[1] + min(high[1], 0)]
    # Batch and channels change places, the stride dilates `y`.
    w = _canonical(
        jnp.transpose(x, (3, 1, 2, 0)),
        jnp.transpose(y, (1, 2, 0, 3)),
        [(low, max(after, 0)) for low, after in zip(geometry.low, high, strict=True)],
        kernel_dilation=geometry.stride,
    )
    return jnp.transpose(w, (1, 2, 0, 3))


def _canonical(
    x: Array,
    w: Array,
    padding: Sequence[Pair],
    *,
    stride: Pair = (1, 1),
    image_dilation: Pair = (1, 1),
    kernel_dilation: Pair = (1, 1),
) -> Array:
    is_dilated = image_dilation != (1, 1) or kernel_dilation != (1, 1)
    if not is_dilated and (w.shape[0] > x.shape[1] or w.shape[1] > x.shape[2]):
        # A kernel longer than its image leaves the fast path.
        zero = jnp.zeros((), x.dtype)
        x = lax.pad(x, zero, [(0, 0, 0), *((*pair, 0) for pair in padding), (0, 0, 0)])
        padding = [(0, 0), (0, 0)]
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=stride,
        padding=padding,
        lhs_dilation=image_dilation,
        rhs_dilation=kernel_dilation,
        dimension_numbers=_ORDER,
    )


def _sub_pixel(y: Array, w: Array, geometry: Geometry) -> Array:
    """All pixels of a stride as channels of one convolution without dilation, moved into place."""
    (height, width), (channels, features) = geometry.stride, w.shape[2:]
    down, across = w.shape[0] // height, w.shape[1] // width
    taps = w.reshape(down, height, across, width, channels, features)[::-1, :, ::-1]
    kernel = jnp.transpose(taps, (0, 2, 5, 1, 3, 4)).reshape(down, across, features, -1)
    z = _canonical(y, kernel, [(down - 1, down - 1), (across - 1, across - 1)])
    batch, rows, columns, _ = z.shape
    blocks = jnp.swapaxes(z.reshape(batch, rows, columns, height, width, channels), 2, 3)
    image = blocks.reshape(batch, rows * height, columns * width, channels)
    return place(image, (-geometry.low[0], -geometry.low[1]), geometry.size)
