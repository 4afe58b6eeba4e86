"""Points of a latent plane, coloured by class so that colour-blind readers can tell them apart."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jaxgen.files import PathLike
from jaxgen.plots.style import (
    INK,
    LINE_COLOURS,
    draw_legend,
    new_figure,
    printable,
    save_figure,
    style_axes,
)

# Tol 2021, "Colour schemes", the muted scheme, its pale grey darkened to stand out on white.
CLASS_COLOURS = (
    "#332288",
    "#88CCEE",
    "#117733",
    "#DDCC77",
    "#CC6677",
    "#AA4499",
    "#44AA99",
    "#999933",
    "#882255",
    "#9A9A9A",
)
CLASS_MARKERS = ("o", "^", "s", "D", "v", "P", "X")  # one for every ten classes
MAX_LEGEND_CLASSES = 40
NO_LABEL_COLOUR = "#c9cdd3"


def draw_latents(
    axes: Axes,
    z: np.ndarray,
    label: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    *,
    title: str = "",
    xlabel: str = "first latent coordinate",
    ylabel: str = "second latent coordinate",
    legend: bool = True,
) -> None:
    """Draws points of the plane, coloured by class and with equal units, on axes of your own.

    Ten colours that colour-blind readers can tell apart, a new marker for every further ten
    classes, and the name of each class at the median of its points. Points without a label lie pale
    behind the others.

    Args:
        axes: where to draw.
        z: `[N, 2]`, `N >= 1`.
        label: int `[N]`, 0 to one less than the number of classes, or -1 for no label; None draws
            all points alike.
        class_names: one for every class; by default the numbers.
        title: in plain words.
        xlabel: meaning of the first coordinate.
        ylabel: meaning of the second coordinate.
        legend: whether to list the classes beside the points (up to 40).

    Raises:
        ValueError: if `z` is not `[N, 2]` or `label` and `class_names` do not fit it.
    """
    z = np.asarray(z)
    if z.ndim != 2 or z.shape[1] != 2 or not len(z):
        raise ValueError(f"z: shape {z.shape}, expected a non-empty array [N, 2]")
    style_axes(axes, title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal", adjustable="datalim")
    size = float(np.clip(9000 / len(z), 3, 28))
    look: dict[str, Any] = {"s": size, "alpha": 0.75, "linewidths": 0}
    if label is None:
        axes.scatter(z[:, 0], z[:, 1], c=LINE_COLOURS[0], **look)
        return
    label = np.asarray(label)
    names = _class_names(label, class_names, len(z))
    unknown = label < 0
    if unknown.any():
        axes.scatter(z[unknown, 0], z[unknown, 1], c=NO_LABEL_COLOUR, zorder=0.9, **look)
    colours = np.array(CLASS_COLOURS)[label % len(CLASS_COLOURS)]
    for group in np.unique(label[~unknown] // len(CLASS_COLOURS)):
        chosen = label // len(CLASS_COLOURS) == group
        axes.scatter(
            z[chosen, 0], z[chosen, 1], c=colours[chosen], marker=_class_marker(group), **look
        )
    if legend and len(names) <= MAX_LEGEND_CLASSES:
        _class_legend(axes, names, with_unknown=bool(unknown.any()))
    if len(names) <= len(CLASS_COLOURS):
        _name_classes(axes, z, label, names)


def _class_names(label: np.ndarray, class_names: Sequence[str] | None, num: int) -> tuple[str, ...]:
    """Names of all classes, after a check that every label has one."""
    if label.shape != (num,) or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"label: {label.dtype} {label.shape}, expected {num} integers")
    if label.min() < -1:
        raise ValueError(f"label: {label.min()}, expected classes from 0, or -1 for none")
    numbers = range(int(label.max()) + 1)
    names = tuple(str(name) for name in (numbers if class_names is None else class_names))
    if label.max() >= len(names):
        raise ValueError(
            f"class_names: {len(names)} names, expected {int(label.max()) + 1} or more"
        )
    return names


def _class_marker(group: int) -> str:
    """The marker of the `group`-th ten classes."""
    return CLASS_MARKERS[group % len(CLASS_MARKERS)]


def _legend_columns(num_classes: int) -> int:
    """Columns of twenty that the legend of so many classes needs."""
    return math.ceil(num_classes / 20)


def _class_legend(axes: Axes, names: Sequence[str], *, with_unknown: bool) -> None:
    """The classes with their colour and marker in columns, right of the axes."""
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            color=CLASS_COLOURS[index % len(CLASS_COLOURS)],
            marker=_class_marker(index // len(CLASS_COLOURS)),
            markersize=6,
        )
        for index in range(len(names))
    ]
    shown = [textwrap.shorten(printable(name), 24, placeholder="...") or " " for name in names]
    if with_unknown:
        handles.append(Line2D([], [], linestyle="", color=NO_LABEL_COLOUR, marker="o"))
        shown.append("no label")
    draw_legend(
        axes,
        handles,
        shown,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        ncols=_legend_columns(len(names)),
        handletextpad=0.3,
    )


def _name_classes(axes: Axes, z: np.ndarray, label: np.ndarray, names: Sequence[str]) -> None:
    """Writes short class names at the medians: a cue for those who cannot use the colours."""
    names = [printable(name) for name in names]
    if max(map(len, names), default=0) > 12:
        return
    for index in np.unique(label[label >= 0]):
        x, y = np.median(z[label == index], axis=0)
        text = axes.text(
            x,
            y,
            names[index],
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=INK,
            parse_math=False,
        )
        halo = matplotlib.patheffects.withStroke(linewidth=3, foreground="white")
        text.set_path_effects([halo])


def latent_scatter(
    path: PathLike,
    z: np.ndarray,
    label: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    *,
    title: str = "",
    xlabel: str = "first latent coordinate",
    ylabel: str = "second latent coordinate",
) -> None:
    """Writes a picture of points of the plane, coloured by class and with equal units on both axes.

    Args:
        path: the PNG file; its folder is made if there is none.
        z: `[N, 2]`, `N >= 1`.
        label: int `[N]`, 0 to one less than the number of classes, or -1 for no label; None draws
            all points alike.
        class_names: one for every class; by default the numbers.
        title: in plain words.
        xlabel: meaning of the first coordinate.
        ylabel: meaning of the second coordinate.

    Raises:
        ValueError: as in `draw_latents`.
    """
    legend_columns = 0
    if label is not None:
        num_classes = len(_class_names(np.asarray(label), class_names, len(z)))
        if num_classes <= MAX_LEGEND_CLASSES:
            legend_columns = max(1, _legend_columns(num_classes))
    figure = new_figure(5.4 + 1.4 * legend_columns, 5.4)
    axes = figure.add_subplot()
    draw_latents(axes, z, label, class_names, title=title, xlabel=xlabel, ylabel=ylabel)
    save_figure(path, figure)
