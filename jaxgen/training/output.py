"""Printing that outlives its reader: a pipe into `head`, a terminal that was closed."""

import contextlib
import io
import os
import sys
from typing import Any, TextIO


class LastingStream:
    """A text stream that drops what can no longer be written, instead of raising.

    After the first failure its file descriptor leads to the null device, so that neither the
    buffer that is left nor anything else in the process fails on it later.

    Attributes:
        stream: the stream that is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        """Wraps a stream.

        Args:
            stream: such as `sys.stdout`.
        """
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes text, if that is still possible.

        Args:
            text: what to write.

        Returns:
            Its length.
        """
        try:
            return self.stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Flushes the stream, if that is still possible."""
        try:
            self.stream.flush()
        except OSError:
            self._give_up()

    def __getattr__(self, name: str) -> Any:
        """Whatever else a text stream has."""
        return getattr(self.stream, name)

    def _give_up(self) -> None:
        with contextlib.suppress(io.UnsupportedOperation), open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), self.stream.fileno())


def outlive_readers() -> None:
    """Lets the process go on where nobody reads its standard output or error any more."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, LastingStream):
            setattr(sys, name, LastingStream(stream))
