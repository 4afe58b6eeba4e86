"""What the image files of a folder say of themselves, before any of them is decoded."""

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from jaxgen.data.dataset import DataError
from jaxgen.data.formats import DamagedError, Header, UnreadableError, read_header
from jaxgen.data.reading import for_each_block
from jaxgen.data.text import counted, listed, printable


class Survey(NamedTuple):
    """What was found; paths are relative to the folder.

    Attributes:
        headers: of the files that can be read, in the order of their paths.
        damaged: the errors of those that are no images.
        unreadable: those that the system does not give, and why.
        notes: what there is to say, a line each.
    """

    headers: dict[str, Header]
    damaged: list[DamagedError]
    unreadable: dict[str, str]
    notes: list[str]


def survey(root: str, paths: Sequence[str]) -> Survey:
    """Reads the headers of image files, by threads.

    Args:
        root: the folder.
        paths: the files, relative to it.

    Returns:
        What was found. Warnings of Pillow have become one note.
    """
    headers: dict[str, Header] = {}
    damaged: dict[str, DamagedError] = {}
    unreadable: dict[str, str] = {}
    warned: dict[str, str] = {}
    here = threading.local()

    def look(indices: np.ndarray) -> None:
        for index in indices:
            here.path = path = paths[index]
            full = os.path.join(root, path)
            try:
                headers[path] = read_header(full, full)
            except DamagedError as error:
                damaged[path] = error
            except UnreadableError as error:
                unreadable[path] = error.reason

    with _recorded(warned, here):
        for_each_block(look, len(paths), title=f"Looking at folder:{root}")
    good = {path: headers[path] for path in paths if path in headers}
    errors = [damaged[path] for path in sorted(damaged)]
    return Survey(good, errors, unreadable, [*_notes(good), *_warning_note(warned)])


def common_form(
    root: str, headers: dict[str, Header], size: tuple[int, int] | None
) -> tuple[str, tuple[int, int]]:
    """The mode that holds the pixels of all files, and their size.

    Args:
        root: the folder, for errors.
        headers: of the files, at least one.
        size: the `(height, width)` that is asked for, or None.

    Returns:
        `"1"`, `"L"` or `"RGB"`, and the `(height, width)`.

    Raises:
        DataError: if sizes differ and `size` is None.
    """
    modes = {header.mode for header in headers.values()}
    mode = "1" if modes == {"1"} else "L" if modes <= {"1", "L"} else "RGB"
    if size is not None:
        return mode, size
    (first, first_header), *rest = headers.items()
    for path, header in rest:
        if header.size != first_header.size:
            one, other = (
                f"{printable(os.path.join(root, name))} is {height}x{width}"
                for name, (height, width) in ((first, first_header.size), (path, header.size))
            )
            raise DataError(
                f"images differ in size: {one}, {other} (height x width); --image-size 64 64 "
                "resizes and crops all to that height and width"
            )
    return mode, first_header.size


def _notes(headers: dict[str, Header]) -> list[str]:
    """What the headers show of files that are not read as they are."""
    notes = []
    if num := sum(header.is_deep for header in headers.values()):
        notes.append(f"16-bit pixels scaled to 8 bits ({counted(num, 'file')})")
    if num := sum(header.has_frames for header in headers.values()):
        notes.append(f"{counted(num, 'file')} of several frames: first frame only")
    if num := sum(header.has_alpha for header in headers.values()):
        notes.append(f"transparent pixels laid over white ({counted(num, 'file')})")
    num = sum(header.mode != "RGB" for header in headers.values())
    if 0 < num < len(headers):
        notes.append(f"grey pixels read as colours ({counted(num, 'file')})")
    return notes


def _warning_note(warned: dict[str, str]) -> list[str]:
    """One line about all warnings."""
    if not warned:
        return []
    paths = sorted(warned)
    first = printable(" ".join(warned[paths[0]].split()))
    return [f"{counted(len(paths), 'file')} read with a warning ({listed(paths)}): {first}"]


@contextmanager
def _recorded(warned: dict[str, str], here: threading.local) -> Iterator[None]:
    """Keeps the warnings of all threads, by the path that each is at, instead of printing them."""

    def record(message: Warning | str, *_: object, **__: object) -> None:
        warned.setdefault(getattr(here, "path", ""), str(message))

    # The filters belong to the process, so they are changed here, outside of the threads.
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = record
        yield
