"""A data set some of whose pixels are drawn anew: what a background model learns from.

Such a model knows how smooth the images are but less of what they show; a likelihood ratio to it
cancels the first.
"""

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jaxgen.data.dataset import ArraySplit, DataError, Dataset, NumpyBatch, Split, StreamSplit

REDRAWN_PREFIX = "redrawn:"
"""Before a rate and the name of a data set: `redrawn:0.2:digits`."""

_NAME = re.compile(r"redrawn:(\d*\.?\d+):(.+)", re.DOTALL)
_SEED = 0


class RedrawnName(NamedTuple):
    """What the name of such a data set says.

    Attributes:
        rate: share of the pixel values that are drawn anew.
        name: of the data set.
    """

    rate: float
    name: str


def read_name(name: str) -> RedrawnName | None:
    """Reads the name of a data set whose pixels are drawn anew.

    Args:
        name: of any data set.

    Returns:
        What it says, or None for another kind of name.

    Raises:
        DataError: if it begins as such a name, and goes on otherwise.
    """
    if not name.startswith(REDRAWN_PREFIX):
        return None
    found = _NAME.fullmatch(name)
    rate = float(found[1]) if found else 0.0
    if found is None or not 0.0 < rate <= 1.0:
        raise DataError(
            f"dataset: {name!r}, expected {REDRAWN_PREFIX}RATE:NAME with a rate above 0 and at "
            f"most 1, such as {REDRAWN_PREFIX}0.2:digits"
        )
    return RedrawnName(rate, found[2])


def redraw(dataset: Dataset, rate: float) -> Dataset:
    """Draws a share of the pixel values of all images anew, uniformly over the levels.

    Args:
        dataset: images.
        rate: share of the values (each channel of each pixel by itself), in (0, 1].

    Returns:
        The data set. An example has the same new values whenever it is read.

    Raises:
        DataError: if the examples are not images.

    Source:
        Ren et al. 2019, "Likelihood ratios for out-of-distribution detection", section 3.
    """
    if dataset.levels is None:
        raise DataError(
            f"dataset: {REDRAWN_PREFIX}{rate:g}:{dataset.name}, whose examples are vectors, "
            "expected images"
        )
    train, test = (
        _redrawn(split, rate, dataset.levels, number)
        for number, split in enumerate((dataset.train, dataset.test))
    )
    return replace(
        dataset,
        name=f"{REDRAWN_PREFIX}{rate:g}:{dataset.name}",
        train=train,
        test=test,
        notes=(*dataset.notes, f"{rate:.3g} of the pixel values are drawn anew"),
    )


def _redrawn(split: Split, rate: float, levels: int, number: int) -> Split:
    """The split with new values; one in memory stays there."""

    def read(indices: np.ndarray) -> NumpyBatch:
        batch = dict(split.gather(indices))
        for x, index in zip(batch["x"], indices, strict=True):
            rng = np.random.default_rng((_SEED, number, int(index)))
            is_new = rng.random(x.shape) < rate
            x[is_new] = rng.integers(levels, size=x.shape)[is_new]
        return batch

    if isinstance(split, ArraySplit):
        return ArraySplit(read(np.arange(len(split))))
    return StreamSplit(len(split), read, split.labels)
