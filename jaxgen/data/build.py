"""From readers of image files to a data set: in memory or streamed, with checked values."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxgen.data.damage import refusal, without_damaged
from jaxgen.data.dataset import ArraySplit, DataError, Dataset, NumpyBatch, Split, StreamSplit
from jaxgen.data.formats import DamagedError
from jaxgen.data.reading import read_all
from jaxgen.data.subset import subset_indices
from jaxgen.data.text import printable

NUM_LOOKED_AT = 100
"""Train images that the number of levels is inferred from."""


def build(
    readers: Dataset,
    *,
    levels: int | None,
    memory_limit: int,
    skip_damaged: bool,
    damaged: Sequence[DamagedError] = (),
) -> Dataset:
    """Makes the data set: both splits in memory if they fit, else both decoded while used.

    Either way the number of levels is inferred from the same images, and every value is checked.

    Args:
        readers: the data set with splits that decode what they are asked for, without levels.
        levels: number of values of a pixel, or None to infer it: 2 if no pixel of 100 train
            images, drawn by a fixed seed, exceeds 1, else 256.
        memory_limit: bytes that the pixels of both splits may take in memory.
        skip_damaged: whether images that cannot be decoded are left out, or refused.
        damaged: what was left out of the readers' images, as it cannot be decoded.

    Returns:
        The data set.

    Raises:
        DataError: if an image cannot be read, a pixel exceeds `levels - 1`, a label is none of the
            classes, or a split is empty.
    """
    if skip_damaged:
        readers = without_damaged(readers, damaged)
    for title, split in _titled(readers):
        if not len(split):
            raise DataError(f"{printable(readers.name)} has no {title} images that can be read")
    try:
        return _read(readers, levels, memory_limit)
    except DamagedError as error:
        splits = [readers.train, readers.test]
        raise refusal(readers.name, splits, shape=readers.shape) from error


def _titled(dataset: Dataset) -> tuple[tuple[str, Split], tuple[str, Split]]:
    return ("train", dataset.train), ("test", dataset.test)


def _read(readers: Dataset, levels: int | None, memory_limit: int) -> Dataset:
    """The data set in memory or streamed, with values that are checked."""
    num = len(readers.train) + len(readers.test)
    is_streamed = num * math.prod(readers.shape) > memory_limit
    dataset = readers if is_streamed else _in_memory(readers)
    dataset = replace(dataset, levels=levels or _inferred_levels(dataset.train))
    train, test = (_checked(split, dataset, title) for title, split in _titled(dataset))
    return replace(dataset, train=train, test=test)


def _inferred_levels(split: Split) -> int:
    """2 if no pixel of the images that are looked at exceeds 1, else 256."""
    indices = subset_indices(len(split), NUM_LOOKED_AT)
    # One at a time: most often the first settles it, and large ones need not fit in memory.
    exceed = any(split.gather(indices[i : i + 1])["x"].max() > 1 for i in range(len(indices)))
    return 256 if exceed else 2


def _in_memory(readers: Dataset) -> Dataset:
    """The data set with all images decoded."""
    title = f"Reading {readers.name}"
    train, test = (
        read_all(split, shape=readers.shape, title=title) for _, split in _titled(readers)
    )
    return replace(readers, train=train, test=test)


def _checked(split: Split, dataset: Dataset, title: str) -> Split:
    """The split with its values checked: those in memory now, those of a stream in every batch."""

    def read(indices: np.ndarray) -> NumpyBatch:
        batch = split.gather(indices)
        _check_pixels(batch["x"], dataset, title)
        _check_labels(batch.get("label"), dataset, title)
        return batch

    def read_labels() -> np.ndarray | None:
        labels = split.labels()
        _check_labels(labels, dataset, title)
        return labels

    if isinstance(split, ArraySplit):
        _check_pixels(split.arrays["x"], dataset, title)
        read_labels()
        return split
    return StreamSplit(len(split), read, read_labels)


def _check_pixels(x: np.ndarray, dataset: Dataset, title: str) -> None:
    """Refuses pixels beyond the levels."""
    highest = int(x.max(initial=0))
    if dataset.levels is not None and highest >= dataset.levels:
        raise DataError(
            f"levels: {dataset.levels}, expected at least {highest + 1}: the {title} split of "
            f"{printable(dataset.name)} has a pixel of value {highest}; set --levels 256"
        )


def _check_labels(labels: np.ndarray | None, dataset: Dataset, title: str) -> None:
    """Refuses labels beyond the classes; -1 is that of an example whose class is unknown."""
    if labels is None or dataset.num_classes is None:
        return
    is_wrong = (labels < -1) | (labels >= dataset.num_classes)
    if is_wrong.any():
        raise DataError(
            f"{printable(dataset.name)}: {np.count_nonzero(is_wrong):,} labels of the {title} "
            f"split, as {labels[is_wrong][0]}, are neither 0 to {dataset.num_classes - 1} nor -1 "
            "(unknown)"
        )


def note_unlabelled(dataset: Dataset) -> Dataset:
    """Adds notes of how many examples have no label.

    Args:
        dataset: a data set whose labels are at hand.

    Returns:
        The data set with the notes.
    """
    notes = [
        f"{num:,} of {len(split):,} {title} examples have no label"
        for (title, split), num in zip(
            _titled(dataset), (dataset.train_unlabelled, dataset.test_unlabelled), strict=True
        )
        if num
    ]
    return replace(dataset, notes=(*dataset.notes, *notes))
