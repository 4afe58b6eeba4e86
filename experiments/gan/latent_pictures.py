"""How a trained generator draws, and what its latents show: ways between them, truncation, sums."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sample_metrics import Yardstick
from experiments.settings import DataInfo
from jaxgen import gan, latents, plots
from jaxgen.metrics.features import predict
from jaxgen.pixels import from_model_range
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Array

_NUM_PAIRS = 5
# A mean of fewer still shows the exemplars (Radford et al. 2016, section 6.3.2).
_LEAST_EXEMPLARS = 3
_THRESHOLDS = (0.25, 0.5, 1.0, 2.0)

Draw = Callable[[Array, Array | None], np.ndarray]
"""``(z [B, D], label or None) -> uint8 images``."""

MakeDraw = Callable[[gan.GanState], Draw]
"""``state -> Draw`` with the averaged generator and batch statistics of its own."""


def make_draw(game: gan.Game) -> MakeDraw:
    """Compiles, once for all states, how a game's generator draws images.

    Args:
        game: whose generator it is.

    Returns:
        What makes a `Draw` of a state.
    """
    assert game.levels is not None
    levels = game.levels
    apply: Any = game.generator.apply
    standing = jax.jit(functools.partial(gan.algorithm.standing_variables, game))

    @jax.jit
    def generate(variables: Any, z: Array, label: Array | None) -> Array:
        return from_model_range(apply(variables, z, label, train=False), levels)

    def of_state(state: gan.GanState) -> Draw:
        variables = standing(state)
        return lambda z, label: np.asarray(generate(variables, z, label))

    return of_state


def labels(game: gan.Game, info: DataInfo, num: int) -> Array | None:
    """All classes in turn, `[num]`; None without labels."""
    if game.num_classes is None:
        return None
    return jnp.arange(num, dtype=jnp.int32) % len(info.class_names or ())


def draw_walks(run: RunDirectory, info: DataInfo, game: gan.Game, generate: Draw) -> None:
    """Straight and spherical ways between latents: two rows for every pair."""
    keys = jax.random.split(jax.random.key(2))
    start, end = (jax.random.normal(key, (4, game.latent_dim)) for key in keys)
    t = jnp.linspace(0.0, 1.0, 9)
    ways = jnp.stack([way(start, end, t) for way in (latents.lerp, latents.slerp)], axis=1)
    label = labels(game, info, 4)
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


def draw_truncation(run: RunDirectory, info: DataInfo, game: gan.Game, generate: Draw) -> None:
    """Samples of latents within a threshold: the lower, the less variety.

    The batch statistics are those of normal latents: statistics of truncated ones would scale the first layer back.
    """
    rows = []
    for threshold in _THRESHOLDS:
        z = latents.truncated_normal(jax.random.key(3), (10, game.latent_dim), threshold=threshold)
        rows.append(generate(z, labels(game, info, 10)))
    plots.labelled_grid(
        run.samples / "truncation.png",
        np.stack(rows),
        row_labels=[f"within {threshold}" for threshold in _THRESHOLDS],
        title="Truncation: latents drawn within a threshold",
        levels=info.levels,
    )


def draw_arithmetic(
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
