"""The inversion report of a flow run: how exactly it comes back, on data and far from them."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from experiments.experiment import Trained
from experiments.flow.build import build_model
from jaxgen import flows
from jaxgen.data import labelled, subset
from jaxgen.files import write_atomically
from jaxgen.flows.diagnostics import Inversion, inversion_report, worst_layer
from jaxgen.pixels import dequantize, logit_transform

_NUM = 64
_FAR = 3.0
FILE = "inversion.json"


def diagnose(trained: Trained) -> None:
    """Prints the report of the trained bijector, and writes all of it into the run.

    Raises:
        OSError: if the file cannot be written, after the table.
    """
    model = build_model(trained.settings, trained.info)
    flow = model.flow if isinstance(model, flows.ImageFlow) else model
    params = trained.state.eval_variables["params"]
    params = params["flow"] if isinstance(model, flows.ImageFlow) else params
    variables = jax.device_get({"params": params.get("bijector", {})})
    x, condition = _examples(trained)
    # Off the data by thrice the spread of each number: where samples of a bad model would lie.
    spread = np.std(x, axis=0, keepdims=True)
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    reports = {}
    for name, value in {"test": x, "far": x + _FAR * spread * noise}.items():
        narrow: Any = (variables, value, condition)
        reports[f"{name}, float32"] = inversion_report(flow.bijector, *narrow)
        with jax.enable_x64(True):
            wide: Any = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), narrow)
            reports[f"{name}, float64"] = inversion_report(flow.bijector, *wide)
    rich.console.Console().print(_table(reports))
    written = {name: [_as_json(row) for row in rows] for name, rows in reports.items()}
    text = json.dumps(written, indent=2, allow_nan=False)
    write_atomically(trained.directory.path / FILE, text + "\n")


def _as_json(row: Inversion) -> dict[str, str | float | None]:
    """A row in which what is unknown or infinite, which JSON has no number for, is null."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in row._asdict().items()
    }


def _examples(trained: Trained) -> tuple[np.ndarray, np.ndarray | None]:
    """Test examples as the bijector is given them, and their condition."""
    split, levels = trained.dataset.test, trained.info.levels
    batch = subset(labelled(split) if trained.method.is_conditional else split, _NUM)
    x, condition = jnp.asarray(batch["x"]), None
    if trained.method.is_conditional:
        condition = np.eye(trained.info.num_classes or 0, dtype=np.float32)[batch["label"]]
    if levels is not None:
        x = logit_transform(dequantize(jax.random.key(0), x, levels), levels=levels)[0]
    return np.asarray(x), condition


def _table(reports: dict[str, list[Inversion]]) -> rich.table.Table:
    has_splines = any(not np.isnan(rows[-1].outside) for rows in reports.values())
    table = rich.table.Table(
        "examples",
        title="There and back through the flow: largest errors, and the worst layer",
        title_justify="left",
        caption=f"far: test examples with noise of {_FAR:g} times their deviation"
        + "; outside: largest share of numbers that leave a spline's box" * has_splines,
    )
    for name in ("round trip", "log-dets", "autodiff", "condition", *["outside"] * has_splines):
        table.add_column(name, justify="right")
    table.add_column("worst layer")
    for name, rows in reports.items():
        whole, worst = rows[-1], worst_layer(rows)
        numbers = whole.round_trip, whole.log_det_sum, whole.log_det_error
        errors = ("-" if np.isnan(value) else f"{value:.1e}" for value in numbers)
        condition = "-" if np.isnan(whole.condition) else f"{whole.condition:.0e}"
        outside = [f"{whole.outside:.1%}"] * has_splines
        table.add_row(name, *errors, condition, *outside, worst.name.split(".")[-1])
    return table
