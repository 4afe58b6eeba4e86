"""The pictures of an M2 run that only it has: samples of each class, and the same style in all."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.experiment import Trained
from experiments.semi_supervised.build import build_model
from jaxgen import plots, vae
from jaxgen.data import subset
from jaxgen.types import Array

_NUM = 10
_MOST_CLASSES = 20


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`."""
    _draw_classes(trained)
    codec = vae.class_codec(
        build_model(trained.settings, trained.info), levels=trained.info.image_levels
    )
    x = subset(trained.dataset.test, _NUM)["x"]
    of_images = codec.encode(trained.state.eval_variables, jnp.asarray(x))
    title = "Latents of a test image, the same in a row, with every class"
    _draw_styles(trained, codec, "analogies", of_images, title, originals=x)
    of_prior = jax.random.normal(jax.random.key(1), (_NUM, trained.settings.model.latent_dim))
    title = "Latents of the prior, the same in a row, with every class"
    _draw_styles(trained, codec, "styles", of_prior, title)


def _classes(trained: Trained) -> tuple[str, ...]:
    return (trained.info.class_names or ())[:_MOST_CLASSES]


def _draw_classes(trained: Trained) -> None:
    """Samples, a class in each row."""
    names, info = _classes(trained), trained.info
    label = jnp.repeat(jnp.arange(len(names)), _NUM)
    sample = jax.jit(trained.method.algorithm.sample, static_argnums=2)
    x = np.asarray(sample(trained.state, jax.random.key(0), len(label), label))
    plots.labelled_grid(
        trained.directory.samples / "classes.png",
        x.reshape(len(names), _NUM, *info.shape),
        row_labels=names,
        title="Samples of each class",
        levels=info.image_levels,
    )


def _draw_styles(
    trained: Trained,
    codec: vae.class_binding.ClassCodec,
    name: str,
    z: Array,
    title: str,
    *,
    originals: np.ndarray | None = None,
) -> None:
    """Latents `[N, D]` with every class: a row for each, behind the image that they are of."""
    names, info = _classes(trained), trained.info
    label = jnp.tile(jnp.arange(len(names)), len(z))
    repeated = jnp.repeat(z, len(names), axis=0)
    x = np.asarray(codec.decode(trained.state.eval_variables, repeated, label))
    x, columns = x.reshape(len(z), len(names), *info.shape), list(names)
    if originals is not None:
        x, columns = np.concatenate([originals[:, None], x], axis=1), ["test", *columns]
    plots.labelled_grid(
        trained.directory.samples / f"{name}.png",
        x,
        row_labels=[str(row + 1) for row in range(len(z))],
        column_labels=columns,
        title=title,
        levels=info.image_levels,
    )
