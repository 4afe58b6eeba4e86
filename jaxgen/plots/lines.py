"""Curves of quantities against the training step."""

from collections.abc import Mapping
from typing import Literal

import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes

from jaxgen.files import PathLike
from jaxgen.plots.style import INK, LINE_COLOURS, draw_legend, new_figure, save_figure, style_axes


def draw_curves(
    axes: Axes,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    ylabel: str,
    xlabel: str = "training step",
    title: str = "",
    yscale: Literal["linear", "log"] = "linear",
) -> None:
    """Draws quantities against the training step on axes of your own.

    Values that are not finite, and on a log scale those that are not positive, leave a gap.

    Args:
        axes: where to draw.
        series: name to (steps `[T]`, values `[T]`); the names make a legend where there is more
            than one.
        ylabel: quantity and unit, such as "negative ELBO (nats per image)".
        xlabel: what the steps count.
        title: in plain words.
        yscale: "linear" or "log".

    Raises:
        ValueError: if there is no series, steps and values differ in length, or the scale is
            unknown.
    """
    if not series:
        raise ValueError("series: 0 curves, expected at least 1")
    if yscale not in ("linear", "log"):
        raise ValueError(f"yscale: {yscale!r}, expected 'linear' or 'log'")
    style_axes(axes, title=title, xlabel=xlabel, ylabel=ylabel)
    lines, drawable = [], False
    for index, (name, (steps, values)) in enumerate(series.items()):
        steps, values = np.asarray(steps, float), np.asarray(values, float)
        if steps.ndim != 1 or steps.shape != values.shape:
            raise ValueError(
                f"series[{name!r}]: {steps.shape} and {values.shape}, expected steps and values [T]"
            )
        shown = np.isfinite(values) & ((values > 0) | (yscale == "linear"))
        drawable = drawable or bool(shown.any())
        lines += axes.plot(
            steps,
            np.where(shown, values, np.nan),
            color=LINE_COLOURS[index % len(LINE_COLOURS)],
            linestyle=("-", "--", ":", "-.")[index // len(LINE_COLOURS) % 4],
            linewidth=1.6,
            marker="o" if len(steps) <= 40 else "",
            markersize=3,
        )
    if drawable:  # a log axis without one positive value cannot be scaled
        axes.set_yscale(yscale)
    else:
        axes.text(0.5, 0.5, "no value to show", transform=axes.transAxes, ha="center", color=INK)
    shown_steps = np.unique(np.concatenate([np.asarray(steps) for steps, _ in series.values()]))
    if len(shown_steps) == 1:  # room for whole numbers on the axis
        axes.set_xlim(shown_steps[0] - 1, shown_steps[0] + 1)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
    if yscale == "linear":
        axes.yaxis.set_major_formatter(_plain_formatter())
    if len(series) > 1:
        draw_legend(axes, lines, list(series), loc="best")


def _plain_formatter() -> matplotlib.ticker.ScalarFormatter:
    """Tick labels that are whole numbers, not differences from an offset printed in a corner."""
    formatter = matplotlib.ticker.ScalarFormatter(useOffset=False)
    formatter.set_powerlimits((-3, 6))
    return formatter


def curves(
    path: PathLike,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ylabel: str,
    *,
    xlabel: str = "training step",
    title: str = "",
    yscale: Literal["linear", "log"] = "linear",
) -> None:
    """Writes a picture of quantities against the training step.

    Args:
        path: the PNG file; its folder is made if there is none.
        series: name to (steps `[T]`, values `[T]`); the names make a legend where there is more
            than one.
        ylabel: quantity and unit, such as "negative ELBO (nats per image)".
        xlabel: what the steps count.
        title: in plain words.
        yscale: "linear" or "log".

    Raises:
        ValueError: as in `draw_curves`.
    """
    figure = new_figure(6.4, 3.8)
    draw_curves(
        figure.add_subplot(), series, ylabel=ylabel, xlabel=xlabel, title=title, yscale=yscale
    )
    save_figure(path, figure)
