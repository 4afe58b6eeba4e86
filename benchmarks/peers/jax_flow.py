"""What the flows of JAX's libraries share: one jitted step a dispatch, batches from host NumPy."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.peers import common, flow_sizes


def program(
    params: Any,
    log_prob: Callable[[Any, jax.Array], jax.Array],
    sample: Callable[[Any, jax.Array, int], jax.Array],
    workload: flow_sizes.Workload,
    data: np.ndarray,
) -> common.Program:
    """Trains a flow by maximum likelihood.

    Args:
        params: of the flow, arrays that all are trained.
        log_prob: `(params, x [B, D])` to `[B]` in nats.
        sample: `(params, key, num)` to `[num, D]`.
        workload: which flow.
        data: float32 `[N, D]`.

    Returns:
        the program.
    """
    sizes = flow_sizes.SIZES[workload]
    optimizer = optax.adam(flow_sizes.LEARNING_RATE)
    optimizer_state = jax.jit(optimizer.init)(params)
    rows = common.batch_rows(sizes.batch_size, sizes.num_examples)
    key = jax.random.key(common.SEED)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, optimizer_state: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
        def loss_fn(params: Any) -> jax.Array:
            return -jnp.mean(log_prob(params, x))

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state, loss

    @jax.jit
    def draw_next(params: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        key, own_key = jax.random.split(key)
        return sample(params, own_key, sizes.num_drawn), key

    def train(num_steps: int) -> float:
        nonlocal params, optimizer_state
        for _ in range(num_steps):
            params, optimizer_state, loss = step(params, optimizer_state, data[next(rows)])
        jax.block_until_ready(params)
        return float(loss)

    def draw() -> np.ndarray:
        nonlocal key
        x, key = draw_next(params, key)
        return np.asarray(x)

    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return common.Program(num_parameters, 1, common.timed(train), draw)
