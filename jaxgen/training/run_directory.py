"""The directory of one run: its settings in `config.json`, and a lock against a second start."""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgen.files import write_atomically

CONFIG_FILE = "config.json"
LOCK_FILE = "lock"

_ABSENT = object()


class RunError(ValueError):
    """A directory cannot serve as the run directory that was asked for."""


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """Where the parts of a run lie.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Settings of the run, JSON."""
        return self.path / CONFIG_FILE

    @property
    def command(self) -> Path:
        """The line that the run was started with, where one is known."""
        return self.path / "command.txt"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, one folder a step."""
        return self.path / "checkpoints"

    @property
    def timing(self) -> Path:
        """Seconds of training over all starts, JSON."""
        return self.path / "timing.json"

    @property
    def samples(self) -> Path:
        """Folder of sample pictures."""
        return self.path / "samples"

    @property
    def report(self) -> Path:
        """Page with curves and pictures."""
        return self.path / "report.html"

    @property
    def evaluation(self) -> Path:
        """Results of evaluating the run, JSON."""
        return self.path / "evaluation.json"

    @property
    def sample_metrics(self) -> Path:
        """Distances of samples from the data, JSON."""
        return self.path / "sample_metrics.json"


@contextlib.contextmanager
def open_run(
    path: str | Path,
    config: Mapping[str, Any],
    *,
    free_keys: Collection[str] = (),
    is_writer: bool = True,
) -> Iterator[RunDirectory]:
    """Starts or resumes a run: checks the directory, locks it, writes `config.json`, and unlocks it
    at the end.

    Nothing is created before all that can be checked has been. The lock is the kernel's (`flock`):
    it ends with the process, however that dies.

    Args:
        path: directory of the run; ``~`` is the user's home; made, with its parents, where there
            is none.
        config: settings that JSON can hold; nested mappings are compared setting by setting.
        free_keys: settings (dotted names, or the name of a whole section) that may differ from
            those of the earlier start; `config.json` then takes the new values.
        is_writer: with several processes True on one of them alone; the others check, lock and
            write nothing.

    Yields:
        The run's `RunDirectory`.

    Raises:
        RunError: if the directory holds something else, is in use, cannot be written, or has other
            settings (all named, with both values).
    """
    run = RunDirectory(_absolute(path))
    if not is_writer:
        yield run
        return
    new = _as_json(config)
    _check_usable(run.path)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(run.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(f"cannot write in the run directory {run.path}: {error}") from error
    try:
        _take_lock(lock, run.path)
        _settle_config(run, new, free_keys)
        yield run
    finally:
        # The file stays: were it removed, two starts could hold the locks of two different files.
        os.close(lock)


def read_config(path: str | Path) -> dict[str, Any]:
    """Reads the settings of an existing run.

    Args:
        path: directory of the run.

    Returns:
        The settings as JSON holds them (tuples have become lists).

    Raises:
        RunError: if there is no such run, or its `config.json` cannot be read.
    """
    run = RunDirectory(_absolute(path))
    if not run.path.is_dir():
        raise RunError(f"there is no run directory {run.path}")
    if not run.config.is_file():
        raise RunError(f"{run.path} is not a run directory: it has no {CONFIG_FILE}")
    return _load_config(run.config)


def _absolute(path: str | Path) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise RunError(f"run_dir: {path}, but there is no such home directory ({error})") from error


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they come back from `config.json`."""
    try:
        return json.loads(json.dumps(dict(config)))
    except (TypeError, ValueError) as error:
        raise RunError(f"a setting cannot be written to {CONFIG_FILE}: {error}") from error


def _check_usable(path: Path) -> None:
    """Refuses what is not, and should not become, a run directory; creates nothing."""
    if not path.exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file, not a run directory")
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise RunError(f"cannot read the run directory {path}: {error}") from error
    # A start killed before it wrote its settings leaves a lock file, and perhaps a part of the
    # settings.
    others = {n for n in names if n != LOCK_FILE and not n.startswith(f".{CONFIG_FILE}.")}
    if others and CONFIG_FILE not in names:
        raise RunError(
            f"{path} is not empty and is not a run directory (it has {sorted(others)[0]!r} and no "
            f"{CONFIG_FILE}); choose another one: --run-dir NEW"
        )


def _take_lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 200, 0).decode(errors="replace").strip() or "another process"
        raise RunError(f"the run directory {path} is in use by {holder}") from None
    except OSError as error:
        logging.getLogger(__name__).warning(
            "%s cannot be locked (%s): start no second run in it", path, error
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)


def _settle_config(run: RunDirectory, new: dict[str, Any], free_keys: Collection[str]) -> None:
    """Compares with the settings of the earlier start, if there was one, and writes what is new."""
    old = _load_config(run.config) if run.config.exists() else None
    if old is not None:
        _check_same(run.path, old, new, free_keys)
    if old is None or _text(old) != _text(new):
        try:
            write_atomically(run.config, json.dumps(new, indent=2) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {run.config}: {error}") from error


def _load_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise RunError(
            f"{path} is damaged ({error}); restore that file, or start a new run: --run-dir NEW"
        ) from error
    if not isinstance(config, dict):
        raise RunError(f"{path} is damaged: expected a JSON object, got {type(config).__name__}")
    return config


def _check_same(
    path: Path, old: Mapping[str, Any], new: Mapping[str, Any], free_keys: Collection[str]
) -> None:
    before, now = _flatten(old), _flatten(new)
    lines = [
        f"  {name}: {_show(before.get(name, _ABSENT))} there, {_show(now.get(name, _ABSENT))} now"
        for name in dict.fromkeys([*before, *now])
        if _show(before.get(name, _ABSENT)) != _show(now.get(name, _ABSENT))
        and not any(name == free or name.startswith(f"{free}.") for free in free_keys)
    ]
    if lines:
        raise RunError(
            f"the run in {path} has other settings:\n"
            + "\n".join(lines)
            + "\nUse its settings, or start a new run: --run-dir NEW"
        )


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names; an empty section counts as a value."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def _show(value: Any) -> str:
    # Compared as text too, since a NaN does not equal itself and 1 equals True.
    return "not set" if value is _ABSENT else json.dumps(value)
