"""The rows of the table: an objective, its rules, an optimizer and networks for each."""

import flax.linen as nn
import optax

from experiments.mode_collapse.settings import Settings
from experiments.mode_collapse.targets import Target
from jaxgen import gan
from jaxgen.gan import objectives, penalties
from jaxgen.types import Algorithm, Array, Key

OBJECTIVES = {
    "minimax": objectives.minimax,
    "nonsaturating": objectives.nonsaturating,
    "nonsaturating_sgd": objectives.nonsaturating,
    "least_squares": objectives.least_squares,
    "hinge": objectives.hinge,
    "wasserstein_clipping": objectives.wasserstein,
    "wasserstein_penalty": objectives.wasserstein,
    "relativistic_r1_r2": objectives.relativistic,
}


def critic_steps(method: str, settings: Settings) -> int:
    """The number of critic steps before each generator step."""
    return settings.wasserstein_critic_steps if method.startswith("wasserstein") else 1


def build(method: str, settings: Settings, target: Target) -> Algorithm:
    """Builds the algorithm of a row.

    Args:
        method: name of the row.
        settings: of the comparison.
        target: to learn.

    Returns:
        The algorithm; its batches hold the examples of all critic steps.
    """
    num_critic_steps = critic_steps(method, settings)
    generator, critic = _networks(settings, target)
    game = gan.Game(
        generator,
        critic,
        objective=OBJECTIVES[method],
        rules=_rules(method, settings),
        latent_dim=settings.latent_dim,
        levels=target.levels,
        ema_decay=settings.ema_decay,
    )
    return gan.alternating_algorithm(
        game,
        _optimizer(method, settings, settings.steps),
        _optimizer(method, settings, settings.steps * num_critic_steps),
        num_critic_steps=num_critic_steps,
    )


def _r1_and_r2(key: Key, critic: penalties.Critic, real: Array, fake: Array) -> Array:
    return penalties.zero_centered(critic, real) + penalties.zero_centered(critic, fake)


def _rules(method: str, settings: Settings) -> gan.Rules:
    if method == "wasserstein_clipping":
        return gan.Rules(weight_clip=settings.weight_clip)
    if method == "wasserstein_penalty":
        return gan.Rules(penalties.gradient_penalty, settings.penalty_weight)
    if method == "relativistic_r1_r2":
        return gan.Rules(_r1_and_r2, settings.zero_centered_weight)
    return gan.Rules()


def _optimizer(method: str, settings: Settings, steps: int) -> optax.GradientTransformation:
    if method == "nonsaturating_sgd":
        return optax.sgd(optax.cosine_decay_schedule(settings.sgd_learning_rate, steps))
    rate = optax.cosine_decay_schedule(settings.learning_rate, steps)
    return optax.adam(rate, settings.beta1, settings.beta2)


def _networks(settings: Settings, target: Target) -> tuple[nn.Module, nn.Module]:
    if settings.model == "dcgan":
        return (
            gan.models.DCGANGenerator(target.shape, settings.width),
            gan.models.DCGANCritic(settings.width),
        )
    return (
        gan.models.MLPGenerator(target.shape, settings.generator_sizes),
        gan.models.MLPCritic(settings.critic_sizes),
    )
