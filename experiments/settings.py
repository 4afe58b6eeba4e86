"""What every experiment's command line and `config.json` have in common."""

import contextlib
import dataclasses
import math
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import tyro

from jaxgen.data.dataset import Dataset
from jaxgen.data.load import load

Settings = TypeVar("Settings")


def require(is_good: bool, name: str, value: object, expected: str) -> None:
    """Raises ValueError naming a setting, its value and what was expected, unless it is good."""
    if not is_good:
        raise ValueError(f"{name}: {value}, expected {expected}")


def require_at_least(settings: object, least: Mapping[str, float]) -> None:
    """Raises ValueError naming the first setting that is not a finite number of at least the given one."""
    for name, lowest in least.items():
        value = getattr(settings, name)
        require(lowest <= value < math.inf, name, value, f"at least {lowest}")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which images to learn from."""

    dataset: str = "digits"
    """digits (needs no download), folder:PATH (a folder of images), or the name of a TFDS image data set."""
    data_dir: str | None = None
    """Where TFDS data sets lie; by default ~/tensorflow_datasets."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize and crop to; by default the images' own."""
    levels: int | None = None
    """Number of pixel values; by default 2 if no pixel exceeds 1, else 256."""

    def load(self) -> Dataset:
        """Loads the data set."""
        return load(
            self.dataset, data_dir=self.data_dir, image_size=self.image_size, levels=self.levels
        )


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train."""

    steps: int = 2000
    """Number of training steps; a finished run goes on if you raise it."""
    batch_size: int = 128
    """Examples in a step, over all devices."""
    learning_rate: float = 1e-3
    """Of Adam."""
    ema_decay: float = 0.999
    """Decay of the averaged parameters used for sampling and evaluation; 0 uses the last ones."""
    seed: int = 0
    """Of the parameters, the order of the examples and all noise."""
    steps_per_call: int = 100
    """Steps in one dispatch to the device, and behind each row of metrics."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    distributed: bool = False
    """Join the processes of other hosts (TPU pod, Slurm, MPI); start the same line on each."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "steps_per_call", "checkpoint_every"):
            value = getattr(self, name)
            require(value >= 1, name, value, "at least 1")
        rate = self.learning_rate
        require(0.0 < rate < math.inf, "learning_rate", rate, "a finite number above 0")
        require(0.0 <= self.ema_decay < 1.0, "ema_decay", self.ema_decay, "in [0, 1)")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 2**32 - 1")


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What of a data set a model must know; kept in `config.json` so that sampling needs no data."""

    shape: tuple[int, ...]
    levels: int
    class_names: tuple[str, ...] | None

    @classmethod
    def of(cls, dataset: Dataset) -> "DataInfo":
        """Describes a data set of images.

        Raises:
            ValueError: if its examples are not images.
        """
        if len(dataset.shape) != 3 or dataset.levels is None:
            raise ValueError(
                f"dataset: {dataset.name} has examples of shape {dataset.shape}; this experiment needs images (H, W, C)"
            )
        return cls(dataset.shape, dataset.levels, dataset.class_names)


def peek(name: str) -> str | None:
    """Reads one setting from the command line before the others, which may depend on it; None if it is not there."""
    kind = dataclasses.make_dataclass("_Peeked", [(name, str | None, None)])
    known: Any
    try:
        known, _ = tyro.cli(kind, add_help=False, console_outputs=False, return_unknown_args=True)
    except SystemExit:  # A flag without a value, which `parse` will say.
        return None
    return getattr(known, name)


def parse(
    settings_class: type[Settings], module: str, doc: str | None, *, default: Settings | None = None
) -> Settings:
    """Reads settings from the command line; on errors it prints them and exits with 2.

    Args:
        settings_class: dataclass of the settings.
        module: name of the script, as ``python -m`` takes it.
        doc: the script's docstring, whose first paragraph heads the help.
        default: what is not on the command line; by default the defaults of the dataclass.

    Returns:
        The settings.
    """
    return tyro.cli(
        settings_class,
        prog=f"python -m {module}",
        description=(doc or "").partition("\n\n")[0],
        default=tyro.MISSING_NONPROP if default is None else default,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def from_json(cls: type[Settings], values: dict[str, Any]) -> Settings:
    """Builds a settings dataclass from what `dataclasses.asdict` and JSON made of it.

    Raises:
        ValueError: if a setting is missing or unknown.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if fields != set(values):
        raise ValueError(
            f"the run's settings do not fit this version of {cls.__name__}: "
            f"missing {sorted(fields - set(values))}, unknown {sorted(set(values) - fields)}"
        )
    return cls(**{name: _value(hints[name], value) for name, value in values.items()})


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    return tuple(value) if isinstance(value, list) else value


@contextlib.contextmanager
def errors_exit(code: int, *kinds: type[Exception]) -> Iterator[None]:
    """Turns errors that the user can mend into one message and an exit code."""
    try:
        yield
    except kinds as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(code)
