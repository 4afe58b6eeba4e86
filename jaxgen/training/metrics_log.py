"""What a run writes down while it trains: `metrics.jsonl` and TensorBoard events."""

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image as image_summary
from tensorboardX.summary import scalar as scalar_summary

from jaxgen.files import write_atomically

_SECONDS_PER_FLUSH = 10.0
METRICS_FILE = "metrics.jsonl"
NON_FINITE = "non_finite"
"""Where a row tells which of its values were NaN or infinite; the values themselves are null."""


class MetricsLog:
    """Rows of metrics, one JSON object a line, and the same numbers and pictures as TensorBoard
    events.

    Opening it at a step drops the rows after that step, which a run killed beyond its last
    checkpoint has left.
    """

    def __init__(
        self, directory: str | Path, first_step: int = 0, *, is_writer: bool = True
    ) -> None:
        """Opens the log.

        Args:
            directory: the run directory; it exists.
            first_step: the step training goes on from; later rows are dropped.
            is_writer: with several processes True on one of them alone; on the others every method
                does nothing.
        """
        self._file: TextIO | None = None
        self._events: EventsWriter | None = None
        self._flushed = time.monotonic()
        if not is_writer:
            return
        path = Path(directory) / METRICS_FILE
        if path.exists():
            _drop_rows_after(path, first_step)
        self._file = path.open("a", encoding="utf-8")
        # Not the usual SummaryWriter: its thread dies on a full disk, and then the training hangs.
        # The name must be new: a start within the same second would overwrite the earlier file.
        self._events = EventsWriter(str(Path(directory) / "events"), f".{time.time_ns()}")
        if first_step:
            # TensorBoard then hides the later events of earlier files.
            start = SessionLog(status=SessionLog.START)
            self._add(first_step + 1, session_log=start)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends one row and flushes it, so that a killed run keeps it.

        Args:
            step: number of training steps done.
            values: numbers (also scalar arrays), strings, or what else JSON holds. Numbers go to
                TensorBoard too. NaN and infinity, which JSON does not know, become null and are
                told under `NON_FINITE`.

        Raises:
            TypeError: if a value is nothing that JSON holds.
            OSError: if the disk is full.
        """
        if self._file is None:
            return
        row = {"step": int(step), **{name: _plain(value) for name, value in values.items()}}
        strange = {
            n: str(v) for n, v in row.items() if isinstance(v, float) and not math.isfinite(v)
        }
        if strange:
            row |= {**dict.fromkeys(strange), NON_FINITE: strange}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                self._add(step, summary=scalar_summary(name, value))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Adds one picture to the TensorBoard events.

        Args:
            step: number of training steps done.
            name: its name, the same at every step.
            image: uint8 `[H, W, C]` with 1, 3 or 4 channels.

        Raises:
            ValueError: if it is no such image.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
            raise ValueError(
                f"image: {image.dtype} {list(image.shape)}, expected uint8 [H, W, 1, 3 or 4]"
            )
        if self._events is not None:
            self._add(step, summary=image_summary(name, image, dataformats="HWC"))

    def _add(self, step: int, **content: Any) -> None:
        """Adds one event, and now and then puts what there is on disk (it costs a few ms)."""
        if self._events is None:
            return
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
        if time.monotonic() - self._flushed > _SECONDS_PER_FLUSH:
            self._events.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Closes the files; further calls of `write` do nothing."""
        file, events = self._file, self._events
        self._file, self._events = None, None
        try:
            if file is not None:
                file.close()
        finally:
            if events is not None:
                events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(directory: str | Path) -> list[dict[str, Any]]:
    """Reads the rows of a run, also of one that is training or was killed.

    Args:
        directory: the run directory.

    Returns:
        The rows in the order of writing; none if there is no file. A torn last line is left out; a
        torn line elsewhere too, with a warning in the Python log.
    """
    path = Path(directory) / METRICS_FILE
    return [row for row, _ in _rows(path)] if path.exists() else []


def _drop_rows_after(path: Path, step: int) -> None:
    """Rewrites the file without later rows and torn lines, if it has any."""
    kept = "".join(line + "\n" for row, line in _rows(path) if row.get("step", 0) <= step)
    if kept.encode() != path.read_bytes():
        write_atomically(path, kept)


def _rows(path: Path) -> list[tuple[dict[str, Any], str]]:
    """The rows and their lines; a line that is no JSON object is left out."""
    text = path.read_bytes().decode(errors="replace")
    rows = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append((row, line))
        elif line.strip() and number < len(lines):
            logging.getLogger(__name__).warning(
                "%s: line %d is no JSON object and left out", path, number
            )
    return rows


def _plain(value: Any) -> Any:
    """A Python number of a scalar array; anything else unchanged."""
    return value.item() if hasattr(value, "item") else value
