"""What a family gives to the course of an experiment: settings, a method, its own pictures."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from experiments.settings import (
    DataInfo,
    DataSettings,
    OptimizerSettings,
    Plan,
    ProcessSettings,
    TrainingSettings,
)
from jaxgen.data.dataset import Dataset, Split
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm, PyTree

if TYPE_CHECKING:  # Whoever restores imports it; it would delay the first step of a training.
    from jaxgen.inverse.image_priors import Prior

Model = TypeVar("Model")
Sampling = TypeVar("Sampling")
Evaluation = TypeVar("Evaluation")


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """A family has nothing to set of its samples, or of its evaluation."""


@dataclasses.dataclass(frozen=True)
class RunSettings(Generic[Model, Sampling, Evaluation]):
    """All settings of a run."""

    run_dir: str
    """Directory of the run; the same line with the same directory goes on where it stopped."""
    data: DataSettings
    plan: Plan
    optimizer: OptimizerSettings
    training: TrainingSettings
    processes: ProcessSettings
    model: Model
    sampling: Sampling
    evaluation: Evaluation


class Features(NamedTuple):
    """What a trained model makes of examples on its way, for whoever looks at it.

    Attributes:
        layer: where it is taken from, in words.
        extract: ``(state, x) -> [B, F]``, float32, of data as a batch has them, without labels.
    """

    layer: str
    extract: Callable[[PyTree, Any], Any]


def _all_examples(split: Split) -> Split:
    return split


class Method(NamedTuple):
    """What the settings of a family make.

    Attributes:
        algorithm: to train, sample and evaluate.
        description: what is trained, in a line.
        batches_per_step: batches of the plan's size that a step sees, such as those of critic
            steps.
        is_conditional: whether it is given labels.
        film: ``(state, key, num, label=None) -> x [F, num, ...]``, how samples come to be step by
            step, where they do.
        features: of a layer within, where there is one that is given no labels.
        prior: ``state -> prior`` of images in [-1, 1], as `jaxgen.inverse.solve` takes one, where
            there is one that is given no labels.
        view: what the training sees of the train split; raises ValueError where that does not fit.
        needs_all_labels: whether a conditional method must know those of all train examples.
    """

    algorithm: Algorithm
    description: str = ""
    batches_per_step: int = 1
    is_conditional: bool = False
    film: Callable[..., Any] | None = None
    features: Features | None = None
    prior: "Callable[[PyTree], Prior] | None" = None
    view: Callable[[Split], Split] = _all_examples
    needs_all_labels: bool = True


class Trained(NamedTuple):
    """A run that has been trained, for what a family does afterwards.

    Attributes:
        directory: where it lies.
        settings: all of them.
        dataset: the data.
        info: about the data.
        method: what was trained.
        state: the last one.
        step: training steps behind it.
    """

    directory: RunDirectory
    settings: RunSettings[Any, Any, Any]
    dataset: Dataset
    info: DataInfo
    method: Method
    state: PyTree
    step: int


def _do_nothing(trained: Trained) -> None:
    pass


Build = Callable[[RunSettings[Any, Any, Any], DataInfo, pathlib.Path | None], Method]
"""``(settings, info, run_path) -> Method``; what a run has fitted after its training lies in the
path, which is None before."""


class Experiment(NamedTuple):
    """A family of methods, as the course of an experiment knows it.

    Attributes:
        name: of its folder.
        model: dataclass of its own settings.
        build: makes the method of a run.
        optimizer: defaults.
        plan: defaults.
        training: defaults.
        sampling: defaults of what may be changed when samples are drawn from a trained run.
        evaluation: defaults of what may be changed when a trained run is evaluated.
        free: own settings that may change from one start to the next.
        finish: what is fitted after the training, on every process.
        diagnose: what else is measured of a trained run, printed, and written into it.
        pictures: module with ``draw(trained)``, which draws its own pictures into the run's
            `samples` folder. It is imported after the training, since Matplotlib would delay the
            first step.
    """

    name: str
    model: type
    build: Build
    optimizer: OptimizerSettings = OptimizerSettings()
    plan: Plan = Plan()
    training: TrainingSettings = TrainingSettings()
    sampling: Any = NoSettings()
    evaluation: Any = NoSettings()
    free: tuple[str, ...] = ()
    finish: Callable[[Trained], None] = _do_nothing
    diagnose: Callable[[Trained], None] = _do_nothing
    pictures: str | None = None

    @property
    def settings(self) -> Any:
        """The type of all settings of a run."""
        return RunSettings[self.model, type(self.sampling), type(self.evaluation)]  # type: ignore[misc, name-defined]

    def defaults(self) -> RunSettings[Any, Any, Any]:
        """All settings as they are without flags."""
        return RunSettings(
            run_dir=f"runs/{self.name}",
            data=DataSettings(),
            plan=self.plan,
            optimizer=self.optimizer,
            training=self.training,
            processes=ProcessSettings(),
            model=self.model(),
            sampling=self.sampling,
            evaluation=self.evaluation,
        )
