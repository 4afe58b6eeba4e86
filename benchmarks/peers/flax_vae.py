"""A VAE in plain flax: stock layers, one jitted step a dispatch, batches from host NumPy."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.peers import common, vae_sizes


class Mlp(nn.Module):
    """The dense VAE."""

    @nn.compact
    def __call__(self, key: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Pixels `[B, 28, 28, 1]` to logits, mean and log-variance."""
        h = nn.relu(nn.Dense(vae_sizes.MLP_HIDDEN)(x.reshape(x.shape[0], -1)))
        mean, log_var = jnp.split(nn.Dense(2 * vae_sizes.MLP_LATENT)(h), 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        h = nn.relu(nn.Dense(vae_sizes.MLP_HIDDEN)(z))
        return nn.Dense(x[0].size)(h).reshape(x.shape), mean, log_var


class Conv(nn.Module):
    """The convolutional VAE."""

    @nn.compact
    def __call__(self, key: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Pixels `[B, 28, 28, 1]` to logits, mean and log-variance."""
        narrow, wide = vae_sizes.CONV_FEATURES
        kernel, strides, side = (vae_sizes.CONV_KERNEL,) * 2, (2, 2), vae_sizes.CONV_SPATIAL
        h = nn.relu(nn.Conv(narrow, kernel, strides)(x))
        h = nn.relu(nn.Conv(wide, kernel, strides)(h)).reshape(x.shape[0], -1)
        mean, log_var = jnp.split(nn.Dense(2 * vae_sizes.CONV_LATENT)(h), 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        h = nn.relu(nn.Dense(vae_sizes.CONV_FLAT)(z)).reshape(-1, side, side, wide)
        h = nn.relu(nn.ConvTranspose(narrow, kernel, strides)(h))
        return nn.ConvTranspose(1, kernel, strides)(h), mean, log_var


def _loss(params: optax.Params, state: TrainState, key: jax.Array, x: jax.Array) -> jax.Array:
    logits, mean, log_var = state.apply_fn({"params": params}, key, x)
    distortion = optax.sigmoid_binary_cross_entropy(logits, x).sum()
    rate = -0.5 * jnp.sum(1 + log_var - jnp.square(mean) - jnp.exp(log_var))
    return (distortion + rate) / x.shape[0]


@partial(jax.jit, donate_argnums=0)
def _step(state: TrainState, key: jax.Array, pixels: jax.Array) -> tuple[TrainState, jax.Array]:
    x = pixels.astype(jnp.float32)
    key = jax.random.fold_in(key, state.step)
    loss, grads = jax.value_and_grad(_loss)(state.params, state, key, x)
    return state.apply_gradients(grads=grads), loss


def build(
    workload: vae_sizes.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the plain flax contestant.

    Args:
        workload: which VAE.
        variant: unused: there is one.
        images: uint8 `[N, 28, 28, 1]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del variant, threads
    model = Mlp() if workload == "mlp" else Conv()
    init_key, step_key = jax.random.split(jax.random.key(common.SEED))
    x = jnp.zeros((vae_sizes.BATCH_SIZE, *images.shape[1:]))
    params = jax.jit(model.init)(init_key, init_key, x)["params"]
    optimizer = optax.adam(vae_sizes.LEARNING_RATE)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optimizer)
    rows = common.batch_rows(vae_sizes.BATCH_SIZE)

    def train(num_steps: int) -> float:
        nonlocal state
        for _ in range(num_steps):
            state, loss = _step(state, step_key, images[next(rows)])
        jax.block_until_ready(state)
        return float(loss)

    return common.Program(
        sum(leaf.size for leaf in jax.tree.leaves(params)), 1, common.timed(train)
    )
