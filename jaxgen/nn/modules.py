"""Linen modules in place of `nn.Conv` and `nn.ConvTranspose`: equal, with faster derivatives."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxgen.nn.convolution import conv, conv_transpose, plain_conv, plain_conv_transpose
from jaxgen.nn.geometry import Padding, Pair, pair
from jaxgen.nn.normalization import BatchNorm
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
        chex.assert_rank(x, 4)
        shape = (*pair("kernel_size", self.kernel_size), x.shape[3], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return self.convolve(x, kernel, bias)

    def convolve(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        """Apply given parameters, with fast derivatives in reverse mode."""
        is_pointwise = kernel.shape[:2] == (1, 1) and pair("strides", self.strides) == (1, 1)
        if is_pointwise and isinstance(self.padding, str):
            # Two-dimensional, since XLA CPU transposes for a product of more dimensions.
            product = x.reshape(-1, x.shape[3]) @ kernel[0, 0]
            y = product.reshape(*x.shape[:3], self.features)
        else:
            y = conv(x, kernel, stride=self.strides, padding=self.padding)
        return y if bias is None else add_bias(y, bias)

    def convolve_plainly(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        """Apply given parameters, with lax's derivatives in all modes."""
        y = plain_conv(x, kernel, stride=self.strides, padding=self.padding)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


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
        chex.assert_rank(x, 4)
        shape = (*pair("kernel_size", self.kernel_size), x.shape[3], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        # The parameter is oriented for the dilated argument; the kernel of the adjoint mirrors it.
        mirrored = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
        return self.convolve(x, mirrored, bias)

    def convolve(self, y: Array, kernel: Array, bias: Array | None) -> Array:
        """Apply given parameters, with fast derivatives in reverse mode."""
        padding = _reversed_padding((kernel.shape[0], kernel.shape[1]), self.padding)
        x = conv_transpose(y, kernel, stride=self.strides, padding=padding)
        return x if bias is None else add_bias(x, bias)

    def convolve_plainly(self, y: Array, kernel: Array, bias: Array | None) -> Array:
        """Apply given parameters, with lax's derivatives in all modes."""
        padding = _reversed_padding((kernel.shape[0], kernel.shape[1]), self.padding)
        x = plain_conv_transpose(y, kernel, stride=self.strides, padding=padding)
        return x if bias is None else x + bias.reshape(1, 1, 1, -1)


def _compute_plainly(
    next_method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Replace `convolve` and `normalize` of the modules of `jaxgen.nn` by their plain twins."""
    module, method = context.module, context.method_name
    if isinstance(module, Conv | ConvTranspose) and method == "convolve":
        return module.convolve_plainly(*args, **kwargs)
    if isinstance(module, BatchNorm) and method == "normalize":
        return module.normalize_plainly(*args, **kwargs)
    return next_method(*args, **kwargs)


def forward_mode(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Give the `apply` of a model forward-mode derivatives: same values, plain operations.

    `jax.jvp(forward_mode(model.apply), ...)` and `jax.hessian` work where `model.apply` alone
    raises, for any model that holds `Conv`, `ConvTranspose` or `BatchNorm`. Wrap before `jax.jit`, not after,
    since a function that is compiled already keeps its operations.

    Args:
        apply: `model.apply`, or a function that calls it.

    Returns:
        A function with the arguments and the result of `apply`.
    """

    @functools.wraps(apply)
    def plain_apply(*args: Any, **kwargs: Any) -> Any:
        with nn.intercept_methods(_compute_plainly):
            return apply(*args, **kwargs)

    return plain_apply
