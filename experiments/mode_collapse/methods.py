"""The rows of the table: an objective, its rules, an optimizer and networks for each."""

from typing import NamedTuple

import flax.linen as nn
import optax

from experiments.mode_collapse.settings import Settings
from experiments.mode_collapse.targets import Target
from jaxgen import gan
from jaxgen.gan import objectives, penalties
from jaxgen.types import Algorithm


class Row(NamedTuple):
    """A method.

    Attributes:
        objective: the losses of both players.
        rules: what the game adds to them.
        num_critic_steps: before each generator step.
        is_plain_descent: whether both players descend without Adam.
    """

    objective: objectives.Objective
    rules: gan.Rules = gan.Rules()
    num_critic_steps: int = 1
    is_plain_descent: bool = False


def rows(settings: Settings) -> dict[str, Row]:
    """All methods by name."""
    clipping = gan.Rules(weight_clip=settings.weight_clip)
    wgan_gp = gan.Rules(penalties.wgan_gp, settings.penalty_weight)
    r1, r1_r2 = (
        gan.Rules(penalty, settings.zero_centered_weight)
        for penalty in (penalties.r1, penalties.r1_r2)
    )
    num_steps = settings.wasserstein_critic_steps
    return {
        "minimax": Row(objectives.minimax),
        "nonsaturating": Row(objectives.nonsaturating),
        "nonsaturating_sgd": Row(objectives.nonsaturating, is_plain_descent=True),
        "least_squares": Row(objectives.least_squares),
        "hinge": Row(objectives.hinge),
        "wasserstein_clipping": Row(objectives.wasserstein, clipping, num_steps),
        "wasserstein_penalty": Row(objectives.wasserstein, wgan_gp, num_steps),
        "relativistic_r1": Row(objectives.relativistic, r1),
        "relativistic_r1_r2": Row(objectives.relativistic, r1_r2),
    }


def build(row: Row, settings: Settings, target: Target) -> Algorithm:
    """Builds the algorithm of a row.

    Args:
        row: the method.
        settings: of the comparison.
        target: to learn.

    Returns:
        The algorithm; its batches hold the examples of all critic steps.
    """

    def optimizer(steps: int) -> optax.GradientTransformation:
        if row.is_plain_descent:
            return optax.sgd(optax.cosine_decay_schedule(settings.sgd_learning_rate, steps))
        rate = optax.cosine_decay_schedule(settings.learning_rate, steps)
        return optax.adam(rate, settings.beta1, settings.beta2)

    generator, critic = _networks(settings, target)
    game = gan.Game(
        generator,
        critic,
        row.objective,
        row.rules,
        latent_dim=settings.latent_dim,
        levels=target.levels,
        ema_decay=settings.ema_decay,
    )
    return gan.alternating_algorithm(
        game,
        optimizer(settings.steps),
        optimizer(settings.steps * row.num_critic_steps),
        num_critic_steps=row.num_critic_steps,
    )


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
