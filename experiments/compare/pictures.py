"""The picture of a comparison: what samples cover beside train examples, and sheets of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from experiments.compare.records import FLOOR, Record
from jaxgen import plots

_SHARES = ("precision", "recall", "coverage")
_SIDE = 4.0  # Inches of a sheet.
_MAX_SHEETS = 6


def draw(records: list[Record], columns: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Draws the shares that samples cover, and their sheets side by side.

    Args:
        records: the runs, in the order of the columns.
        columns: name to numbers, those of train examples last.

    Returns:
        The content of a PNG file.
    """
    names = [name for name in columns if name != FLOOR]
    sheets = {
        name: np.asarray(PIL.Image.open(path))
        for name, record in zip(names, records, strict=True)
        if (path := record.directory.samples / "samples.png").is_file()
    }
    shown = list(sheets)[:_MAX_SHEETS]
    figure = plots.new_figure(4.0 + _SIDE * len(shown), _SIDE + 0.4)
    grid = figure.add_gridspec(1, 1 + len(shown), width_ratios=[4.0] + [_SIDE] * len(shown))
    _draw_shares(figure.add_subplot(grid[0]), columns)
    for i, name in enumerate(shown):
        axes = figure.add_subplot(grid[i + 1])
        axes.imshow(sheets[name], cmap="gray", interpolation="nearest")
        axes.set_title(plots.printable(name), fontsize=10, color=plots.INK, parse_math=False)
        axes.axis("off")
        axes.set_anchor("N")
    return plots.figure_png(figure)


def _draw_shares(axes: Axes, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """A row for each share, a dot for each run, a bar where train examples lie."""
    plots.style_axes(axes, title="samples beside test examples", xlabel="share")
    handles = []
    for i, (name, column) in enumerate(columns.items()):
        is_floor = name == FLOOR
        colour = plots.INK if is_floor else plots.LINE_COLOURS[i % len(plots.LINE_COLOURS)]
        marker = "|" if is_floor else "o"
        size = 22 if is_floor else 7
        values = [column.get(share, np.nan) for share in _SHARES]
        axes.plot(values, range(len(_SHARES)), marker, color=colour, markersize=size)
        handles.append(Line2D([], [], marker=marker, color=colour, linestyle="", markersize=7))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(_SHARES) - 0.4, -0.6)
    axes.set_yticks(range(len(_SHARES)), _SHARES)
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
    plots.draw_legend(axes, handles, list(columns), **place)
