"""How long a run has trained over all its starts: `timing.json`, renewed with every checkpoint.

It stands beside the metrics, not among them: those of a run that was killed and went on have the
bits of one that was not.
"""

import json
from typing import NamedTuple

from jaxgen.files import write_atomically
from jaxgen.training.run_directory import RunDirectory


class Timing(NamedTuple):
    """Training time up to a checkpoint.

    Attributes:
        step: number of training steps done.
        seconds: spent on them over all starts, compilation included; what a killed start did after
            its last checkpoint is not counted.
    """

    step: int
    seconds: float


def read_timing(run: RunDirectory) -> Timing | None:
    """Reads how long a run has trained.

    Args:
        run: the run directory.

    Returns:
        The time up to its last checkpoint; None if it has none, or the file is damaged.
    """
    try:
        values = json.loads(run.timing.read_text(encoding="utf-8"))
        return Timing(int(values["step"]), float(values["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_timing(run: RunDirectory, timing: Timing) -> None:
    """Writes how long a run has trained.

    Args:
        run: the run directory.
        timing: up to the checkpoint that was just saved.

    Raises:
        OSError: if the disk is full.
    """
    write_atomically(run.timing, json.dumps(timing._asdict()) + "\n")
