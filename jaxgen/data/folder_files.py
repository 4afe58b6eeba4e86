"""Which files below a folder are data: links are followed, runs and what a system made are not."""

import os
from collections import Counter
from pathlib import PurePosixPath
from typing import NamedTuple

from jaxgen.data.formats import extensions
from jaxgen.data.text import counted, listed, printable

_SYSTEM_NAMES = frozenset(
    {
        "#recycle",
        "$recycle.bin",
        "@eadir",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "icon\r",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)
"""Made by operating systems and editors, in small letters; names with a leading dot come on top."""
_RUN_CONFIG = "config.json"
_RUN_PARTS = frozenset({"checkpoints", "lock", "metrics.jsonl"})
"""What jaxgen.training.run_directory puts into a run."""
_NUM_KINDS_SHOWN = 5


class FoundFiles(NamedTuple):
    """The data below a folder.

    Attributes:
        paths: image files, relative to the folder, sorted.
        unreadable: folders and links that cannot be read, relative to the folder, and why.
        notes: what was left out or followed, a line each.
    """

    paths: list[str]
    unreadable: dict[str, str]
    notes: list[str]


def find_image_files(root: str) -> FoundFiles:
    """Finds all image files below a folder, whose names end as Pillow's formats do.

    Links are followed, unless into a folder that the link lies in. Names with a leading dot,
    what operating systems and editors make, and run directories are no data, at any depth.

    Args:
        root: the folder.

    Returns:
        The files, what cannot be read, and what there is to say.
    """
    walk = _Walk(root)
    walk.enter("", frozenset())
    notes = []
    if walk.left_out:
        total = counted(walk.left_out.total(), "file")
        notes.append(f"{total} left out ({_kinds(walk.left_out)})")
    if walk.runs:
        noun = "run directory" if len(walk.runs) == 1 else "run directories"
        notes.append(f"{len(walk.runs)} {noun} left out ({listed(walk.runs)})")
    if walk.links:
        notes.append(f"{counted(len(walk.links), 'link')} followed ({listed(walk.links)})")
    if walk.loops:
        noun = counted(len(walk.loops), "link")
        notes.append(f"{noun} to a folder around it not followed ({listed(walk.loops)})")
    return FoundFiles(sorted(walk.images), walk.unreadable, notes)


def is_no_data(name: str) -> bool:
    """Whether a file or folder is hidden, or made by an operating system or an editor.

    Args:
        name: its name, without the folders on the way.

    Returns:
        True if it is no data.
    """
    is_backup = name.endswith("~") or (name.startswith("#") and name.endswith("#"))
    return is_backup or name.startswith((".", "~$")) or name.lower() in _SYSTEM_NAMES


class _Walk:
    """What has been found so far; every path is relative to the root."""

    def __init__(self, root: str):
        self.root = root
        self.images: list[str] = []
        self.left_out: Counter[str] = Counter()
        self.runs: list[str] = []
        self.links: list[str] = []
        self.loops: list[str] = []
        self.unreadable: dict[str, str] = {}

    def enter(self, folder: str, around: frozenset[tuple[int, int]]) -> None:
        """Looks through a folder that lies in the folders `around` (device and inode)."""
        path = os.path.join(self.root, folder)
        try:
            status = os.stat(path)
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable[folder or "."] = error.strerror or str(error)
            return
        own = (status.st_dev, status.st_ino)
        if own in around:
            self.loops.append(folder)
            return
        names = {entry.name for entry in found}
        if folder and _RUN_CONFIG in names and names & _RUN_PARTS:
            self.runs.append(folder)
            return
        for entry in found:
            if not is_no_data(entry.name):
                inner = f"{folder}/{entry.name}" if folder else entry.name
                try:
                    self._take(entry, inner, around | {own})
                except OSError as error:
                    self.unreadable[inner] = error.strerror or str(error)

    def _take(self, entry: os.DirEntry, path: str, around: frozenset[tuple[int, int]]) -> None:
        """Looks at one entry of a folder."""
        suffix = PurePosixPath(entry.name).suffix.lower()
        is_link = entry.is_symlink()
        is_broken = is_link and not os.path.exists(entry.path)
        if is_broken and (suffix in extensions() or not suffix):
            # It may have led to a folder of images.
            self.unreadable[path] = f"a broken link to {printable(os.readlink(entry.path))}"
        elif not is_broken and entry.is_dir():
            self.enter(path, around)
            if is_link and path not in self.loops:
                self.links.append(path)
        elif not is_broken and suffix in extensions() and entry.is_file():
            self.images.append(path)
        else:
            self.left_out[suffix] += 1


def _kinds(left_out: Counter[str]) -> str:
    """The kinds of files and their numbers, the most frequent first: `2 .txt, 1 .csv`."""
    kinds = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    shown = [
        f"{num:,} {printable(suffix) or 'without an extension'}"
        for suffix, num in kinds[:_NUM_KINDS_SHOWN]
    ]
    rest = sum(num for _, num in kinds[_NUM_KINDS_SHOWN:])
    return ", ".join([*shown, *([f"{rest:,} others"] if rest else [])])
