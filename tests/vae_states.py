"""States of VAEs with random parameters."""

import jax
import numpy as np


def random_state(algorithm, batch):
    """A state of step 0, traced: compiling `init` takes a second a model."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0), batch)

    def fill(leaf):
        return np.asarray(0.4 * rng.normal(size=leaf.shape), leaf.dtype)

    params = jax.tree.map(fill, shapes.params)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    average = params if shapes.ema_decay else None
    return jax.device_put(state.replace(params=params, ema_params=average))
