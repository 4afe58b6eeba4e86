"""Image files that cannot be decoded: all of them named at once, or left out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxgen.data.dataset import DataError, Dataset, Split
from jaxgen.data.formats import WAY_OUT, DamagedError
from jaxgen.data.reading import for_each_block
from jaxgen.data.text import counted, listed
from jaxgen.data.view import view

_NUM_NAMED = 10


def find_damaged(
    split: Split, *, title: str, shape: tuple[int, ...] = ()
) -> dict[int, DamagedError]:
    """Decodes every image of a split, since damage in the pixels shows nowhere else.

    Args:
        split: the images, as they are read from files.
        title: what the progress bar says is being done.
        shape: of an image, as far as several are held at once.

    Returns:
        The errors of those that cannot be decoded, by their index.
    """
    found: dict[int, DamagedError] = {}

    def check(indices: np.ndarray) -> None:
        try:
            split.gather(indices)
        except DamagedError as error:
            if len(indices) == 1:
                found[int(indices[0])] = error
            else:
                for index in indices:
                    check(np.array([index]))

    for_each_block(check, len(split), title=title, shape=shape)
    return dict(sorted(found.items()))


def refusal(
    name: str,
    splits: Sequence[Split],
    damaged: Sequence[DamagedError] = (),
    *,
    shape: tuple[int, ...] = (),
) -> DataError:
    """The error that names all images that cannot be decoded.

    Args:
        name: of the data set.
        splits: the images; all are decoded, to find the damaged ones.
        damaged: what is damaged beside them.
        shape: as in `find_damaged`.

    Returns:
        The error; of many images the first ten are named.
    """
    errors = list(damaged)
    for split in splits:
        errors.extend(find_damaged(split, title=f"Checking {name}", shape=shape).values())
    errors.sort(key=lambda error: error.name)
    lines = [f"  {error.name}: {error.reason}" for error in errors[:_NUM_NAMED]]
    if len(errors) > _NUM_NAMED:
        lines.append(f"  and {len(errors) - _NUM_NAMED:,} more")
    num = len(damaged) + sum(map(len, splits))
    head = f"{len(errors):,} of {counted(num, 'image')} cannot be read:"
    return DataError("\n".join([head, *lines, f"restore them, or {WAY_OUT}"]))


def without_damaged(dataset: Dataset, damaged: Sequence[DamagedError] = ()) -> Dataset:
    """Leaves out the images that cannot be decoded.

    Args:
        dataset: the data set; its images are all decoded, to find the damaged ones.
        damaged: what was left out before.

    Returns:
        The data set without them, and a note of all.
    """
    errors, splits = list(damaged), []
    for split in (dataset.train, dataset.test):
        found = find_damaged(split, title=f"Checking {dataset.name}", shape=dataset.shape)
        errors.extend(found.values())
        good = np.delete(np.arange(len(split)), list(found))
        splits.append(view(split, good) if found else split)
    notes = dataset.notes
    if errors:
        names = listed([error.name for error in errors])
        notes += (f"{counted(len(errors), 'damaged image')} left out ({names})",)
    return replace(dataset, train=splits[0], test=splits[1], notes=notes)
