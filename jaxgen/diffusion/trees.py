"""Arithmetic of pytrees whose leaves are arrays of examples, `[B, ...]`."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, sum_event
from jaxgen.types import Array, PyTree


def combine(*terms: tuple[Any, PyTree]) -> PyTree:
    """Adds pytrees with a factor each, a number or `[B]` for the examples: ``sum_k f_k x_k``.

    Args:
        terms: pairs of a factor and a pytree of arrays `[B, ...]`.

    Returns:
        Arrays of the same shapes.
    """
    factors = [factor for factor, _ in terms]

    def add(*leaves: Array) -> Array:
        return add_leaves([_like(f, x) * x for f, x in zip(factors, leaves, strict=True)])

    return jax.tree.map(add, *(tree for _, tree in terms))


def squared_distance(x: PyTree, y: PyTree) -> Array:
    """Sums the squared differences of all numbers of each example.

    Args:
        x: arrays `[B, ...]`.
        y: of the structure of `x`.

    Returns:
        `[B]`, at least float32.
    """

    def each(x: Array, y: Array) -> Array:
        chex.assert_equal_shape([x, y])
        return sum_event(jnp.square(at_least_float32(x) - at_least_float32(y)))

    return add_leaves(jax.tree.map(each, x, y))


def add_leaves(tree: PyTree) -> Array:
    """Adds up arrays of equal shapes, such as the parts of a loss.

    Args:
        tree: arrays.

    Returns:
        Their sum.
    """
    total, *rest = jax.tree.leaves(tree)
    for leaf in rest:
        total = total + leaf
    return total


def _like(factor: Any, leaf: Array) -> Array:
    """A factor `[B]`, or one number, in the rank of `leaf [B, ...]`."""
    factor = jnp.asarray(factor)
    return (
        factor.reshape(factor.shape + (1,) * (leaf.ndim - factor.ndim)) if factor.ndim else factor
    )
