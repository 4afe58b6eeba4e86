"""Adversarial training as an `Algorithm`: the critic and the generator take turns, or move at once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgen.gan.updates import (
    Game,
    GanState,
    accuracy,
    apply_in_training,
    couples_examples,
    critic_step,
    generator_step,
    to_critic_range,
)
from jaxgen.pixels import from_model_range
from jaxgen.training.state import create_train_state
from jaxgen.training.step import shared_key
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree

_STATISTICS_PASSES = 64
_STATISTICS_BATCH = 64

_Step = Callable[[GanState, Batch, Key, str | None], tuple[GanState, Metrics]]


def alternating_algorithm(
    game: Game,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    *,
    num_critic_steps: int = 1,
) -> Algorithm:
    """The usual GAN: some critic steps, then one generator step against the new critic, all in one dispatch.

    A batch holds the real examples of all critic steps: those of the first are the examples 0, n, 2 n, ... for n critic
    steps. Every critic step and the generator's step draw latents of their own. On any number of devices that share the
    batch, the same examples meet the same draws and only rounding differs: after two steps of plain descent, states
    agree within a relative 1e-3 and an absolute 1e-5.

    Args:
        game: networks, objective and rules.
        generator_optimizer: optax transformation.
        critic_optimizer: optax transformation.
        num_critic_steps: at least 1; it must divide the batch of each device.

    Returns:
        The algorithm. `sample` and `evaluate` use the averaged generator, whose batch statistics are taken anew.

    Raises:
        ValueError: if a setting is out of range or a penalty meets a critic with batch norm.

    Source:
        Goodfellow et al. 2014, "Generative adversarial nets", algorithm 1.
    """
    if num_critic_steps < 1:
        raise ValueError(f"num_critic_steps: {num_critic_steps}, expected at least 1")

    def step(
        state: GanState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[GanState, Metrics]:
        here = _on_axis(game, axis_name)
        critic_key, generator_key = jax.random.split(shared_key(key, axis_name))
        parts = {name: _cut(array, num_critic_steps) for name, array in batch.items()}
        keys = jax.random.split(critic_key, num_critic_steps)

        def one(critic: Any, inputs: tuple[Key, Batch]) -> tuple[Any, Metrics]:
            part_key, part = inputs
            return critic_step(here, state.replace(critic=critic), part, part_key, axis_name)

        critic, critic_metrics = jax.lax.scan(one, state.critic, (keys, parts))
        last = {name: array[-1] for name, array in parts.items()}
        state = state.replace(critic=critic)
        generator, metrics = generator_step(here, state, last, generator_key, axis_name)
        metrics |= {name: jnp.mean(values) for name, values in critic_metrics.items()}
        return state.replace(generator=generator), metrics

    return _algorithm(game, generator_optimizer, critic_optimizer, step)


def simultaneous_algorithm(
    game: Game,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
) -> Algorithm:
    """Both players step at once, each against the other's old parameters.

    Args:
        game: networks, objective and rules.
        generator_optimizer: optax transformation.
        critic_optimizer: optax transformation.

    Returns:
        The algorithm, as of `alternating_algorithm`.

    Raises:
        ValueError: if a setting is out of range or a penalty meets a critic with batch norm.

    Source:
        Mescheder et al. 2018, "Which training methods for GANs do actually converge?".
    """

    def step(
        state: GanState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[GanState, Metrics]:
        here = _on_axis(game, axis_name)
        critic_key, generator_key = jax.random.split(shared_key(key, axis_name))
        critic, critic_metrics = critic_step(here, state, batch, critic_key, axis_name)
        generator, metrics = generator_step(here, state, batch, generator_key, axis_name)
        return GanState(generator, critic), metrics | critic_metrics

    return _algorithm(game, generator_optimizer, critic_optimizer, step)


def _cut(array: Array, num_parts: int) -> Array:
    if len(array) % num_parts:
        raise ValueError(
            f"num_critic_steps: {num_parts} does not divide the {len(array)} examples of a device's batch"
        )
    # Every num_parts-th example, so that the parts of all devices together do not depend on the number of devices.
    return jnp.swapaxes(array.reshape(-1, num_parts, *array.shape[1:]), 0, 1)


def _on_axis(game: Game, axis_name: str | None) -> Game:
    """The game with networks whose batch statistics are averaged over the devices."""
    generator, critic = (
        module.clone(axis_name=axis_name) if hasattr(module, "axis_name") else module
        for module in (game.generator, game.critic)
    )
    return game._replace(generator=generator, critic=critic)


def _check(game: Game) -> None:
    rules = game.rules
    if game.latent_dim < 1:
        raise ValueError(f"latent_dim: {game.latent_dim}, expected at least 1")
    if not 0.0 <= game.ema_decay < 1.0:
        raise ValueError(f"ema_decay: {game.ema_decay}, expected in [0, 1)")
    if rules.penalty_weight < 0.0 or (rules.penalty is None and rules.penalty_weight):
        raise ValueError(
            f"penalty_weight: {rules.penalty_weight}, expected at least 0, and 0 without a penalty"
        )
    if rules.penalty_interval < 1:
        raise ValueError(f"penalty_interval: {rules.penalty_interval}, expected at least 1")
    if rules.weight_clip is not None and not rules.weight_clip > 0.0:
        raise ValueError(f"weight_clip: {rules.weight_clip}, expected above 0 or None")
    if not callable(rules.instance_noise) and rules.instance_noise < 0.0:
        raise ValueError(f"instance_noise: {rules.instance_noise}, expected at least 0")
    if getattr(game.critic, "num_classes", None) != game.num_classes:
        raise ValueError("num_classes: generator and critic must have the same, or both None")
    if rules.penalty is not None and couples_examples(game.critic):
        raise ValueError(
            "penalty: a gradient penalty is defined per example, but batch norm couples the examples of the critic; "
            "use norm 'none' or 'layer'"
        )


def _algorithm(
    game: Game,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    step: _Step,
) -> Algorithm:
    _check(game)

    def init(key: Key, batch: Batch) -> GanState:
        generator_key, critic_key = jax.random.split(key)
        x = to_critic_range(game, batch["x"][:1])
        z = jnp.zeros((1, game.latent_dim))
        label = None if game.num_classes is None else jnp.zeros(1, jnp.int32)
        return GanState(
            generator=create_train_state(
                game.generator.apply,
                game.generator.init(generator_key, z, label, train=False),
                generator_optimizer,
                ema_decay=game.ema_decay,
            ),
            critic=create_train_state(
                game.critic.apply,
                game.critic.init(critic_key, x, label, train=False),
                critic_optimizer,
                ema_decay=0.0,
            ),
        )

    return Algorithm(
        init, step, functools.partial(_sample, game), functools.partial(_evaluate, game)
    )


def _play(game: Game, state: GanState, key: Key, num: int, label: Array | None) -> Array:
    """Examples of the averaged generator, as the critic sees them."""
    z = jax.random.normal(key, (num, game.latent_dim))
    apply: Any = game.generator.apply
    return apply(standing_variables(game, state), z, label, train=False)


def _sample(game: Game, state: GanState, key: Key, num: int, label: Array | None = None) -> Array:
    if (label is None) != (game.num_classes is None):
        raise ValueError(
            "label: this model is not conditional; leave it None"
            if label is not None
            else f"label: expected int32 [{num}], the classes to generate"
        )
    x = _play(game, state, key, num, label)
    return x if game.levels is None else from_model_range(x, game.levels)


def _evaluate(game: Game, state: GanState, batch: Batch, key: Key) -> Metrics:
    label = None if game.num_classes is None else batch["label"]
    real = to_critic_range(game, batch["x"])
    fake = _play(game, state, key, len(real), label)
    judge: Any = game.critic.apply
    real_logits, fake_logits = (
        judge(state.critic.eval_variables, x, label, train=False).astype(jnp.float32)
        for x in (real, fake)
    )
    return {
        "critic_loss": game.objective.critic(real_logits, fake_logits),
        "generator_loss": game.objective.generator(real_logits, fake_logits),
        "critic_real_logit": real_logits,
        "critic_fake_logit": fake_logits,
        "critic_accuracy": accuracy(real_logits, fake_logits),
    }


def standing_variables(game: Game, state: GanState) -> dict[str, PyTree]:
    """The averaged generator with batch statistics of its own: those of training belong to other parameters.

    Args:
        game: whose generator it is.
        state: of both players.

    Returns:
        The variables for `train=False`; a function of the state alone.

    Source:
        Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis", standing statistics.
    """
    variables = state.generator.eval_variables
    if not variables["batch_stats"]:
        return variables
    num_classes = game.num_classes

    def one_pass(batch_stats: PyTree, key: Key) -> tuple[PyTree, PyTree]:
        latent_key, label_key = jax.random.split(key)
        label = None
        if num_classes is not None:
            label = jax.random.randint(label_key, (_STATISTICS_BATCH,), 0, num_classes)
        z = jax.random.normal(latent_key, (_STATISTICS_BATCH, game.latent_dim))
        _, new_stats = apply_in_training(game.generator, variables["params"], batch_stats, z, label)
        return new_stats, new_stats

    keys = jax.random.split(jax.random.key(0), _STATISTICS_PASSES)
    _, running = jax.lax.scan(one_pass, variables["batch_stats"], keys)
    # After three quarters less than 1 % of the statistics of training is left; the mean over the rest has less noise
    # than its last value.
    kept = 3 * _STATISTICS_PASSES // 4
    batch_stats = jax.tree.map(lambda x: jnp.mean(x[kept:], axis=0), running)
    return {**variables, "batch_stats": batch_stats}
