"""Settings of the probe."""

import dataclasses
from typing import Annotated

import tyro

from experiments.ranges import AT_LEAST_1, Range, check_settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """The probe."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained run, whose data have labels."""
    num_labels: Annotated[tuple[int, ...], AT_LEAST_1] = ()
    """Numbers of labelled train examples, each a random draw that is even over the classes; by
    default 1, 10 and 100 of a class, as far as there are so many."""
    num_draws: Annotated[int, Range(2)] = 10
    """Draws of labels, over which mean and spread are taken."""
    seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the draws."""
    dataset: str | None = None
    """The run's data where they lie now, such as folder:NEW, if they have moved."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if they have moved."""

    def __post_init__(self) -> None:
        check_settings(self)
