"""Data-parallel training and evaluation: the one file that names `jax.pmap`.

The state has no device axis: it goes in and comes out once, replicated by its sharding, and is
donated. A dispatch scans many steps. Batches are gathered on the device from rows that lie there.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree, as_pytree

AXIS = "devices"


def replicate(tree: PyTree) -> PyTree:
    """Puts every array of `tree` on all local devices, without a device axis.

    What lies there already is not copied: `train_steps`, which donates its state, deletes it for
    the caller too.

    Args:
        tree: arrays, on any device.

    Returns:
        The same tree, each array replicated by its sharding.
    """
    where = NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), PartitionSpec())
    return jax.device_put(tree, where)


def shard_rows(indices: np.ndarray) -> np.ndarray:
    """Splits the last axis of global batch rows into this host's devices.

    A batch of one row, that of a data set of a single example, goes whole to every device.

    Args:
        indices: rows of K global batches, `[K, B]`.

    Returns:
        The rows of each local device, in the order of the devices,
        `[local devices, K, B / all devices]`; `[local devices, K, 1]` for B of 1.

    Raises:
        ValueError: if B is above 1 and does not divide by the number of devices.
    """
    if indices.shape[-1] == 1:
        return np.repeat(indices[None], jax.local_device_count(), axis=0)
    parts = np.split(indices, jax.device_count(), axis=-1)
    first = jax.process_index() * jax.local_device_count()
    return np.stack(parts[first : first + jax.local_device_count()])


# JAX frees no function that it has mapped: the same one serves whoever asks again.
@functools.lru_cache(maxsize=4)
def train_steps(algorithm: Algorithm, *, rows_are_shared: bool) -> Callable[..., Any]:
    """Compiles a dispatch of many training steps on every device.

    Step `t` has the key ``fold_in(key, t)``, the same on every device.

    Args:
        algorithm: whose step is run.
        rows_are_shared: True if all devices hold the whole data set, False if each is given rows of
            its own.

    Returns:
        ``(state, rows, indices [devices, K, b], steps [K], key) -> (state, metrics [K] each)``;
        `rows` is a dict of arrays whose leading axis the indices select (behind a device axis where
        not shared). The state is donated.
    """
    # Over one device an all-reduce changes nothing and still copies every gradient.
    axis_name = AXIS if jax.device_count() > 1 else None

    def run(
        state: PyTree, rows: Batch, indices: Array, steps: Array, key: Key
    ) -> tuple[PyTree, Metrics]:
        def step(state: PyTree, inputs: tuple[Array, Array]) -> tuple[PyTree, Metrics]:
            index, t = inputs
            batch = {name: array[index] for name, array in rows.items()}
            return algorithm.step(state, batch, jax.random.fold_in(key, t), axis_name=axis_name)

        return jax.lax.scan(step, state, (indices, steps))

    return jax.pmap(
        run,
        axis_name=AXIS,
        in_axes=(None, None if rows_are_shared else 0, 0, None, None),
        out_axes=None,
        donate_argnums=0,
    )


@functools.lru_cache(maxsize=4)
def evaluate_rows(algorithm: Algorithm) -> Callable[..., Any]:
    """Compiles the evaluation of a block of examples on every device.

    Each example is evaluated by itself with the key ``fold_in(key, number)``, so that its value
    depends neither on its neighbours nor on the number of devices.

    Args:
        algorithm: whose `evaluate` is run.

    Returns:
        ``(state, batch [devices, b, ...], numbers [devices, b], key) -> metrics [devices, b]``.
    """

    def evaluate_one(state: PyTree, key: Key, example: Batch, number: Array) -> Metrics:
        single = {name: array[None] for name, array in example.items()}
        metrics = algorithm.evaluate(state, single, jax.random.fold_in(key, number))
        return {name: value[0] for name, value in metrics.items()}

    def run(state: PyTree, batch: Batch, numbers: Array, key: Key) -> Metrics:
        one = functools.partial(evaluate_one, state, key)
        return jax.vmap(one)(batch, numbers)

    return jax.pmap(run, axis_name=AXIS, in_axes=(None, 0, 0, None))


def map_examples(function: Callable[[PyTree, PyTree], PyTree]) -> Callable[..., Any]:
    """Compiles a function of examples on every local device.

    Args:
        function: ``(shared, examples [b, ...]) -> results``, that treats its examples apart.

    Returns:
        ``(shared, examples [devices, b, ...]) -> results [devices, ...]``.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=jax.local_devices())


@functools.lru_cache(maxsize=4)
def sample_blocks(algorithm: Algorithm, block_size: int) -> Callable[..., Any]:
    """Compiles the sampling of some blocks, one after another, on every local device.

    Block `i` has the key ``fold_in(key, i)``. What depends on the state alone is computed once a
    dispatch: the compiler takes it out of the loop over the blocks. What a `jax.tree_util.Partial`
    has beside its function is an argument of the program, which other values do not compile anew.

    Args:
        algorithm: whose `sample` is run.
        block_size: samples of a block.

    Returns:
        ``(state, key, count, numbers [devices, K], label [devices, K, block_size]) -> x``,
        `[devices, K, block_size, ...]`, for the numbers of the blocks of each device, of which the
        first `count` are sampled and the others zeros; the label is None for an algorithm without
        labels.
    """

    def run(shared: tuple[Any, PyTree, Key, Array], numbers: Array, label: Array | None) -> Array:
        sample, state, key, count = shared

        def block(i: Array) -> Array:
            classes = None if label is None else label[i]
            return sample(state, jax.random.fold_in(key, numbers[i]), block_size, classes)

        like = jax.eval_shape(block, 0)
        x = jnp.zeros((len(numbers), *like.shape), like.dtype)
        return jax.lax.fori_loop(0, count, lambda i, x: x.at[i].set(block(i)), x)

    # As one argument: where there are as many arrays as arguments, pmap (jax 0.10) takes the axes
    # of the arguments for those of the arrays.
    mapped = jax.pmap(run, axis_name=AXIS, in_axes=(None, 0, 0), devices=jax.local_devices())
    sample = as_pytree(algorithm.sample)

    def sample_numbered(
        state: PyTree, key: Key, count: int, numbers: np.ndarray, label: np.ndarray | None
    ) -> Array:
        return mapped((sample, state, key, count), numbers, label)

    return sample_numbered
