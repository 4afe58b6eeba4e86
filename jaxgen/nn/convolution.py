"""Convolutions that are fast on every backend, in every mode of derivative, in `lax.scan` and out.

With stride `s`, low padding `p` and kernel offset `u`, three functions share one trilinear form

    sum_{b, i, u, c, o}  x[b, i s + u - p, c]  w[u, c, o]  y[b, i, o]

Fixing two of its arguments gives a linear function of the third: `conv(x, w)` is its gradient in
`y`, `conv_transpose(y, w)` that in `x`, `conv_kernel_gradient(x, y)` that in `w`. Each is bilinear:
its tangents are itself and its transposes the other two, so the three are closed under derivatives
of any mode and order. On a CPU each is written as XLA computes it fast (`jaxgen.nn.cpu`); on a GPU
or TPU, whose libraries know the patterns that autodiff of lax makes, each is such a pattern.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxgen.nn import cpu
from jaxgen.nn.geometry import Geometry, Padding, convolution_geometry, pair, transposed_geometry
from jaxgen.nn.primitives import bind, platform_primitive, vary_alike
from jaxgen.types import Array


def _lax_conv(x: Array, w: Array, geometry: Geometry) -> Array:
    """The convolution as lax has it."""
    padding = list(zip(geometry.low, geometry.high, strict=True))
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, geometry.stride, padding, dimension_numbers=order)


def _lax_conv_transpose(y: Array, w: Array, geometry: Geometry) -> Array:
    """The adjoint of `_lax_conv` in the image, derived by lax."""
    like, _ = vary_alike([jnp.zeros((y.shape[0], *geometry.size, w.shape[2]), y.dtype), y])
    (x,) = jax.linear_transpose(lambda x: _lax_conv(x, w, geometry), like)(y)
    return x


def _lax_conv_kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """The adjoint of `_lax_conv` in the kernel, derived by lax."""
    like, _ = vary_alike([jnp.zeros((*geometry.kernel, x.shape[3], y.shape[3]), x.dtype), x])
    (w,) = jax.linear_transpose(lambda w: _lax_conv(x, w, geometry), like)(y)
    return w


_Form = Callable[..., Array]


def _primitive(name: str, cpu_form: _Form, lax_form: _Form) -> Primitive:
    """A primitive of two arrays of rank 4, or of rank 5 for one convolution each leading index."""

    def on_cpu(a: Array, b: Array, *, geometry: Geometry) -> Array:
        if a.ndim == 4:
            return cpu_form(a, b, geometry)
        # `vmap` would make a convolution in groups, for which XLA's CPU compiler has no fast path.
        return lax.map(lambda each: cpu_form(*each, geometry), (a, b))

    def elsewhere(a: Array, b: Array, *, geometry: Geometry) -> Array:
        form = functools.partial(lax_form, geometry=geometry)
        return form(a, b) if a.ndim == 4 else jax.vmap(form)(a, b)

    return platform_primitive(name, cpu=on_cpu, default=elsewhere)


_conv = _primitive("conv", cpu.conv, _lax_conv)
_conv_transpose = _primitive("conv_transpose", cpu.conv_transpose, _lax_conv_transpose)
_conv_kernel_gradient = _primitive(
    "conv_kernel_gradient", cpu.conv_kernel_gradient, _lax_conv_kernel_gradient
)

ad.defbilinear(
    _conv,
    lambda y, x, w, **static: _conv_transpose.bind(y, w, **static),
    lambda y, x, w, **static: _conv_kernel_gradient.bind(x, y, **static),
)
ad.defbilinear(
    _conv_transpose,
    lambda x, y, w, **static: _conv.bind(x, w, **static),
    lambda x, y, w, **static: _conv_kernel_gradient.bind(x, y, **static),
)
ad.defbilinear(
    _conv_kernel_gradient,
    lambda w, x, y, **static: _conv_transpose.bind(y, w, **static),
    lambda w, x, y, **static: _conv.bind(x, w, **static),
)


def _batch(
    primitive: Primitive,
    shared: Sequence[tuple[int, int]],
    operands: Sequence[Array],
    dims: Sequence[Any],
    **static: Any,
) -> tuple[Array, int]:
    """Result and its axis that `vmap` maps, of operands with theirs in `dims`.

    `shared` has for each operand the axis (batch, channels or features) that it has in common with
    the result but not with the other operand, here and in the result.
    """
    if None not in dims:
        a, b = (jnp.moveaxis(array, dim, 0) for array, dim in zip(operands, dims, strict=True))
        each = a.shape[:-4]
        a, b = (array.reshape(math.prod(each), *array.shape[-4:]) for array in (a, b))
        result = primitive.bind(a, b, **static)
        return result.reshape(*each, *result.shape[1:]), 0
    # A mapped axis joins the shared one, and parts from it in the result.
    place = 0 if dims[1] is None else 1
    leading = operands[1 - place].ndim - 4
    axis, result_axis = (leading + shared_axis for shared_axis in shared[place])
    moved = jnp.moveaxis(operands[place], dims[place], axis)
    folded = list(operands)
    folded[place] = lax.collapse(moved, axis, axis + 2)
    result = primitive.bind(*folded, **static)
    shape = list(result.shape)
    shape[result_axis : result_axis + 1] = moved.shape[axis : axis + 2]
    return result.reshape(shape), result_axis


for _each, _shared in (
    (_conv, ((0, 0), (3, 3))),
    (_conv_transpose, ((0, 0), (2, 3))),
    (_conv_kernel_gradient, ((3, 2), (3, 3))),
):
    batching.primitive_batchers[_each] = functools.partial(_batch, _each, _shared)


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
    indices, strides and low paddings, and `x` is zero outside of the image.

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
        Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 2.
    """
    return bind(_conv, [x, w], geometry=_geometry(x, w, stride, padding))


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
        Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4.
    """
    geometry = _transposed_geometry(y, w, stride, padding, output_size)
    return bind(_conv_transpose, [y, w], geometry=geometry)


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
        Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4.
    """
    chex.assert_rank([x, y], 4)
    chex.assert_equal(x.shape[0], y.shape[0])
    chex.assert_equal(x.dtype, y.dtype)
    kernel = pair("kernel_size", kernel_size)
    geometry = convolution_geometry((x.shape[1], x.shape[2]), kernel, stride, padding)
    if geometry.output != (y.shape[1], y.shape[2]):
        raise ValueError(f"y: {y.shape[1:3]} windows, expected {geometry.output} for this x")
    return bind(_conv_kernel_gradient, [x, y], geometry=geometry)
