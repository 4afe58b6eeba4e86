"""Linen modules in place of `nn.Conv` and `nn.ConvTranspose`: equal, and faster on a CPU."""

from collections.abc import Callable, Sequence

import chex
import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxgen.nn.convolution import conv, conv_transpose
from jaxgen.nn.geometry import Padding, Pair, pair
from jaxgen.nn.sums import add_bias
from jaxgen.types import Array

Initializer = Callable[..., Array]


def _reversed_padding(kernel: Pair, padding: Padding) -> Padding:
    """Turn padding of the dilated argument, as lax takes it, into that of the adjoint."""
    if isinstance(padding, str):
        return padding
    (top, bottom), (left, right) = padding
    return (
        (kernel[0] - 1 - top, kernel[0] - 1 - bottom),
        (kernel[1] - 1 - left, kernel[1] - 1 - right),
    )


def _with_parameters(module: "Conv | ConvTranspose", x: Array) -> tuple[Array, Array, Array | None]:
    """The argument, the kernel and the bias of a module, in the type of its computation."""
    chex.assert_rank(x, 4)
    shape = (*pair("kernel_size", module.kernel_size), x.shape[3], module.features)
    kernel = module.param("kernel", module.kernel_init, shape, jnp.float32)
    bias = None
    if module.use_bias:
        bias = module.param("bias", module.bias_init, (module.features,), jnp.float32)
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=module.dtype)
    return x, kernel, bias


class Conv(nn.Module):
    """A convolution of images with the parameters (`kernel`, `bias`) and results of `nn.Conv`.

    Attributes:
        features: number of output channels.
        kernel_size: one positive integer or (vertical, horizontal).
        strides: one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID' or `((top, bottom), (left, right))`.
        use_bias: whether to add one parameter per output channel.
        dtype: type of the computation; `None` takes that of the argument and the parameters.
        kernel_init: initializer of the kernel, `[kh, kw, C, features]`, kept in float32.
        bias_init: initializer of the bias, `[features]`, kept in float32.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map `[B, H, W, C]` to `[B, h, w, features]`, with `h = ceil(H / stride)` for 'SAME'."""
        x, kernel, bias = _with_parameters(self, x)
        is_pointwise = kernel.shape[:2] == (1, 1) and pair("strides", self.strides) == (1, 1)
        if is_pointwise and isinstance(self.padding, str):
            # Two-dimensional, since XLA CPU transposes for a product of more dimensions.
            product = x.reshape(-1, x.shape[3]) @ kernel[0, 0]
            y = product.reshape(*x.shape[:3], self.features)
        else:
            y = conv(x, kernel, stride=self.strides, padding=self.padding)
        return y if bias is None else add_bias(y, bias)


class ConvTranspose(nn.Module):
    """A transposed convolution with the parameters and results of `nn.ConvTranspose`.

    With 'SAME' the result is exactly `stride` times as large as the argument; crop it to get any
    size in between.

    Attributes:
        features: number of output channels.
        kernel_size: one positive integer or (vertical, horizontal).
        strides: one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID', or `((top, bottom), (left, right))` of the dilated argument, as
            `lax.conv_transpose` takes it.
        use_bias: whether to add one parameter per output channel.
        dtype: type of the computation; `None` takes that of the argument and the parameters.
        kernel_init: initializer of the kernel, `[kh, kw, C, features]`, kept in float32.
        bias_init: initializer of the bias, `[features]`, kept in float32.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map `[B, h, w, C]` to `[B, H, W, features]`, with `H = h * stride` for 'SAME'."""
        x, kernel, bias = _with_parameters(self, x)
        # The parameter is oriented for the dilated argument; the kernel of the adjoint mirrors it.
        mirrored = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
        padding = _reversed_padding(pair("kernel_size", self.kernel_size), self.padding)
        y = conv_transpose(x, mirrored, stride=self.strides, padding=padding)
        return y if bias is None else add_bias(y, bias)
