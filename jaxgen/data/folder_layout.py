"""How a folder of images is understood: which files are which split, and of which class."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.data.dataset import DataError
from jaxgen.data.split_names import TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES, named
from jaxgen.data.text import counted, listed, printable

_HELD_OUT_BELOW = 2**64 // 10


class Layout(NamedTuple):
    """The splits of a folder.

    Attributes:
        train: paths of the train images, relative to the folder, sorted.
        test: paths of the test images.
        class_names: names of the classes, printable; None without classes.
        train_labels: int32 `[len(train)]`; None without classes.
        test_labels: int32 `[len(test)]`, -1 where the class is unknown; None without classes.
        notes: what was understood where it could have been understood otherwise, a line each.
    """

    train: list[str]
    test: list[str]
    class_names: tuple[str, ...] | None
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    notes: list[str]


def understand(paths: Sequence[str]) -> Layout:
    """Finds the splits and the classes in the paths of images.

    Splits are folders with the usual names, in any case: train or training, and test, testing,
    validation, valid or val, of which test is preferred. Where there are none, or train alone, a
    file belongs to the test split if the hash of its path says so, which about a tenth do: new
    files move none of the others. Where all or none would, the one with the lowest (highest) hash
    alone is the test (train) split, and a new file may take its place.

    Classes are the folders that hold all images of the train split, if there are at least two.
    Images of the test split that lie in no folder have an unknown class.

    Args:
        paths: relative to the folder, sorted, with `/` between their parts.

    Returns:
        The layout.

    Raises:
        DataError: if there are fewer than two images, or the test split has classes of its own.
    """
    parts = {path: path.split("/") for path in paths}
    folders = dict.fromkeys(names[0] for names in parts.values() if len(names) > 1)
    trains = named(folders, TRAIN_NAMES)
    tests = named(folders, TEST_NAMES)
    validations = named(folders, VALIDATION_NAMES)
    others = [name for name in folders if name not in {*trains, *tests, *validations}]
    loose = [path for path, names in parts.items() if len(names) == 1]

    def inside(names: Sequence[str]) -> list[str]:
        return [path for path in paths if parts[path][0] in names and len(parts[path]) > 1]

    held_out = tests or validations
    notes = []
    if trains and held_out:
        if not tests or len(trains) + len(held_out) > 2:
            notes.append(f"splits: {listed(held_out)} is test, {listed(trains)} is train")
        notes += _left_out(parts, [*others, *(validations if tests else []), *loose])
        train, test = inside(trains), inside(held_out)
        return _with_classes(train, test, train, 1, notes)
    if (trains and not others) or (held_out and not others and not loose):
        if tests and validations:
            names = listed([*tests, *validations])
            raise DataError(f"there are {names}, but no train folder beside them")
        notes.append(f"splits: a tenth of {listed(trains or held_out)} is test, the rest train")
        notes += _left_out(parts, loose)
        paths, depth = inside(trains or held_out), 1
    else:
        depth = 0
        if trains or held_out:
            missing = "test or val" if trains else "train"
            names = listed([*trains, *tests, *validations])
            notes.append(f"{names} taken as any other folder, without a {missing} folder beside it")
    return _with_classes(*_hold_out(paths), paths, depth, notes)


def digest(layout: Layout, sizes: Mapping[str, int]) -> str:
    """A hash of which files and classes are in which split, wherever the folder lies.

    Args:
        layout: the splits.
        sizes: bytes of each file, by which images replaced under their names are noticed.

    Returns:
        SHA-256, in hexadecimal digits.
    """
    total = hashlib.sha256()
    splits = ((layout.train, layout.train_labels), (layout.test, layout.test_labels))
    for title, (paths, labels) in zip(("train", "test"), splits, strict=True):
        for index, path in enumerate(paths):
            label = "" if labels is None else labels[index]
            total.update(f"{title}\0{label}\0".encode() + os.fsencode(path) + b"\0")
            total.update(f"{sizes[path]}\0".encode())
    return total.hexdigest()


def natural_order(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A key that sorts names with numbers in them in the order of the numbers.

    Args:
        name: as in `class10`.

    Returns:
        The key; `class2` comes before `class10`, and numbers before letters.
    """
    pieces = re.split(r"(\d+)", name)
    numbered = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces if p]
    return tuple(numbered), name


def _left_out(parts: dict[str, list[str]], names: Sequence[str]) -> list[str]:
    """A note of the folders and files beside the splits, if there are any."""
    beside = frozenset(names)
    num = sum(path_parts[0] in beside for path_parts in parts.values())
    return [f"{counted(num, 'image')} beside the splits left out ({listed(names)})"] if num else []


def _hold_out(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The train and the test split, by a hash of each path."""
    if len(paths) < 2:
        raise DataError(
            f"{counted(len(paths), 'image')} found, expected at least 2, to hold one out"
        )
    order = {path: _hash(path) for path in paths}
    test = {path for path, value in order.items() if value < _HELD_OUT_BELOW}
    if not test:
        test = {min(order, key=order.__getitem__)}
    if len(test) == len(paths):
        test.remove(max(order, key=order.__getitem__))
    return [path for path in paths if path not in test], [path for path in paths if path in test]


def _hash(path: str) -> int:
    """64 bits that depend on the path alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:8])


def _folder(path: str, depth: int) -> str | None:
    """The folder at this depth on the way to a file, or None if there is none."""
    names = path.split("/")
    return names[depth] if len(names) > depth + 1 else None


def _classes(paths: Sequence[str], depth: int) -> tuple[list[str], list[str]]:
    """The folders that are classes, in natural order, and what to say if there are none."""
    folders = {path: _folder(path, depth) for path in paths}
    names = sorted({name for name in folders.values() if name is not None}, key=natural_order)
    loose = [path for path, name in folders.items() if name is None]
    if not names:
        return [], []
    if loose:
        return [], [f"classes: none, since {listed(loose)} beside the folders {listed(names)}"]
    if len(names) == 1:
        return [], [f"classes: none, since all images lie in one folder, {listed(names)}"]
    return names, []


def _with_classes(
    train: list[str], test: list[str], paths: Sequence[str], depth: int, notes: list[str]
) -> Layout:
    """The layout with labels, of which `paths` at this depth name the classes."""
    names, why_none = _classes(paths, depth)
    notes = [*notes, *why_none]
    if not names:
        return Layout(train, test, None, None, None, notes)
    strange = [path for path in test if _folder(path, depth) not in {*names, None}]
    if strange:
        raise DataError(
            f"{counted(len(strange), 'image')} of the test split ({listed(strange)}) in none of "
            f"the classes of train: {listed(names, most=20)}"
        )
    number: dict[str | None, int] = {name: label for label, name in enumerate(names)}
    labels = [
        np.array([number.get(_folder(path, depth), -1) for path in split], np.int32)
        for split in (train, test)
    ]
    return Layout(train, test, tuple(map(printable, names)), labels[0], labels[1], notes)
