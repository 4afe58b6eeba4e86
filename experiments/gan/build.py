"""Builds the networks, the game and the algorithm that the settings of a GAN run name."""

import functools
import pathlib
from typing import Any

import jax.numpy as jnp
import optax

from experiments.experiment import Features, Method, NoSettings, RunSettings
from experiments.gan.settings import Sampling, Settings
from experiments.optimizers import make_optimizer
from experiments.ranges import require
from experiments.settings import DataInfo
from experiments.sown_features import pooled, sown
from jaxgen import gan
from jaxgen.gan import models, objectives, penalties, resnet
from jaxgen.gan.decoders import generate, standing_variables
from jaxgen.gan.game import GanState, to_critic_range
from jaxgen.types import Array

GanSettings = RunSettings[Settings, Sampling, NoSettings]

_NETWORKS: dict[str, tuple[Any, Any]] = {
    "mlp": (models.MLPGenerator, models.MLPCritic),
    "dcgan": (models.DCGANGenerator, models.DCGANCritic),
    "resnet": (resnet.ResNetGenerator, resnet.ResNetCritic),
}


def build_game(settings: GanSettings, info: DataInfo) -> gan.Game:
    """Builds the networks, the objective and the rules of a run.

    Raises:
        ValueError: if a setting does not fit the data.
    """
    own = settings.model
    networks = f"{own.generator}, {own.critic}"
    is_good = len(info.shape) == 3 or networks == "mlp, mlp"
    require(is_good, "generator, critic", networks, f"mlp, mlp for vectors of shape {info.shape}")
    common: dict[str, Any] = {
        "num_classes": info.num_classes if own.conditional else None,
        "dtype": jnp.dtype(settings.training.dtype),
    }
    generator = _NETWORKS[own.generator][0](
        info.shape, norm=own.generator_norm, **common, **_options(own.generator, own)
    )
    critic = _NETWORKS[own.critic][1](
        norm=own.critic_norm, spectral=own.spectral, **common, **_options(own.critic, own)
    )
    noise = optax.linear_schedule(own.instance_noise, 0.0, own.instance_noise_steps)
    usual_weight = 10.0 if own.penalty in ("wgan_gp", "dragan") else 0.3
    rules = gan.Rules(
        penalty=None if own.penalty == "none" else penalties.BY_NAME[own.penalty],
        penalty_weight=own.penalty_weight or usual_weight * (own.penalty != "none"),
        penalty_interval=own.penalty_interval,
        weight_clip=own.weight_clip or None,
        instance_noise=noise if own.instance_noise else 0.0,
    )
    return gan.Game(
        generator,
        critic,
        objectives.BY_NAME[own.loss],
        rules,
        latent_dim=own.latent_dim,
        levels=info.levels,
        num_classes=common["num_classes"],
        ema_decay=settings.training.ema_decay,
    )


def _options(network: str, own: Settings) -> dict[str, Any]:
    """The attributes that only this architecture has."""
    if network == "mlp":
        return {"hidden_sizes": own.hidden_sizes}
    if network == "resnet":
        return {"width": own.width, "num_plain_blocks": own.num_plain_blocks}
    tanh = {"activation": jnp.tanh} if own.activation == "tanh" else {}
    return {"width": own.width, **tanh}


def build(settings: GanSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm of a run.

    Raises:
        ValueError: if a setting does not fit the data.
    """
    del path
    own, game = settings.model, build_game(settings, info)
    steps, num = settings.plan.steps, own.num_critic_steps
    generator = make_optimizer(settings.optimizer, steps)
    rate = own.critic_learning_rate
    critic = make_optimizer(settings.optimizer, steps * num, learning_rate=rate)
    common: dict[str, Any] = {"truncation": settings.sampling.truncation}
    if own.updates == "simultaneous":
        algorithm = gan.simultaneous_algorithm(game, generator, critic, **common)
    else:
        common["num_critic_steps"] = num
        algorithm = gan.alternating_algorithm(game, generator, critic, **common)
    words, features = describe(own, game.rules), critic_features(game)
    has_prior = info.levels is not None and not own.conditional
    prior = functools.partial(_prior, game) if has_prior else None
    return Method(algorithm, words, num, own.conditional, features=features, prior=prior)


def _prior(game: gan.Game, state: GanState) -> Any:
    """The images of the generator."""
    from jaxgen.inverse import LatentPrior  # It would delay the first step of a training.

    variables = standing_variables(game, state)
    return LatentPrior(lambda z: generate(game, variables, z, None), (game.latent_dim,))


def critic_features(game: gan.Game) -> Features:
    """What the critic's last layer is given, which does not depend on the label."""

    def extract(state: GanState, x: Array) -> Array:
        label = None if game.num_classes is None else jnp.zeros(len(x), jnp.int32)
        seen, variables = to_critic_range(game, x), state.critic.eval_variables
        return pooled(sown(game.critic, variables, seen, label, train=False))

    return Features("input of the critic's last layer", extract)


def describe(own: Settings, rules: gan.Rules) -> str:
    """Says in a line which game is played."""
    penalty = f"penalty {own.penalty} of weight {rules.penalty_weight:g}"
    parts = [
        f"{own.loss} loss",
        penalty if rules.penalty else "no penalty",
        "spectral norm" if own.spectral else "",
        f"weights within {own.weight_clip:g}" if own.weight_clip else "",
        f"{own.updates} updates, {own.num_critic_steps} of the critic",
        f"generator {own.generator} ({own.generator_norm} norm)",
        f"critic {own.critic} ({own.critic_norm} norm)",
    ]
    return ", ".join(filter(None, parts)).replace("none norm", "no norm")
