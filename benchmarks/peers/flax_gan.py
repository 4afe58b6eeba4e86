"""A GAN in plain flax: stock layers, one jitted iteration a dispatch, batches from host NumPy."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

from benchmarks.peers import common, gan_sizes

_INIT = nn.initializers.normal(gan_sizes.INIT_STD)


class Generator(nn.Module):
    """Latents `[B, D]` to images `[B, 28, 28, 1]`."""

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Applies the network in training mode."""
        narrow, wide = gan_sizes.FEATURES
        kernel, side = (gan_sizes.KERNEL,) * 2, gan_sizes.SPATIAL
        norm = partial(nn.BatchNorm, use_running_average=False, momentum=0.9)
        up = partial(nn.ConvTranspose, kernel_size=kernel, strides=(2, 2), kernel_init=_INIT)
        h = nn.Dense(gan_sizes.FLAT, use_bias=False, kernel_init=_INIT)(z)
        h = nn.relu(norm()(h.reshape(-1, side, side, wide)))
        h = nn.relu(norm()(up(narrow, use_bias=False)(h)))
        return nn.tanh(up(1)(h))


class Critic(nn.Module):
    """Images `[B, 28, 28, 1]` to logits `[B]`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the network."""
        for features in gan_sizes.FEATURES:
            x = nn.Conv(features, (gan_sizes.KERNEL,) * 2, (2, 2), kernel_init=_INIT)(x)
            x = nn.leaky_relu(x, gan_sizes.SLOPE)
        return nn.Dense(1, kernel_init=_INIT)(x.reshape(x.shape[0], -1))[:, 0]


class TrainState(train_state.TrainState):
    """flax's state with batch statistics."""

    batch_stats: Any


class Players(NamedTuple):
    """The states of both."""

    generator: TrainState
    critic: TrainState


def _generate(
    state: TrainState, params: optax.Params, key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    z = jax.random.normal(key, (gan_sizes.BATCH_SIZE, gan_sizes.LATENT))
    variables = {"params": params, "batch_stats": state.batch_stats}
    return state.apply_fn(variables, z, mutable=["batch_stats"])


def _penalty(
    critic: Callable[[jax.Array], jax.Array], key: jax.Array, real: jax.Array, fake: jax.Array
) -> jax.Array:
    u = jax.random.uniform(key, (real.shape[0], 1, 1, 1))
    slope = jax.grad(lambda x: critic(x).sum())(u * real + (1 - u) * fake)
    norm = jnp.sqrt(jnp.sum(jnp.square(slope), axis=(1, 2, 3)) + 1e-12)
    return jnp.mean(jnp.square(norm - 1))


def _critic_step(
    workload: gan_sizes.Workload, players: Players, key: jax.Array, real: jax.Array
) -> tuple[Players, jax.Array]:
    generator, critic = players
    latent_key, penalty_key = jax.random.split(key)
    fake, new = _generate(generator, generator.params, latent_key)

    def loss_fn(params: optax.Params) -> jax.Array:
        def judge(x: jax.Array) -> jax.Array:
            return critic.apply_fn({"params": params}, x)

        real_logits, fake_logits = jnp.split(judge(jnp.concatenate([real, fake])), 2)
        if workload == "dcgan":
            return jnp.mean(nn.softplus(-real_logits)) + jnp.mean(nn.softplus(fake_logits))
        penalty = _penalty(judge, penalty_key, real, fake)
        return jnp.mean(fake_logits - real_logits) + gan_sizes.PENALTY_WEIGHT * penalty

    loss, grads = jax.value_and_grad(loss_fn)(critic.params)
    generator = generator.replace(batch_stats=new["batch_stats"])
    return Players(generator, critic.apply_gradients(grads=grads)), loss


def _generator_step(workload: gan_sizes.Workload, players: Players, key: jax.Array) -> Players:
    generator, critic = players

    def loss_fn(params: optax.Params) -> tuple[jax.Array, dict[str, Any]]:
        fake, new = _generate(generator, params, key)
        logits = critic.apply_fn({"params": critic.params}, fake)
        return jnp.mean(nn.softplus(-logits) if workload == "dcgan" else -logits), new

    grads, new = jax.grad(loss_fn, has_aux=True)(generator.params)
    return Players(generator.apply_gradients(grads=grads, **new), critic)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _iteration(
    workload: gan_sizes.Workload, players: Players, key: jax.Array, pixels: jax.Array
) -> tuple[Players, jax.Array]:
    key, *keys = jax.random.split(jax.random.fold_in(key, players.generator.step), 1 + len(pixels))
    for part_key, part in zip(keys, 2 * pixels.astype(jnp.float32) - 1, strict=True):
        players, loss = _critic_step(workload, players, part_key, part)
    return _generator_step(workload, players, key), loss


def build(
    workload: gan_sizes.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the plain flax contestant.

    Args:
        workload: which GAN.
        variant: unused: there is one.
        images: uint8 `[N, 28, 28, 1]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del variant, threads
    play = gan_sizes.PLAYS[workload]
    *keys, key = jax.random.split(jax.random.key(common.SEED), 3)

    def start(network: nn.Module, init_key: jax.Array, *shape: int) -> TrainState:
        variables = jax.jit(network.init)(init_key, jnp.zeros((1, *shape)))
        return TrainState.create(
            apply_fn=network.apply,
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            tx=optax.adam(play.learning_rate, *play.betas),
        )

    players = Players(
        start(Generator(), keys[0], gan_sizes.LATENT), start(Critic(), keys[1], *images.shape[1:])
    )
    rows = common.batch_rows(play.num_critic_steps * gan_sizes.BATCH_SIZE)
    parts = (play.num_critic_steps, gan_sizes.BATCH_SIZE)

    def train(num_steps: int) -> float:
        nonlocal players
        for _ in range(num_steps):
            pixels = images[next(rows).reshape(parts)]
            players, loss = _iteration(workload, players, key, pixels)
        jax.block_until_ready(players)
        return float(loss)

    params = (players.generator.params, players.critic.params)
    return common.Program(
        sum(leaf.size for leaf in jax.tree.leaves(params)), 1, common.timed(train)
    )
