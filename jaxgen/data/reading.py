"""Going through many examples once, by threads, with a progress bar if it takes long."""

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

from jaxgen.data.dataset import ArraySplit, NumpyBatch, Split
from jaxgen.data.text import printable

_BLOCK = 256
_BLOCK_BYTES = 2**26
_SECONDS_BEFORE_PROGRESS = 2.0


def for_each_block(
    act: Callable[[np.ndarray], None], num: int, *, title: str, shape: tuple[int, ...] = ()
) -> None:
    """Calls a function on 0 to num - 1 in blocks, in threads; the first error stops all.

    Args:
        act: given the numbers of a block, int64 `[b]`; called from several threads at once.
        num: how many there are, at least 0.
        title: what the progress bar says is being done.
        shape: of the uint8 array that a number stands for; blocks of large ones are smaller.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True)
    # A log file would get an empty line from a bar that it cannot show.
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task(escape(printable(title)), total=num)
    size = max(1, min(_BLOCK, _BLOCK_BYTES // math.prod(shape)))
    blocks = [np.arange(start, min(start + size, num)) for start in range(0, num, size)]
    begin = time.monotonic()
    executor = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        futures = {executor.submit(act, block): len(block) for block in blocks}
        for future in as_completed(futures):
            future.result()
            progress.advance(task, futures[future])
            if time.monotonic() - begin > _SECONDS_BEFORE_PROGRESS and not progress.live.is_started:
                progress.start()
    finally:
        executor.shutdown(cancel_futures=True)
        if progress.live.is_started:
            progress.stop()


def read_all(split: Split, *, shape: tuple[int, ...], title: str) -> ArraySplit:
    """Reads and decodes a split of images once.

    Args:
        split: the examples, uint8 images.
        shape: `(H, W, C)` of every image.
        title: what the progress bar says is being done.

    Returns:
        The split in memory.

    Raises:
        DataError: if an image cannot be read.
    """
    num = len(split)
    arrays: NumpyBatch = {"x": np.empty((num, *shape), np.uint8)}
    if num and "label" in split.gather(np.zeros(1, np.int64)):
        arrays["label"] = np.empty(num, np.int32)

    def read(indices: np.ndarray) -> None:
        for name, rows in split.gather(indices).items():
            arrays[name][indices] = rows

    for_each_block(read, num, title=title, shape=shape)
    return ArraySplit(arrays)
