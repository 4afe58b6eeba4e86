"""Measures a trained run on its test examples: prints tables and writes them into the run.

python -m experiments.evaluate runs/vae
"""

import dataclasses
from typing import Annotated

import tyro

from experiments import measurement
from experiments.command_line import errors_exit, parse
from experiments.report import write_report
from experiments.runs import Run, find_run, restore_run, trained_run
from experiments.sample_sheets import num_shown
from jaxgen.data import Dataset, describe
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.evaluation import NonFiniteMetricError


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained run."""
    dataset: str | None = None
    """The run's data where they lie now, such as folder:NEW, if they have moved."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if they have moved."""


def main() -> None:
    """Restores the run, loads its data and measures."""
    settings = parse(Settings, "experiments.evaluate", __doc__)
    with errors_exit(2, ValueError, CheckpointError):
        jax_setup.configure()
        run = find_run(settings.run)
        dataset = load_data(run, settings)
        restored = restore_run(run)
    print(describe(dataset))
    trained = trained_run(run, restored, dataset)
    with errors_exit(1, NonFiniteMetricError, OSError):
        measurement.record_evaluation(trained, measurement.evaluate_run(trained))
        run.experiment.diagnose(trained)
        measurement.record_samples(trained, num_shown(dataset))
        print(f"report: {write_report(trained.directory.path)}")


def load_data(run: Run, settings: Settings) -> Dataset:
    """Loads the data of a run, which may have moved but not changed.

    Raises:
        ValueError: if they differ from those of the training.
    """
    data, info = run.settings.data, run.info
    dataset = dataclasses.replace(
        data,
        dataset=settings.dataset or data.dataset,
        data_dir=settings.data_dir or data.data_dir,
    ).load()
    now = (len(dataset.train), len(dataset.test), dataset.digest, dataset.shape, dataset.levels)
    before = (info.num_train, info.num_test, info.digest, info.shape, info.levels)
    if now != before:
        raise ValueError(
            f"dataset: {dataset.name} has {now[0]} train and {now[1]} test examples of shape {now[3]}, digest "
            f"{_short(now[2])}; expected those of the training: {before[0]} and {before[1]} of shape {before[3]}, "
            f"digest {_short(before[2])}. Examples that were trained on may be among the test examples now"
        )
    return dataset


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:8]


if __name__ == "__main__":
    main()
