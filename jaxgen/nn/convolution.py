"""Convolutions that are fast on every backend, forward and backward, in `lax.scan` and outside.

With stride `s`, low padding `p` and kernel offset `u`, three functions share one trilinear form

    sum_{b, i, u, c, o}  x[b, i s + u - p, c]  w[u, c, o]  y[b, i, o]

Fixing two of its arguments gives a linear function of the third: `conv(x, w)` is its gradient in
`y`, `conv_transpose(y, w)` that in `x`, `conv_kernel_gradient(x, y)` that in `w`. Each derivative
of one is another of them, so the three are closed under reverse-mode differentiation to any order.
Each is one `lax.conv_general_dilated`.

Why not leave this to autodiff: XLA's CPU compiler has a fast path for convolutions in the dimension
order NHWC x HWIO -> NHWC only. In the entry computation it reorders others; inside `scan`, `while`
and `cond` it does not, and what autodiff derives there (from `lax.conv_transpose` anywhere) runs 7
to 90 times slower. On a GPU or TPU the opposite holds: the vendor's library knows the patterns
that autodiff makes, so there `lax.platform_dependent` selects exactly these.

`jax.custom_vjp` has no forward mode. For `jax.jvp`, `jax.jacfwd` or a forward-over-reverse Hessian,
use `plain_conv` and `plain_conv_transpose`, or `forward_mode` around the `apply` of a model.
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.types import Array

Pair = tuple[int, int]
Padding = Literal["SAME", "VALID"] | Sequence[Pair]

_ORDER = ("NHWC", "HWIO", "NHWC")


class _Geometry(NamedTuple):
    """The static sizes that the three functions share, each as (height, width).

    Attributes:
        stride: step between windows, at least 1.
        low: padding before the first pixel of `x`.
        high: padding after the last pixel of `x`.
        size: spatial size of `x`.
        kernel: spatial size of `w`.
    """

    stride: Pair
    low: Pair
    high: Pair
    size: Pair
    kernel: Pair

    @property
    def output(self) -> Pair:
        """Spatial size of `y`, the number of windows along each axis."""
        height, width = (
            (size + low + high - kernel) // stride + 1
            for stride, low, high, size, kernel in zip(*self, strict=True)
        )
        return height, width

    @property
    def covered(self) -> Pair:
        """Length of the padded axes that windows reach; they may leave out some last pixels."""
        height, width = (
            (windows - 1) * stride + kernel
            for windows, stride, kernel in zip(self.output, self.stride, self.kernel, strict=True)
        )
        return height, width


def pair(name: str, value: int | Sequence[int]) -> Pair:
    """Return a setting given as one positive integer or as two (vertical, horizontal) as two.

    Args:
        name: name of the setting, for the message.
        value: positive integer, or two of them.

    Returns:
        (vertical, horizontal).

    Raises:
        ValueError: if `value` is neither.
    """
    entries = (value, value) if isinstance(value, int) else tuple(value)
    if len(entries) != 2 or any(not isinstance(entry, int) or entry < 1 for entry in entries):
        raise ValueError(f"{name} must be a positive integer or two of them, got {value!r}")
    return entries[0], entries[1]


def _split_padding(padding: Padding, same_total: Pair) -> tuple[Pair, Pair]:
    """Return the low and the high padding; 'SAME' puts the odd one of `same_total` last."""
    if padding == "SAME":
        low = (same_total[0] // 2, same_total[1] // 2)
        return low, (same_total[0] - low[0], same_total[1] - low[1])
    if padding == "VALID":
        return (0, 0), (0, 0)
    if isinstance(padding, str) or len(padding) != 2 or any(len(axis) != 2 for axis in padding):
        raise ValueError(
            f"padding must be 'SAME', 'VALID' or ((low, high), (low, high)), got {padding!r}"
        )
    return (padding[0][0], padding[1][0]), (padding[0][1], padding[1][1])


def _geometry(size: Pair, kernel: Pair, stride: int | Sequence[int], padding: Padding) -> _Geometry:
    """Return the geometry of a convolution of an image of spatial size `size`."""
    steps = pair("stride", stride)
    height, width = (
        max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(size, steps, kernel, strict=True)
    )
    low, high = _split_padding(padding, (height, width))
    geometry = _Geometry(steps, low, high, size, kernel)
    if min(geometry.output) < 1:
        raise ValueError(
            f"padding {padding!r} leaves no window of {kernel} pixels in an image of {size}"
        )
    return geometry


def _transposed_geometry(
    windows: Pair,
    kernel: Pair,
    stride: int | Sequence[int],
    padding: Padding,
    output_size: Sequence[int] | None,
) -> _Geometry:
    """Return the geometry of the convolution that maps `output_size` to `windows`."""
    steps = pair("stride", stride)
    if output_size is None:
        low, high = _split_padding(padding, (0, 0))
        # 'SAME' covers at least the strides, and so does 'VALID', which has always been so in lax.
        least = {"SAME": steps, "VALID": steps}.get(str(padding), (1, 1))
        span = steps if padding == "SAME" else kernel
        height, width = (
            (m - 1) * s + max(k, least_size) - before - after
            for m, s, k, least_size, before, after in zip(
                windows, steps, span, least, low, high, strict=True
            )
        )
        output_size = (height, width)
    geometry = _geometry(pair("output_size", output_size), kernel, steps, padding)
    if geometry.output != windows:
        raise ValueError(
            f"output_size {output_size} would have {geometry.output} windows, but y has {windows}"
        )
    return geometry


def _canonical(
    x: Array,
    w: Array,
    padding: Sequence[Pair],
    *,
    stride: Pair = (1, 1),
    image_dilation: Pair = (1, 1),
    kernel_dilation: Pair = (1, 1),
) -> Array:
    """The one operation that all below is made of, in the dimension order that XLA CPU knows."""
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=stride,
        padding=padding,
        lhs_dilation=image_dilation,
        rhs_dilation=kernel_dilation,
        dimension_numbers=_ORDER,
    )


def _plain(x: Array, w: Array, geometry: _Geometry) -> Array:
    """The convolution as lax and its autodiff have it: linear in each argument, all modes."""
    padding = list(zip(geometry.low, geometry.high, strict=True))
    return _canonical(x, w, padding, stride=geometry.stride)


def _plain_transpose(y: Array, w: Array, geometry: _Geometry) -> Array:
    """The adjoint of `_plain` in the image, derived by lax."""
    image = jax.ShapeDtypeStruct((y.shape[0], *geometry.size, w.shape[2]), y.dtype)
    (x,) = jax.linear_transpose(lambda x: _plain(x, w, geometry), image)(y)
    return x


def _plain_kernel_gradient(x: Array, y: Array, geometry: _Geometry) -> Array:
    """The adjoint of `_plain` in the kernel, derived by lax."""
    kernel = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], y.shape[3]), x.dtype)
    (w,) = jax.linear_transpose(lambda w: _plain(x, w, geometry), kernel)(y)
    return w


def _canonical_transpose(y: Array, w: Array, geometry: _Geometry) -> Array:
    """The adjoint in the image: dilate `y` by the stride, flip `w` and swap its channels."""
    padding = [
        (kernel - 1 - low, size + low + kernel - 1 - covered)
        for kernel, low, size, covered in zip(
            geometry.kernel, geometry.low, geometry.size, geometry.covered, strict=True
        )
    ]
    flipped = jnp.swapaxes(w[::-1, ::-1], 2, 3)
    return _canonical(y, flipped, padding, image_dilation=geometry.stride)


def _canonical_kernel_gradient(x: Array, y: Array, geometry: _Geometry) -> Array:
    """The adjoint in the kernel: batch and channels change places, the stride dilates `y`."""
    sizes = zip(geometry.covered, geometry.low, geometry.size, strict=True)
    high = [covered - low - size for covered, low, size in sizes]
    # Last pixels that no window reaches are cut off: negative padding would leave the fast path.
    x = x[:, : geometry.size[0] + min(high[0], 0), : geometry.size[1] + min(high[1], 0)]
    w = _canonical(
        jnp.transpose(x, (3, 1, 2, 0)),
        jnp.transpose(y, (1, 2, 0, 3)),
        [(low, max(after, 0)) for low, after in zip(geometry.low, high, strict=True)],
        kernel_dilation=geometry.stride,
    )
    return jnp.transpose(w, (1, 2, 0, 3))


# In the three functions below the choice of a platform sits under the rule for derivatives, so it
# is never differentiated: on every platform and at every order just the operations chosen here run.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, w: Array, geometry: _Geometry) -> Array:
    """`conv` of a known geometry: the canonical and the plain form are the same."""
    return _plain(x, w, geometry)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_transpose(y: Array, w: Array, geometry: _Geometry) -> Array:
    """`conv_transpose` of a known geometry."""
    return lax.platform_dependent(
        y,
        w,
        cpu=functools.partial(_canonical_transpose, geometry=geometry),
        default=functools.partial(_plain_transpose, geometry=geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_kernel_gradient(x: Array, y: Array, geometry: _Geometry) -> Array:
    """`conv_kernel_gradient` of a known geometry."""
    return lax.platform_dependent(
        x,
        y,
        cpu=functools.partial(_canonical_kernel_gradient, geometry=geometry),
        default=functools.partial(_plain_kernel_gradient, geometry=geometry),
    )


_Two = tuple[Array, Array]


def _conv_forward(x: Array, w: Array, geometry: _Geometry) -> tuple[Array, _Two]:
    return _conv(x, w, geometry), (x, w)


def _conv_backward(geometry: _Geometry, residuals: _Two, y: Array) -> _Two:
    x, w = residuals
    return _conv_transpose(y, w, geometry), _conv_kernel_gradient(x, y, geometry)


def _conv_transpose_forward(y: Array, w: Array, geometry: _Geometry) -> tuple[Array, _Two]:
    return _conv_transpose(y, w, geometry), (y, w)


def _conv_transpose_backward(geometry: _Geometry, residuals: _Two, x: Array) -> _Two:
    y, w = residuals
    return _conv(x, w, geometry), _conv_kernel_gradient(x, y, geometry)


def _kernel_gradient_forward(x: Array, y: Array, geometry: _Geometry) -> tuple[Array, _Two]:
    return _conv_kernel_gradient(x, y, geometry), (x, y)


def _kernel_gradient_backward(geometry: _Geometry, residuals: _Two, w: Array) -> _Two:
    x, y = residuals
    return _conv_transpose(y, w, geometry), _conv(x, w, geometry)


_conv.defvjp(_conv_forward, _conv_backward)
_conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)
_conv_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _conv_geometry(x: Array, w: Array, stride: int | Sequence[int], padding: Padding) -> _Geometry:
    """Check the arguments of `conv` and return its geometry."""
    chex.assert_rank([x, w], 4)
    chex.assert_equal(x.shape[3], w.shape[2])
    chex.assert_equal(x.dtype, w.dtype)
    return _geometry((x.shape[1], x.shape[2]), (w.shape[0], w.shape[1]), stride, padding)


def _conv_transpose_geometry(
    y: Array,
    w: Array,
    stride: int | Sequence[int],
    padding: Padding,
    output_size: Sequence[int] | None,
) -> _Geometry:
    """Check the arguments of `conv_transpose` and return the geometry of its adjoint."""
    chex.assert_rank([y, w], 4)
    chex.assert_equal(y.shape[3], w.shape[3])
    chex.assert_equal(y.dtype, w.dtype)
    windows, kernel = (y.shape[1], y.shape[2]), (w.shape[0], w.shape[1])
    return _transposed_geometry(windows, kernel, stride, padding, output_size)


def conv(
    x: Array, w: Array, *, stride: int | Sequence[int] = 1, padding: Padding = "SAME"
) -> Array:
    """Convolve images with a kernel (a cross-correlation, as everywhere in deep learning).

    `y[b, i, o] = sum_{u, c} x[b, i s + u - p, c] w[u, c, o]`, where `i`, `u`, `s`, `p` are pairs of
    indices, strides and low paddings, and `x` is zero outside of the image. Derivatives in reverse
    mode are fast at any order and everywhere; there is no forward mode (see `plain_conv`).

    Args:
        x: images, `[B, H, W, C]`, floating.
        w: kernel, `[kh, kw, C, O]`, of the dtype of `x`.
        stride: step between windows, one positive integer or (vertical, horizontal).
        padding: 'SAME' gives `ceil(H / s)` windows, 'VALID' those inside of the image, or explicit
            `((top, bottom), (left, right))`.

    Returns:
        Features, `[B, h, w, O]`, `h = floor((H + top + bottom - kh) / s) + 1` and the same for `w`.

    Raises:
        ValueError: if the stride or the padding is malformed or leaves no window.

    Source:
        Dumoulin and Visin (2016), A guide to convolution arithmetic for deep learning, chapter 2.
    """
    return _conv(x, w, _conv_geometry(x, w, stride, padding))


def conv_transpose(
    y: Array,
    w: Array,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    output_size: Sequence[int] | None = None,
) -> Array:
    """Map features back to images by the adjoint of `conv`.

    `<conv(x, w), y> = <x, conv_transpose(y, w)>`, that is,
    `x[b, j, c] = sum_{i, u, o: i s + u - p = j} y[b, i, o] w[u, c, o]`. Stride, padding and kernel
    are those of the convolution that it transposes: in `w` the channels of the result come third
    and those of the argument last. (`nn.ConvTranspose` stores its kernel flipped and swapped;
    the module `ConvTranspose` translates.)

    Args:
        y: features, `[B, h, w, O]`, floating.
        w: kernel, `[kh, kw, C, O]`, of the dtype of `y`.
        stride: step between windows, one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID' or explicit `((top, bottom), (left, right))` of the convolution.
        output_size: spatial size `(H, W)` of the result; any that the convolution maps to `(h, w)`.
            Without it, `h s` for 'SAME', `(h - 1) s + max(kh, s)` for 'VALID' and
            `(h - 1) s + kh - top - bottom` for explicit padding, and the same for the width.

    Returns:
        Images, `[B, H, W, C]`.

    Raises:
        ValueError: if the stride or the padding is malformed, or `output_size` does not fit `y`.

    Source:
        Dumoulin and Visin (2016), A guide to convolution arithmetic for deep learning, chapter 4.
    """
    return _conv_transpose(y, w, _conv_transpose_geometry(y, w, stride, padding, output_size))


def conv_kernel_gradient(
    x: Array,
    y: Array,
    *,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
) -> Array:
    """Correlate images with features: the gradient of `<conv(x, w), y>` in the kernel `w`.

    `w[u, c, o] = sum_{b, i} x[b, i s + u - p, c] y[b, i, o]`.

    Args:
        x: images, `[B, H, W, C]`, floating.
        y: features, `[B, h, w, O]`, of the dtype of `x`, with the `(h, w)` that `conv` gives.
        kernel_size: one positive integer or (vertical, horizontal).
        stride: step between windows, one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID' or explicit `((top, bottom), (left, right))`.

    Returns:
        Kernel, `[kh, kw, C, O]`.

    Raises:
        ValueError: if a setting is malformed, or the sizes of `x` and `y` do not fit each other.

    Source:
        Dumoulin and Visin (2016), A guide to convolution arithmetic for deep learning, chapter 4.
    """
    chex.assert_rank([x, y], 4)
    chex.assert_equal(x.shape[0], y.shape[0])
    chex.assert_equal(x.dtype, y.dtype)
    kernel = pair("kernel_size", kernel_size)
    geometry = _geometry((x.shape[1], x.shape[2]), kernel, stride, padding)
    if geometry.output != (y.shape[1], y.shape[2]):
        raise ValueError(f"y must have {geometry.output} windows for this x, got {y.shape[1:3]}")
    return _conv_kernel_gradient(x, y, geometry)


def plain_conv(
    x: Array, w: Array, *, stride: int | Sequence[int] = 1, padding: Padding = "SAME"
) -> Array:
    """Convolve as `conv` does, with lax's own derivatives: the path for `jvp` and Hessians.

    On a CPU its reverse mode is slow inside of `lax.scan`.

    Args:
        x: images, `[B, H, W, C]`, floating.
        w: kernel, `[kh, kw, C, O]`, of the dtype of `x`.
        stride: step between windows, one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID' or explicit `((top, bottom), (left, right))`.

    Returns:
        Features, `[B, h, w, O]`.

    Raises:
        ValueError: if the stride or the padding is malformed or leaves no window.

    Source:
        Dumoulin and Visin (2016), A guide to convolution arithmetic for deep learning, chapter 2.
    """
    return _plain(x, w, _conv_geometry(x, w, stride, padding))


def plain_conv_transpose(
    y: Array,
    w: Array,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    output_size: Sequence[int] | None = None,
) -> Array:
    """Apply the adjoint of `conv` with lax's own derivatives: the path for `jvp` and Hessians.

    Args:
        y: features, `[B, h, w, O]`, floating.
        w: kernel, `[kh, kw, C, O]`, of the dtype of `y`.
        stride: step between windows, one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID' or explicit `((top, bottom), (left, right))` of the convolution.
        output_size: spatial size `(H, W)` of the result, as in `conv_transpose`.

    Returns:
        Images, `[B, H, W, C]`.

    Raises:
        ValueError: if the stride or the padding is malformed, or `output_size` does not fit `y`.

    Source:
        Dumoulin and Visin (2016), A guide to convolution arithmetic for deep learning, chapter 4.
    """
    return _plain_transpose(y, w, _conv_transpose_geometry(y, w, stride, padding, output_size))
