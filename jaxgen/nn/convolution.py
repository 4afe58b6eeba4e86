"""Convolutions that are fast on every backend, forward and backward, in `lax.scan` and outside.

With stride `s`, low padding `p` and kernel offset `u`, three functions share one trilinear form

    sum_{b, i, u, c, o}  x[b, i s + u - p, c]  w[u, c, o]  y[b, i, o]

Fixing two of its arguments gives a linear function of the third: `conv(x, w)` is its gradient in
`y`, `conv_transpose(y, w)` that in `x`, `conv_kernel_gradient(x, y)` that in `w`. Each derivative
of one is another of them, so the three are closed under reverse-mode differentiation to any order.
On a CPU each is written as XLA computes it fast (`jaxgen.nn.cpu`). On a GPU or TPU the vendor's
library knows the patterns that autodiff makes, so there `lax.platform_dependent` selects these.

`jax.custom_vjp` has no forward mode. For `jax.jvp`, `jax.jacfwd` or a forward-over-reverse Hessian,
use `plain_conv` and `plain_conv_transpose`, or `forward_mode` around the `apply` of a model.
"""

import functools
from collections.abc import Sequence

import chex
import jax
from jax import lax

from jaxgen.nn import cpu
from jaxgen.nn.geometry import Geometry, Padding, convolution_geometry, pair, transposed_geometry
from jaxgen.types import Array


def _plain(x: Array, w: Array, geometry: Geometry) -> Array:
    """The convolution as lax and its autodiff have it: linear in each argument, all modes."""
    padding = list(zip(geometry.low, geometry.high, strict=True))
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, geometry.stride, padding, dimension_numbers=order)


def _plain_transpose(y: Array, w: Array, geometry: Geometry) -> Array:
    """The adjoint of `_plain` in the image, derived by lax."""
    image = jax.ShapeDtypeStruct((y.shape[0], *geometry.size, w.shape[2]), y.dtype)
    (x,) = jax.linear_transpose(lambda x: _plain(x, w, geometry), image)(y)
    return x


def _plain_kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """The adjoint of `_plain` in the kernel, derived by lax."""
    kernel = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3], y.shape[3]), x.dtype)
    (w,) = jax.linear_transpose(lambda w: _plain(x, w, geometry), kernel)(y)
    return w


# In the three functions below the choice of a platform sits under the rule for derivatives, so it
# is never differentiated: on every platform and at every order just the operations chosen here run.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, w: Array, geometry: Geometry) -> Array:
    """`conv` of a known geometry."""
    return lax.platform_dependent(
        x,
        w,
        cpu=functools.partial(cpu.conv, geometry=geometry),
        default=functools.partial(_plain, geometry=geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_transpose(y: Array, w: Array, geometry: Geometry) -> Array:
    """`conv_transpose` of a known geometry."""
    return lax.platform_dependent(
        y,
        w,
        cpu=functools.partial(cpu.conv_transpose, geometry=geometry),
        default=functools.partial(_plain_transpose, geometry=geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """`conv_kernel_gradient` of a known geometry."""
    return lax.platform_dependent(
        x,
        y,
        cpu=functools.partial(cpu.conv_kernel_gradient, geometry=geometry),
        default=functools.partial(_plain_kernel_gradient, geometry=geometry),
    )


_Two = tuple[Array, Array]


def _conv_forward(x: Array, w: Array, geometry: Geometry) -> tuple[Array, _Two]:
    return _conv(x, w, geometry), (x, w)


def _conv_backward(geometry: Geometry, residuals: _Two, y: Array) -> _Two:
    x, w = residuals
    return _conv_transpose(y, w, geometry), _conv_kernel_gradient(x, y, geometry)


def _conv_transpose_forward(y: Array, w: Array, geometry: Geometry) -> tuple[Array, _Two]:
    return _conv_transpose(y, w, geometry), (y, w)


def _conv_transpose_backward(geometry: Geometry, residuals: _Two, x: Array) -> _Two:
    y, w = residuals
    return _conv(x, w, geometry), _conv_kernel_gradient(x, y, geometry)


def _kernel_gradient_forward(x: Array, y: Array, geometry: Geometry) -> tuple[Array, _Two]:
    return _conv_kernel_gradient(x, y, geometry), (x, y)


def _kernel_gradient_backward(geometry: Geometry, residuals: _Two, w: Array) -> _Two:
    x, y = residuals
    return _conv_transpose(y, w, geometry), _conv(x, w, geometry)


_conv.defvjp(_conv_forward, _conv_backward)
_conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)
_conv_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _geometry(x: Array, w: Array, stride: int | Sequence[int], padding: Padding) -> Geometry:
    """Check the arguments of `conv` and return its geometry."""
    chex.assert_rank([x, w], 4)
    chex.assert_equal(x.shape[3], w.shape[2])
    chex.assert_equal(x.dtype, w.dtype)
    return convolution_geometry((x.shape[1], x.shape[2]), (w.shape[0], w.shape[1]), stride, padding)


def _transposed_geometry(
    y: Array,
    w: Array,
    stride: int | Sequence[int],
    padding: Padding,
    output_size: Sequence[int] | None,
) -> Geometry:
    """Check the arguments of `conv_transpose` and return the geometry of its adjoint."""
    chex.assert_rank([y, w], 4)
    chex.assert_equal(y.shape[3], w.shape[3])
    chex.assert_equal(y.dtype, w.dtype)
    windows, kernel = (y.shape[1], y.shape[2]), (w.shape[0], w.shape[1])
    return transposed_geometry(windows, kernel, stride, padding, output_size)


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
    return _conv(x, w, _geometry(x, w, stride, padding))


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
    return _conv_transpose(y, w, _transposed_geometry(y, w, stride, padding, output_size))


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
    geometry = convolution_geometry((x.shape[1], x.shape[2]), kernel, stride, padding)
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
    return _plain(x, w, _geometry(x, w, stride, padding))


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
    return _plain_transpose(y, w, _transposed_geometry(y, w, stride, padding, output_size))
