"""Settings of a classifier of noisy data."""

import dataclasses
from typing import Annotated

import tyro

from experiments.ranges import AT_LEAST_1, POSITIVE, check_settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """The classifier."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained diffusion run, whose data have labels."""
    steps: Annotated[int, AT_LEAST_1] = 1000
    """Training steps."""
    learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Of Adam."""
    channels: Annotated[tuple[int, ...], AT_LEAST_1] = (32, 64)
    """Channels of the convolutions, each at half the size of the one before."""
    dataset: str | None = None
    """The run's data where they lie now, such as folder:NEW, if they have moved."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if they have moved."""

    def __post_init__(self) -> None:
        check_settings(self)
