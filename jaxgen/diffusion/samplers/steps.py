"""What all samplers share: the loop over a grid, and steps between two noise levels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import example_keys
from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.trees import combine
from jaxgen.types import Array, Key, PyTree


class Level(NamedTuple):
    """A noise level.

    Attributes:
        log_a: ln of the factor of the signal.
        log_s: ln of the deviation of the noise; -inf where there is none.
    """

    log_a: Array
    log_s: Array

    @property
    def log_snr(self) -> Array:
        """The log-SNR."""
        return 2.0 * (self.log_a - self.log_s)

    @property
    def a(self) -> Array:
        """The factor of the signal."""
        return jnp.exp(self.log_a)

    @property
    def s(self) -> Array:
        """The deviation of the noise."""
        return jnp.exp(self.log_s)


Step = Callable[[Key, PyTree, Any, Array, Level, Level], tuple[PyTree, Any]]
"""``(keys [B], x, memory, i, level i, level i + 1) -> (x, memory)``."""


def walk(
    step: Step, key: Key, x_T: PyTree, memory: Any, grid: Grid, num_frames: int
) -> PyTree | tuple[PyTree, PyTree]:
    """Goes through the grid; with frames, keeps the states at places spread over the steps.

    Args:
        step: of a sampler.
        key: random key, or keys `[B]`.
        x_T: noise of the grid's first level, arrays `[B, ...]`.
        memory: what the first step remembers.
        grid: noise levels.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data, of the shapes of `x_T`; with frames ``(x, frames [F, B, ...])``.
    """
    log_a, log_s = jnp.asarray(grid.log_a), jnp.asarray(grid.log_s)
    keys = example_keys(key, len(jax.tree.leaves(x_T)[0]))
    due = frame_steps(grid.num_steps, num_frames)

    def keep(frames: Array, x: Array, i: Array) -> Array:
        return jnp.where((due == i).reshape(-1, *(1,) * x.ndim), x, frames)

    def body(i: Array, carry: tuple[PyTree, Any, PyTree]) -> tuple[PyTree, Any, PyTree]:
        x, memory, frames = carry
        t, s = Level(log_a[i], log_s[i]), Level(log_a[i + 1], log_s[i + 1])
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        x, memory = step(own, x, memory, i, t, s)
        return x, memory, jax.tree.map(lambda kept, new: keep(kept, new, i + 1), frames, x)

    frames = jax.tree.map(lambda x: jnp.repeat(x[None], num_frames, axis=0), x_T)
    x, _, frames = jax.lax.fori_loop(0, grid.num_steps, body, (x_T, memory, frames))
    return (x, frames) if num_frames else x


def frame_steps(num_steps: Any, num_frames: int) -> Any:
    """How many steps lie behind each state of a trajectory.

    Args:
        num_steps: N, an integer or an array.
        num_frames: F, at least 0.

    Returns:
        Integers `[F]`, spread evenly from 0 to N.
    """
    spaces = max(num_frames - 1, 1)
    return (np.arange(num_frames) * num_steps + spaces // 2) // spaces


def towards(x0: PyTree, x: PyTree, t: Level, s: Level, deviation: Array) -> PyTree:
    """``a_s x0 + deviation noise`` with the noise that `x0` leaves of `x` at level t.

    Args:
        x0: estimate of the data, of the structure of `x`.
        x: arrays `[B, ...]` at level t.
        t: the level before the step.
        s: the level after it.
        deviation: of the noise after it, at most that of level s.

    Returns:
        Arrays of the shapes of `x`.
    """
    share = deviation / t.s
    return combine((share, x), (s.a - share * t.a, x0))


def lost_signal(t: Level, s: Level) -> Array:
    """The variance that the process adds between two levels, ``1 - a_t^2 / a_s^2``.

    Args:
        t: the noisier level.
        s: the other.

    Returns:
        A number in [0, 1].
    """
    return -jnp.expm1(2.0 * (t.log_a - s.log_a))


def for_each(log_snr: Array, x: PyTree) -> Array:
    """One log-SNR for each example.

    Args:
        log_snr: a number.
        x: arrays `[B, ...]`.

    Returns:
        `[B]`.
    """
    return jnp.full(len(jax.tree.leaves(x)[0]), log_snr)
