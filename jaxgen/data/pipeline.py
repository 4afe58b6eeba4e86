"""From (seed, step) to batches: no iterator state, so a restarted run sees the same examples."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from jaxgen.data.dataset import NumpyBatch, Split


# One epoch is in use at a time; the second entry is for threads on both sides of its end.
@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of the examples in an epoch, int64 `[num_examples]`, shared and so read-only."""
    order = np.random.default_rng((seed, epoch)).permutation(num_examples)
    order.flags.writeable = False
    return order


def _check_sizes(seed: int, step: int, num_examples: int, batch_size: int) -> None:
    """Raises ValueError unless there is a batch for this seed and step."""
    for name, value in (("seed", seed), ("step", step)):
        if value < 0:
            raise ValueError(f"{name}: {value}, expected at least 0")
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size: {batch_size}, expected 1 to {num_examples}, the number of examples"
        )


def batch_indices(seed: int, step: int, *, num_examples: int, batch_size: int) -> np.ndarray:
    """Indices of the examples that training step `step` sees.

    Every epoch has its own permutation, which is cut into batches; the last
    `num_examples % batch_size` examples of a permutation are left out. With
    `epoch, i = divmod(step, num_examples // batch_size)` the batch is part `i` of
    `numpy.random.default_rng((seed, epoch)).permutation(num_examples)`.

    Args:
        seed: seed of the order, at least 0.
        step: number of the step, at least 0.
        num_examples: number of examples in the split.
        batch_size: examples in a batch, 1 to num_examples.

    Returns:
        int64 `[batch_size]`, distinct indices 0 to num_examples - 1; a function of the arguments
        alone.

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check_sizes(seed, step, num_examples, batch_size)
    epoch, part = divmod(step, num_examples // batch_size)
    order = _permutation(seed, epoch, num_examples)
    return order[part * batch_size : (part + 1) * batch_size].copy()


def chunk_indices(
    seed: int, first_step: int, num_steps: int, *, num_examples: int, batch_size: int
) -> np.ndarray:
    """Indices of several steps in a row, for a scan over them.

    Args:
        seed: seed of the order, at least 0.
        first_step: number of the first step, at least 0.
        num_steps: number of steps, at least 1.
        num_examples: number of examples in the split.
        batch_size: examples in a batch, 1 to num_examples.

    Returns:
        int64 `[num_steps, batch_size]`; row `i` is `batch_indices(seed, first_step + i)`.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps: {num_steps}, expected at least 1")
    return np.stack(
        [
            batch_indices(seed, step, num_examples=num_examples, batch_size=batch_size)
            for step in range(first_step, first_step + num_steps)
        ]
    )


def _chunk_sizes(first_step: int, last_step: int, steps_per_call: int) -> Iterator[int]:
    """Lengths of the chunks from first_step to last_step, cut at multiples of steps_per_call."""
    while first_step < last_step:
        boundary = min((first_step // steps_per_call + 1) * steps_per_call, last_step)
        yield boundary - first_step
        first_step = boundary


def stream(
    split: Split,
    seed: int,
    first_step: int,
    last_step: int,
    *,
    batch_size: int,
    steps_per_call: int,
    num_threads: int = 8,
) -> Iterator[NumpyBatch]:
    """Batches of the steps first_step to last_step - 1, read ahead by threads.

    Chunks end at multiples of `steps_per_call`, whatever the first step was, so that a resumed run
    makes the same calls as one that was never stopped. Only the first and the last chunk may be
    shorter. Reading and decoding go on while the caller computes; about two chunks are held.

    Args:
        split: the examples.
        seed: seed of the order, at least 0.
        first_step: first step, at least 0.
        last_step: the step to stop before, at least first_step.
        batch_size: examples in a batch, 1 to `len(split)`.
        steps_per_call: steps in a chunk, at least 1.
        num_threads: threads that read, at least 1.

    Returns:
        An iterator of dicts: name to array `[k, batch_size, ...]`, `k <= steps_per_call`. Step `t`
        sees the examples `batch_indices(seed, t)`.

    Raises:
        ValueError: if an argument is out of its range.
    """
    _check_sizes(seed, first_step, len(split), batch_size)
    if last_step < first_step:
        raise ValueError(f"last_step: {last_step}, expected at least first_step, {first_step}")
    for name, value in (("steps_per_call", steps_per_call), ("num_threads", num_threads)):
        if value < 1:
            raise ValueError(f"{name}: {value}, expected at least 1")

    def read(step: int) -> NumpyBatch:
        indices = batch_indices(seed, step, num_examples=len(split), batch_size=batch_size)
        return split.gather(indices)

    return _stacked(
        read, first_step, last_step, steps_per_call=steps_per_call, num_threads=num_threads
    )


def _stacked(
    read: Callable[[int], NumpyBatch],
    first_step: int,
    last_step: int,
    *,
    steps_per_call: int,
    num_threads: int,
) -> Iterator[NumpyBatch]:
    """Reads batches in order by threads and stacks those of a chunk into new arrays."""
    import grain

    if first_step == last_step:  # grain refuses an empty range
        return
    # One chunk is read ahead while another is being stacked and used.
    read_options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=max(steps_per_call, num_threads)
    )
    batches = iter(
        grain.MapDataset.range(first_step, last_step).map(read).to_iter_dataset(read_options)
    )
    for size in _chunk_sizes(first_step, last_step, steps_per_call):
        rows = [next(batches) for _ in range(size)]
        yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}
