"""Decoding image files to uint8 arrays, and the choice between memory and stream."""

import io
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jaxgen.data.dataset import ArraySplit, DataError, Dataset, NumpyBatch, Split, StreamSplit

CHANNELS = {"1": 1, "L": 1, "RGB": 3, "RGBA": 4}
READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_CHUNK = 256
_SECONDS_BEFORE_PROGRESS = 2.0


def decode(
    source: bytes | Path, *, mode: str, size: tuple[int, int] | None, name: str
) -> np.ndarray:
    """Decodes one image file.

    The image is turned as its EXIF orientation says. Transparent parts are laid over white, unless
    the mode keeps alpha. With `size`, the image is resized (Lanczos), its aspect ratio kept, to
    just cover `size`, and the centre is cut out.

    Args:
        source: contents or path of the file.
        mode: `"1"` (black and white as 0 and 1), `"L"`, `"RGB"` or `"RGBA"`.
        size: `(height, width)`, or None to keep the size.
        name: what an error calls the image.

    Returns:
        uint8 `[H, W, C]`, C of the mode.

    Raises:
        DataError: if the file cannot be read as an image.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()
            return _pixels(image, mode=mode, size=size)
    except READ_ERRORS as error:
        raise DataError(f"cannot read the image {name}: {error}") from error


def _pixels(image: Image.Image, *, mode: str, size: tuple[int, int] | None) -> np.ndarray:
    """The pixels of an open image, as `decode` says."""
    ImageOps.exif_transpose(image, in_place=True)
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    target = "L" if mode == "1" else mode
    if image.mode != target:
        image = image.convert(target)
    if size is not None and size != (image.height, image.width):
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.LANCZOS)
    pixels = np.array(image, np.uint8).reshape(image.height, image.width, CHANNELS[mode])
    return pixels // 128 if mode == "1" else pixels


def decode_all(
    sources: Sequence[bytes | Path],
    names: Sequence[str],
    *,
    mode: str,
    size: tuple[int, int] | None,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Decodes several image files that must have the same shape.

    Args:
        sources: contents or paths of the files.
        names: what errors call the images.
        mode: as in `decode`.
        size: as in `decode`.
        shape: the `(H, W, C)` that every decoded image must have.

    Returns:
        uint8 `[b, H, W, C]`.

    Raises:
        DataError: if a file cannot be read or has another shape.
    """
    pixels = np.empty((len(sources), *shape), np.uint8)
    for row, source, name in zip(pixels, sources, names, strict=True):
        image = decode(source, mode=mode, size=size, name=name)
        if image.shape != shape:
            raise DataError(
                f"the image {name} has shape {image.shape}, but {shape} is expected: set image_size"
            )
        row[...] = image
    return pixels


def build(
    name: str,
    *,
    shape: tuple[int, int, int],
    class_names: tuple[str, ...] | None,
    train: StreamSplit,
    test: StreamSplit,
    levels: int | None,
    memory_limit: int,
) -> Dataset:
    """Makes the data set: both splits in memory if they fit, else both decoded while used.

    Args:
        name: name of the data set.
        shape: `(H, W, C)` of every image.
        class_names: name of each label, or None.
        train: reader of the train split.
        test: reader of the test split.
        levels: number of values of a pixel, or None to infer it: 2 if no train pixel exceeds 1,
            else 256. A stream is not looked through: it is taken to have 256.
        memory_limit: bytes that the pixels of both splits may take in memory.

    Returns:
        The data set.

    Raises:
        DataError: if an image cannot be read or a pixel exceeds `levels - 1`.
    """
    splits: list[Split]
    if (len(train) + len(test)) * math.prod(shape) > memory_limit:
        levels = levels or 256
        splits = [_checked_stream(split, levels, name) for split in (train, test)]
    else:
        arrays = [read_all(split, shape=shape, title=name) for split in (train, test)]
        highest = [int(split.arrays["x"].max(initial=0)) for split in arrays]
        levels = levels or (2 if highest[0] <= 1 else 256)
        _check_levels(max(highest), levels, name)
        splits = list(arrays)
    return Dataset(name, shape, levels, class_names, train=splits[0], test=splits[1])


def _check_levels(highest: int, levels: int, name: str) -> None:
    """Raises DataError if a pixel is not below the number of levels."""
    if highest >= levels:
        raise DataError(
            f"{name} has a pixel of value {highest}, which does not fit levels={levels}: pixels "
            f"must be 0 to {levels - 1}"
        )


def _checked_stream(split: StreamSplit, levels: int, name: str) -> StreamSplit:
    """The same stream, with every batch checked against the number of levels."""
    if levels == 256:
        return split

    def read(indices: np.ndarray) -> NumpyBatch:
        batch = split.gather(indices)
        _check_levels(int(batch["x"].max(initial=0)), levels, name)
        return batch

    return StreamSplit(len(split), read)


def read_all(split: StreamSplit, *, shape: tuple[int, int, int], title: str) -> ArraySplit:
    """Reads and decodes a split once, by threads, with a progress bar if it takes long.

    Args:
        split: reader of the split, of uint8 images.
        shape: `(H, W, C)` of every image.
        title: what the progress bar says is being read.

    Returns:
        The split in memory.

    Raises:
        DataError: if an image cannot be read.
    """
    num = len(split)
    arrays: NumpyBatch = {"x": np.empty((num, *shape), np.uint8)}
    if num and "label" in split.gather(np.zeros(1, np.int64)):
        arrays["label"] = np.empty(num, np.int32)

    def read(start: int) -> int:
        indices = np.arange(start, min(start + _CHUNK, num))
        for key, rows in split.gather(indices).items():
            arrays[key][indices] = rows
        return len(indices)

    _run_all(read, range(0, num, _CHUNK), total=num, title=title)
    return ArraySplit(arrays)


def _run_all(read: Callable[[int], int], starts: range, *, total: int, title: str) -> None:
    """Calls `read` on every start in threads; the first error stops all."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # A log file would get an empty line from a bar that it cannot show.
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task(f"Reading {title}", total=total)
    begin = time.monotonic()
    executor = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        for future in as_completed([executor.submit(read, start) for start in starts]):
            progress.advance(task, future.result())
            if time.monotonic() - begin > _SECONDS_BEFORE_PROGRESS and not progress.live.is_started:
                progress.start()
    finally:
        executor.shutdown(cancel_futures=True)
        if progress.live.is_started:
            progress.stop()
