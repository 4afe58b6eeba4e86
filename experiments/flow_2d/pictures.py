"""The table of the comparison, and for each density a figure of what every flow has learned."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.table
from matplotlib.axes import Axes

from experiments.flow_2d.fitting import Result, build_flow, density_of
from experiments.flow_2d.settings import Settings
from jaxgen import plots
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Array, PyTree

_LIMIT = 4.5
_NUM_SAMPLES = 2000
_COLUMNS = ("density", "samples", "grid of the latents")


def make_table(results: Mapping[str, Mapping[str, Result]], settings: Settings) -> rich.table.Table:
    """Makes the table: divergences of every flow from every density, times and sizes."""
    errors = [
        error for row in results.values() for one in row.values() for error in one.standard_error
    ]
    table = rich.table.Table(
        "flow",
        title=f"KL(p || q) in nats, mean of seeds: {settings.num_seeds}; standard errors below "
        f"{max(errors):.1g}",
        title_justify="left",
        caption=f"{settings.steps:,} steps of {settings.batch_size} points; {settings.num_test:,} test "
        "points; seconds of all seeds, compilation included",
    )
    for density in results:
        table.add_column(density, justify="right")
    for name in ("compile s", "train s", "parameters"):
        table.add_column(name, justify="right")
    for model in settings.models:
        row = [results[density][model] for density in results]
        cells = [f"{np.mean(one.kl):.4f}" for one in row]
        compile_seconds = np.mean([one.compile_seconds for one in row])
        train_seconds = np.mean([one.train_seconds for one in row])
        times = f"{compile_seconds:.1f}", f"{train_seconds:.1f}"
        table.add_row(model, *cells, *times, f"{row[0].num_parameters:,}")
    return table


def draw(
    run: RunDirectory,
    density_name: str,
    settings: Settings,
    parameters: Mapping[str, PyTree],
    results: Mapping[str, Result],
) -> None:
    """Draws the density itself, and a row for each flow: its density, its samples, a warped grid.

    Args:
        run: whose `samples` folder takes the picture.
        density_name: of what was learned.
        settings: of the comparison.
        parameters: of the first seed of each flow.
        results: of each flow.
    """
    density = density_of(density_name)
    num_rows = len(parameters) + 1
    figure = plots.new_figure(8.4, 2.8 * num_rows)
    axes = figure.subplots(num_rows, len(_COLUMNS), squeeze=False)
    x = np.asarray(density.sample(jax.random.key(0), _NUM_SAMPLES))
    _show_density(axes[0, 0], density.log_prob, density_name)
    _show_points(axes[0, 1], x, "samples")
    axes[0, 2].set_axis_off()
    for row, (model, params) in zip(axes[1:], parameters.items(), strict=True):
        apply: Any = build_flow(model, settings).apply
        variables = {"params": params}

        def log_prob(x: Array, apply: Any = apply, variables: Any = variables) -> Array:
            return apply(variables, x, method="log_prob")

        _show_density(row[0], log_prob, f"{model}, KL {np.mean(results[model].kl):.4f}")
        drawn = apply(variables, jax.random.key(0), _NUM_SAMPLES, method="sample")
        _show_points(row[1], np.asarray(drawn), "samples")
        _show_grid(row[2], lambda z, a=apply, v=variables: a(v, z, method="decode")[0])
    plots.save_figure(run.samples / f"{density_name}.png", figure)


def _frame(axes: Axes, title: str) -> None:
    axes.set_xlim(-_LIMIT, _LIMIT)
    axes.set_ylim(-_LIMIT, _LIMIT)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9, loc="left")


def _show_density(axes: Axes, log_prob: Any, title: str) -> None:
    axis = np.linspace(-_LIMIT, _LIMIT, 200, dtype=np.float32)
    points = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    values = np.exp(np.asarray(jax.jit(log_prob)(points))).reshape(len(axis), len(axis))
    extent = (-_LIMIT, _LIMIT, -_LIMIT, _LIMIT)
    # A few sharp peaks would leave the rest black.
    top = float(np.quantile(values, 0.995))
    axes.imshow(values, origin="lower", extent=extent, cmap="viridis", vmin=0.0, vmax=top or None)
    _frame(axes, title)


def _show_points(axes: Axes, x: np.ndarray, title: str) -> None:
    axes.scatter(x[:, 0], x[:, 1], s=2, color=plots.LINE_COLOURS[0], alpha=0.5, linewidths=0)
    _frame(axes, title)


def _show_grid(axes: Axes, decode: Any) -> None:
    """Lines of the latent plane, three deviations wide, as the data see them."""
    line, places = np.linspace(-3.0, 3.0, 121), np.linspace(-3.0, 3.0, 13)
    across = np.stack(np.meshgrid(line, places), axis=-1)
    lines = np.concatenate([across, across[..., ::-1]]).astype(np.float32)
    x = np.asarray(jax.jit(decode)(jnp.asarray(lines.reshape(-1, 2)))).reshape(lines.shape)
    for each in x:
        axes.plot(each[:, 0], each[:, 1], color=plots.LINE_COLOURS[1], linewidth=0.6)
    _frame(axes, _COLUMNS[2])
