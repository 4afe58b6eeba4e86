"""Compares trained runs of any families on the same data: one table, one page.

python -m experiments.compare runs/vae runs/gan
"""

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

import rich.console
import rich.table
import tyro
from rich.text import Text

from experiments.command_line import errors_exit, parse
from experiments.compare import pictures
from experiments.compare.records import (
    FLOOR,
    Record,
    check_comparable,
    floor,
    numbers,
    read_record,
    unique_names,
)
from experiments.page import document, escape, figure, table
from experiments.ranges import require
from jaxgen.files import write_atomically


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to compare."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Directories of trained runs."""
    out: pathlib.Path = pathlib.Path("runs/compare")
    """Folder for compare.html, compare.png, compare.json and compare.csv."""


def main() -> None:
    """Reads the runs, prints the table and writes the page."""
    settings = parse(Settings, "experiments.compare", __doc__)
    with errors_exit(2, ValueError):
        require(len(settings.runs) > 0, "runs", "none", "one or more run directories")
        records = [read_record(path) for path in settings.runs]
        check_comparable(records)
    names = unique_names(records)
    columns = {name: numbers(record) for name, record in zip(names, records, strict=True)}
    columns[FLOOR] = floor(records[0])
    rich.console.Console().print(_table(records[0], columns))
    with errors_exit(1, OSError):
        _write(settings.out, records, columns)
    print(f"page: {settings.out / 'compare.html'}")


def _quantities(columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for column in columns.values() for name in column))


def _rows(columns: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row for every quantity, with a value for each run."""
    return [
        [name, *(_cell(column.get(name)) for column in columns.values())]
        for name in _quantities(columns)
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def _caption(record: Record) -> str:
    samples = record.samples
    return (
        f"{record.evaluation['num_examples']:,} test examples; distances of {samples['num']:,} samples, or as many "
        f"train examples, from as many test examples; features: {samples['features']}"
    )


def _table(record: Record, columns: Mapping[str, Mapping[str, Any]]) -> rich.table.Table:
    made = rich.table.Table(
        title=Text(f"Runs on {record.evaluation['dataset']}"),
        caption=Text(_caption(record)),
        title_justify="left",
        caption_justify="left",
    )
    made.add_column("")
    for name in columns:
        made.add_column(Text(name), justify="right")
    for row in _rows(columns):
        made.add_row(*map(Text, row))
    return made


def _write(
    out: pathlib.Path, records: list[Record], columns: Mapping[str, Mapping[str, Any]]
) -> None:
    first = records[0]
    content = {
        "dataset": first.evaluation["dataset"],
        "digest": first.evaluation["digest"],
        "features": first.samples["features"],
        "feature_net": first.samples["feature_net"],
        "runs": columns,
    }
    write_atomically(out / "compare.json", json.dumps(content, indent=2) + "\n")
    write_atomically(out / "compare.csv", _csv(columns))
    picture = pictures.draw(records, columns)
    write_atomically(out / "compare.png", picture)
    write_atomically(out / "compare.html", _page(records, columns, picture))


def _csv(columns: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A line for each run."""
    text = io.StringIO()
    names = _quantities(columns)
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["run", *names])
    for run, column in columns.items():
        values = (column.get(name) for name in names)
        lines.writerow([run, *("" if value is None else value for value in values)])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _page(records: list[Record], columns: Mapping[str, Mapping[str, Any]], picture: bytes) -> str:
    """The table, and the picture."""
    title = f"Runs on {records[0].evaluation['dataset']}"
    return document(
        title,
        [
            f"<h1>{escape(title)}</h1><p>{escape(_caption(records[0]))}</p>",
            "<h2>Numbers</h2>" + table(_rows(columns), head=["", *columns]),
            "<h2>Samples</h2>" + figure(picture, "what they cover, and sheets of them"),
        ],
    )


if __name__ == "__main__":
    main()
