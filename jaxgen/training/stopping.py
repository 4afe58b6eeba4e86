"""Signals as a question that the loop asks between dispatches, alike for one process and many."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils


@contextlib.contextmanager
def stop_requested() -> Iterator[Callable[[int], bool]]:
    """Takes SIGTERM, SIGHUP and SIGINT as requests to stop; a second SIGINT is not held back.

    Yields:
        A function of consecutive numbers that tells whether to stop. All processes, on whichever
        host the signal came, get one answer at a number.

    Raises:
        KeyboardInterrupt: at SIGINT after another signal.
    """
    if jax.process_count() > 1:
        # jax's preemption service catches SIGTERM on any host and names the next number as the one
        # to stop at; a hangup is passed on to it as that.
        with _handled([signal.SIGHUP], lambda *_: os.kill(os.getpid(), signal.SIGTERM)):
            yield multihost_utils.reached_preemption_sync_point
        return
    received = threading.Event()

    def request(signum: int, frame: Any) -> None:
        if received.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        received.set()

    with _handled([signal.SIGTERM, signal.SIGHUP, signal.SIGINT], request):
        yield lambda number: received.is_set()


@contextlib.contextmanager
def _handled(signals: list[signal.Signals], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handles signals within, but those that the process was told to ignore, as `nohup` does."""
    previous = {number: signal.getsignal(number) for number in signals}
    is_main_thread = threading.current_thread() is threading.main_thread()
    handled = [n for n, old in previous.items() if is_main_thread and old is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, previous[number])
