"""Measures a trained run on its test images: prints a table and writes `evaluation.json` into the run.

python -m experiments.evaluate runs/vae
"""

import dataclasses
from typing import Annotated

import tyro

from experiments.runs import load_run
from experiments.settings import errors_exit, parse
from experiments.training import measure
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.platform import configure


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained run."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if not where they lay in training."""


def main() -> None:
    """Restores the run, loads its data and measures."""
    settings = parse(Settings, "experiments.evaluate", __doc__)
    configure()
    with errors_exit(2, ValueError, CheckpointError):
        run = load_run(settings.run)
        data = run.data
        if settings.data_dir is not None:
            data = dataclasses.replace(data, data_dir=settings.data_dir)
        dataset = data.load()
    measure(run.algorithm, run.state, dataset, run.directory, step=run.step)


if __name__ == "__main__":
    main()
