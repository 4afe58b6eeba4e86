"""Pictures for every family: image grids, curves, latent scatters and animations.

Only Matplotlib's object interface is used, so that drawing changes no global state and needs no
display. Every file is written beside its place and moved there, so that a reader or a killed run
never sees half a picture.
"""

import io
import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import matplotlib.patheffects
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from jaxgen.files import write_atomically

PathLike = str | os.PathLike[str]

DPI = 150
INK = "#33373d"
BACKGROUND = 255  # grey level between and behind the tiles of a grid: white
TILE = 64  # a small image is enlarged until its longer side would pass this many pixels
LABELLED_TILE = 96

# Okabe & Ito (2008), "Color universal design", without the yellow that vanishes on white.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Paul Tol (2021), "Colour schemes", the muted scheme, its pale grey darkened to stand out on white.
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


def _check_images(x: np.ndarray, levels: int, rank: int) -> None:
    """Refuses what is not a non-empty uint8 array of images with values below `levels`."""
    if x.ndim != rank or 0 in x.shape:
        axes = "[N, H, W, C]" if rank == 4 else "[R, K, H, W, C]"
        raise ValueError(f"x: expected a non-empty array {axes}, got shape {x.shape}")
    if x.dtype != np.uint8:
        raise ValueError(f"x: expected uint8 pixel values, got {x.dtype}")
    if not 2 <= levels <= 256:
        raise ValueError(f"levels: expected 2 to 256, got {levels}")
    if int(x.max()) >= levels:
        raise ValueError(f"x: expected values 0 to {levels - 1}, got {int(x.max())}")


def _to_display(x: np.ndarray, levels: int) -> np.ndarray:
    """Images `[N, H, W, C]` to grey `[N, H, W', 1]` or colour `[N, H, W, 3]` of 256 levels."""
    grey_levels = np.round(np.arange(256) * (255.0 / (levels - 1))).clip(0, 255).astype(np.uint8)
    x = grey_levels[x]
    channels = x.shape[-1]
    if channels in (1, 3):
        return x
    if channels == 4:  # red, green, blue and opacity, seen on the white of the page
        opacity = x[..., 3:].astype(np.float32) / 255.0
        seen = x[..., :3] * opacity + BACKGROUND * (1.0 - opacity)
        return np.round(seen).astype(np.uint8)
    return np.concatenate(np.split(x, channels, axis=-1), axis=2)


def _enlarge(x: np.ndarray, scale: int) -> np.ndarray:
    """Repeats every pixel of `[N, H, W, C]` `scale` times both ways; nothing is blended."""
    if scale < 1:
        raise ValueError(f"scale: expected at least 1, got {scale}")
    return x.repeat(scale, axis=1).repeat(scale, axis=2)


def image_grid(
    x: np.ndarray,
    *,
    columns: int | None = None,
    padding: int = 1,
    levels: int = 256,
    scale: int | None = None,
) -> np.ndarray:
    """Lays images out row by row on a white sheet.

    One channel is grey, three are red, green, blue, four add an opacity; any other number is shown
    as that many grey planes side by side.

    Args:
        x: uint8 images `[N, H, W, C]`, `N >= 1`, values 0 to `levels - 1`.
        columns: images in a row; by default as many as make the sheet about square.
        padding: white pixels of the sheet around and between the images, at least 0.
        levels: grey levels per channel, 2 to 256; the highest becomes 255.
        scale: whole factor of enlargement, at least 1; by default the largest that keeps an image
            within 64 pixels.

    Returns:
        The sheet, uint8 `[height, width, 1]` (grey) or `[height, width, 3]`, values 0 to 255.

    Raises:
        ValueError: if `x` is not a non-empty batch of such images or a setting is out of its range.
    """
    x = np.asarray(x)
    _check_images(x, levels, 4)
    if columns is not None and columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    if padding < 0:
        raise ValueError(f"padding: expected at least 0, got {padding}")
    x = _to_display(x, levels)
    x = _enlarge(x, max(1, TILE // max(x.shape[1:3])) if scale is None else scale)
    num, height, width, channels = x.shape
    columns = min(num, columns or math.ceil(math.sqrt(num * height / width)))
    rows = math.ceil(num / columns)
    sheet_shape = (
        padding + rows * (height + padding),
        padding + columns * (width + padding),
        channels,
    )
    sheet = np.full(sheet_shape, BACKGROUND, np.uint8)
    for index, image in enumerate(x):
        row, column = divmod(index, columns)
        top, left = padding + row * (height + padding), padding + column * (width + padding)
        sheet[top : top + height, left : left + width] = image
    return sheet


def _to_pillow(array: np.ndarray) -> Image.Image:
    """A Pillow image of uint8 `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]`."""
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if array.dtype != np.uint8 or not is_image or 0 in array.shape:
        raise ValueError(
            "array: expected uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], "
            f"got {array.dtype} of shape {array.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def save_image(path: PathLike, array: np.ndarray) -> None:
    """Writes one image as PNG.

    Args:
        path: the file; its folder is made if there is none.
        array: uint8 `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]`, values 0 to 255.

    Raises:
        ValueError: if the array is not such an image.
    """
    buffer = io.BytesIO()
    _to_pillow(array).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def save_grid(
    path: PathLike,
    x: np.ndarray,
    *,
    columns: int | None = None,
    padding: int = 1,
    levels: int = 256,
    scale: int | None = None,
) -> None:
    """Writes `image_grid(x, ...)` as PNG.

    Args:
        path: the file; its folder is made if there is none.
        x: uint8 images `[N, H, W, C]`, values 0 to `levels - 1`.
        columns: as in `image_grid`.
        padding: as in `image_grid`.
        levels: as in `image_grid`.
        scale: as in `image_grid`.

    Raises:
        ValueError: as in `image_grid`.
    """
    save_image(path, image_grid(x, columns=columns, padding=padding, levels=levels, scale=scale))


def animation(
    path: PathLike,
    frames: Iterable[np.ndarray],
    *,
    milliseconds: int = 80,
    last_milliseconds: int = 1500,
) -> None:
    """Writes an endless GIF, for example of the trajectory of a sampler.

    Args:
        path: the file; its folder is made if there is none.
        frames: images of one shape as `save_image` takes them, such as those of `image_grid`; at
            least one.
        milliseconds: time that a frame is shown, at least 20 (viewers slow down what is faster).
        last_milliseconds: time that the last frame is shown, so that the result can be looked at.

    Raises:
        ValueError: if there is no frame, the shapes differ or a time is below 20 ms.
    """
    images = [_to_pillow(frame) for frame in frames]
    if not images:
        raise ValueError("frames: expected at least one frame, got none")
    if len({(image.size, image.mode) for image in images}) > 1:
        raise ValueError("frames: expected frames of one shape, got several")
    if min(milliseconds, last_milliseconds) < 20:
        raise ValueError(
            "milliseconds, last_milliseconds: expected at least 20, "
            f"got {milliseconds}, {last_milliseconds}"
        )
    durations = [milliseconds] * (len(images) - 1) + [last_milliseconds]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=durations if len(images) > 1 else last_milliseconds,
        loop=0,
    )
    write_atomically(path, buffer.getvalue())


def new_figure(width: float, height: float) -> Figure:
    """An empty figure which arranges its axes so that no label is cut or covered.

    Args:
        width: inches.
        height: inches.

    Returns:
        A Matplotlib figure that belongs to no global list and needs no closing.
    """
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def style_axes(axes: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Gives axes the look of the house: no box, a pale grid behind the data, left-aligned title.

    Args:
        axes: the axes to change.
        title: in plain words; shown as it is, without Matplotlib's mathematics markup.
        xlabel: quantity and unit.
        ylabel: quantity and unit.
    """
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b5bac1")
    axes.grid(visible=True, color="#e8eaed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color="#b5bac1", labelcolor=INK, labelsize=8)
    axes.set_title(title, loc="left", fontsize=10, color=INK, parse_math=False)
    axes.set_xlabel(xlabel, fontsize=9, color=INK, parse_math=False)
    axes.set_ylabel(ylabel, fontsize=9, color=INK, parse_math=False)


def figure_png(figure: Figure, *, tight: bool = False) -> bytes:
    """Draws a figure.

    Args:
        figure: from `new_figure`.
        tight: grow or shrink the canvas to what is drawn.

    Returns:
        The content of a PNG file.
    """
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", dpi=DPI, bbox_inches="tight" if tight else None, pad_inches=0.1
    )
    return buffer.getvalue()


def save_figure(path: PathLike, figure: Figure) -> None:
    """Writes a figure as PNG.

    Args:
        path: the file; its folder is made if there is none.
        figure: from `new_figure`.
    """
    write_atomically(path, figure_png(figure))


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
        raise ValueError("series: expected at least one curve, got none")
    if yscale not in ("linear", "log"):
        raise ValueError(f"yscale: expected 'linear' or 'log', got {yscale!r}")
    style_axes(axes, title=title, xlabel=xlabel, ylabel=ylabel)
    lines, drawable = [], False
    for index, (name, (steps, values)) in enumerate(series.items()):
        steps, values = np.asarray(steps, float), np.asarray(values, float)
        if steps.ndim != 1 or steps.shape != values.shape:
            raise ValueError(
                f"series[{name!r}]: expected steps and values [T], "
                f"got {steps.shape} and {values.shape}"
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
        _legend(axes, lines, list(series), loc="best")


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


def _legend(axes: Axes, handles: Sequence[Line2D], names: Sequence[str], **settings: Any) -> None:
    """A legend without a frame whose names are shown as they are."""
    legend = axes.legend(handles, names, fontsize=8, labelcolor=INK, frameon=False, **settings)
    for text in legend.get_texts():
        text.set_parse_math(False)


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
    classes, and the name of each class at the median of its points.

    Args:
        axes: where to draw.
        z: `[N, 2]`, `N >= 1`.
        label: int `[N]`, 0 to one less than the number of classes; None draws all points alike.
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
        raise ValueError(f"z: expected a non-empty array [N, 2], got shape {z.shape}")
    style_axes(axes, title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal", adjustable="datalim")
    size = float(np.clip(9000 / len(z), 3, 28))
    look: dict[str, Any] = {"s": size, "alpha": 0.75, "linewidths": 0}
    if label is None:
        axes.scatter(z[:, 0], z[:, 1], c=LINE_COLOURS[0], **look)
        return
    label = np.asarray(label)
    names = _class_names(label, class_names, len(z))
    colours = np.array(CLASS_COLOURS)[label % len(CLASS_COLOURS)]
    for group in np.unique(label // len(CLASS_COLOURS)):
        chosen = label // len(CLASS_COLOURS) == group
        axes.scatter(
            z[chosen, 0], z[chosen, 1], c=colours[chosen], marker=_class_marker(group), **look
        )
    if legend and len(names) <= MAX_LEGEND_CLASSES:
        _class_legend(axes, names)
    if len(names) <= len(CLASS_COLOURS):
        _name_classes(axes, z, label, names)


def _class_names(label: np.ndarray, class_names: Sequence[str] | None, num: int) -> tuple[str, ...]:
    """Names of all classes, after a check that every label has one."""
    if label.shape != (num,) or not np.issubdtype(label.dtype, np.integer) or label.min() < 0:
        raise ValueError(
            f"label: expected {num} integers from 0, got {label.dtype} of shape {label.shape}"
        )
    numbers = range(int(label.max()) + 1)
    names = tuple(str(name) for name in (numbers if class_names is None else class_names))
    if label.max() >= len(names):
        raise ValueError(
            f"class_names: expected {int(label.max()) + 1} names or more, got {len(names)}"
        )
    return names


def _class_marker(group: int) -> str:
    """The marker of the `group`-th ten classes."""
    return CLASS_MARKERS[group % len(CLASS_MARKERS)]


def _legend_columns(num_classes: int) -> int:
    """Columns of twenty that the legend of so many classes needs."""
    return math.ceil(num_classes / 20)


def _class_legend(axes: Axes, names: Sequence[str]) -> None:
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
    shown = [textwrap.shorten(name, 24, placeholder="...") or " " for name in names]
    _legend(
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
    if max(len(name) for name in names) > 12:
        return
    for index in np.unique(label):
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
        label: int `[N]`, 0 to one less than the number of classes; None draws all points alike.
        class_names: one for every class; by default the numbers.
        title: in plain words.
        xlabel: meaning of the first coordinate.
        ylabel: meaning of the second coordinate.

    Raises:
        ValueError: as in `draw_latents`.
    """
    num_classes = 0 if label is None else len(_class_names(np.asarray(label), class_names, len(z)))
    legend_columns = _legend_columns(num_classes) if num_classes <= MAX_LEGEND_CLASSES else 0
    figure = new_figure(5.4 + 1.4 * legend_columns, 5.4)
    axes = figure.add_subplot()
    draw_latents(axes, z, label, class_names, title=title, xlabel=xlabel, ylabel=ylabel)
    save_figure(path, figure)


def labelled_grid(
    path: PathLike,
    x: np.ndarray,
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str] | None = None,
    title: str = "",
    levels: int = 256,
    rows_per_group: int | None = None,
    padding: int = 4,
    tile: int = LABELLED_TILE,
) -> None:
    """Writes a table of images with a name for every row and, if wanted, for every column.

    Images are enlarged by a whole factor and drawn pixel for pixel, as in `image_grid`.

    Args:
        path: the PNG file; its folder is made if there is none.
        x: uint8 images `[R, K, H, W, C]`: row, column, and one image; values 0 to `levels - 1`.
        row_labels: `R` names, written left of the rows.
        column_labels: `K` names, written above the columns.
        title: in plain words; broken into lines where it is long.
        levels: grey levels per channel, 2 to 256.
        rows_per_group: rows that belong together; a wider gap follows each group.
        padding: white pixels around and between the images, at least 0.
        tile: an image is enlarged until its longer side would pass this many pixels.

    Raises:
        ValueError: if `x` is not such a table or the labels do not fit it.
    """
    x = np.asarray(x)
    _check_images(x, levels, 5)
    rows, columns = x.shape[:2]
    if len(row_labels) != rows or len(column_labels or [""] * columns) != columns:
        raise ValueError(
            f"row_labels, column_labels: expected {rows} and {columns} names, "
            f"got {len(row_labels)} and {len(column_labels or ())}"
        )
    tiles = _to_display(x.reshape(-1, *x.shape[2:]), levels)
    long_side, short_side = max(tiles.shape[1:3]), min(tiles.shape[1:3])
    # Labels need some 48 pixels, which thin images reach only by further enlargement.
    scale = max(1, tile // long_side, math.ceil(48 / short_side))
    height, width = (side * scale for side in tiles.shape[1:3])
    per_group = rows_per_group or rows
    parts: list[np.ndarray] = []
    middles: list[float] = []
    top = 0
    for first in range(0, rows, per_group):
        if first:
            parts.append(np.full((height // 6, *parts[0].shape[1:]), BACKGROUND, np.uint8))
            top += len(parts[-1])
        group = tiles[first * columns : (first + per_group) * columns]
        parts.append(image_grid(group, columns=columns, padding=padding, scale=scale))
        middles += [
            top + padding + (height - 1) / 2 + row * (height + padding)
            for row in range(len(group) // columns)
        ]
        top += len(parts[-1])
    centres = [padding + (width - 1) / 2 + k * (width + padding) for k in range(columns)]
    _save_sheet(
        path, np.concatenate(parts), centres, column_labels or (), middles, row_labels, title
    )


def _save_sheet(
    path: PathLike,
    sheet: np.ndarray,
    centres: Sequence[float],
    column_labels: Sequence[str],
    middles: Sequence[float],
    row_labels: Sequence[str],
    title: str,
) -> None:
    """Writes a sheet pixel for pixel, with labels above and to the left of its images."""
    height, width = sheet.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(np.broadcast_to(sheet, (height, width, 3)), interpolation="nearest", aspect="auto")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=INK, pad=3, top=False, labeltop=True)
    axes.tick_params(axis="x", labelbottom=False)
    axes.set_xticks(centres[: len(column_labels)], column_labels, parse_math=False)
    axes.set_yticks(middles, row_labels, parse_math=False)
    if title:
        lines = textwrap.fill(title, max(44, int(width / 11.5)))
        axes.set_title(lines, loc="left", fontsize=10, color=INK, pad=8, parse_math=False)
    write_atomically(path, figure_png(figure, tight=True))
