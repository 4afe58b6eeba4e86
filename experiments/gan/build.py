"""Builds the networks, the game and the algorithm that the settings of a GAN run name."""

import dataclasses
import pathlib
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.gan.settings import Settings
from experiments.settings import DataInfo, TrainingSettings
from jaxgen import gan
from jaxgen.training.parallel import check_divides
from jaxgen.types import Algorithm

PENALTIES: dict[str, gan.updates.Penalty] = {
    "wgan_gp": gan.penalties.gradient_penalty,
    "dragan": lambda key, critic, real, fake: gan.penalties.dragan(key, critic, real),
    "r1": lambda key, critic, real, fake: gan.penalties.zero_centered(critic, real),
    "r2": lambda key, critic, real, fake: gan.penalties.zero_centered(critic, fake),
    "r1_r2": lambda key, critic, real, fake: (
        gan.penalties.zero_centered(critic, real) + gan.penalties.zero_centered(critic, fake)
    ),
}
OBJECTIVES = {
    "minimax": gan.objectives.minimax,
    "nonsaturating": gan.objectives.nonsaturating,
    "least_squares": gan.objectives.least_squares,
    "hinge": gan.objectives.hinge,
    "wasserstein": gan.objectives.wasserstein,
    "relativistic": gan.objectives.relativistic,
}
_GENERATORS: dict[str, Any] = {
    "mlp": gan.models.MLPGenerator,
    "dcgan": gan.models.DCGANGenerator,
    "resnet": gan.resnet.ResNetGenerator,
}
_CRITICS: dict[str, Any] = {
    "mlp": gan.models.MLPCritic,
    "dcgan": gan.models.DCGANCritic,
    "resnet": gan.resnet.ResNetCritic,
}


def build_game(settings: Settings, info: DataInfo) -> gan.Game:
    """Builds the networks, the objective and the rules of a run.

    Raises:
        ValueError: if labels are asked for and the data have none.
    """
    if settings.conditional and info.class_names is None:
        raise ValueError("conditional: this data set has no labels")
    num_classes = len(info.class_names or ()) if settings.conditional else None
    generator: nn.Module = _GENERATORS[settings.generator](
        info.shape,
        num_classes=num_classes,
        norm=settings.generator_norm,
        **_options(settings.generator, settings),
    )
    critic: nn.Module = _CRITICS[settings.critic](
        num_classes=num_classes,
        norm=settings.critic_norm,
        spectral=settings.spectral,
        **_options(settings.critic, settings),
    )
    noise = optax.linear_schedule(settings.instance_noise, 0.0, settings.instance_noise_steps)
    rules = gan.Rules(
        penalty=PENALTIES.get(settings.penalty),
        penalty_weight=_penalty_weight(settings),
        penalty_interval=settings.penalty_interval,
        weight_clip=settings.weight_clip or None,
        instance_noise=noise if settings.instance_noise else 0.0,
    )
    return gan.Game(
        generator,
        critic,
        OBJECTIVES[settings.loss],
        rules,
        latent_dim=settings.latent_dim,
        levels=info.levels,
        ema_decay=settings.training.ema_decay,
    )


def _penalty_weight(settings: Settings) -> float:
    if settings.penalty == "none":
        return 0.0
    if settings.penalty_weight is not None:
        return settings.penalty_weight
    return 10.0 if settings.penalty in ("wgan_gp", "dragan") else 0.3


def _options(network: str, settings: Settings) -> dict[str, Any]:
    """The attributes that only this architecture has."""
    if network == "mlp":
        return {"hidden_sizes": settings.hidden_sizes}
    if network == "resnet":
        return {"width": settings.width, "num_plain_blocks": settings.num_plain_blocks}
    tanh = {"activation": jnp.tanh} if settings.activation == "tanh" else {}
    return {"width": settings.width, **tanh}


def describe(settings: Settings, game: gan.Game) -> str:
    """Says in a line which game is played."""
    rules, penalty = game.rules, "no penalty"
    if rules.penalty is not None:
        penalty = f"penalty {settings.penalty} of weight {rules.penalty_weight:g}"
    parts = [
        f"{settings.loss} loss",
        penalty,
        *(["spectral norm"] if settings.spectral else []),
        *([f"weights within {rules.weight_clip:g}"] if rules.weight_clip else []),
        f"{settings.updates} updates, {settings.num_critic_steps} of the critic",
        f"generator {settings.generator} ({settings.generator_norm} norm)",
        f"critic {settings.critic} ({settings.critic_norm} norm)",
    ]
    return ", ".join(parts).replace("none norm", "no norm")


def all_critic_steps(settings: Settings) -> TrainingSettings:
    """The settings of the loop, whose batches hold the examples of all critic steps of an iteration.

    Raises:
        ValueError: if the batch of a critic step does not divide by the devices.
    """
    training = settings.training
    check_divides(training.batch_size)
    return dataclasses.replace(training, batch_size=training.batch_size * settings.num_critic_steps)


def build(settings: Settings, game: gan.Game) -> Algorithm:
    """Builds the algorithm of a run."""
    betas = settings.beta1, settings.beta2
    optimizers = (
        optax.adam(settings.training.learning_rate, *betas),
        optax.adam(settings.critic_learning_rate, *betas),
    )
    if settings.updates == "simultaneous":
        return gan.simultaneous_algorithm(game, *optimizers)
    return gan.alternating_algorithm(game, *optimizers, num_critic_steps=settings.num_critic_steps)


def build_for_sampling(settings: Settings, info: DataInfo, path: pathlib.Path) -> Algorithm:
    """Builds the algorithm of a trained run."""
    del path
    return build(settings, build_game(settings, info))
