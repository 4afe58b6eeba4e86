"""Writing files so that a crash leaves no half of one, and reading them again."""

import json
import os
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike[str]


def write_atomically(path: PathLike, content: str | bytes) -> None:
    """Writes a file so that readers see the old content or the new, never a part of it.

    Args:
        path: the file; its directory is made if there is none.
        content: text (written as UTF-8) or bytes.

    Raises:
        OSError: if the disk is full or the file cannot be written; the old content stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:  # The part's name says nothing to those who read of it.
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_object(path: PathLike) -> dict[str, Any] | None:
    """Reads a JSON object.

    Args:
        path: the file.

    Returns:
        The object, or None if there is no such file.

    Raises:
        ValueError: if the file is damaged.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: {type(content).__name__}, expected an object")
    return content
