"""What becomes of a component that explains no example."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxgen.classical.mixture.sufficient_statistics import Statistics
from jaxgen.types import Array

_EMPTY = 1e-2  # Examples; a component of less explains none.


def reseed(
    statistics: Statistics, x: Array, log_prob: Array, *, axis_name: str | None = None
) -> tuple[Statistics, Array]:
    """Moves empty components to the examples of least density, one each.

    Such a component is given the weight of one example and the covariance of the largest.

    Args:
        statistics: of an E step.
        x: its examples `[N, n]`.
        log_prob: of each, `[N]`; infinity keeps one from being chosen.
        axis_name: the mapped axis of the devices that hold parts of the data, or None.

    Returns:
        The statistics, and the number of components moved.

    Source:
        Bishop 2006, "Pattern recognition and machine learning", section 9.2.1, which resets a
        component that collapses.
    """
    num = len(x) if axis_name is None else len(x) * jax.lax.axis_size(axis_name)
    is_empty = statistics.share * num < _EMPTY
    worst = _worst_explained(x, log_prob, len(is_empty), axis_name)
    largest = jnp.argmax(statistics.share)
    new = jax.tree.map(lambda a: jnp.broadcast_to(a[largest], a.shape), statistics)
    place = jnp.cumsum(is_empty) - 1  # Of each empty component among the empty ones.
    new = dataclasses.replace(
        new,
        share=jnp.full_like(new.share, 1.0 / num),
        x=worst[jnp.maximum(place, 0)],
        z=jnp.zeros_like(new.z),
    )

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(is_empty.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    chosen: Statistics = jax.tree.map(choose, new, statistics)
    share = chosen.share / jnp.sum(chosen.share)
    return dataclasses.replace(chosen, share=share), jnp.sum(is_empty)


def _worst_explained(x: Array, log_prob: Array, num: int, axis_name: str | None) -> Array:
    """The examples of least density, `[num, n]`, over all devices; the last of few again."""
    _, index = jax.lax.top_k(-log_prob, min(num, len(x)))
    x, log_prob = x[index], log_prob[index]
    if axis_name is not None:
        x, log_prob = (jax.lax.all_gather(a, axis_name, tiled=True) for a in (x, log_prob))
    _, order = jax.lax.top_k(-log_prob, min(num, len(x)))
    return x[jnp.take(order, jnp.arange(num), mode="clip")]
