"""What each dispatch of a run is given: a range of steps and the examples that they see."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxgen.data.dataset import ArraySplit, Split
from jaxgen.data.pipeline import chunk_indices, stream
from jaxgen.training.parallel import replicate, shard_rows
from jaxgen.training.plan import Plan
from jaxgen.types import PyTree


class Dispatch(NamedTuple):
    """One call of the compiled training steps.

    Attributes:
        start: number of the first step.
        end: number of the step after the last.
        rows: examples; the whole split on all devices, or some for each device.
        indices: into the rows, `[local devices, K, b]` for K steps.
    """

    start: int
    end: int
    rows: PyTree
    indices: np.ndarray


def dispatches(split: Split, seed: int, first_step: int, plan: Plan) -> Iterator[Dispatch]:
    """Cuts the rest of a run into dispatches that end at multiples of `plan.steps_per_call`.

    Args:
        split: the examples; one in memory is put on the devices once.
        seed: of their order.
        first_step: number of steps done.
        plan: the last step, and the sizes of batch and dispatch.

    Yields:
        The dispatches in order; none where all steps are done.
    """
    if first_step >= plan.steps:
        return
    first_end = (first_step // plan.steps_per_call + 1) * plan.steps_per_call
    ends = [*range(first_end, plan.steps, plan.steps_per_call), plan.steps]
    spans = list(zip([first_step, *ends[:-1]], ends, strict=True))
    if isinstance(split, ArraySplit):
        rows = replicate(split.arrays)
        for start, end in spans:
            indices = chunk_indices(
                seed, start, end - start, num_examples=len(split), batch_size=plan.batch_size
            )
            yield Dispatch(start, end, rows, shard_rows(indices).astype(np.int32))
        return
    chunks = stream(
        split,
        seed,
        first_step,
        plan.steps,
        batch_size=plan.batch_size,
        steps_per_call=plan.steps_per_call,
    )
    for (start, end), chunk in zip(spans, chunks, strict=True):
        yield Dispatch(start, end, *_split_chunk(chunk))


def _split_chunk(
    chunk: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each local device's rows of a chunk `[K, B, ...]`, and their indices `[devices, K, b]`."""
    num_steps, batch_size = chunk["x"].shape[:2]
    numbers = np.arange(num_steps * batch_size).reshape(num_steps, batch_size)
    local = shard_rows(numbers)
    flat = local.reshape(len(local), -1)
    rows = {
        name: array.reshape(num_steps * batch_size, *array.shape[2:])[flat]
        for name, array in chunk.items()
    }
    own = np.arange(flat.shape[1], dtype=np.int32).reshape(num_steps, -1)
    return rows, np.broadcast_to(own, local.shape)
