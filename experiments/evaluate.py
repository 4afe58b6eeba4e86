"""Measures a trained run on its test examples: prints tables and writes them into the run.

python -m experiments.evaluate runs/vae
python -m experiments.evaluate runs/vae --help    # with a run, lists its family's settings too
"""

import dataclasses
from typing import Annotated, Any, Generic

import tyro

from experiments import measurement
from experiments.command_line import errors_exit
from experiments.experiment import Evaluation
from experiments.report import write_report
from experiments.runs import Run, find_run, parse_for_run, restore_run, trained_run
from experiments.sample_sheets import num_shown
from experiments.settings import DataInfo
from jaxgen.data import Dataset, describe
from jaxgen.data.dataset import OWN_NAMES
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.evaluation import NonFiniteMetricError

_LONGEST = 40  # Characters of a value in a message: enough to tell digests apart.


@dataclasses.dataclass(frozen=True)
class Settings(Generic[Evaluation]):
    """What to measure."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained run."""
    evaluation: Evaluation
    dataset: str | None = None
    """The run's data where they lie now, such as folder:NEW, if they have moved."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if they have moved."""


def main() -> None:
    """Restores the run, loads its data and measures."""
    settings: Settings[Any] = parse_for_run(
        lambda run: run.evaluation,
        lambda evaluation: Settings(run=tyro.MISSING, evaluation=evaluation),
        "experiments.evaluate",
        __doc__,
    )
    with errors_exit(2, ValueError, CheckpointError):
        jax_setup.configure()
        run = find_run(settings.run)
        dataset = load_data(run, settings.dataset, settings.data_dir)
        restored = restore_run(run, evaluation=settings.evaluation)
    print(describe(dataset))
    trained = trained_run(run, restored, dataset)
    with errors_exit(1, NonFiniteMetricError, OSError):
        measurement.record_evaluation(trained, measurement.evaluate_run(trained))
        run.experiment.diagnose(trained)
        measurement.record_samples(trained, num_shown(dataset))
        print(f"report: {write_report(trained.directory.path)}")


def load_data(run: Run, name: str | None, data_dir: str | None) -> Dataset:
    """Loads the data of a run, which may have moved but not changed.

    Args:
        run: by its settings.
        name: of the data where they lie now, or None.
        data_dir: where TFDS data sets lie now, or None.

    Raises:
        ValueError: if they differ from those of the training.
    """
    data, info = run.settings.data, run.info
    has_moved = name is not None
    name = name or data.dataset
    if name not in OWN_NAMES and info.levels is not None:
        # Other images are then refused as such, and not for their sizes.
        data = dataclasses.replace(data, image_size=(info.shape[0], info.shape[1]))
    data_dir = data_dir or data.data_dir
    dataset = dataclasses.replace(data, dataset=name, data_dir=data_dir).load()
    now, before = (dataclasses.asdict(each) for each in (DataInfo.of(dataset), info))
    changed = [
        f"  {key}: {_text(before[key])} then, {_text(now[key])} now"
        for key in before
        if now[key] != before[key]
    ]
    if changed:
        raise ValueError(
            f"dataset: {dataset.name}, expected the data that the run was trained on:\n"
            + "\n".join(changed)
            + ("" if has_moved else "\nIts test examples may have been trained on")
        )
    return dataset


def _text(value: Any) -> str:
    """A value of the data, long ones cut."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


if __name__ == "__main__":
    main()
