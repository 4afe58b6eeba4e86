"""Trains pairs of networks under several losses: which losses bear which architectures.

python -m experiments.gan_architectures            # digits, 6 pairs, 4 losses, ten minutes
python -m experiments.gan_architectures --dataset mnist --steps 5000 --run-dir runs/pairs_mnist

After figure 2 of Gulrajani et al. 2017, "Improved training of Wasserstein GANs", on a small data
set. There every loss has an optimizer and a rate of its own; here all cells share one Adam, the
generator without batch norm keeps its numbers of channels, the pair of gated units is left out, and
the deep residual pair has three further blocks after each that resizes instead of 101 layers. Every
cell is a run directory of `experiments.gan`, which `experiments.sample` and `experiments.evaluate`
read.
"""

import json
import math
import pathlib
import sys
from collections.abc import Mapping

import numpy as np
import rich.console
import rich.table
from rich.text import Text

from experiments import course
from experiments.command_line import errors_exit, parse
from experiments.gan import EXPERIMENT
from experiments.gan_architectures.cells import (
    NUM_SHOWN,
    Cell,
    Settings,
    cell_settings,
    train_cell,
)
from jaxgen import metrics
from jaxgen.data import Dataset, describe
from jaxgen.files import write_atomically
from jaxgen.training import jax_setup


def main() -> None:
    """Trains every cell that is not done, prints the table and draws the figure."""
    settings = parse(Settings, "experiments.gan_architectures", __doc__)
    with errors_exit(2, ValueError):
        jax_setup.configure()
        dataset = settings.data.load()
        grid = {
            (row, column): course.prepare(EXPERIMENT, cell_settings(settings, row, column), dataset)
            for row in settings.architectures
            for column in settings.losses
        }
    print(describe(dataset))
    cells: dict[tuple[str, str], Cell] = {}
    for number, (names, cell) in enumerate(grid.items(), start=1):
        print(f"{number} of {len(grid)}: {names[0]}, {names[1]}", file=sys.stderr)
        cells[names] = train_cell(cell)
    rows = [
        {"networks": row, "loss": column, "coverage": cell.coverage, "frechet": cell.frechet}
        for (row, column), cell in cells.items()
    ]
    folder = pathlib.Path(settings.run_dir).expanduser()
    write_atomically(folder / "results.json", json.dumps(rows, indent=1) + "\n")
    rich.console.Console().print(_table(settings, dataset, cells))
    _draw(folder / "robustness.png", settings, dataset, cells)
    print(f"results: {folder / 'results.json'}\nfigure: {folder / 'robustness.png'}")


def _table(
    settings: Settings, dataset: Dataset, cells: Mapping[tuple[str, str], Cell]
) -> rich.table.Table:
    note = metrics.cached_features(dataset).note
    table = rich.table.Table(
        "networks",
        title=Text(f"{dataset.name}: coverage of the test images (Frechet distance of features)"),
        caption=Text(f"{settings.steps:,} steps a cell; features: {note}"),
        title_justify="left",
        caption_justify="left",
    )
    for column in settings.losses:
        table.add_column(column.replace("_", " "), justify="right")
    for row in settings.architectures:
        table.add_row(row, *(str(cells[row, column]) for column in settings.losses))
    return table


def _draw(
    path: pathlib.Path,
    settings: Settings,
    dataset: Dataset,
    cells: Mapping[tuple[str, str], Cell],
) -> None:
    """A sheet of samples for every cell."""
    from jaxgen import plots

    levels = dataset.levels
    assert levels is not None
    blank = np.zeros((NUM_SHOWN, *dataset.shape), np.uint8)

    def sheet(cell: Cell) -> np.ndarray:
        x = blank if cell.samples is None else cell.samples
        return plots.image_grid(x, levels=levels, columns=math.isqrt(NUM_SHOWN))

    sheets = [
        [sheet(cells[row, column]) for column in settings.losses] for row in settings.architectures
    ]
    plots.labelled_grid(
        path,
        np.array(sheets),
        row_labels=settings.architectures,
        column_labels=settings.losses,
        title="Samples of every pair of networks under every loss; black if it diverged",
        tile=1,
    )


if __name__ == "__main__":
    main()
