"""The picture of scores: a panel for each, with the histograms of all three sets."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.ood.scores import Separation
from jaxgen import metrics, plots

_LOOKS: dict[str, dict[str, Any]] = {
    "own": {"color": plots.LINE_COLOURS[0], "linestyle": "-"},
    "other": {"color": plots.LINE_COLOURS[1], "linestyle": "-"},
    "reference": {"color": plots.LINE_COLOURS[0], "linestyle": ":"},
}
_LONGEST = 90


def draw(found: dict[str, Separation], own_name: str, other_name: str) -> Figure:
    """Draws the histograms of all scores.

    Args:
        found: name of each score to what it does.
        own_name: of the run's data.
        other_name: of the other data.
    """
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = plots.new_figure(4.4 * columns, 3.0 * rows + 0.9)
    for i, (name, each) in enumerate(found.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw_score(axes, name, each)
    words = {
        "own": f"test examples of {own_name}",
        "other": other_name,
        "reference": "others of its test examples (control)",
    }
    handles = [Line2D([], [], **look) for look in _LOOKS.values()]
    names = [textwrap.shorten(plots.printable(words[k]), _LONGEST) for k in _LOOKS]
    legend = figure.legend(
        handles, names, loc="outside lower center", fontsize=8, labelcolor=plots.INK, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_score(axes: Axes, name: str, found: Separation) -> None:
    area = found.auroc
    title = f"{name}: AUROC {area.value:.3f} ± {area.standard_error:.3f}"
    xlabel = f"score ({found.unit}), larger is stranger"
    plots.style_axes(axes, title=title, xlabel=xlabel, ylabel="share (end bins: all beyond)")
    histograms = metrics.shared_histograms(found.scores._asdict())
    for key, counts in histograms.counts.items():
        shares = counts / counts.sum()
        axes.stairs(shares, histograms.edges, linewidth=1.5, **_LOOKS[key])
        if key != "reference":
            axes.stairs(shares, histograms.edges, color=_LOOKS[key]["color"], alpha=0.15, fill=True)
    axes.set_ylim(0, 1.1 * max(np.max(c / c.sum()) for c in histograms.counts.values()))
