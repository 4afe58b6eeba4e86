"""What every loss and distribution does to arrays: precision, sums over the event, example keys."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxgen.types import Array, Key


def at_least_float32(x: Array) -> Array:
    """Widens half precision and integers, in which sums over many values lose their digits.

    Args:
        x: of any shape and real type.

    Returns:
        `x` in float32, or unchanged if it is float64.
    """
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def sum_event(values: Array) -> Array:
    """Sums over all axes but the first, which counts examples.

    Args:
        values: `[B, ...]`.

    Returns:
        `[B]`.
    """
    chex.assert_rank(values, set(range(1, 9)))
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def check_key(key: Key) -> None:
    """Checks a random key.

    Args:
        key: one typed key, or several.

    Raises:
        ValueError: if it has no key type.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"key: {key.dtype} {key.shape}, expected a typed key, as jax.random.key makes"
        )


def example_keys(key: Key, num: int) -> Array:
    """A key for each example, so that its draws depend neither on the others nor on the devices.

    Args:
        key: one typed key, which is split, or the keys of the examples, `[num]`, such as
            `jaxgen.training.step.own_keys` gives.
        num: number of examples.

    Returns:
        Typed keys `[num]`.

    Raises:
        ValueError: if the key has no key type, there is another number of them, or `num` is below
            0.
    """
    check_key(key)
    if num < 0:
        raise ValueError(f"num: {num}, expected at least 0")
    if key.ndim == 0:
        return jax.random.split(key, num)
    if key.shape != (num,):
        raise ValueError(f"key: shape {key.shape}, expected one key or keys [{num}]")
    return key


def sample_by_example(
    sample: Callable[[Key, tuple[int, ...]], Array], key: Key, shape: tuple[int, ...]
) -> Array:
    """Random values `[B, ...]` of which those of each example come from a key of its own.

    Args:
        sample: ``(key, shape) -> values``, such as `jax.random.normal`.
        key: one key or keys `[B]`, as in `example_keys`.
        shape: `(B, ...)`.

    Returns:
        Values of `shape`.
    """
    return jax.vmap(lambda key: sample(key, shape[1:]))(example_keys(key, shape[0]))


def split_keys(keys: Array, num: int) -> Array:
    """Splits the key of each example.

    Args:
        keys: typed keys `[B]`.
        num: parts of each.

    Returns:
        Typed keys `[num, B]`, to be unpacked into independent keys of the examples.
    """
    return jax.vmap(lambda key: jax.random.split(key, num), out_axes=1)(keys)
