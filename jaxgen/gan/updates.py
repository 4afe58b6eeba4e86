"""The two moves of an adversarial game: a critic's step and a generator's step."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxgen.gan.objectives import Objective
from jaxgen.pixels import to_model_range
from jaxgen.training.state import TrainState
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Array, Batch, Key, Metrics, PyTree

Penalty = Callable[[Array, Callable[[Array], Array], Array, Array], Array]
"""``(keys [B], critic, real, fake) -> [B]``, such as `jaxgen.gan.penalties.gradient_penalty`."""


class GanState(flax.struct.PyTreeNode):
    """The state of both players.

    Attributes:
        generator: its train state; the average of its parameters makes the samples.
        critic: its train state, without an average.
    """

    generator: TrainState
    critic: TrainState

    @property
    def step(self) -> Array:
        """Number of generator steps."""
        return jnp.asarray(self.generator.step)

    @property
    def params(self) -> dict[str, PyTree]:
        """The parameters of both players."""
        return {"generator": self.generator.params, "critic": self.critic.params}


class Rules(NamedTuple):
    """What a game adds to its objective.

    Attributes:
        penalty: added to the critic's loss, or None; it is given a key for each example.
        penalty_weight: its weight, at least 0.
        penalty_interval: the penalty is taken every so many critic steps, with so many times the weight.
        weight_clip: bound on every critic parameter, applied after the critic's step; None for no bound.
        instance_noise: standard deviation of normal noise on all that the critic sees, or its optax schedule over
            generator steps.
    """

    penalty: Penalty | None = None
    penalty_weight: float = 0.0
    penalty_interval: int = 1
    weight_clip: float | None = None
    instance_noise: float | optax.Schedule = 0.0


class Game(NamedTuple):
    """Both networks and the rules they play by.

    Attributes:
        generator: module ``(z [B, D], label, *, train) -> x``, images in [-1, 1] or vectors.
        critic: module ``(x, label, *, train) -> logits [B]``.
        objective: the losses of both.
        rules: penalty, weight clipping and instance noise.
        latent_dim: D.
        levels: number of pixel values; None for vectors, which are not scaled.
        ema_decay: of the generator's averaged parameters, in [0, 1); 0 keeps none.
    """

    generator: nn.Module
    critic: nn.Module
    objective: Objective
    rules: Rules
    latent_dim: int
    levels: int | None
    ema_decay: float

    @property
    def num_classes(self) -> int | None:
        """Number of labels that both networks are given, or None."""
        return getattr(self.generator, "num_classes", None)


def to_critic_range(game: Game, x: Array) -> Array:
    """Data as the critic sees them.

    Args:
        game: whose `levels` say what the data are.
        x: uint8 images or float32 vectors.

    Returns:
        Images scaled to [-1, 1]; vectors as they are.
    """
    return x if game.levels is None else to_model_range(x, game.levels)


def apply_in_training(
    module: nn.Module, params: PyTree, batch_stats: PyTree, x: Array, label: Array | None
) -> tuple[Array, PyTree]:
    """Applies a network in training mode.

    Args:
        module: generator or critic.
        params: its parameters.
        batch_stats: its batch statistics and the vectors of its spectral norms.
        x: latents or examples, `[B, ...]`.
        label: `[B]`, or None in an unconditional game.

    Returns:
        Its result, and the new batch statistics.
    """
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
    label = batch.get("label") if game.num_classes is not None else None
    player = state.generator
    real = to_critic_range(game, batch["x"])
    z = _latents(game, latent_key, len(real), axis_name)
    fake, _ = apply_in_training(game.generator, player.params, player.batch_stats, z, label)
    chex.assert_equal_shape([real, fake])
    seen = _noisy(game, state, noise_key, real, fake, axis_name)
    penalty_keys = own_keys(penalty_key, len(real), axis_name)

    def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
        real_logits, fake_logits, new_stats = _judge(game, params, batch_stats, seen, label)
        loss = game.objective.critic(real_logits, fake_logits)
        metrics = {
            "critic_real_logit": real_logits,
            "critic_fake_logit": fake_logits,
            "critic_accuracy": accuracy(real_logits, fake_logits),
        }
        if game.rules.penalty is not None:
            variables = {"params": params, "batch_stats": new_stats}

            def frozen(x: Array) -> Array:
                return game.critic.apply(variables, x, label, train=False)  # type: ignore[return-value]

            penalty = _penalty(
                game.rules, jnp.asarray(state.critic.step), penalty_keys, frozen, seen
            )
            metrics["critic_penalty"] = penalty
            loss = loss + game.rules.penalty_weight * penalty
        return loss, (metrics, new_stats)

    critic, metrics = gradient_step(state.critic, loss_fn, ema_decay=0.0, axis_name=axis_name)
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
    label = batch.get("label") if game.num_classes is not None else None
    real = to_critic_range(game, batch["x"])
    rival = state.critic
    z = _latents(game, latent_key, len(real), axis_name)

    def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
        fake, new_stats = apply_in_training(game.generator, params, batch_stats, z, label)
        seen = _noisy(game, state, noise_key, real, fake, axis_name)
        real_logits, fake_logits, _ = _judge(game, rival.params, rival.batch_stats, seen, label)
        loss = game.objective.generator(real_logits, fake_logits)
        return loss, ({}, new_stats)

    generator, metrics = gradient_step(
        state.generator, loss_fn, ema_decay=game.ema_decay, axis_name=axis_name
    )
    return generator, {f"generator_{name}": value for name, value in metrics.items()}


def accuracy(real_logits: Array, fake_logits: Array) -> Array:
    """The share of a real and a generated example that a critic knows for what they are.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`.

    Returns:
        0, 1/2 or 1, float32 `[B]`.
    """
    known = (real_logits > 0.0).astype(jnp.float32) + (fake_logits < 0.0).astype(jnp.float32)
    return 0.5 * known


def couples_examples(critic: nn.Module) -> bool:
    """Whether a logit depends on the other examples of its batch.

    Args:
        critic: a module whose attribute `norm`, if it has one, names its normalization.

    Returns:
        True for batch norm.
    """
    return getattr(critic, "norm", "none") == "batch"


def _judge(
    game: Game, params: PyTree, batch_stats: PyTree, seen: Array, label: Array | None
) -> tuple[Array, Array, PyTree]:
    """The logits of reals and fakes, float32 `[B]` each, and the critic's new statistics."""
    if couples_examples(game.critic):
        # One batch for batch norm, so that both players have one critic.
        labels = None if label is None else jnp.concatenate([label, label])
        logits, stats = apply_in_training(game.critic, params, batch_stats, seen, labels)
        real_logits, fake_logits = jnp.split(logits, 2)
    else:
        # Other critics judge each example alone. In parts, the compiler drops the real half where an objective ignores
        # it, and both start from the same vectors of the spectral norm and find the same new ones.
        (real_logits, stats), (fake_logits, _) = (
            apply_in_training(game.critic, params, batch_stats, part, label)
            for part in jnp.split(seen, 2)
        )
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
    """The penalty of this step, `[B]`: 0 between its turns and `penalty_interval` times as much at them."""
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
