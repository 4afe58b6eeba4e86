"""The optimizer that the settings name."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.settings import OptimizerSettings


def make_optimizer(
    settings: OptimizerSettings, steps: int, *, learning_rate: float | None = None
) -> optax.GradientTransformation:
    """Builds the update rule with its schedule, behind the clipping of the gradient.

    Args:
        settings: rule, schedule, clipping and decay.
        steps: updates in all, after which a falling learning rate is 0.
        learning_rate: after the warm-up; None for that of the settings.

    Returns:
        The optax transformation.

    Raises:
        ValueError: if the warm-up leaves no steps.
    """
    peak = settings.learning_rate if learning_rate is None else learning_rate
    rate = _schedule(settings, peak, steps)
    beta1, beta2 = settings.beta1, settings.beta2
    if settings.optimizer == "adam":
        rule = optax.adam(rate, beta1, beta2)
    elif settings.optimizer == "adamw":
        rule = optax.adamw(rate, beta1, beta2, weight_decay=settings.weight_decay, mask=_kernels)
    elif settings.optimizer == "sgd":
        rule = optax.sgd(rate, beta1 or None)
    else:
        rule = optax.rmsprop(rate, beta2, momentum=beta1 or None)
    if settings.clip_norm:
        return optax.chain(optax.clip_by_global_norm(settings.clip_norm), rule)
    return rule


def _schedule(settings: OptimizerSettings, peak: float, steps: int) -> optax.ScalarOrSchedule:
    """The learning rate, or what it is over the steps."""
    warm_up = settings.warm_up_steps
    if settings.learning_rate_schedule == "constant":
        return optax.linear_schedule(0.0, peak, warm_up) if warm_up else peak
    if warm_up >= steps:
        raise ValueError(f"warm_up_steps: {warm_up}, expected fewer than the {steps} steps")
    fall = {
        "cosine": optax.cosine_decay_schedule(peak, steps - warm_up),
        "linear": optax.linear_schedule(peak, 0.0, steps - warm_up),
    }[settings.learning_rate_schedule]
    if not warm_up:
        return fall
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warm_up), fall], [warm_up])


def _kernels(params: Any) -> Any:
    """Which parameters decay: matrices and kernels, not biases and scales."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params)
