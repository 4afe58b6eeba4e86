"""The outcome of a probe: a table, `probe.json` in the run, and a picture among its samples."""

import json
from typing import Any

import rich.console
import rich.table
from rich.text import Text

from experiments.experiment import Trained
from experiments.probe import pictures
from experiments.probe.examples import Part
from experiments.probe.regression import Accuracies
from experiments.probe.settings import Settings
from experiments.report import write_report
from jaxgen.files import write_atomically

FILE, PICTURE = "probe.json", "probe.png"

Results = dict[str, list[Accuracies]]


def record_outcome(trained: Trained, settings: Settings, test: Part, results: Results) -> None:
    """Prints the table, writes the file and draws the curve.

    Raises:
        OSError: if a file cannot be written, after the table.
    """
    features: Any = trained.method.features
    dataset, num, path = trained.dataset, len(test.label), trained.directory.path
    rich.console.Console().print(_table(dataset.name, num, settings.num_draws, results))
    record = {
        "dataset": dataset.name,
        "digest": dataset.digest,
        "step": trained.step,
        "layer": features.layer,
        "num_features": [x.shape[1] for x in test.forms.values()],
        "num_examples": num,
        "num_draws": settings.num_draws,
        "seed": settings.seed,
        "accuracy": {form: list(map(_as_json, rows)) for form, rows in results.items()},
    }
    write_atomically(path / FILE, json.dumps(record, indent=2) + "\n")
    title = f"{dataset.name}: mean and deviation of {settings.num_draws} draws of labels"
    picture = trained.directory.samples / PICTURE
    pictures.draw(picture, results, title)
    print(f"features: {features.layer}")
    print(f"probe: {path / FILE}, {picture}")
    print(f"report: {write_report(path)}")


def _table(dataset: str, num: int, num_draws: int, results: Results) -> rich.table.Table:
    title = f"Test error (%), {num:,} examples of {dataset}, by labels"
    caption = f"mean of {num_draws} draws of labels ± its standard error"
    table = rich.table.Table(
        "regression on", title=Text(title), title_justify="left", caption=caption
    )
    for row in next(iter(results.values())):
        table.add_column(f"{row.num_labels:,}", justify="right")
    for form, rows in results.items():
        cells = (f"{100 - 100 * row.mean:.2f} ± {100 * row.standard_error:.2f}" for row in rows)
        table.add_row(form, *cells)
    return table


def _as_json(row: Accuracies) -> dict[str, Any]:
    return {
        "num_labels": row.num_labels,
        "mean": row.mean,
        "standard_error": row.standard_error,
        "spread": row.spread,
        "values": row.values,
        "penalties": row.penalties,
    }
