"""The pictures of a GAN run: samples, the film of their growth, curves, neighbours, walks and sums of latents."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import rich.table

from experiments.sample_metrics import (
    Yardstick,
    make_yardstick,
    measure_samples,
    num_measured,
    sample_table,
)
from experiments.settings import DataInfo
from jaxgen import gan, latents, metrics, plots
from jaxgen.data.dataset import Dataset
from jaxgen.metrics.features import predict
from jaxgen.pixels import from_model_range
from jaxgen.training.logging import read_metrics
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Array

_NUM_SAMPLES = 64
_BLOCK_SIZE = 200
_NUM_SEARCHED = 20_000
_NUM_PAIRS = 5
_LEAST_EXEMPLARS = (
    3  # A mean of fewer still shows the exemplars (Radford et al. 2016, section 6.3.2).
)
_THRESHOLDS = (0.25, 0.5, 1.0, 2.0)

Draw = Callable[[Array, Array | None], np.ndarray]
"""``(z [B, D], label or None) -> uint8 images``."""

MakeDraw = Callable[[gan.GanState], Draw]
"""``state -> Draw`` with the averaged generator and batch statistics of its own."""


def make_draw(game: gan.Game, *, threshold: float | None = None) -> MakeDraw:
    """Compiles, once for all states, how a game's generator draws images.

    Args:
        game: whose generator it is.
        threshold: of the latents that will be drawn; None for normal ones.

    Returns:
        What makes a `Draw` of a state.
    """
    assert game.levels is not None
    levels = game.levels
    apply: Any = game.generator.apply
    standing = jax.jit(
        functools.partial(gan.algorithm.standing_variables, game, threshold=threshold)
    )

    @jax.jit
    def generate(variables: Any, z: Array, label: Array | None) -> Array:
        return from_model_range(apply(variables, z, label, train=False), levels)

    def of_state(state: gan.GanState) -> Draw:
        variables = standing(state)
        return lambda z, label: np.asarray(generate(variables, z, label))

    return of_state


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
    return z, _labels(game, info, _NUM_SAMPLES)


def _labels(game: gan.Game, info: DataInfo, num: int) -> Array | None:
    if game.num_classes is None:
        return None
    return jnp.arange(num, dtype=jnp.int32) % len(info.class_names or ())


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
    _draw_walks(run, info, game, generate)
    _draw_truncation(run, info, game, state)
    z, samples = measured_samples(dataset, info, game, generate)
    _draw_neighbors(run, info, samples, dataset)
    yardstick = make_yardstick(dataset)
    if game.num_classes is None:
        _draw_arithmetic(run, info, yardstick, generate, z, samples)
    return sample_table(dataset.name, measure_samples(run, dataset, yardstick, samples))


def measured_samples(
    dataset: Dataset, info: DataInfo, game: gan.Game, generate: Draw
) -> tuple[Array, np.ndarray]:
    """The latents of `num_measured(dataset)` samples, and the samples."""
    z = jax.random.normal(jax.random.key(1), (num_measured(dataset), game.latent_dim))
    blocks = [z[start : start + _BLOCK_SIZE] for start in range(0, len(z), _BLOCK_SIZE)]
    return z, np.concatenate([generate(part, _labels(game, info, len(part))) for part in blocks])


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


def _draw_walks(run: RunDirectory, info: DataInfo, game: gan.Game, generate: Draw) -> None:
    """Straight and spherical ways between latents: two rows for every pair."""
    keys = jax.random.split(jax.random.key(2))
    start, end = (jax.random.normal(key, (4, game.latent_dim)) for key in keys)
    t = jnp.linspace(0.0, 1.0, 9)
    ways = jnp.stack([way(start, end, t) for way in (latents.lerp, latents.slerp)], axis=1)
    label = _labels(game, info, 4)
    if label is not None:
        label = jnp.repeat(label, 2 * len(t))
    x = generate(ways.reshape(-1, game.latent_dim), label)
    plots.labelled_grid(
        run.samples / "interpolations.png",
        x.reshape(8, len(t), *x.shape[1:]),
        row_labels=["linear", "spherical"] * 4,
        column_labels=[f"t = {value:.3g}" for value in t],
        title="Ways between latents",
        levels=info.levels,
        rows_per_group=2,
    )


def _draw_truncation(
    run: RunDirectory, info: DataInfo, game: gan.Game, state: gan.GanState
) -> None:
    """Samples of latents within a threshold: the lower, the less variety."""
    rows = []
    for threshold in _THRESHOLDS:
        z = latents.truncated_normal(jax.random.key(3), (10, game.latent_dim), threshold=threshold)
        generate = make_draw(game, threshold=threshold)(state)
        rows.append(generate(z, _labels(game, info, 10)))
    plots.labelled_grid(
        run.samples / "truncation.png",
        np.stack(rows),
        row_labels=[f"within {threshold}" for threshold in _THRESHOLDS],
        title="Truncation: latents drawn within a threshold",
        levels=info.levels,
    )


def _draw_arithmetic(
    run: RunDirectory,
    info: DataInfo,
    yardstick: Yardstick,
    generate: Draw,
    z: Array,
    samples: np.ndarray,
) -> None:
    """Latents that move from one concept to another: along the difference of the means of many exemplars each."""
    t = jnp.linspace(0.0, 1.0, 8)
    rows, names = [], []
    for (start, had), (end, has) in _concept_pairs(info, yardstick, samples)[:_NUM_PAIRS]:
        either = had | has
        direction = latents.attribute_vector(z[either], jnp.asarray(has[either]))
        rows.append(latents.move(z[had][0], direction, t))
        names.append(f"{start} to {end}")
    if not rows:
        return
    x = generate(jnp.concatenate(rows), None)
    plots.labelled_grid(
        run.samples / "arithmetic.png",
        x.reshape(len(rows), len(t), *x.shape[1:]),
        row_labels=names,
        column_labels=[f"t = {value:.2f}" for value in t],
        title="A latent plus t times the difference of the mean latents of two kinds of samples",
        levels=info.levels,
    )


def _concept_pairs(
    info: DataInfo, yardstick: Yardstick, samples: np.ndarray
) -> list[tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]]:
    """Pairs of a concept and the samples that show it: predicted classes, or without a classifier dark and bright."""
    if not yardstick.is_classifier:
        brightness = samples.reshape(len(samples), -1).mean(axis=1)
        is_bright = brightness > np.median(brightness)
        concepts = [("dark", ~is_bright), ("bright", is_bright)]
    else:
        label = predict(yardstick.net, samples)
        names = info.class_names or ()
        concepts = [(name, label == index) for index, name in enumerate(names)]
    known = [(name, shows) for name, shows in concepts if shows.sum() >= _LEAST_EXEMPLARS]
    return list(zip(known[::2], known[1::2], strict=False))


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
