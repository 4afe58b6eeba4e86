"""The pictures that every family has: samples, their film, their neighbours, likelihoods."""

import numpy as np
import PIL.Image

from experiments import film
from experiments.bounds import best_bound
from experiments.experiment import Trained
from experiments.sample_sheets import num_shown, sheet
from jaxgen import metrics, plots
from jaxgen.data import subset

_NUM_SEARCHED = 20_000
_NUM_NEIGHBORS = 5
_NUM_QUERIES = 8


def draw(trained: Trained, values: dict[str, np.ndarray], samples: np.ndarray) -> None:
    """Draws the pictures into the run's `samples` folder.

    Args:
        trained: the run.
        values: of the test examples, name to `[N]`.
        samples: of the run, `num_shown` or more.
    """
    folder, dataset = trained.directory.samples, trained.dataset
    plots.save_image(folder / "samples.png", sheet(samples[: num_shown(dataset)], dataset))
    _draw_film(trained)
    if dataset.levels is not None and len(dataset.train) > 1:
        _draw_neighbors(trained, samples[:_NUM_QUERIES])
    bound = best_bound(values)
    if bound is not None and len(values[bound.name]) > 1:
        _draw_likelihoods(trained, values[bound.name], bound.kind)


def _draw_film(trained: Trained) -> None:
    frames = sorted(film.folder(trained.directory).glob("*.png"))
    if len(frames) > 1:
        pictures = [np.asarray(PIL.Image.open(path)) for path in frames]
        plots.animation(trained.directory.samples / "film.gif", pictures, milliseconds=200)


def _draw_neighbors(trained: Trained, samples: np.ndarray) -> None:
    """Samples beside the train images that are nearest to them."""
    dataset = trained.dataset
    train = subset(dataset.train, _NUM_SEARCHED)["x"]
    flat, known = (x.reshape(len(x), -1).astype(np.float64) for x in (samples, train))
    found = metrics.nearest_neighbors(flat, known, num_neighbors=min(_NUM_NEIGHBORS, len(known)))
    plots.labelled_grid(
        trained.directory.samples / "nearest_training_images.png",
        np.concatenate([samples[:, None], train[found.indices]], axis=1),
        row_labels=[f"distance {distance:.0f}" for distance in found.distances[:, 0]],
        column_labels=["sample", *(f"{rank + 1}." for rank in range(found.indices.shape[1]))],
        title=f"Samples beside the nearest in pixel values of {len(train):,} training images",
        levels=trained.info.image_levels,
    )


def _draw_likelihoods(trained: Trained, bits: np.ndarray, kind: str) -> None:
    """The spread of the bits per dimension over the test examples."""
    figure = plots.new_figure(5.6, 3.4)
    axes = figure.add_subplot()
    plots.style_axes(
        axes,
        title=f"{len(bits):,} test examples, mean {bits.mean():.3f} bits per dimension",
        xlabel=f"bits per dimension ({kind})",
        ylabel="number of examples",
    )
    axes.hist(bits, bins=min(40, max(5, len(bits) // 10)), color=plots.LINE_COLOURS[0])
    plots.save_figure(trained.directory.samples / "likelihoods.png", figure)
