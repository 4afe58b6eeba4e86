"""The pictures of a GAN run that only it has: the game's curves, and what its latents show."""

import jax
import numpy as np

from experiments.experiment import Trained
from experiments.gan.build import build_game
from experiments.latent_pictures import draw_walks
from jaxgen import figures, gan, latents, metrics, plots
from jaxgen.training.metrics_log import read_metrics

_NUM_EXEMPLARS = 400
_CURVES = (
    ("losses", ("critic_loss", "generator_loss"), "loss"),
    ("critic_accuracy", ("critic_accuracy",), "share of examples the critic tells apart"),
    ("logits", ("critic_real_logit", "critic_fake_logit"), "mean logit"),
    ("gradient_norms", ("critic_gradient_norm", "generator_gradient_norm"), "norm of the gradient"),
)


def draw(trained: Trained) -> None:
    """Draws the curves, and for images walks, truncation and arithmetic, into `samples`."""
    _draw_curves(trained)
    if trained.info.levels is None:
        return
    game = build_game(trained.settings, trained.info)
    decode = gan.decoder(game, trained.state)
    draw_walks(trained, game.latent_dim, decode)
    if game.num_classes is None:
        _draw_arithmetic(trained, game.latent_dim, decode)


def _draw_arithmetic(trained: Trained, latent_dim: int, decode: figures.Decode) -> None:
    """Latents that move between the classes that samples show, or from dark to bright ones."""
    z = np.asarray(jax.random.normal(jax.random.key(1), (_NUM_EXEMPLARS, latent_dim)))
    samples = np.asarray(decode(z))
    label = metrics.predict(metrics.cached_features(trained.dataset), samples)
    names = trained.info.class_names
    if label is None:
        brightness = samples.reshape(len(samples), -1).mean(axis=1)
        label, names = (brightness > np.median(brightness)).astype(int), ("dark", "bright")
    figures.arithmetic(
        trained.directory.samples / "arithmetic.png",
        z,
        label,
        decode,
        levels=trained.info.image_levels,
        way=latents.move,
        class_names=names,
    )


def _draw_curves(trained: Trained) -> None:
    rows = [row for row in read_metrics(trained.directory.path) if "critic_loss" in row]
    steps = np.array([row["step"] for row in rows])
    for name, names, ylabel in _CURVES:
        series = {key: (steps, np.array([row[key] for row in rows])) for key in names}
        plots.curves(trained.directory.samples / f"{name}.png", series, ylabel)
