"""Networks that give the parameters of a bijector from what it leaves as it is.

``(x, condition, num_outputs) -> raw [..., num_outputs]``. Their last layer starts at zero, so that
a fresh flow is nearly the identity: without this its round trip loses all digits in a few layers. A
condition is a vector for each example, `[B, F]`, or, for images, also a map `[B, H, W, F]`.

The biases of those of vectors start spread: units that all bend at 0 leave a flow of the plane
with twice what it lacks of a density.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from jaxgen.arrays import at_least_float32
from jaxgen.nn import Conv, add_bias
from jaxgen.types import Array, Key


class MLPConditioner(nn.Module):
    """A fully connected network of vectors.

    Attributes:
        hidden_sizes: width of each hidden layer.
        dtype: of the computation; None takes that of the input and the parameters.
        activation: of the hidden layers.
    """

    hidden_sizes: Sequence[int] = (128, 128)
    dtype: Any = None
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, x: Array, condition: Array | None, num_outputs: int) -> Array:
        """Returns `[B, num_outputs]`, float32, of `x [B, D]`."""
        if condition is not None:
            x = jnp.concatenate([x, condition], axis=-1)
        for size in self.hidden_sizes:
            layer = nn.Dense(size, dtype=self.dtype, bias_init=_spread(x.shape[-1]))
            x = self.activation(layer(x))
        last = nn.Dense(num_outputs, kernel_init=nn.initializers.zeros_init(), dtype=self.dtype)
        return at_least_float32(last(x))


class ConvConditioner(nn.Module):
    """Convolutions 3x3, 1x1, 3x3 of images, as in Glow.

    Attributes:
        num_features: channels of the hidden layers.
        dtype: of the computation; None takes that of the input and the parameters.

    Source:
        Kingma & Dhariwal 2018, "Glow: generative flow with invertible 1x1 convolutions", the
        networks of its experiments.
    """

    num_features: int = 64
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None, num_outputs: int) -> Array:
        """Returns `[B, H, W, num_outputs]`, float32, of `x [B, H, W, C]`."""
        if condition is not None and condition.ndim == x.ndim:
            x = jnp.concatenate([x, condition], axis=-1)
        h = Conv(self.num_features, 3, dtype=self.dtype)(x)
        if condition is not None and condition.ndim == 2:
            h += nn.Dense(self.num_features, dtype=self.dtype)(condition)[:, None, None]
        h = nn.relu(Conv(self.num_features, 1, dtype=self.dtype)(nn.relu(h)))
        zeros = nn.initializers.zeros_init()
        return at_least_float32(Conv(num_outputs, 3, kernel_init=zeros, dtype=self.dtype)(h))


class MADE(nn.Module):
    """A masked network: the outputs of each number see those before it, all of them and no others.

    One vector of degrees makes both the masks and the order in which the inverse goes. The outputs
    are also connected with the inputs directly, so that a network narrower than its data still sees
    every predecessor.

    Attributes:
        hidden_sizes: width of each hidden layer.
        is_reversed: whether the last number comes first.
        dtype: of the computation; None takes that of the input and the parameters.

    Source:
        Germain et al. 2015, "MADE: masked autoencoder for distribution estimation", section 4.
    """

    hidden_sizes: Sequence[int] = (128, 128)
    is_reversed: bool = False
    dtype: Any = None

    def degrees(self, num: int) -> np.ndarray:
        """The place of each of `num` numbers in the order, from 0."""
        order = np.arange(num)
        return order[::-1].copy() if self.is_reversed else order

    @nn.compact
    def __call__(self, x: Array, condition: Array | None, num_outputs: int) -> Array:
        """Returns `[B, num_outputs, D]`, float32, of `x [B, D]`."""
        num = x.shape[-1]
        inputs = self.degrees(num)
        h, seen = x, inputs
        for layer, size in enumerate(self.hidden_sizes):
            # Of D - 1 degrees, as evenly as they go; none for a lone number, which sees nothing.
            degrees = np.arange(size) * max(num - 1, 1) // size
            mask = (seen[:, None] <= degrees) & (num > 1)
            bias_init = _spread(h.shape[-1])
            h = _MaskedDense(size, _HashableMask(mask), bias_init=bias_init, dtype=self.dtype)(h)
            if condition is not None:
                h += nn.Dense(size, use_bias=False, dtype=self.dtype, name=f"condition_{layer}")(
                    condition
                )
            h, seen = nn.relu(h), degrees
        zeros = nn.initializers.zeros_init()
        outputs = np.tile(inputs, num_outputs)
        raw = _MaskedDense(
            len(outputs),
            _HashableMask(seen[:, None] < outputs),
            kernel_init=zeros,
            dtype=self.dtype,
        )(h)
        raw += _MaskedDense(
            len(outputs),
            _HashableMask(inputs[:, None] < outputs),
            use_bias=False,
            kernel_init=zeros,
            dtype=self.dtype,
            name="direct",
        )(x)
        if condition is not None:
            raw += nn.Dense(len(outputs), use_bias=False, kernel_init=zeros, name="condition")(
                condition
            )
        return at_least_float32(raw).reshape(len(x), num_outputs, num)


def _spread(num_inputs: int) -> Any:
    """An initializer of biases, uniform in ``[-1, 1] / sqrt(num_inputs)``."""
    bound = num_inputs**-0.5

    def initialize(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialize


class _HashableMask:
    """A constant array as the attribute of a module, which must be compared and hashed."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HashableMask) and np.array_equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash(self.mask.tobytes())


class _MaskedDense(nn.Module):
    """A fully connected layer of which some connections are absent.

    Attributes:
        features: number of outputs.
        mask: which connections there are.
        use_bias: whether there is a bias.
        kernel_init: initializer of the kernel.
        bias_init: initializer of the bias.
        dtype: of the computation; None takes that of the input and the parameters.
    """

    features: int
    mask: _HashableMask
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros_init()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns `[B, features]` of `x [B, D]`."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = x @ jnp.where(self.mask.mask, kernel, 0.0)
        return y if bias is None else add_bias(y, bias)
