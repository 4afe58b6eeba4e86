"""The command line of models that are fitted without an optimizer."""

import dataclasses
from typing import Annotated, Any, Generic

from experiments.command_line import parse
from experiments.course import follow
from experiments.experiment import Evaluation, Experiment, Model
from experiments.ranges import Range, check_settings
from experiments.settings import DataSettings, Plan, ProcessSettings


@dataclasses.dataclass(frozen=True)
class CommandLine(Generic[Model, Evaluation]):
    """What to fit."""

    run_dir: str
    """Directory of the run; the same line with the same directory goes on where it stopped."""
    data: DataSettings
    plan: Plan
    processes: ProcessSettings
    model: Model
    evaluation: Evaluation
    seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the start, the order of the examples and the samples in the film."""

    def __post_init__(self) -> None:
        check_settings(self)


def main(experiment: Experiment, doc: str | None) -> None:
    """Fits, measures and draws what the command line asks for.

    Args:
        experiment: the family.
        doc: the script's docstring, whose first paragraph heads the help.
    """
    default = experiment.defaults()
    names = ("run_dir", "data", "plan", "processes", "model", "evaluation")
    kind: Any = CommandLine[experiment.model, type(experiment.evaluation)]  # type: ignore[misc, name-defined]
    line = parse(
        kind,
        f"experiments.{experiment.name}",
        doc,
        default=kind(**{name: getattr(default, name) for name in names}),
    )
    chosen = {name: getattr(line, name) for name in names}
    training = dataclasses.replace(default.training, seed=line.seed)
    follow(experiment, dataclasses.replace(default, training=training, **chosen))
