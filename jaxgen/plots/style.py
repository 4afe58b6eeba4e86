"""The look of every Matplotlib figure: size, axes, legend and colours; and its way into a file.

Only Matplotlib's object interface is used, so that drawing changes no global state and needs no
display. Every file is written beside its place and moved there, so that a reader or a killed run
never sees half a picture.
"""

import functools
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxgen.files import PathLike, write_atomically

DPI = 150
INK = "#33373d"
# Okabe & Ito 2008, "Color universal design", without the yellow that vanishes on white.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure which arranges its axes so that no label is cut or covered.

    Args:
        width: inches.
        height: inches.

    Returns:
        A Matplotlib figure that belongs to no global list and needs no closing.
    """
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def printable(text: str) -> str:
    r"""A text as Matplotlib can draw it.

    Names of files and classes may hold bytes that are no text, control characters or letters that
    the font lacks; Matplotlib fails at the first and draws empty boxes for the rest.

    Args:
        text: any string, lone surrogates of undecodable bytes among them.

    Returns:
        The text with such characters escaped as in Python, ``\udcff``; line breaks are kept.
    """
    font = matplotlib.font_manager.findfont(matplotlib.font_manager.FontProperties())
    known = _characters(str(font))
    return "".join(
        character
        if character == "\n" or (character.isprintable() and ord(character) in known)
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


@functools.cache
def _characters(font: str) -> frozenset[int]:
    """The code points that a font file has."""
    return frozenset(matplotlib.font_manager.get_font(font).get_charmap())


def style_axes(axes: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Gives axes the look of the house: no box, a pale grid behind the data, left-aligned title.

    Args:
        axes: the axes to change.
        title: in plain words; shown as `printable` gives it, without Matplotlib's mathematics
            markup.
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
    axes.set_title(printable(title), loc="left", fontsize=10, color=INK, parse_math=False)
    axes.set_xlabel(printable(xlabel), fontsize=9, color=INK, parse_math=False)
    axes.set_ylabel(printable(ylabel), fontsize=9, color=INK, parse_math=False)


def draw_legend(
    axes: Axes, handles: Sequence[Line2D], names: Sequence[str], **settings: Any
) -> None:
    """Adds a legend without a frame whose names are shown as they are.

    Further settings are those of `Axes.legend`, such as its place.

    Args:
        axes: the axes to which the legend belongs.
        handles: one line for every name, with its colour and marker.
        names: what to write beside them, without Matplotlib's mathematics markup.
    """
    shown = [printable(name) for name in names]
    legend = axes.legend(handles, shown, fontsize=8, labelcolor=INK, frameon=False, **settings)
    for text in legend.get_texts():
        text.set_parse_math(False)


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
