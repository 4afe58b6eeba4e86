"""One checkpoint on disk: the arrays as Orbax writes them, and a manifest that notices damage.

Orbax does not notice changed bits, so a manifest of shapes, types and CRC32 sums is saved beside
the arrays, and reading checks against it.
"""

import json
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen.training.leaves import check_model, leaf_entries

_FORMAT = 1
_MANIFEST = "manifest.json"
_ARRAYS = "arrays"
_LEFTOVER = re.compile(r"\d+\.(part|removed)")  # What a killed save or removal leaves behind.


def write(folder: Path, leaves: Mapping[str, np.ndarray]) -> None:
    """Writes one step as a whole or not at all, in the place of what there was.

    Args:
        folder: where the step will be; the folder above it exists.
        leaves: path of the leaf to its host array.

    Raises:
        Exception: of many types, if the disk is full or the folder cannot be written.
    """
    part = folder.with_name(f"{folder.name}.part")
    _write_part(part, leaves)
    remove(folder)
    part.rename(folder)


def read(folder: Path, model: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads one step: the manifest, which must fit the model, then the arrays and their sums.

    Args:
        folder: what `write` has written.
        model: path of the leaf to a leaf of its shape and type.

    Returns:
        Path of the leaf to its host array.

    Raises:
        WrongModelError: if the manifest is sound and lists other leaves than the model.
        ValueError: if a sum or the format is wrong.
        Exception: of many types, on any other damage.
    """
    manifest = _read_manifest(folder)
    check_model(manifest["leaves"], model, folder)
    for name, crc in manifest["files"].items():
        # Before Orbax opens them: on damage it leaves reads behind that complain on standard error.
        if _file_crc(folder / name) != crc:
            raise ValueError(f"{name} does not have its CRC32 sum")
    return _read_arrays(folder, manifest["leaves"])


def holds(folder: Path, leaves: Mapping[str, np.ndarray]) -> bool:
    """Whether a folder is a sound checkpoint of just these leaves.

    Args:
        folder: where the checkpoint may be.
        leaves: path of the leaf to its host array.

    Returns:
        False on whatever damage or difference.
    """
    try:
        return leaf_entries(read(folder, leaves)) == leaf_entries(leaves)
    except Exception:  # Whatever the damage: the caller writes it anew.
        return False


def remove(folder: Path) -> None:
    """Takes a step away at once, by renaming; `clear_leftovers` deletes it, and may be killed.

    Args:
        folder: what `write` has written, or nothing.
    """
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.removed"))


def clear_leftovers(directory: Path) -> None:
    """Deletes what was removed, and what killed saves and removals have left.

    Args:
        directory: the folder of all steps, or nothing.
    """
    if directory.is_dir():
        for path in directory.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)


def free_space(directory: Path) -> str:
    """What to tell beside a failed save: the error itself rarely says that the disk is full.

    Args:
        directory: a folder on the disk.

    Returns:
        The free space in parentheses behind a space; empty where it is unknown.
    """
    try:
        return f" ({shutil.disk_usage(directory).free / 1e6:.1f} MB were free on that disk)"
    except OSError:
        return ""


def _write_part(folder: Path, leaves: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays, and then the manifest with the sums of all leaves and files."""
    # Orbax takes a second and 25 MiB to import: at the first save, training has begun.
    from jaxgen.training import orbax_arrays

    folder.mkdir()
    orbax_arrays.save(folder / _ARRAYS, _stored(leaves))
    entries = leaf_entries(leaves)
    files = {
        str(path.relative_to(folder)): _file_crc(path)
        for path in sorted((folder / _ARRAYS).rglob("*"))
        if path.is_file()
    }
    crc = _entries_crc(entries, files)
    manifest = {"format": _FORMAT, "crc32": crc, "leaves": entries, "files": files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    if manifest["crc32"] != _entries_crc(manifest["leaves"], manifest["files"]):
        raise ValueError(f"{_MANIFEST} does not have its CRC32 sum")
    if manifest["format"] != _FORMAT:
        raise ValueError(f"{_MANIFEST} is of format {manifest['format']}, expected {_FORMAT}")
    return manifest


def _read_arrays(folder: Path, entries: Mapping[str, Any]) -> dict[str, np.ndarray]:
    from jaxgen.training import orbax_arrays

    empty = {p: np.zeros(e["shape"], jnp.dtype(e["dtype"])) for p, e in entries.items()}
    arrays = {**empty, **orbax_arrays.restore(folder / _ARRAYS, _stored(empty))}
    found = leaf_entries(arrays)
    wrong = [path for path, entry in entries.items() if found[path] != entry]
    if wrong:
        raise ValueError(f"CRC32 differs in {', '.join(wrong[:5])} ({len(wrong)} leaves)")
    return arrays


def _stored(leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The leaves with values: Orbax refuses empty arrays, and the manifest has all of those."""
    return {path: array for path, array in leaves.items() if array.size}


def _file_crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            crc = zlib.crc32(chunk, crc)
    return crc


def _entries_crc(*entries: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(entries, sort_keys=True).encode())
