"""One page on a run, to be read in any browser: its numbers, pictures, curves and settings.

The page is a single file without scripts or links, so that it can be mailed or copied anywhere. It
works for the run directory of every family, finished or still training.
"""

import base64
import html
import json
import math
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxgen import plots
from jaxgen.files import write_atomically
from jaxgen.training.logging import read_metrics
from jaxgen.training.run_directory import RunDirectory, read_config

_STYLE = """
:root { color-scheme: light dark; --ink: #22262b; --soft: #646b75; --line: #dfe2e6;
  --page: #ffffff; --panel: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa1ab; --line: #343941;
  --page: #16181c; --panel: #1f2227; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; }
p, figcaption, summary { color: var(--soft); }
p { margin: .3rem 0; overflow-wrap: anywhere; }
pre, .scroll { overflow-x: auto; background: var(--panel); border-radius: .5rem; }
pre { padding: .75rem 1rem; }
code, pre { font: .9rem/1.5 ui-monospace, monospace; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1rem; text-align: left; vertical-align: top; }
tr + tr > * { border-top: 1px solid var(--line); }
th { font-weight: 500; width: 45%; }
td { overflow-wrap: anywhere; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: .35rem;
  background: #ffffff; }
figcaption { margin: .35rem 0 1.5rem; font-size: .9rem; }
details { margin-bottom: 1.5rem; }
summary { cursor: pointer; margin-bottom: .75rem; font-size: .9rem; }
.curves { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
"""

_UNITS = (
    (re.compile(r"(^|_)(elbo|rate|distortion|kl|nats|log_prob|log_likelihood)$"), "nats per image"),
    (re.compile(r"^iw_?\d+(_standard_error)?$"), "nats per image"),
)


def write_report(run_dir: str | pathlib.Path, *, command: str | None = None) -> pathlib.Path:
    """Writes `report.html` into a run directory; an older page is replaced in one move.

    It shows `evaluation.json` if there is one, otherwise the last values of `metrics.jsonl`; `sample_metrics.json` if
    there is one; every picture and film in `samples/`, the newest of a series first; a curve for every metric; and all
    settings.

    Args:
        run_dir: directory of the run, with `config.json`.
        command: the line that made the run, to be shown.

    Returns:
        The page's path.

    Raises:
        jaxgen.training.run_directory.RunError: if it is no run directory.
        ValueError: if `evaluation.json` or `sample_metrics.json` is damaged.
    """
    run = RunDirectory(pathlib.Path(run_dir).absolute())
    config = _flatten(read_config(run.path))
    rows = read_metrics(run.path)
    sections = [
        _header(run.path.name, config, rows),
        f"<h2>Command</h2><pre>{html.escape(command)}</pre>" if command else "",
        _numbers(_read_object(run.evaluation), rows),
        _sample_numbers(_read_object(run.sample_metrics)),
        _pictures(run.samples),
        _curves(rows),
        "<h2>Settings</h2>" + _settings(config),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(run.path.name)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )
    write_atomically(run.report, page)
    return run.report


def _header(name: str, config: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    """The run's name, data set, progress, and the digest by which two runs can be compared."""
    facts = [str(value) for key, value in config.items() if key.split(".")[-1] == "dataset"]
    if rows:
        facts.append(f"{rows[-1].get('step', 0):,} training steps")
    digests = [str(row["params_sha256"]) for row in rows[-1:] if "params_sha256" in row]
    lines = [f"<p>{html.escape(' · '.join(facts))}</p>"] if facts else []
    lines += [f"<p>parameters <code>{html.escape(digest)}</code></p>" for digest in digests]
    return f"<h1>{html.escape(name)}</h1>" + "".join(lines)


def _read_object(path: pathlib.Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: expected an object, got {type(content).__name__}")
    return content


def _numbers(evaluation: Mapping[str, Any] | None, rows: list[dict[str, Any]]) -> str:
    """The table of test numbers, or else of the last training metrics."""
    if evaluation is not None:
        title, values = "Test results", _flatten(evaluation)
    else:
        title, values = "Last training metrics", _last_values(rows)
    if not values:
        return ""
    return f"<h2>{title}</h2>" + _table((_label(name), _show(v)) for name, v in values.items())


def _sample_numbers(record: Mapping[str, Any] | None) -> str:
    """The table of the distances of samples from the data."""
    if record is None:
        return ""
    values = _flatten(record)
    return "<h2>Samples beside test images</h2>" + _table(
        (_label(name), _show(value)) for name, value in values.items()
    )


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
    return _figure(path.read_bytes(), _words(path.stem), kind=path.suffix[1:])


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
            charts.setdefault(quantity, {})[_words(part) or "training"] = (steps, values)
    if not charts:
        return ""
    figures = [_curve(name, chart) for name, chart in charts.items()]
    return '<h2>Curves</h2><div class="curves">' + "\n".join(figures) + "</div>"


def _curve(name: str, series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """One metric against the step, on a log axis where it spans more than two decades."""
    values = np.concatenate([values for _, values in series.values()])
    is_wide = values.min() > 0 and values.max() > 100 * values.min()
    figure = plots.new_figure(5.6, 3.4)
    plots.draw_curves(
        figure.add_subplot(), series, ylabel=_label(name), yscale="log" if is_wide else "linear"
    )
    return _figure(plots.figure_png(figure), _words(name))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_point(row: Mapping[str, Any], name: str) -> bool:
    return "step" in row and _is_number(row.get(name)) and math.isfinite(row[name])


def _figure(content: bytes, caption: str, *, kind: str = "png") -> str:
    text = html.escape(caption)
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return '<div class="scroll"><table>' + "\n".join(cells) + "</table></div>"


def _settings(config: Mapping[str, Any]) -> str:
    """The table of all settings, named as on the command line but for their section."""
    return _table((name.removeprefix("settings."), _show(v)) for name, v in config.items())


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names; a mean with its standard error stays together."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and set(value) != {"mean", "standard_error"}:
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _words(name: str) -> str:
    """A name for readers: `step_001000` becomes `step 1,000`."""
    name = re.sub(r"(^|[_\s])(bits_per_dim|bpd)$", r"\1bits_per_dimension", name)
    words = re.sub(r"(?<!\d)\d{4,}(?!\d)", lambda digits: f"{int(digits[0]):,}", name)
    return re.sub(r"[_\s]+", " ", words).strip()


def _label(name: str) -> str:
    """A metric's name in words with its unit, where the name tells it."""
    quantity = re.split(r"[./]", name)[-1]
    units = [unit for pattern, unit in _UNITS if pattern.search(quantity)]
    words = _words(name.removeprefix("metrics.").replace(".", ", ").replace("/", " "))
    words = re.sub(r"\b(elbo|kl)\b", lambda short: short[0].upper(), words)
    words = re.sub(r"\biw ?(\d+)\b", r"IW bound, \1 draws", words)
    return f"{words} ({units[0]})" if units else words


def _show(value: Any) -> str:
    """A value as text: numbers with five significant digits, a mean as its error allows."""
    if isinstance(value, Mapping):
        return _show_mean(**value)
    if isinstance(value, list):
        return ", ".join(_show(item) for item in value) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _show_mean(mean: float | None, standard_error: float | None) -> str:
    """A mean with as many decimals as the two leading digits of its standard error."""
    if mean is None or not standard_error or not math.isfinite(standard_error):
        return f"{_show(mean)} ± {_show(standard_error)}"
    decimals = max(0, 1 - math.floor(math.log10(standard_error)))
    return f"{mean:.{decimals}f} ± {standard_error:.{decimals}f}"
