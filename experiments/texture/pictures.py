"""The pictures of a texture run: its synthesis, a larger canvas, mixtures and a completion."""

import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.experiment import Trained
from experiments.texture.build import DRAWS
from experiments.texture.diagnostics import COMPLETION, exemplar, on_one_device, other_model
from experiments.texture.side_images import read_other
from jaxgen import plots
from jaxgen.classical import texture
from jaxgen.types import Array, Key

_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`."""
    folder = trained.directory.samples
    key = jax.random.key(trained.settings.training.seed)
    _draw_synthesis(folder / "synthesis.png", trained, key)
    _draw_larger_canvas(folder / "larger_canvas.png", trained, key)
    other = other_model(trained)
    if other is not None:
        _draw_mixtures(folder / "mixtures.png", trained, other, key)
    if trained.settings.model.mask is not None:
        _draw_completion(folder / "completion.png", trained)


def _draw_synthesis(path: pathlib.Path, trained: Trained, key: Key) -> None:
    """The exemplar, its parts, and a texture by each method."""
    model, levels, u = on_one_device(trained).params, trained.info.image_levels, exemplar(trained)
    if trained.settings.model.mask is None:
        parts = texture.periodic_plus_smooth(jnp.asarray(u))
        # The smooth part has the mean 0, and is shown about the middle grey.
        smooth = texture.to_pixels(parts.smooth + 0.5 * (levels - 1), levels)
        shown: dict[str, np.ndarray | Array] = {
            "exemplar": u,
            "periodic part": texture.to_pixels(parts.periodic, levels),
            "smooth part": smooth,
        }
    else:
        shown = {"exemplar": _hidden(u, np.asarray(on_one_device(trained).known), levels)}
    for name in DRAWS:
        shown[name.upper()] = _texture(name, model, key, levels)
    _draw_row(
        path, shown, trained, "A texture, and draws of its autocovariance, both of the same phases"
    )


def _draw_larger_canvas(path: pathlib.Path, trained: Trained, key: Key) -> None:
    """Textures of twice the exemplar's size, or of the size that was asked for."""
    model, levels, u = on_one_device(trained).params, trained.info.image_levels, exemplar(trained)
    asked = trained.settings.sampling.size or (0, 0)
    own = u.shape[:2]
    size = asked if asked[0] > own[0] and asked[1] > own[1] else (2 * own[0], 2 * own[1])
    top, left = ((large - small) // 2 for large, small in zip(size, own, strict=True))
    sheet = np.full((*size, u.shape[-1]), levels - 1, np.uint8)
    sheet[top : top + own[0], left : left + own[1]] = u
    enlarged = model.enlarged(size)
    shown: dict[str, np.ndarray | Array] = {"exemplar": sheet}
    for name in DRAWS:
        shown[name.upper()] = _texture(name, enlarged, key, levels)
    _draw_row(path, shown, trained, f"Textures on a canvas of {size[0]}x{size[1]}")


def _draw_mixtures(
    path: pathlib.Path, trained: Trained, other: texture.StationaryGaussian, key: Key
) -> None:
    """Textures of the same phases on the shortest way from one model to the other."""
    info, method = trained.info, trained.settings.sampling.method
    first, levels = exemplar(trained), info.image_levels
    mixed = jax.jit(texture.mix)
    shown: dict[str, np.ndarray | Array] = {"exemplar": first}
    for weight in _WEIGHTS:
        model = mixed(on_one_device(trained).params, other, weight)
        shown[f"weight {weight:g}"] = _texture(method, model, key, levels)
    last = read_other(trained.settings.model.mix, info)
    shown["other"] = texture.to_pixels(jnp.asarray(last), levels)
    _draw_row(path, shown, trained, f"Mixtures of two textures, by {method.upper()}")


def _draw_completion(path: pathlib.Path, trained: Trained) -> None:
    """What is known, its kriging, and a draw that agrees with it."""
    levels, u = trained.info.image_levels, exemplar(trained)
    with np.load(trained.directory.path / COMPLETION) as fields:
        shown: dict[str, np.ndarray | Array] = {
            "known": _hidden(u, fields["known"], levels),
            "kriging": texture.to_pixels(jnp.asarray(fields["mean"]), levels),
            "completion": texture.to_pixels(jnp.asarray(fields["completion"]), levels),
        }
    _draw_row(path, shown, trained, "What is hidden, given what is known")


@functools.partial(jax.jit, static_argnums=(0, 3))
def _texture(method: str, model: texture.StationaryGaussian, key: Key, levels: int) -> Array:
    """A texture of a model on its own canvas, uint8 `[R, T, C]`."""
    return texture.to_pixels(model.mean[None, None] + DRAWS[method](key, model.spot), levels)


def _hidden(u: np.ndarray, known: np.ndarray, levels: int) -> np.ndarray:
    """The exemplar with white where it is hidden."""
    return np.where(known[..., None], u, np.uint8(levels - 1))


def _draw_row(
    path: pathlib.Path, shown: Mapping[str, np.ndarray | Array], trained: Trained, title: str
) -> None:
    """Writes images of one size beside each other, each under its name."""
    plots.labelled_grid(
        path,
        np.stack([np.asarray(x) for x in shown.values()])[None],
        row_labels=[""],
        column_labels=list(shown),
        title=title,
        levels=trained.info.image_levels,
    )
