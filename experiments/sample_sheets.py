"""One picture of many samples: a grid of images, or points over those of the data."""

import io
import math

import numpy as np
import PIL.Image

from jaxgen import plots
from jaxgen.data import Dataset, subset

NUM_IMAGES = 64
"""Images of a sheet, where they are not large."""
_MAX_PIXELS = 2**22
NUM_POINTS = 1000
"""Points of a sheet of vectors, and as many of the data behind them."""


def num_shown(dataset: Dataset) -> int:
    """Number of samples of a sheet, which would be slow to write with many large images."""
    if dataset.levels is None:
        return NUM_POINTS
    return max(1, min(NUM_IMAGES, _MAX_PIXELS // math.prod(dataset.shape[:2])))


def sheet(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Draws samples.

    Args:
        x: uint8 images `[N, H, W, C]`, or vectors `[N, D]`, whose first two values are shown.
        dataset: what they are samples of.

    Returns:
        uint8 `[height, width, C]`.
    """
    if dataset.levels is not None:
        return plots.image_grid(x, levels=dataset.levels)
    return scatter(x, subset(dataset.test, NUM_POINTS)["x"])


def scatter(x: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Draws the first two values of vectors as points.

    Args:
        x: samples `[N, D]`.
        known: data `[M, D]` to lie behind them and to set the axes' limits; None for the samples
            alone.

    Returns:
        uint8 `[height, width, 3]`.
    """
    figure = plots.new_figure(4.0, 4.0)
    axes = figure.add_subplot()
    title = "samples" if known is None else "samples over test data"
    plots.style_axes(axes, title=title, xlabel="first value", ylabel="second value")
    if known is not None:
        axes.scatter(_plane(known)[:, 0], _plane(known)[:, 1], s=4, color="#c3c8cf", linewidths=0)
    shown = _plane(x)
    axes.scatter(shown[:, 0], shown[:, 1], s=4, color=plots.LINE_COLOURS[0], linewidths=0)
    limits = _plane(x if known is None else known)
    low, high = limits.min(axis=0), limits.max(axis=0)
    margin = 0.15 * (high - low) + 1e-6
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    return np.asarray(PIL.Image.open(io.BytesIO(plots.figure_png(figure))).convert("RGB"))


def _plane(x: np.ndarray) -> np.ndarray:
    """The first two values, `[N, 2]`; a single one lies on a line."""
    return np.pad(x[:, :2], ((0, 0), (0, max(0, 2 - x.shape[1]))))
