"""Sums over pixels, which XLA's CPU compiler does fastest as a matrix product."""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.types import Array


def _sum_as_product(x: Array) -> Array:
    """Sum the rows of `[N, C]` as a product with ones, accumulated in float32 or better."""
    ones = jnp.ones((1, x.shape[0]), x.dtype)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.matmul(ones, x, preferred_element_type=wide)[0].astype(x.dtype)


def _sum(x: Array) -> Array:
    """Sum the rows of `[N, C]`."""
    return jnp.sum(x, axis=0)


def channel_sum(x: Array) -> Array:
    """Sum over all axes but the last: `s[c] = sum_n x[n, c]`, as bias gradients and norms need it.

    On a CPU it is a product of ones and `x`; elsewhere the plain sum.

    Args:
        x: features, `[..., C]`, floating.

    Returns:
        Sums, `[C]`, of the dtype of `x`.
    """
    return lax.platform_dependent(x.reshape(-1, x.shape[-1]), cpu=_sum_as_product, default=_sum)


@jax.custom_vjp
def _add_bias(y: Array, bias: Array) -> Array:
    """`add_bias` of checked arguments."""
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def _add_bias_forward(y: Array, bias: Array) -> tuple[Array, tuple[()]]:
    return _add_bias(y, bias), ()


def _add_bias_backward(_: tuple[()], gradient: Array) -> tuple[Array, Array]:
    return gradient, channel_sum(gradient)


_add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def add_bias(y: Array, bias: Array) -> Array:
    """Add one value per channel; the gradient in the bias is a `channel_sum`. No forward mode.

    Args:
        y: features, `[..., C]`, floating.
        bias: values, `[C]`, of the dtype of `y`.

    Returns:
        `y + bias`, `[..., C]`.
    """
    chex.assert_rank(bias, 1)
    chex.assert_equal(y.shape[-1], bias.shape[0])
    chex.assert_equal(y.dtype, bias.dtype)
    return _add_bias(y, bias)
