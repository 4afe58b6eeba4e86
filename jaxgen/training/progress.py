"""What a run shows on the screen: steps, speed, time left and a few metrics."""

import collections
import math
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TextIO

import rich.console
import rich.progress

from jaxgen.training.output import LastingStream


class Progress:
    """Steps, speed, time left and metrics: a bar on a terminal, else a line now and then."""

    def __init__(
        self,
        total: int,
        first_step: int = 0,
        *,
        unit: str = "step",
        is_writer: bool = True,
        seconds_per_line: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares the display; entering the context starts it.

        Args:
            total: number of steps of the whole run.
            first_step: steps done before, so that the speed is that of this start alone.
            unit: what is counted, in the singular.
            is_writer: with several processes True on one of them alone; the others show nothing.
            seconds_per_line: least time between two lines where the output is no terminal.
            stream: where to write; standard output if None.
            clock: seconds, ever increasing.
        """
        self._total = total
        self._unit = unit
        self._is_writer = is_writer
        self._seconds_per_line = seconds_per_line
        self._clock = clock
        stream = stream or sys.stdout  # None where the process was started without one.
        file: Any = stream and LastingStream(stream)
        self._console = rich.console.Console(
            file=file, markup=False, highlight=False, soft_wrap=True
        )
        # Pairs of time and step, the oldest dropped: the speed of the last minute or so, free of
        # the first compilation.
        self._past = collections.deque([(clock(), first_step)], maxlen=60)
        self._first_step = first_step
        self._last_line = -math.inf
        self._line = ""
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Self:
        self._past[0] = (self._clock(), self._first_step)
        if self._is_writer and self._console.is_terminal:
            self._bar = rich.progress.Progress(
                rich.progress.BarColumn(bar_width=20),
                rich.progress.TextColumn("{task.description}", markup=False),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=self._total, completed=self._first_step)
            self._bar.start()
        return self

    def update(self, step: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Shows the state of the run.

        Args:
            step: number of training steps done.
            metrics: the few scalars to show beside.
        """
        if not self._is_writer:
            return
        now = self._clock()
        self._past.append((now, step))
        if step > self._first_step and self._past[0][1] == self._first_step and len(self._past) > 2:
            self._past.popleft()
        self._line = self._describe(step, metrics or {})
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, description=self._line)
        elif now - self._last_line >= self._seconds_per_line or step >= self._total:
            self.message(self._line)
            self._last_line = now

    def waiting(self, what: str) -> None:
        """Says why nothing is shown yet: beside the bar until the first metrics, else in a line.

        Args:
            what: is being done.
        """
        text = f"{self._unit} {self._first_step}/{self._total}  {what}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text, refresh=True)
        else:
            self.message(text)

    def message(self, text: str) -> None:
        """Prints a line of its own, above the bar where there is one.

        Args:
            text: what to print.
        """
        if self._is_writer:
            self._console.print(text)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _describe(self, step: int, metrics: Mapping[str, Any]) -> str:
        (start, old), (now, new) = self._past[0], self._past[-1]
        speed = (new - old) / (now - start) if now > start else 0.0
        left = f"{_duration((self._total - step) / speed)} left" if speed > 0 else "? left"
        shown = [f"{name} {float(value):.4g}" for name, value in metrics.items()]
        return "  ".join(
            [f"{self._unit} {step}/{self._total}", f"{speed:.3g} {self._unit}s/s", left, *shown]
        )


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"
