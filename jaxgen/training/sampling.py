"""Many samples of an algorithm: in blocks over all local devices, in bounded memory."""

import math
import time
from collections.abc import Iterator

import jax
import numpy as np

from jaxgen.training.parallel import replicate, sample_blocks
from jaxgen.types import Algorithm, Key, PyTree

BLOCK_SIZE = 64
"""Samples that a device makes at a time."""
_MAX_BLOCKS = 32  # Of a dispatch, on each device.
_SECONDS = 2.0  # That a dispatch should take: until a caller sees progress or can stop.


def sample_in_blocks(
    algorithm: Algorithm, state: PyTree, key: Key, num: int, label: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Samples in blocks over all local devices, a dispatch at a time.

    Block `i` of 64 has the key ``fold_in(key, i)``, so a sample depends neither on how many are
    asked for nor on the number of devices.

    Args:
        algorithm: whose `sample` is used.
        state: its state.
        key: random key.
        num: number of samples, at least 1.
        label: int32 `[num]`, one class for each; None for an algorithm without labels.

    Yields:
        The next samples, as many as take about two seconds, up to 2,048 times the number of
        devices; `num` in all.

    Raises:
        ValueError: if `num` is below 1, or there is not one label for each.
    """
    if num < 1:
        raise ValueError(f"num: {num}, expected at least 1")
    if label is not None and label.shape != (num,):
        raise ValueError(f"label: shape {label.shape}, expected ({num},)")
    run = sample_blocks(algorithm, BLOCK_SIZE)
    state = replicate(state)
    devices = jax.local_device_count()
    room = min(_MAX_BLOCKS, math.ceil(num / (devices * BLOCK_SIZE)))
    first, count = 0, 1
    while first < num:
        begin = time.monotonic()
        blocks = first // BLOCK_SIZE + np.arange(devices * count).reshape(devices, count)
        blocks = np.pad(blocks, ((0, 0), (0, room - count)), mode="edge").astype(np.int32)
        places = blocks[..., None] * BLOCK_SIZE + np.arange(BLOCK_SIZE)
        # The last blocks are whole, too: one program makes them all.
        labels = None if label is None else label[np.minimum(places, num - 1)]
        x = np.asarray(run(state, key, count, blocks, labels))[:, :count]
        x = x.reshape(-1, *x.shape[3:])
        yield x[: num - first]
        first += len(x)
        # The first dispatch compiles as well, and so holds on to a single block.
        growth = _SECONDS / max(time.monotonic() - begin, 1e-3)
        left = math.ceil((num - first) / (devices * BLOCK_SIZE))
        count = int(np.clip(count * growth, 1, max(1, min(room, left))))
