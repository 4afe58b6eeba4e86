"""The train state of one network: parameters, optimizer, batch statistics and an average of the parameters."""

from collections.abc import Callable
from typing import Any

import flax.core
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state

from jaxgen.types import PyTree


class TrainState(train_state.TrainState):
    """flax's `TrainState` with batch statistics and an exponential moving average (EMA) of the parameters.

    Attributes:
        batch_stats: the ``batch_stats`` collection of the model, empty where it has none.
        ema_params: the moving average of ``params``, or None where none is kept.
    """

    batch_stats: PyTree
    ema_params: PyTree

    @property
    def eval_variables(self) -> dict[str, PyTree]:
        """The variables to sample and evaluate with: the averaged parameters where there are any."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "batch_stats": self.batch_stats}


def create_train_state(
    apply_fn: Callable[..., Any],
    variables: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float,
) -> TrainState:
    """Builds the state of step 0.

    Args:
        apply_fn: ``model.apply``.
        variables: what ``model.init`` returned.
        optimizer: the optax transformation that will update the parameters.
        ema_decay: in [0, 1); 0 keeps no average.

    Returns:
        The state, every leaf of it an array.
    """
    params: Any = flax.core.unfreeze(variables["params"])
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        apply_fn=apply_fn,
        params=params,
        tx=optimizer,
        opt_state=optimizer.init(params),
        batch_stats=variables.get("batch_stats", {}),
        ema_params=jax.tree.map(jnp.copy, params) if ema_decay else None,
    )
