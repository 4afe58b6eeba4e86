"""The pictures of a mixture run: its components, clusters beside labels, completions, strangers."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.experiment import Trained
from experiments.mixture.clusters import cluster
from jaxgen import plots
from jaxgen.classical.vectors import from_vectors, to_vectors
from jaxgen.data import subset

_MAX_COMPONENTS = 20
_MAX_LABELS = 40
_NUM_MEMBERS = 8
_NUM_POOL = 2000  # Train images among which members are looked for, and test images for strangers.
_NUM_COLUMNS = 10


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`."""
    folder = trained.directory.samples
    if trained.info.class_names is not None:
        _draw_labels(folder / "labels.png", trained)
    if trained.info.levels is None:
        return
    _draw_components(folder / "components.png", trained)
    _draw_completions(folder / "completions.png", trained)
    _draw_strangest(folder / "strangest.png", trained)


def _images(trained: Trained, vectors: Any) -> np.ndarray:
    """Vectors `[..., n]` as images `[..., H, W, C]`."""
    return np.asarray(
        from_vectors(jnp.asarray(vectors), trained.info.shape, trained.info.image_levels)
    )


def _draw_components(path: pathlib.Path, trained: Trained) -> None:
    """The means, heaviest first, each beside the train images that it is most probable for."""
    params = trained.state.params
    weights = np.asarray(jax.nn.softmax(params.logits))
    order = np.argsort(-weights)[:_MAX_COMPONENTS]
    x = np.asarray(subset(trained.dataset.train, _NUM_POOL)["x"])
    joint = params.joint_log_prob(to_vectors(jnp.asarray(x), trained.info.levels))
    log_shares = np.asarray(jax.nn.log_softmax(joint, axis=1))
    means = _images(trained, np.asarray(params.components.mean)[order])
    blank = np.zeros((1, *trained.info.shape), np.uint8)
    rows = []
    for k, mean in zip(order, means, strict=True):
        own = np.flatnonzero(log_shares.argmax(axis=1) == k)[:_NUM_MEMBERS]
        padding = [blank] * (_NUM_MEMBERS - len(own))
        rows.append(np.concatenate([mean[None], x[own], *padding]))
    plots.labelled_grid(
        path,
        np.stack(rows),
        row_labels=[f"{weights[k]:.1%}" for k in order],
        column_labels=["mean", *["train"] * _NUM_MEMBERS],
        title=f"The {len(order)} heaviest of {len(weights)} components, and images of each",
        levels=trained.info.image_levels,
        tile=64,
    )


def _draw_labels(path: pathlib.Path, trained: Trained) -> None:
    """How many test examples of each label fall to each component."""
    clusters, names = cluster(trained), trained.info.class_names or ()
    label = np.asarray(clusters.label)
    num = trained.state.params.num_components
    counts = np.zeros((num, len(names)), int)
    np.add.at(counts, (clusters.component, label), 1)
    order = np.lexsort((-counts.max(axis=1), counts.argmax(axis=1)))[:_MAX_LABELS]
    shown = counts[order][:, :_MAX_LABELS]
    figure = plots.new_figure(2.0 + 0.45 * shown.shape[1], 1.6 + 0.22 * len(shown))
    axes = figure.add_subplot()
    axes.imshow(shown, cmap="Blues", aspect="auto", vmin=0)
    plots.style_axes(axes, title="Test examples by component and label", ylabel="component")
    axes.grid(visible=False)
    axes.set_xticks(
        range(shown.shape[1]), [plots.printable(name) for name in names[: shown.shape[1]]]
    )
    axes.tick_params(axis="x", rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(range(len(shown)), [str(k) for k in order])
    for i, row in enumerate(shown):
        for j, value in enumerate(row):
            if value:
                colour = "white" if value > shown.max() / 2 else plots.INK
                axes.text(j, i, str(value), ha="center", va="center", fontsize=7, color=colour)
    plots.save_figure(path, figure)


def _draw_completions(path: pathlib.Path, trained: Trained) -> None:
    """Test images of which only the upper half is known: expectation and draws."""
    levels, shape = trained.info.image_levels, trained.info.shape
    x = np.asarray(subset(trained.dataset.test, _NUM_COLUMNS)["x"])
    mask = np.zeros(shape, bool)
    mask[: (shape[0] + 1) // 2] = True
    vectors = to_vectors(jnp.asarray(x), levels)
    given = trained.state.params.condition(vectors, jnp.asarray(mask.reshape(-1)))
    draws = [given.sample(jax.random.key(seed)) for seed in range(3)]
    completed = _images(trained, np.stack([given.expectation(), *draws]))
    plots.labelled_grid(
        path,
        np.concatenate([x[None], np.where(mask, x, levels // 2)[None].astype(np.uint8), completed]),
        row_labels=["test", "known", "expected", *["draw"] * len(draws)],
        title="Test images completed from their upper half, in closed form",
        levels=levels,
    )


def _draw_strangest(path: pathlib.Path, trained: Trained) -> None:
    """The test images of least and of greatest density."""
    levels = trained.info.image_levels
    x = np.asarray(subset(trained.dataset.test, _NUM_POOL)["x"])
    log_prob = np.asarray(trained.state.params.log_prob(to_vectors(jnp.asarray(x), levels)))
    order = np.argsort(log_prob)
    num = min(_NUM_COLUMNS, len(x))
    rows = [order[:num], order[::-1][:num]]
    plots.labelled_grid(
        path,
        np.stack([x[row] for row in rows]),
        row_labels=[f"{log_prob[row[0]]:.0f} to {log_prob[row[-1]]:.0f}" for row in rows],
        title=f"Test images of least and greatest log-density, in nats (of {len(x):,})",
        levels=levels,
    )
