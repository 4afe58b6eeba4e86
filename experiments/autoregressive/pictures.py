"""The pictures of an autoregressive run: images being written, completions, what a pixel sees."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments.autoregressive.build import build_model, frames
from experiments.autoregressive.completions import complete
from experiments.autoregressive.reach import FILE
from experiments.experiment import Trained
from experiments.film import labels_in_turn
from jaxgen import plots
from jaxgen.autoregressive import MASKS, known_mask
from jaxgen.data import labelled, subset
from jaxgen.plots import animation, image_grid

_NUM_COLUMNS = 10
_NUM_FILMED = 36
_NUM_DRAWS = 4


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`."""
    folder = trained.directory.samples
    _draw_writing(folder / "writing.gif", trained)
    _draw_reach(folder / "reach.png", trained.directory.path / FILE)
    for name in MASKS:
        mask = known_mask(name, *trained.info.shape[:2])
        if mask.any() and not mask.all():
            try:
                _draw_completions(folder / "completions.png", trained, name)
            except ValueError:  # The order writes this part before the rest.
                continue
            return


def _draw_writing(path: pathlib.Path, trained: Trained) -> None:
    """A film of samples as they are written."""
    label = labels_in_turn(trained.method, trained.info.num_classes, _NUM_FILMED)
    sample = jax.jit(trained.method.algorithm.sample, static_argnums=2)
    x = sample(trained.state, jax.random.key(0), _NUM_FILMED, label)
    model = build_model(trained.settings, trained.info)
    pictures = [
        image_grid(np.asarray(frame), levels=trained.info.image_levels)
        for frame in frames(x, model.order)
    ]
    animation(path, pictures, milliseconds=100)


def _draw_reach(path: pathlib.Path, report: pathlib.Path) -> None:
    """What the pixel in the middle sees, in the arrangement of the order."""
    found = json.loads(report.read_text())
    seen = np.array(found["seen"], bool)
    row, column = divmod(found["pixel"], seen.shape[1])
    place = np.arange(seen.size).reshape(seen.shape)
    shown = np.full((*seen.shape, 3), 255, np.uint8)
    shown[(place < found["pixel"]) & ~seen] = (213, 94, 0)
    shown[seen] = (0, 114, 178)
    shown[row, column] = (0, 0, 0)
    figure = plots.new_figure(3.6, 3.9)
    axes = figure.add_subplot()
    axes.imshow(shown, interpolation="nearest")
    plots.style_axes(axes, title="What the black pixel sees: blue, and not: red")
    axes.grid(visible=False)
    axes.set_xlabel(f"{found['num_seen']} of {found['num_before']} pixels before it", fontsize=9)
    plots.save_figure(path, figure)


def _draw_completions(path: pathlib.Path, trained: Trained, name: str) -> None:
    """Test images of which a part is hidden, and draws of the rest."""
    test = trained.dataset.test
    batch = subset(labelled(test) if trained.method.is_conditional else test, _NUM_COLUMNS)
    x = jnp.asarray(batch["x"])
    label = jnp.asarray(batch["label"]) if trained.method.is_conditional else None
    keys = jax.random.split(jax.random.key(0), _NUM_DRAWS)
    shown, drawn = complete(trained, x, label, name, keys)
    plots.labelled_grid(
        path,
        np.stack([np.asarray(x), shown, *drawn]),
        row_labels=["test", "known", *["draw"] * _NUM_DRAWS],
        title=f"Test images, the {name.replace('_', ' ')} drawn given the rest",
        levels=trained.info.image_levels,
    )
