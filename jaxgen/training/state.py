"""The train state of one network: parameters and their average, optimizer, batch statistics."""

from collections.abc import Callable
from typing import Any

import flax.core
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state

from jaxgen.types import Array, PyTree


class TrainState(train_state.TrainState):
    """flax's `TrainState` with batch statistics and an exponential moving average (EMA).

    Attributes:
        step: number of optimizer steps behind it, int32.
        batch_stats: the ``batch_stats`` collection of the model, empty where it has none.
        ema_params: the moving average of ``params``, or None where none is kept.
        ema_decay: of that average, in [0, 1); 0 where none is kept. Static.
    """

    step: Array
    batch_stats: PyTree
    ema_params: PyTree
    ema_decay: float = flax.struct.field(pytree_node=False)

    @property
    def eval_variables(self) -> dict[str, PyTree]:
        """What to sample and evaluate with: the averaged parameters where there are any."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "batch_stats": self.batch_stats}


def create_train_state(
    apply_fn: Callable[..., Any],
    variables: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float = 0.0,
) -> TrainState:
    """Builds the state of step 0.

    Args:
        apply_fn: ``model.apply``.
        variables: what ``model.init`` returned.
        optimizer: the optax transformation that will update the parameters.
        ema_decay: of the parameters' average, in [0, 1); 0 keeps none.

    Returns:
        The state, every leaf of it an array.

    Raises:
        ValueError: if `ema_decay` is outside [0, 1).
    """
    if not 0.0 <= ema_decay < 1.0:
        raise ValueError(f"ema_decay: {ema_decay}, expected in [0, 1)")
    params: Any = flax.core.unfreeze(variables["params"])
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        apply_fn=apply_fn,
        params=params,
        tx=optimizer,
        opt_state=optimizer.init(params),
        batch_stats=variables.get("batch_stats", {}),
        ema_params=jax.tree.map(jnp.copy, params) if ema_decay else None,
        ema_decay=ema_decay,
    )
