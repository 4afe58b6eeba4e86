"""Maximum likelihood of an autoregressive model as an `Algorithm`."""

from collections.abc import Callable
from typing import Any

import optax

from jaxgen.autoregressive import losses, samplers
from jaxgen.autoregressive.models import PixelModel
from jaxgen.conditions import one_hot_condition
from jaxgen.pixels import bits_per_dim
from jaxgen.training.state import TrainState, create_train_state
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree


def autoregressive_algorithm(
    model: PixelModel,
    optimizer: optax.GradientTransformation,
    sample: Callable[..., Array],
    *,
    num_classes: int | None = None,
    ema_decay: float = 0.0,
) -> Algorithm:
    """An autoregressive model trained by maximum likelihood.

    Args:
        model: over images.
        optimizer: optax transformation.
        sample: ``(state, key, num, label=None) -> x``; see `sampler`.
        num_classes: of a conditional model, which is given the label of each example; or None.
        ema_decay: of the averaged parameters used for sampling and evaluation, in [0, 1); 0 keeps
            none.

    Returns:
        The algorithm. `evaluate` gives `log_likelihood`, exact, in nats and bits per dimension.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", section 5.
    """

    def init(key: Key, batch: Batch) -> TrainState:
        condition = one_hot_condition(batch.get("label"), num_classes)
        variables = model.init(key, batch["x"], condition)
        return create_train_state(model.apply, variables, optimizer, ema_decay=ema_decay)

    def step(
        state: TrainState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        x, condition = batch["x"], one_hot_condition(batch.get("label"), num_classes)
        dropout_keys = own_keys(key, len(x), axis_name)

        def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            def log_prob(x: Array) -> Array:
                result: Any = model.apply(
                    {"params": params}, x, condition, dropout_keys=dropout_keys
                )
                return result

            loss = losses.negative_log_likelihood(log_prob, x)
            return loss, ({"bits_per_dim": bits_per_dim(loss, x[0].size)}, batch_stats)

        return gradient_step(state, loss_fn, axis_name=axis_name)

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        del key
        x, condition = batch["x"], one_hot_condition(batch.get("label"), num_classes)

        def log_prob(x: Array) -> Array:
            result: Any = model.apply(state.eval_variables, x, condition)
            return result

        nats = losses.negative_log_likelihood(log_prob, x)
        bits = bits_per_dim(nats, x[0].size)
        return {"log_likelihood": -nats, "log_likelihood_bits_per_dim": bits}

    return Algorithm(init, step, sample, evaluate)


def sampler(
    model: PixelModel,
    method: samplers.Sampler,
    shape: tuple[int, int, int],
    *,
    num_classes: int | None = None,
) -> Callable[..., Array]:
    """Makes the function that samples from a trained model.

    Args:
        model: over images of `shape`.
        method: one of `samplers`; all give the same images.
        shape: `(H, W, C)`.
        num_classes: of a conditional model, or None.

    Returns:
        ``(state, key, num, label=None) -> x``, `num` uint8 images, by the averaged parameters where
        there are such. It raises ValueError if a label is missing, or given to a model without.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.
    """

    def sample(state: TrainState, key: Key, num: int, label: Array | None = None) -> Array:
        if label is not None and num_classes is None:
            raise ValueError("label: given, expected None, since this model is not conditional")
        variables = {"params": state.eval_variables["params"]}
        condition = one_hot_condition(label, num_classes)
        return method(model, variables, key, num, shape, condition=condition).x

    return sample
