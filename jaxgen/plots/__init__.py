"""Pictures for every family: image grids, curves, latent scatters and animations.

Only Matplotlib's object interface is used, so that drawing changes no global state and needs no
display. Every file is written beside its place and moved there, so that a reader or a killed run
never sees half a picture.
"""

from jaxgen.files import PathLike
from jaxgen.plots.image_files import animation, save_grid, save_image
from jaxgen.plots.lines import curves, draw_curves
from jaxgen.plots.scatter import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    MAX_LEGEND_CLASSES,
    draw_latents,
    latent_scatter,
)
from jaxgen.plots.sheets import BACKGROUND, TILE, image_grid
from jaxgen.plots.style import (
    DPI,
    INK,
    LINE_COLOURS,
    draw_legend,
    figure_png,
    new_figure,
    printable,
    save_figure,
    style_axes,
)
from jaxgen.plots.tables import LABELLED_TILE, labelled_grid

__all__ = [
    "BACKGROUND",
    "CLASS_COLOURS",
    "CLASS_MARKERS",
    "DPI",
    "INK",
    "LABELLED_TILE",
    "LINE_COLOURS",
    "MAX_LEGEND_CLASSES",
    "TILE",
    "PathLike",
    "animation",
    "curves",
    "draw_curves",
    "draw_latents",
    "draw_legend",
    "figure_png",
    "image_grid",
    "labelled_grid",
    "latent_scatter",
    "new_figure",
    "printable",
    "save_figure",
    "save_grid",
    "save_image",
    "style_axes",
]
