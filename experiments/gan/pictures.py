"""The pictures of a GAN run and the measurement of its samples."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
import PIL.Image
import rich.table

from experiments.gan import latent_pictures
from experiments.gan.latent_pictures import Draw, MakeDraw, labels
from experiments.sample_metrics import (
    make_yardstick,
    measure_samples,
    num_measured,
    sample_table,
)
from experiments.settings import DataInfo
from jaxgen import gan, metrics, plots
from jaxgen.data.dataset import Dataset
from jaxgen.training.logging import read_metrics
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Array

_NUM_SAMPLES = 64
_BLOCK_SIZE = 200
_NUM_SEARCHED = 20_000


def film(
    run: RunDirectory, game: gan.Game, info: DataInfo, draw_of: MakeDraw
) -> Callable[[int, gan.GanState], np.ndarray]:
    """Makes the function that draws a frame of always the same latents and keeps it in the run's `film` folder."""
    z, label = _fixed_latents(game, info)

    def draw_frame(step: int, state: gan.GanState) -> np.ndarray:
        sheet = plots.image_grid(draw_of(state)(z, label), levels=info.levels)
        plots.save_image(_film_folder(run) / f"{step:09d}.png", sheet)
        return sheet

    return draw_frame


def _film_folder(run: RunDirectory) -> pathlib.Path:
    return run.path / "film"


def _fixed_latents(game: gan.Game, info: DataInfo) -> tuple[Array, Array | None]:
    """Latents of the film; with labels every class has a column."""
    z = jax.random.normal(jax.random.key(0), (_NUM_SAMPLES, game.latent_dim))
    return z, labels(game, info, _NUM_SAMPLES)


def draw(
    run: RunDirectory,
    dataset: Dataset,
    info: DataInfo,
    game: gan.Game,
    state: gan.GanState,
    draw_of: MakeDraw,
) -> rich.table.Table:
    """Draws every picture of a run into its `samples` folder and measures its samples.

    Args:
        run: the run directory.
        dataset: whose images are the neighbours and the yardstick.
        info: about it.
        game: networks and rules.
        state: the trained state.
        draw_of: from `make_draw`.

    Returns:
        The distances of the samples from the data.
    """
    generate = draw_of(state)
    z, label = _fixed_latents(game, info)
    plots.save_grid(run.samples / "samples.png", generate(z, label), levels=info.levels)
    _draw_curves(run)
    _draw_film(run)
    latent_pictures.draw_walks(run, info, game, generate)
    latent_pictures.draw_truncation(run, info, game, generate)
    z, samples = measured_samples(dataset, info, game, generate)
    _draw_neighbors(run, info, samples, dataset)
    yardstick = make_yardstick(dataset)
    if game.num_classes is None:
        latent_pictures.draw_arithmetic(run, info, yardstick, generate, z, samples)
    return sample_table(dataset.name, measure_samples(run, dataset, yardstick, samples))


def measured_samples(
    dataset: Dataset, info: DataInfo, game: gan.Game, generate: Draw
) -> tuple[Array, np.ndarray]:
    """The latents of `num_measured(dataset)` samples, and the samples."""
    z = jax.random.normal(jax.random.key(1), (num_measured(dataset), game.latent_dim))
    blocks = [z[start : start + _BLOCK_SIZE] for start in range(0, len(z), _BLOCK_SIZE)]
    return z, np.concatenate([generate(part, labels(game, info, len(part))) for part in blocks])


def _draw_curves(run: RunDirectory) -> None:
    rows = [row for row in read_metrics(run.path) if "critic_loss" in row]
    steps = np.array([row["step"] for row in rows])
    for name, names, ylabel in (
        ("losses", ("critic_loss", "generator_loss"), "loss"),
        ("critic_accuracy", ("critic_accuracy",), "share of examples the critic tells apart"),
        ("logits", ("critic_real_logit", "critic_fake_logit"), "mean logit"),
        (
            "gradient_norms",
            ("critic_gradient_norm", "generator_gradient_norm"),
            "norm of the gradient",
        ),
    ):
        series = {key: (steps, np.array([row[key] for row in rows])) for key in names}
        plots.curves(run.samples / f"{name}.png", series, ylabel)


def _draw_film(run: RunDirectory) -> None:
    frames = sorted(_film_folder(run).glob("*.png"))
    if frames:
        sheets = [np.asarray(PIL.Image.open(path)) for path in frames]
        plots.animation(run.samples / "film.gif", sheets, milliseconds=200)


def _draw_neighbors(
    run: RunDirectory, info: DataInfo, samples: np.ndarray, dataset: Dataset
) -> None:
    shown = samples[:8]
    train = dataset.train.gather(np.arange(min(len(dataset.train), _NUM_SEARCHED)))["x"]
    flat, known = (x.reshape(len(x), -1).astype(np.float64) for x in (shown, train))
    found = metrics.nearest_neighbors(flat, known, num_neighbors=min(5, len(known)))
    table = np.concatenate([shown[:, None], train[found.indices]], axis=1)
    plots.labelled_grid(
        run.samples / "nearest_training_images.png",
        table,
        row_labels=[f"distance {distance:.0f}" for distance in found.distances[:, 0]],
        column_labels=["sample", *(f"{rank + 1}." for rank in range(found.indices.shape[1]))],
        title="Samples beside the training images that are nearest in pixel values",
        levels=info.levels,
    )
