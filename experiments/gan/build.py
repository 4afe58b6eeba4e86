"""Builds the networks, the game and the algorithm that the settings of a GAN run name."""

import pathlib
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.gan.settings import Settings
from experiments.settings import DataInfo
from jaxgen import gan
from jaxgen.types import Algorithm

_PENALTIES: dict[str, gan.updates.Penalty] = {
    "wgan_gp": gan.penalties.gradient_penalty,
    "dragan": lambda key, critic, real, fake: gan.penalties.dragan(key, critic, real),
    "r1": lambda key, critic, real, fake: gan.penalties.zero_centered(critic, real),
    "r2": lambda key, critic, real, fake: gan.penalties.zero_centered(critic, fake),
    "r1_r2": lambda key, critic, real, fake: (
        gan.penalties.zero_centered(critic, real) + gan.penalties.zero_centered(critic, fake)
    ),
}
_OBJECTIVES = {
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
    noise = optax.linear_schedule(settings.instance_noise, 0.0, settings.training.steps)
    has_penalty = settings.penalty != "none"
    rules = gan.Rules(
        penalty=_PENALTIES[settings.penalty] if has_penalty else None,
        penalty_weight=settings.penalty_weight if has_penalty else 0.0,
        penalty_interval=settings.penalty_interval,
        weight_clip=settings.weight_clip or None,
        instance_noise=noise if settings.instance_noise else 0.0,
    )
    return gan.Game(
        generator,
        critic,
        _OBJECTIVES[settings.loss],
        rules,
        latent_dim=settings.latent_dim,
        levels=info.levels,
        ema_decay=settings.training.ema_decay,
    )


def _options(network: str, settings: Settings) -> dict[str, Any]:
    """The attributes that only this architecture has."""
    if network == "mlp":
        return {"hidden_sizes": settings.hidden_sizes}
    if network == "resnet":
        return {"width": settings.width, "plain_blocks": settings.plain_blocks}
    tanh = {"activation": jnp.tanh} if settings.activation == "tanh" else {}
    return {"width": settings.width, **tanh}


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
