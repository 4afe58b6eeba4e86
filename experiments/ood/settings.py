"""Settings of scores of strange examples."""

import dataclasses
from typing import Annotated, Generic

import tyro

from experiments.experiment import Evaluation
from experiments.ranges import Range, check_settings


@dataclasses.dataclass(frozen=True)
class Settings(Generic[Evaluation]):
    """What to tell from what."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained run with a likelihood or a bound of it."""
    evaluation: Evaluation
    against: str
    """The other data: digits, folder:PATH, the name of a TFDS image data set, ...; brought to the
    size, the channels and the levels of the run's data."""
    background: str | None = None
    """Directory of a run of the same kind, trained on the same data with pixels drawn anew
    (--dataset redrawn:0.2:NAME), for the likelihood ratio."""
    num_test: Annotated[int, Range(4)] = 2000
    """At most so many test examples of the run's data, drawn at random, half of them as the
    reference of the others; and at most half as many of the other data."""
    dataset: str | None = None
    """The run's data where they lie now, such as folder:NEW, if they have moved."""
    data_dir: str | None = None
    """Where TFDS data sets lie, those of the run (if they have moved) and the others."""

    def __post_init__(self) -> None:
        check_settings(self)
