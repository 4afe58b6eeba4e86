"""Settings of classification by Bayes' rule."""

import dataclasses
from typing import Annotated, Generic

import tyro

from experiments.experiment import Evaluation
from experiments.ranges import AT_LEAST_1, check_settings


@dataclasses.dataclass(frozen=True)
class Settings(Generic[Evaluation]):
    """What to classify."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained class-conditional run with a likelihood or a bound of it."""
    evaluation: Evaluation
    num_test: Annotated[int, AT_LEAST_1] = 2000
    """At most so many labelled test examples, drawn at random."""
    num_draws: Annotated[int, AT_LEAST_1] = 1
    """Draws of the noise of a bound, each the same for all classes; of two or more the mean is
    taken, and how far the noise moves the differences between classes is told."""
    dataset: str | None = None
    """The run's data where they lie now, such as folder:NEW, if they have moved."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if they have moved."""

    def __post_init__(self) -> None:
        check_settings(self)
