"""One page on a run, to be read in any browser: its numbers, pictures, curves and settings.

The page is a single file without scripts or links, so that it can be mailed or copied anywhere. It
works for the run directory of every family, finished or still training.
"""

import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from experiments.page import document, escape, figure, flatten, label, show, table, words
from jaxgen import plots
from jaxgen.files import read_object, write_atomically
from jaxgen.training.metrics_log import read_metrics
from jaxgen.training.run_directory import CONFIG_FILE, RunDirectory, read_config

_MOST_IN_CELL = 32  # Numbers of a list.


def write_report(run_dir: str | pathlib.Path) -> pathlib.Path:
    """Writes `report.html` into a run directory; an older page is replaced in one move.

    It shows the line in `command.txt` if there is one; `evaluation.json` if there is one, otherwise
    the last values of `metrics.jsonl`; `sample_metrics.json` if there is one; the numbers of every
    other JSON file, such as `classification.json`, folded; every picture and film in `samples/`,
    the newest of a series first; a curve for every metric; and all settings.

    Args:
        run_dir: directory of the run, with `config.json`.

    Returns:
        The page's path.

    Raises:
        jaxgen.training.run_directory.RunError: if it is no run directory.
        ValueError: if a JSON file of the run is damaged.
    """
    run = RunDirectory(pathlib.Path(run_dir).absolute())
    config = flatten(read_config(run.path))
    rows = read_metrics(run.path)
    sections = [
        _header(run.path.name, config, rows),
        _command(run.command),
        _numbers(read_object(run.evaluation), rows),
        _sample_numbers(read_object(run.sample_metrics)),
        _further(run),
        _pictures(run.samples),
        _curves(rows),
        "<h2>Settings</h2>" + _settings(config),
    ]
    page = document(run.path.name, sections)
    write_atomically(run.report, page)
    return run.report


def _header(name: str, config: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    """The run's name, data set, progress, and the digest by which two runs can be compared."""
    facts = [str(value) for key, value in config.items() if key.split(".")[-1] == "dataset"]
    if rows:
        facts.append(f"{rows[-1].get('step', 0):,} training steps")
    digests = [str(row["params_sha256"]) for row in rows[-1:] if "params_sha256" in row]
    lines = [f"<p>{escape(' · '.join(facts))}</p>"] if facts else []
    lines += [f"<p>parameters <code>{escape(digest)}</code></p>" for digest in digests]
    return f"<h1>{escape(name)}</h1>" + "".join(lines)


def _command(path: pathlib.Path) -> str:
    """The line that made the run, whoever writes the page."""
    if not path.is_file():
        return ""
    line = path.read_text(encoding="utf-8", errors="replace").strip()
    return f"<h2>Command</h2><pre>{escape(line)}</pre>"


def _numbers(evaluation: Mapping[str, Any] | None, rows: list[dict[str, Any]]) -> str:
    """The table of test numbers, or else of the last training metrics."""
    if evaluation is not None:
        title, values = "Test results", flatten(evaluation)
    else:
        title, values = "Last training metrics", _last_values(rows)
    if not values:
        return ""
    return f"<h2>{title}</h2>" + table((label(name), show(v)) for name, v in values.items())


def _sample_numbers(record: Mapping[str, Any] | None) -> str:
    """The table of the distances of samples from the data, beside those of train examples."""
    if record is None:
        return ""
    columns, errors = record.get("metrics", {}), record.get("standard_errors", {})
    names = list(columns)
    rows = [
        [label(metric), *(_estimate(columns[name], errors.get(name, {}), metric) for name in names)]
        for metric in next(iter(columns.values()), {})
    ]
    others = {
        name: value for name, value in record.items() if name not in ("metrics", "standard_errors")
    }
    facts = [(label(name), show(value)) for name, value in flatten(others).items()]
    return (
        "<h2>Samples beside test examples</h2>"
        + (table(rows, head=["", *names]) if rows else "")
        + table(facts)
    )


def _estimate(values: Mapping[str, Any], errors: Mapping[str, Any], metric: str) -> str:
    """A number, with its standard error where it has one."""
    if metric not in errors:
        return show(values.get(metric))
    return show({"mean": values[metric], "standard_error": errors[metric]})


def _further(run: RunDirectory) -> str:
    """What other commands and the family itself have found, a folded table for each file."""
    shown = (CONFIG_FILE, run.evaluation.name, run.sample_metrics.name, run.timing.name)
    parts = []
    for path in sorted(run.path.glob("*.json")):
        if path.name in shown:
            continue
        values = flatten(read_object(path) or {})
        tables = [
            table((label(name), show(v)) for name, v in values.items() if _is_short(v)),
            *(_records(name, v) for name, v in values.items() if _are_records(v)),
        ]
        title = escape(words(path.stem))
        parts.append(f"<details><summary>{title}</summary>{''.join(tables)}</details>")
    return "<h2>Further numbers</h2>" + "".join(parts) if parts else ""


def _is_short(value: Any) -> bool:
    """Whether a value is one for a cell, and no matrix, record or long list."""
    if not isinstance(value, list):
        return True
    return len(value) <= _MOST_IN_CELL and not any(isinstance(v, list | Mapping) for v in value)


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _records(name: str, records: list[Mapping[str, Any]]) -> str:
    """A table with a row for each record, whose fields are the columns."""
    head = list(dict.fromkeys(key for record in records for key in record))
    rows = [[show(record.get(key)) for key in head] for record in records]
    return f"<h3>{escape(label(name))}</h3>" + table(rows, head=head)


def _last_values(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last number of every metric, the step first."""
    last: dict[str, Any] = {}
    for row in rows:
        last.update({name: value for name, value in row.items() if _is_number(value)})
    return last


def _pictures(folder: pathlib.Path) -> str:
    """All pictures; of a series that differs in the number at the end, the older ones folded."""
    series: dict[str, list[pathlib.Path]] = {}
    paths = [path for path in folder.glob("*") if path.suffix in (".png", ".gif")]
    for path in sorted(paths, key=_natural):
        series.setdefault(re.sub(r"\d+$", "", path.stem), []).append(path)
    if not series:
        return ""
    parts = ["<h2>Pictures</h2>"]
    for *older, newest in series.values():
        parts.append(_picture(newest))
        if older:
            figures = "".join(map(_picture, older))
            parts.append(f"<details><summary>{len(older)} earlier</summary>{figures}</details>")
    return "\n".join(parts)


def _picture(path: pathlib.Path) -> str:
    return figure(path.read_bytes(), words(path.stem), kind=path.suffix[1:])


def _natural(path: pathlib.Path) -> list[tuple[str, int]]:
    """A sorting key that puts step 900 before step 1000."""
    parts = re.findall(r"(\D*)(\d*)", path.stem)
    return [(text, int(digits or -1)) for text, digits in parts]


def _curves(rows: list[dict[str, Any]]) -> str:
    """A picture for every metric; `train/loss` and `test/loss` share one."""
    charts: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name != "step"):
        points = [(row["step"], row[name]) for row in rows if _is_point(row, name)]
        if points:
            part, _, quantity = name.rpartition("/")
            steps, values = np.array(points, dtype=float).T
            charts.setdefault(quantity, {})[words(part) or "training"] = (steps, values)
    if not charts:
        return ""
    figures = [_curve(name, chart) for name, chart in charts.items()]
    return '<h2>Curves</h2><div class="curves">' + "\n".join(figures) + "</div>"


def _curve(name: str, series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """One metric against the step, on a log axis where it spans more than two decades."""
    values = np.concatenate([values for _, values in series.values()])
    is_wide = values.min() > 0 and values.max() > 100 * values.min()
    chart = plots.new_figure(5.6, 3.4)
    scale: Literal["linear", "log"] = "log" if is_wide else "linear"
    plots.draw_curves(chart.add_subplot(), series, ylabel=label(name), yscale=scale)
    return figure(plots.figure_png(chart), words(name))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_point(row: Mapping[str, Any], name: str) -> bool:
    return "step" in row and _is_number(row.get(name)) and math.isfinite(row[name])


def _settings(config: Mapping[str, Any]) -> str:
    """The table of all settings, named as on the command line but for their section."""
    return table((name.removeprefix("settings."), show(v)) for name, v in config.items())
