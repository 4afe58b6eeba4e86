"""Bijectors made of bijectors: in a chain, one many times, turned round, on a part."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.types import Array, PyTree


class Bijector(Protocol):
    """A linen module that is an invertible map of each example, in both directions.

    `encode` goes from data to latents, `decode` back; each gives the logarithm of the absolute
    determinant of its own Jacobian, so that the two along a round trip sum to zero. The examples
    may be any pytree of arrays `[B, ...]`. Parameters come to be in whichever is called by `init`;
    those that start from data (`ActNorm`) start right if that is `encode`.
    """

    def encode(self, x: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Maps data to latents: `(z, log_det [B])`, float32 in nats."""
        ...

    def decode(self, z: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Maps latents to data: `(x, log_det [B])`, float32 in nats."""
        ...


def no_log_det(x: PyTree) -> Array:
    """The log-determinant of a map that keeps volumes.

    Args:
        x: examples, a pytree of arrays `[B, ...]`.

    Returns:
        Zeros `[B]`, float32 or wider.
    """
    first = at_least_float32(jax.tree.leaves(x)[0])
    return jnp.zeros(len(first), first.dtype)


class Chain(nn.Module):
    """Several bijectors, from data to latents in their order.

    Attributes:
        bijectors: at least one.
    """

    bijectors: Sequence[Any]

    def encode(self, x: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Returns `(z, log_det [B])`."""
        log_det = no_log_det(x)
        for bijector in self.bijectors:
            x, part = bijector.encode(x, condition)
            log_det += part
        return x, log_det

    def decode(self, z: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Returns `(x, log_det [B])`."""
        log_det = no_log_det(z)
        for bijector in reversed(self.bijectors):
            z, part = bijector.decode(z, condition)
            log_det += part
        return z, log_det


def chain(*bijectors: Any) -> Chain:
    """Composes bijectors, at least one, from the data to the latents.

    Args:
        bijectors: modules with `encode` and `decode`.

    Returns:
        Their chain.

    Raises:
        ValueError: if there is none.
    """
    if not bijectors:
        raise ValueError("bijectors: none, expected at least one")
    return Chain(bijectors)


class Repeat(nn.Module):
    """Equal bijectors behind one another, with parameters of their own: compiled once, scanned.

    Attributes:
        block: which is repeated; it must not change the shape of the examples.
        num: how many there are, at least 1.
        unroll: how many of them the scanned program holds at once: more compile longer, and small
            ones run faster.
    """

    block: Any
    num: int
    unroll: int = 1

    def encode(self, x: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Returns `(z, log_det [B])`."""
        return self._scan("encode", x, condition)

    def decode(self, z: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Returns `(x, log_det [B])`."""
        return self._scan("decode", z, condition)

    def _scan(self, direction: str, x: PyTree, condition: Array | None) -> tuple[PyTree, Array]:
        def step(block: Any, carry: tuple[PyTree, Array], _: None) -> tuple[Any, None]:
            x, log_det = carry
            x, part = getattr(block, direction)(x, condition)
            return (x, log_det + part), None

        scan = nn.scan(
            step,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.num,
            unroll=self.unroll,
            reverse=direction == "decode",
        )
        x = jax.tree.map(at_least_float32, x)
        return scan(self.block, (x, no_log_det(x)), None)[0]


class Inverse(nn.Module):
    """A bijector turned round: its `encode` is the `decode` of the other.

    Attributes:
        bijector: the other.
    """

    bijector: Any

    def encode(self, x: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Returns `(z, log_det [B])`."""
        return self.bijector.decode(x, condition)

    def decode(self, z: PyTree, condition: Array | None = None) -> tuple[PyTree, Array]:
        """Returns `(x, log_det [B])`."""
        return self.bijector.encode(z, condition)


class OnFirst(nn.Module):
    """A bijector of the first of a tuple of arrays; the others pass.

    Attributes:
        bijector: of the first.
    """

    bijector: Any

    def encode(
        self, x: tuple[Array, ...], condition: Array | None = None
    ) -> tuple[tuple[Array, ...], Array]:
        """Returns `(z, log_det [B])`."""
        first, log_det = self.bijector.encode(x[0], condition)
        return (first, *x[1:]), log_det

    def decode(
        self, z: tuple[Array, ...], condition: Array | None = None
    ) -> tuple[tuple[Array, ...], Array]:
        """Returns `(x, log_det [B])`."""
        first, log_det = self.bijector.decode(z[0], condition)
        return (first, *z[1:]), log_det


class Flatten(nn.Module):
    """An array as a vector, `[B, ...]` to `[B, D]`.

    Attributes:
        shape: of an example.
    """

    shape: Sequence[int]

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z [B, D], log_det [B])`."""
        return x.reshape(len(x), -1), no_log_det(x)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x [B, ...], log_det [B])`."""
        return z.reshape(len(z), *self.shape), no_log_det(z)


class Concatenate(nn.Module):
    """A tuple of arrays as one vector, `[B, D]`.

    Attributes:
        shapes: of an example of each.
    """

    shapes: Sequence[Sequence[int]]

    def encode(self, x: tuple[Array, ...], condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z [B, D], log_det [B])`."""
        return jnp.concatenate([a.reshape(len(a), -1) for a in x], axis=1), no_log_det(x)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[tuple[Array, ...], Array]:
        """Returns `(x, log_det [B])`."""
        ends = itertools.accumulate(math.prod(shape) for shape in self.shapes)
        parts = jnp.split(z, list(ends)[:-1], axis=1)
        x = (part.reshape(len(z), *shape) for part, shape in zip(parts, self.shapes, strict=True))
        return tuple(x), no_log_det(z)
