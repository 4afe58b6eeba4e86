"""Data-parallel training and evaluation: the one file that names `jax.pmap`.

The state has no device axis: it goes in and comes out once, replicated by its sharding, and is donated. A dispatch
scans many steps. Batches are gathered on the device from rows that lie there.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree

AXIS = "devices"


def replicate(tree: PyTree) -> PyTree:
    """Copies every array of `tree` to all local devices, without a device axis.

    The copy is real even where the array lies there already: `train_steps` donates its state, which would otherwise
    delete the caller's array.

    Args:
        tree: arrays, on any device.

    Returns:
        The same tree, each array replicated by its sharding.
    """
    where = NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), PartitionSpec())
    return jax.tree.map(lambda x: jax.device_put(jnp.copy(x), where), tree)


def shard_rows(indices: np.ndarray) -> np.ndarray:
    """Splits the last axis of global batch rows into this host's devices: `[K, B]` to `[devices, K, B / all devices]`.

    Args:
        indices: rows of K global batches, `[K, B]`.

    Returns:
        The rows of each local device, in the order of the devices.

    Raises:
        ValueError: if B does not divide by the number of devices.
    """
    check_divides(indices.shape[-1])
    parts = np.split(indices, jax.device_count(), axis=-1)
    first = jax.process_index() * jax.local_device_count()
    return np.stack(parts[first : first + jax.local_device_count()])


def check_divides(batch_size: int) -> None:
    """Checks that a global batch divides by the number of devices.

    Args:
        batch_size: examples of a step on all devices together.

    Raises:
        ValueError: if it does not divide.
    """
    if batch_size < 1 or batch_size % jax.device_count():
        raise ValueError(
            f"batch_size: {batch_size} does not divide by the {jax.device_count()} devices; "
            f"choose a multiple of {jax.device_count()}"
        )


def train_steps(algorithm: Algorithm, *, rows_are_shared: bool) -> Callable[..., Any]:
    """Compiles a dispatch of many training steps on every device.

    Step `t` on device `d` uses the key ``fold_in(fold_in(key, t), d)``.

    Args:
        algorithm: whose step is run.
        rows_are_shared: True if all devices hold the whole data set, False if each is given rows of its own.

    Returns:
        ``(state, rows, indices [devices, K, b], steps [K], key) -> (state, metrics [K] each)``; `rows` is a dict of
        arrays whose leading axis the indices select (behind a device axis where not shared). The state is donated.
    """
    # Over one device an all-reduce changes nothing and still copies every gradient.
    axis_name = AXIS if jax.device_count() > 1 else None

    def run(
        state: PyTree, rows: Batch, indices: Array, steps: Array, key: Key
    ) -> tuple[PyTree, Metrics]:
        device = jax.lax.axis_index(AXIS)

        def step(state: PyTree, inputs: tuple[Array, Array]) -> tuple[PyTree, Metrics]:
            index, t = inputs
            batch = {name: array[index] for name, array in rows.items()}
            step_key = jax.random.fold_in(jax.random.fold_in(key, t), device)
            return algorithm.step(state, batch, step_key, axis_name=axis_name)

        return jax.lax.scan(step, state, (indices, steps))

    return jax.pmap(
        run,
        axis_name=AXIS,
        in_axes=(None, None if rows_are_shared else 0, 0, None, None),
        out_axes=None,
        donate_argnums=0,
    )


def evaluate_rows(algorithm: Algorithm) -> Callable[..., Any]:
    """Compiles the evaluation of a block of examples on every device.

    Each example is evaluated by itself with the key ``fold_in(key, number)``, so that its value depends neither on its
    neighbours nor on the number of devices.

    Args:
        algorithm: whose `evaluate` is run.

    Returns:
        ``(state, batch [devices, b, ...], numbers [devices, b], key) -> metrics [devices, b] each``.
    """

    def evaluate_one(state: PyTree, key: Key, example: Batch, number: Array) -> Metrics:
        single = {name: array[None] for name, array in example.items()}
        metrics = algorithm.evaluate(state, single, jax.random.fold_in(key, number))
        return {name: value[0] for name, value in metrics.items()}

    def run(state: PyTree, batch: Batch, numbers: Array, key: Key) -> Metrics:
        one = functools.partial(evaluate_one, state, key)
        return jax.vmap(one)(batch, numbers)

    return jax.pmap(run, axis_name=AXIS, in_axes=(None, 0, 0, None))
