"""The pictures of a flow run that only it has: temperatures, ways between images, its inversion."""

import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np

from experiments.experiment import Trained
from experiments.film import labels_in_turn
from experiments.flow.build import build_model
from experiments.flow.inversion import FILE
from jaxgen import figures, plots
from jaxgen.data import subset

_TEMPERATURES = (0.0, 0.25, 0.6, 0.7, 0.8, 0.9, 1.0)
_NUM_COLUMNS = 10
_NUM_PAIRS = 4


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`."""
    folder = trained.directory.samples
    if trained.info.levels is not None:
        _draw_temperatures(folder / "temperatures.png", trained)
        if not trained.method.is_conditional and len(trained.dataset.test) > 1:
            _draw_interpolations(folder / "interpolations.png", trained)
    _draw_inversion(folder / "inversion.png", trained.directory.path / FILE)


def _draw_temperatures(path: pathlib.Path, trained: Trained) -> None:
    """Samples of the same noise, a row for each temperature."""
    apply: Any = build_model(trained.settings, trained.info).apply
    label = labels_in_turn(trained.method, trained.info.num_classes, _NUM_COLUMNS)
    condition = None if label is None else jax.nn.one_hot(label, trained.info.num_classes or 0)

    @jax.jit
    def sample(temperature: float) -> jax.Array:
        return apply(
            trained.state.eval_variables,
            jax.random.key(0),
            _NUM_COLUMNS,
            condition,
            temperature=temperature,
            method="sample",
        )

    plots.labelled_grid(
        path,
        np.stack([sample(temperature) for temperature in _TEMPERATURES]),
        row_labels=[f"T = {temperature:g}" for temperature in _TEMPERATURES],
        title="Temperatures: the deviation of the latents times T",
        levels=trained.info.image_levels,
    )


def _draw_interpolations(path: pathlib.Path, trained: Trained) -> None:
    """Ways between test images through their latents, which are exact: both ends come back."""
    apply: Any = build_model(trained.settings, trained.info).apply
    variables = trained.state.eval_variables
    decode = jax.jit(functools.partial(apply, variables, method="decode"))
    encode = jax.jit(functools.partial(apply, variables, method="encode"))
    x = subset(trained.dataset.test, 2 * _NUM_PAIRS)["x"]
    num = len(x) // 2
    start, end = x[:num], x[num : 2 * num]
    figures.walks(
        path,
        np.asarray(encode(start)),
        np.asarray(encode(end)),
        decode,
        levels=trained.info.image_levels,
        originals=(start, end),
    )


def _draw_inversion(path: pathlib.Path, report: pathlib.Path) -> None:
    """The error of each layer's round trip, on test examples and far from them."""
    figure = plots.new_figure(7.0, 3.6)
    axes = figure.add_subplot()
    series = {}
    for name, rows in json.loads(report.read_text()).items():
        errors = np.array([row["round_trip"] for row in rows[:-1]], float)
        # An exact layer has no place on a logarithmic axis.
        series[name] = (np.arange(len(errors)), np.maximum(errors, 1e-17))
    plots.draw_curves(axes, series, ylabel="largest error", yscale="log")
    axes.set_xlabel("layer, from data to latents")
    axes.set_title("There and back through each layer", loc="left", fontsize=10)
    plots.save_figure(path, figure)
