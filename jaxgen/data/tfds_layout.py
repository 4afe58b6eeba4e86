"""What of a tensorflow-datasets set is the image, the label, the train and the test split."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxgen.data.dataset import DataError
from jaxgen.data.split_names import TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES, named
from jaxgen.data.text import counted, listed


class Splits(NamedTuple):
    """The splits of a set.

    Attributes:
        train: specification of the train split, as `train[:90]`.
        test: that of the test split.
        notes: what was understood where it could have been understood otherwise, a line each.
    """

    train: str
    test: str
    notes: list[str]


def choose_image(name: str, found: Sequence[str], given: str | None) -> str:
    """Finds the feature that is the image.

    Args:
        name: of the data set, for errors.
        found: the features of type Image.
        given: the one that is asked for, or None: the only one, or that named `image`.

    Returns:
        The name of the feature.

    Raises:
        DataError: if there is no such feature, or there are several and none is named `image`.
    """
    if not found:
        raise DataError(f"{name} has no feature of type Image")
    if given is not None:
        return _checked("image_feature", given, found)
    if "image" in found or len(found) == 1:
        return "image" if "image" in found else found[0]
    raise DataError(
        f"{name} has {len(found)} images, {listed(found, most=20)}: choose one, as with "
        f"--image-feature {found[0]}"
    )


def choose_label(found: Sequence[str], given: str | None) -> tuple[str | None, list[str]]:
    """Finds the feature that is the label.

    Args:
        found: the features of type ClassLabel.
        given: the one that is asked for, or None: the only one, or that named `label`.

    Returns:
        The name of the feature, None without one, and a note if there are several of which none
        is named `label`.

    Raises:
        DataError: if there is no such feature.
    """
    if given is not None:
        return _checked("label_feature", given, found), []
    if "label" in found or len(found) == 1:
        return ("label" if "label" in found else found[0]), []
    if not found:
        return None, []
    return None, [
        f"labels: none, since there are {len(found)}, {listed(found, most=20)}; "
        f"--label-feature {found[0]} chooses one"
    ]


def _checked(setting: str, given: str, found: Sequence[str]) -> str:
    if given not in found:
        raise DataError(f"{setting}: {given!r}, expected {' or '.join(found) or 'none'}")
    return given


def choose_splits(name: str, sizes: Mapping[str, int]) -> Splits:
    """Finds the splits to train on and to measure on.

    Args:
        name: of the data set, for errors.
        sizes: number of examples of each split.

    Returns:
        The split named train or training, in any case; and that named test or testing, else
        validation, valid or val, else the last tenth of train.

    Raises:
        DataError: if there is no train split, or it is too small to hold out a part of it.
    """
    usable = [split for split, num in sizes.items() if num]
    trains = named(usable, TRAIN_NAMES)
    held_out = named(usable, (*TEST_NAMES, *VALIDATION_NAMES))
    if not trains:
        raise DataError(f"{name} has no train split; it has {listed(sorted(sizes), most=20)}")
    train, notes = trains[0], []
    used = {train, *held_out[:1]}
    if unused := [split for split in usable if split not in used]:
        num = sum(sizes[split] for split in unused)
        notes.append(f"{counted(num, 'image')} of other splits left out ({listed(unused)})")
    if held_out:
        if held_out[0].lower() not in TEST_NAMES:
            notes.append(f"splits: {held_out[0]} is test")
        return Splits(train, held_out[0], notes)
    num = sizes[train]
    if num < 2:
        raise DataError(f"{name} has {counted(num, 'image')}, expected at least 2, to hold one out")
    first = num - max(1, num // 10)
    notes.append(f"splits: the last tenth of {train} is test")
    return Splits(f"{train}[:{first}]", f"{train}[{first}:]", notes)
