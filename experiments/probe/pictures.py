"""The curve of the probe: test error against the number of labels."""

import pathlib

import matplotlib.ticker
import numpy as np

from experiments.probe.regression import Accuracies
from jaxgen import plots


def draw(path: pathlib.Path, results: dict[str, list[Accuracies]], title: str) -> None:
    """Draws means over the draws of labels, and one standard deviation about them."""
    figure = plots.new_figure(6.4, 3.8)
    axes, lines = figure.add_subplot(), []
    plots.style_axes(axes, title=title, xlabel="labelled train examples", ylabel="test error (%)")
    axes.set_xscale("log")
    for rows, colour in zip(results.values(), plots.LINE_COLOURS, strict=False):
        num = np.array([row.num_labels for row in rows])
        mean = 100 * (1 - np.array([row.mean for row in rows]))
        spread = 100 * np.array([row.spread for row in rows])
        lines += axes.plot(num, mean, color=colour, marker="o", markersize=3, linewidth=1.6)
        axes.fill_between(num, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(num)
    axes.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_ylim(bottom=0)
    plots.draw_legend(axes, lines, list(results), loc="best")
    plots.save_figure(path, figure)
