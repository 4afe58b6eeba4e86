"""Examples of another data set in the form of a run's own: size, channels and levels."""

from typing import NamedTuple

import numpy as np

from experiments.ranges import require
from experiments.settings import DataInfo
from jaxgen.data import Dataset, describe, load, subset_indices
from jaxgen.data.dataset import FOLDER_PREFIX, IMAGE_PREFIX, OWN_NAMES, DataError

_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow makes greys of colours.


class Others(NamedTuple):
    """Examples of another data set.

    Attributes:
        name: of the data set.
        x: the examples, `[N, ...]`, as those of the run.
        notes: what they are and what was changed, a line each.
    """

    name: str
    x: np.ndarray
    notes: tuple[str, ...]


def load_others(
    setting: str,
    name: str,
    info: DataInfo,
    own_name: str,
    num: int,
    *,
    data_dir: str | None = None,
    is_resized: bool = True,
) -> Others:
    """Loads random examples of another data set: of both splits, since a run has seen neither.

    Args:
        setting: that asks for them, for messages.
        name: of the data set.
        info: about the run's data.
        own_name: of the run's data.
        num: at most so many.
        data_dir: where TFDS data sets lie.
        is_resized: whether images of another size are resized and cropped, instead of refused.

    Raises:
        ValueError: if they cannot be loaded or brought to the form of the run's data, or are the
            run's own.
    """
    is_resized = is_resized and info.levels is not None and name not in OWN_NAMES
    size = (info.shape[0], info.shape[1]) if is_resized else None
    try:
        # What is damaged can't be judged, and the description counts it.
        is_skipped = name.startswith(FOLDER_PREFIX)
        dataset = load(name, data_dir=data_dir, image_size=size, skip_damaged=is_skipped)
    except DataError as error:
        raise ValueError(f"{setting}: {error}") from error
    require(dataset.name != own_name, setting, name, "other data than those of the run")
    x = _random_examples(dataset, num)
    notes = [f"{setting} {describe(dataset)}"]
    if is_resized:
        notes.append(
            f"its images are resized and cropped to {_text(dataset.shape[:2])}, where they differ"
        )
    x, changes = in_form(setting, x, dataset.levels, info, dataset.name)
    return Others(dataset.name, x, (*notes, *changes))


def _random_examples(dataset: Dataset, num: int) -> np.ndarray:
    """Some of the examples of both splits, `[N, ...]`; of a single image one."""
    is_one_image = dataset.name.startswith(IMAGE_PREFIX)  # Which is both splits.
    splits = [dataset.test] if is_one_image else [dataset.test, dataset.train]
    ends = np.cumsum([len(split) for split in splits])
    chosen = subset_indices(int(ends[-1]), num)
    which = np.searchsorted(ends, chosen, side="right")
    parts = [
        split.gather(chosen[which == i] - (end - len(split)))["x"]
        for i, (split, end) in enumerate(zip(splits, ends, strict=True))
    ]
    return np.concatenate(parts)


def in_form(
    setting: str, x: np.ndarray, levels: int | None, info: DataInfo, name: str
) -> tuple[np.ndarray, list[str]]:
    """Brings examples to the channels and levels of a run's data.

    Args:
        setting: that asks for them, for messages.
        x: uint8 images `[N, H, W, C]` of the run's size, or vectors `[N, D]`.
        levels: of the images; None for vectors.
        info: about the run's data.
        name: of the examples, for messages.

    Returns:
        The examples, and what was changed, a line each.

    Raises:
        ValueError: if they cannot be.
    """
    given, wanted = _form(x.shape[1:], levels), _form(info.shape, info.levels)
    is_alike = (levels is None) == (info.levels is None)
    is_alike = is_alike and x.shape[1:-1] == info.shape[:-1]
    if levels is None or info.levels is None:
        require(is_alike and x.shape[1:] == info.shape, setting, f"{name}, {given}", wanted)
        return x, []
    require(is_alike, setting, f"{name}, {given}", f"{wanted}")
    values, notes = x.astype(np.float64) * ((info.levels - 1) / (levels - 1)), []
    if levels != info.levels:
        notes.append(
            f"its pixels 0 to {levels - 1} are scaled and rounded to 0 to {info.levels - 1}"
        )
    values, changes = _in_channels(values, info.shape[-1])
    require(values.shape[1:] == info.shape, setting, f"{name}, {given}", wanted)
    return np.round(values).astype(np.uint8), notes + changes


def _in_channels(values: np.ndarray, wanted: int) -> tuple[np.ndarray, list[str]]:
    """Colours made grey or grey ones repeated, where that is what is wanted."""
    channels = values.shape[-1], wanted
    if channels == (3, 1):
        grey = (values @ _LUMINANCE)[..., None]
        return grey, ["its colours are made grey (ITU-R BT.601)"]
    if channels == (1, 3):
        note = "its grey is repeated in three channels, a sign by which any score can tell it"
        return np.broadcast_to(values, (*values.shape[:-1], 3)), [note]
    return values, []


def _form(shape: tuple[int, ...], levels: int | None) -> str:
    if levels is None:
        return f"vectors of {shape[0]} values"
    return f"images {_text(shape)} of {levels} levels"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
