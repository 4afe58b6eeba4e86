"""The two moves of an adversarial game: a critic's step and a generator's step."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.gan.game import Game, GanState, Rules, to_critic_range
from jaxgen.training.state import TrainState
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Array, Batch, Key, Metrics, PyTree


def apply_in_training(
    module: nn.Module,
    params: PyTree,
    batch_stats: PyTree,
    x: Array,
    label: Array | None,
    *,
    axis_name: str | None = None,
) -> tuple[Array, PyTree]:
    """Applies a network in training mode.

    Args:
        module: generator or critic.
        params: its parameters.
        batch_stats: its batch statistics and the vectors of its spectral norms.
        x: latents or examples, `[B, ...]`.
        label: `[B]`, or None in an unconditional game.
        axis_name: the mapped axis of the devices, or None; a module with an attribute `axis_name`
            averages its batch statistics over it.

    Returns:
        Its result, and the new batch statistics.
    """
    if hasattr(module, "axis_name"):
        module = module.clone(axis_name=axis_name)
    variables = {"params": params, "batch_stats": batch_stats}
    y, new = module.apply(variables, x, label, train=True, mutable=["batch_stats"])
    return y, new.get("batch_stats", {})


def critic_step(
    game: Game, state: GanState, batch: Batch, key: Key, axis_name: str | None
) -> tuple[TrainState, Metrics]:
    """Descends the critic's loss once; under batch norm reals and fakes are one batch.

    Args:
        game: networks and rules.
        state: of both players.
        batch: real examples.
        key: of latents, noise and penalty, the same on all devices.
        axis_name: the mapped axis of the devices, or None.

    Returns:
        The critic's new state, and metrics whose names begin with ``critic``.
    """
    latent_key, noise_key, penalty_key = jax.random.split(key, 3)
    label = None if game.num_classes is None else batch["label"]
    opponent = state.generator
    real = to_critic_range(game, batch["x"])
    z = _latents(game, latent_key, len(real), axis_name)
    fake, _ = apply_in_training(
        game.generator, opponent.params, opponent.batch_stats, z, label, axis_name=axis_name
    )
    seen = _noisy(game, state, noise_key, real, fake, axis_name)
    penalty_keys = own_keys(penalty_key, len(real), axis_name)

    def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
        real_logits, fake_logits, new_stats = _logits(
            game, params, batch_stats, seen, label, axis_name
        )
        loss = game.objective.critic(real_logits, fake_logits)
        metrics = {
            "critic_real_logit": real_logits,
            "critic_fake_logit": fake_logits,
            "critic_accuracy": accuracy(real_logits, fake_logits),
        }
        if game.rules.penalty is not None:
            variables = {"params": params, "batch_stats": new_stats}

            def frozen(x: Array) -> Any:
                return game.critic.apply(variables, x, label, train=False)

            penalty = _penalty(game.rules, state.critic.step, penalty_keys, frozen, seen)
            metrics["critic_penalty"] = penalty
            loss = loss + game.rules.penalty_weight * penalty
        return loss, (metrics, new_stats)

    critic, metrics = gradient_step(state.critic, loss_fn, axis_name=axis_name)
    for name in ("loss", "gradient_norm"):
        metrics[f"critic_{name}"] = metrics.pop(name)
    return _clipped(critic, game.rules.weight_clip), metrics


def generator_step(
    game: Game, state: GanState, batch: Batch, key: Key, axis_name: str | None
) -> tuple[TrainState, Metrics]:
    """Descends the generator's loss once, against the critic that `critic_step` trains.

    What the critic's statistics would become is thrown away.

    Args:
        game: networks and rules.
        state: of both players.
        batch: real examples, whose number and labels the generated ones have.
        key: of latents and noise, the same on all devices.
        axis_name: the mapped axis of the devices, or None.

    Returns:
        The generator's new state, and metrics whose names begin with ``generator``.
    """
    latent_key, noise_key = jax.random.split(key)
    label = None if game.num_classes is None else batch["label"]
    real = to_critic_range(game, batch["x"])
    opponent = state.critic
    z = _latents(game, latent_key, len(real), axis_name)

    def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
        fake, new_stats = apply_in_training(
            game.generator, params, batch_stats, z, label, axis_name=axis_name
        )
        seen = _noisy(game, state, noise_key, real, fake, axis_name)
        real_logits, fake_logits, _ = _logits(
            game, opponent.params, opponent.batch_stats, seen, label, axis_name
        )
        loss = game.objective.generator(real_logits, fake_logits)
        return loss, ({}, new_stats)

    generator, metrics = gradient_step(state.generator, loss_fn, axis_name=axis_name)
    return generator, {f"generator_{name}": value for name, value in metrics.items()}


def accuracy(real_logits: Array, fake_logits: Array) -> Array:
    """The share of a real and a generated example that a critic tells for what they are.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`.

    Returns:
        0, 1/2 or 1, float32 `[B]`.
    """
    known = (real_logits > 0.0).astype(jnp.float32) + (fake_logits < 0.0).astype(jnp.float32)
    return 0.5 * known


def _logits(
    game: Game,
    params: PyTree,
    batch_stats: PyTree,
    seen: Array,
    label: Array | None,
    axis_name: str | None,
) -> tuple[Array, Array, PyTree]:
    """The logits of reals and fakes, float32 `[B]` each, and the critic's new statistics."""
    apply = functools.partial(
        apply_in_training, game.critic, params, batch_stats, axis_name=axis_name
    )
    if game.is_coupled:
        if axis_name is not None and not hasattr(game.critic, "axis_name"):
            raise ValueError(
                "critic: its logits move with the other examples of the batch, but it has no "
                "attribute axis_name, so on several devices it would see a part of the batch; "
                "expected one device, or a critic that hands axis_name to its nn.BatchNorm"
            )
        # Reals and fakes in one batch, so that both networks train against one critic.
        labels = None if label is None else jnp.concatenate([label, label])
        logits, stats = apply(seen, labels)
        real_logits, fake_logits = jnp.split(logits, 2)
    else:
        # In parts, the compiler drops the real half where an objective ignores it, and both start
        # from the same vectors of the spectral norm and find the same new ones.
        (real_logits, stats), (fake_logits, _) = (apply(part, label) for part in jnp.split(seen, 2))
    return real_logits.astype(jnp.float32), fake_logits.astype(jnp.float32), stats


def _clipped(critic: TrainState, bound: float | None) -> TrainState:
    """The critic with every parameter within the bound, if there is one."""
    if bound is None:
        return critic
    return critic.replace(params=jax.tree.map(lambda w: jnp.clip(w, -bound, bound), critic.params))


def _latents(game: Game, key: Key, num: int, axis_name: str | None) -> Array:
    keys = own_keys(key, num, axis_name)
    return jax.vmap(lambda key: jax.random.normal(key, (game.latent_dim,)))(keys)


def _noisy(
    game: Game, state: GanState, key: Key, real: Array, fake: Array, axis_name: str | None
) -> Array:
    """Real and generated examples in one batch, with instance noise."""
    seen = jnp.concatenate([real, fake.astype(real.dtype)])
    std = game.rules.instance_noise
    if not callable(std) and std == 0.0:
        return seen
    keys = jnp.concatenate([own_keys(part, len(real), axis_name) for part in jax.random.split(key)])
    noise = jax.vmap(lambda key: jax.random.normal(key, seen.shape[1:]))(keys)
    return seen + (std(state.step) if callable(std) else std) * noise


def _penalty(
    rules: Rules, step: Array, keys: Array, critic: Callable[[Array], Array], seen: Array
) -> Array:
    """The penalty of this step `[B]`: 0 between its turns, at them `penalty_interval`-fold."""
    assert rules.penalty is not None
    real, fake = jnp.split(seen, 2)
    interval = rules.penalty_interval
    if interval == 1:
        return rules.penalty(keys, critic, real, fake)
    return jax.lax.cond(
        step % interval == 0,
        lambda: interval * rules.penalty(keys, critic, real, fake),  # type: ignore[misc]
        lambda: jnp.zeros(len(real)),
    )
