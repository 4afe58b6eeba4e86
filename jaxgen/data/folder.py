"""A folder of image files as a data set."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.data import images
from jaxgen.data.build import build, note_unlabelled
from jaxgen.data.damage import refusal
from jaxgen.data.dataset import FOLDER_PREFIX, DataError, Dataset, NumpyBatch, StreamSplit
from jaxgen.data.folder_files import find_image_files
from jaxgen.data.folder_layout import digest, understand
from jaxgen.data.folder_survey import common_form, survey
from jaxgen.data.text import counted, printable

_NUM_NAMED = 10


def load_folder(
    path: str,
    *,
    size: tuple[int, int] | None,
    levels: int | None,
    skip_damaged: bool,
    memory_limit: int,
) -> Dataset:
    """Loads all image files below a folder, in the order of their paths.

    Which files are data says `folder_files`, which are in what split and of what class
    `folder_layout`. If all images are grey, by their pixels or their palettes, there is one
    channel, else three. If all are black and white (one bit), pixels are 0 and 1. Of pixels of 16
    bits the high byte is kept, of several frames the first.

    Args:
        path: the folder.
        size: `(height, width)` to resize and crop to, None to keep the size.
        levels: number of values of a pixel, None to infer it.
        skip_damaged: whether images that cannot be decoded are left out, or refused.
        memory_limit: bytes that the pixels may take in memory.

    Returns:
        The data set.

    Raises:
        DataError: if there are no images, some cannot be read, or sizes differ and `size` is None.
    """
    root = os.path.realpath(os.path.expanduser(path))
    if not os.path.isdir(root):
        what = "is not a folder" if os.path.exists(root) else "does not exist"
        raise DataError(f"the folder {printable(root)} {what}")
    found = find_image_files(root)
    seen = survey(root, found.paths)
    images.silence_warnings()
    _refuse_unreadable(root, {**found.unreadable, **seen.unreadable})
    if not found.paths:
        raise DataError("; ".join([f"no image file below {printable(root)}", *found.notes]))
    good = list(seen.headers)
    if seen.damaged and not skip_damaged:
        raise refusal(f"folder:{root}", [_decoder(root, good)], seen.damaged)
    try:
        layout = understand(good)
    except DataError as error:
        raise DataError(f"the folder {printable(root)}: {error}") from error
    headers = {path: seen.headers[path] for path in (*layout.train, *layout.test)}
    mode, found_size = common_form(root, headers, size)
    shape = (*found_size, images.CHANNELS[mode])
    readers = Dataset(
        f"{FOLDER_PREFIX}{root}",
        shape=shape,
        levels=None,
        class_names=layout.class_names,
        train=_reader(root, layout.train, layout.train_labels, mode=mode, size=size, shape=shape),
        test=_reader(root, layout.test, layout.test_labels, mode=mode, size=size, shape=shape),
        notes=(*found.notes, *seen.notes, *layout.notes),
        digest=digest(
            layout, {path: os.path.getsize(os.path.join(root, path)) for path in headers}
        ),
    )
    return note_unlabelled(
        build(
            readers,
            levels=levels,
            memory_limit=memory_limit,
            skip_damaged=skip_damaged,
            damaged=seen.damaged,
        )
    )


def _refuse_unreadable(root: str, unreadable: Mapping[str, str]) -> None:
    """Raises DataError if the system does not give a file or folder."""
    if not unreadable:
        return
    lines = [f"  {printable(path)}: {why}" for path, why in list(unreadable.items())[:_NUM_NAMED]]
    if len(unreadable) > _NUM_NAMED:
        lines.append(f"  and {len(unreadable) - _NUM_NAMED:,} more")
    head = f"{counted(len(unreadable), 'path')} below {printable(root)} cannot be read:"
    raise DataError("\n".join([head, *lines, "make them readable, or remove them"]))


def _reader(
    root: str,
    paths: Sequence[str],
    labels: np.ndarray | None,
    *,
    mode: str,
    size: tuple[int, int] | None,
    shape: tuple[int, int, int],
) -> StreamSplit:
    """The files, decoded while they are read."""

    def read(indices: np.ndarray) -> NumpyBatch:
        files = [os.path.join(root, paths[i]) for i in indices]
        batch = {"x": images.decode_all(files, files, mode=mode, size=size, shape=shape)}
        if labels is not None:
            batch["label"] = labels[indices]
        return batch

    return StreamSplit(len(paths), read, lambda: labels)


def _decoder(root: str, paths: Sequence[str]) -> StreamSplit:
    """The files, decoded in order to see whether that can be done."""

    def read(indices: np.ndarray) -> NumpyBatch:
        for index in indices:
            file = os.path.join(root, paths[index])
            images.decode(file, mode="RGB", size=None, name=file)
        return {}

    return StreamSplit(len(paths), read)
