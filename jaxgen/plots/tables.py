"""Tables of images: a sheet with a name for every row and every column."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxgen.files import PathLike, write_atomically
from jaxgen.plots.sheets import BACKGROUND, check_images, image_grid, to_display
from jaxgen.plots.style import DPI, INK, figure_png, printable

LABELLED_TILE = 96
_CHARACTER = 10  # Pixels that one takes in the name of a column, at most on average.


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
    check_images(x, levels, 5)
    rows, columns = x.shape[:2]
    if len(row_labels) != rows or len(column_labels or [""] * columns) != columns:
        raise ValueError(
            f"row_labels, column_labels: {len(row_labels)} and {len(column_labels or ())} names, "
            f"expected {rows} and {columns}"
        )
    tiles = to_display(x.reshape(-1, *x.shape[2:]), levels)
    long_side, short_side = max(tiles.shape[1:3]), min(tiles.shape[1:3])
    # Thin images are enlarged further, until the names of columns do not touch.
    longest = max(map(len, column_labels or ()), default=0)
    room = max(48, _CHARACTER * longest)
    scale = max(1, tile // long_side, math.ceil(48 / short_side), math.ceil(room / tiles.shape[2]))
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
    columns, rows = ([printable(name) for name in names] for names in (column_labels, row_labels))
    axes.set_xticks(centres[: len(columns)], columns, parse_math=False)
    axes.set_yticks(middles, rows, parse_math=False)
    if title:
        lines = textwrap.fill(printable(title), max(44, int(width / 11.5)))
        axes.set_title(lines, loc="left", fontsize=10, color=INK, pad=8, parse_math=False)
    write_atomically(path, figure_png(figure, tight=True))
