"""Adversarial training as an `Algorithm`: critic and generator move in turns, or at once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgen.gan.decoders import decoder, generate, standing_variables
from jaxgen.gan.game import Game, GanState, to_critic_range
from jaxgen.gan.moves import accuracy, critic_step, generator_step
from jaxgen.latents import truncated_normal
from jaxgen.training.state import create_train_state
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics

_Step = Callable[[GanState, Batch, Key, str | None], tuple[GanState, Metrics]]


def alternating_algorithm(
    game: Game,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    *,
    num_critic_steps: int = 1,
    truncation: float | None = None,
) -> Algorithm:
    """The usual GAN: some critic steps, then one generator step against the new critic.

    A batch holds the real examples of all critic steps: those of the first are the examples 0, n,
    2 n, ... for n critic steps. Every critic step and the generator's step sample latents of their
    own. On any number of devices that share the batch, the same examples meet the same latents and
    only rounding differs: after two steps of plain descent, states agree within a relative 1e-3 and
    an absolute 1e-5.

    Args:
        game: networks, objective and rules.
        generator_optimizer: optax transformation.
        critic_optimizer: optax transformation.
        num_critic_steps: at least 1; it must divide the batch of each device.
        truncation: bound within which `sample` redraws every latent value, above 0; None for normal
            latents, which `evaluate` always has.

    Returns:
        The algorithm. `sample` and `evaluate` use the averaged generator, whose batch statistics
        are taken anew.

    Raises:
        ValueError: if a setting is out of range.

    Source:
        Goodfellow et al. 2014, "Generative adversarial nets", algorithm 1.
    """
    if num_critic_steps < 1:
        raise ValueError(f"num_critic_steps: {num_critic_steps}, expected at least 1")

    def step(
        state: GanState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[GanState, Metrics]:
        critic_key, generator_key = jax.random.split(key)
        parts = {name: _cut(array, num_critic_steps) for name, array in batch.items()}
        keys = jax.random.split(critic_key, num_critic_steps)

        def one(critic: Any, inputs: tuple[Key, Batch]) -> tuple[Any, Metrics]:
            part_key, part = inputs
            return critic_step(game, state.replace(critic=critic), part, part_key, axis_name)

        critic, critic_metrics = jax.lax.scan(one, state.critic, (keys, parts))
        last = {name: array[-1] for name, array in parts.items()}
        state = state.replace(critic=critic)
        generator, metrics = generator_step(game, state, last, generator_key, axis_name)
        metrics |= {name: jnp.mean(values) for name, values in critic_metrics.items()}
        return state.replace(generator=generator), metrics

    return _algorithm(game, generator_optimizer, critic_optimizer, step, truncation)


def simultaneous_algorithm(
    game: Game,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    *,
    truncation: float | None = None,
) -> Algorithm:
    """Both networks step at once, each against the other's old parameters.

    Args:
        game: networks, objective and rules.
        generator_optimizer: optax transformation.
        critic_optimizer: optax transformation.
        truncation: as of `alternating_algorithm`.

    Returns:
        The algorithm, as of `alternating_algorithm`.

    Raises:
        ValueError: if a setting is out of range.

    Source:
        Mescheder et al. 2018, "Which training methods for GANs do actually converge?", section 2.1.
    """

    def step(
        state: GanState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[GanState, Metrics]:
        critic_key, generator_key = jax.random.split(key)
        critic, critic_metrics = critic_step(game, state, batch, critic_key, axis_name)
        generator, metrics = generator_step(game, state, batch, generator_key, axis_name)
        return GanState(generator, critic), metrics | critic_metrics

    return _algorithm(game, generator_optimizer, critic_optimizer, step, truncation)


def _cut(array: Array, num_parts: int) -> Array:
    """Parts `[n, B / n, ...]`; those of all devices together do not depend on their number."""
    if len(array) % num_parts:
        raise ValueError(
            f"num_critic_steps: {num_parts}, expected a divisor of the {len(array)} examples that "
            "a step has on each device"
        )
    return jnp.swapaxes(array.reshape(-1, num_parts, *array.shape[1:]), 0, 1)


def _algorithm(
    game: Game,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    step: _Step,
    truncation: float | None,
) -> Algorithm:
    if truncation is not None and not truncation > 0.0:
        raise ValueError(f"truncation: {truncation}, expected above 0 or None")
    sample_latents: Callable[..., Array] = (
        jax.random.normal
        if truncation is None
        else functools.partial(truncated_normal, threshold=truncation)
    )

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
            ),
        )

    def sample(state: GanState, key: Key, num: int, label: Array | None = None) -> Array:
        return decoder(game, state)(sample_latents(key, (num, game.latent_dim)), label)

    def evaluate(state: GanState, batch: Batch, key: Key) -> Metrics:
        label = None if game.num_classes is None else batch["label"]
        real = to_critic_range(game, batch["x"])
        z = jax.random.normal(key, (len(real), game.latent_dim))
        fake = generate(game, standing_variables(game, state), z, label)
        apply: Any = game.critic.apply
        real_logits, fake_logits = (
            apply(state.critic.eval_variables, x, label, train=False).astype(jnp.float32)
            for x in (real, fake)
        )
        return {
            "critic_loss": game.objective.critic(real_logits, fake_logits),
            "generator_loss": game.objective.generator(real_logits, fake_logits),
            "critic_real_logit": real_logits,
            "critic_fake_logit": fake_logits,
            "critic_accuracy": accuracy(real_logits, fake_logits),
        }

    return Algorithm(init, step, sample, evaluate)
