"""Exact averages of an algorithm's metrics over a split, on any number of devices."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgen.data.dataset import Split
from jaxgen.training.parallel import evaluate_rows, replicate
from jaxgen.types import Algorithm, Key, PyTree


class NonFiniteMetricError(ArithmeticError):
    """An example's metric is infinite or not a number, so the average would hide a failure."""


class Summary(NamedTuple):
    """The average of one metric.

    Attributes:
        mean: over the examples.
        standard_error: of that mean; None of a single example.
    """

    mean: float
    standard_error: float | None

    def __format__(self, spec: str) -> str:
        """Writes both numbers by the format of one: `f"{summary:.2f}"` is such as `1.00 ± 0.25`."""
        mean = format(self.mean, spec)
        return mean if self.standard_error is None else f"{mean} ± {self.standard_error:{spec}}"


def evaluate(
    algorithm: Algorithm, state: PyTree, split: Split, key: Key, *, block_size: int = 128
) -> dict[str, np.ndarray]:
    """Evaluates every example once.

    Example `i` of the split has the key ``fold_in(key, i)``: its value depends neither on the block
    nor on the devices.

    Args:
        algorithm: whose `evaluate` is used.
        state: its state.
        split: the examples.
        key: random key.
        block_size: examples on a device at a time.

    Returns:
        Name to float values `[N]`.

    Raises:
        ValueError: if the split is empty or `block_size` is below 1.
    """
    if block_size < 1:
        raise ValueError(f"block_size: {block_size}, expected at least 1")
    if len(split) == 0:
        raise ValueError("split: 0 examples, expected at least 1")
    run = evaluate_rows(algorithm)
    state = replicate(state)
    blocks = []
    for numbers in _blocks(len(split), block_size):
        batch = split.gather(numbers.ravel())
        shaped = {name: x.reshape(*numbers.shape, *x.shape[1:]) for name, x in batch.items()}
        metrics = run(state, shaped, numbers.astype(np.int32), key)
        blocks.append({name: np.asarray(value).ravel() for name, value in metrics.items()})
    local = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return {name: _in_order(values, len(split), block_size) for name, values in local.items()}


def summarize(metrics: dict[str, np.ndarray]) -> dict[str, Summary]:
    """Averages per-example metrics in float64.

    Args:
        metrics: name to `[N]`.

    Returns:
        Name to mean and standard error.

    Raises:
        NonFiniteMetricError: if a value is not finite, counting the examples.
    """
    summaries = {}
    for name, values in metrics.items():
        values = values.astype(np.float64)
        num_bad = int(np.sum(~np.isfinite(values)))
        if num_bad:
            raise NonFiniteMetricError(
                f"{name} is not finite for {num_bad} of {len(values)} examples"
            )
        num = len(values)
        error = float(np.std(values)) / math.sqrt(num - 1) if num > 1 else None
        summaries[name] = Summary(float(np.mean(values)), error)
    return summaries


def _blocks(num_examples: int, block_size: int) -> Iterator[np.ndarray]:
    """Example numbers `[local devices, b]` of this host's part of each block.

    The last block repeats the last example.
    """
    local, first = jax.local_device_count(), jax.process_index() * jax.local_device_count()
    size = min(block_size, math.ceil(num_examples / jax.device_count()))
    for start in range(0, num_examples, size * jax.device_count()):
        numbers = start + np.arange(size * jax.device_count()).reshape(-1, size)
        yield np.minimum(numbers, num_examples - 1)[first : first + local]


def _in_order(values: np.ndarray, num_examples: int, block_size: int) -> np.ndarray:
    """This host's values and those of the others, in the order of the examples, without repeats."""
    if jax.process_count() > 1:
        size = min(block_size, math.ceil(num_examples / jax.device_count()))
        rows = values.reshape(-1, jax.local_device_count() * size)
        values = np.moveaxis(multihost_utils.process_allgather(rows), 0, 1).ravel()
    return values[:num_examples]
