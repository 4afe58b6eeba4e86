"""Maximum likelihood of a flow as an `Algorithm`: of vectors, or of images by their bound."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from jaxgen.arrays import example_keys
from jaxgen.conditions import one_hot_condition
from jaxgen.flows import losses
from jaxgen.flows.flow import Flow
from jaxgen.flows.image_flow import ImageFlow
from jaxgen.pixels import bits_per_dim
from jaxgen.training.state import TrainState, create_train_state
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree


def likelihood_algorithm(
    model: Flow | ImageFlow,
    optimizer: optax.GradientTransformation,
    *,
    num_classes: int | None = None,
    ema_decay: float = 0.0,
    num_importance_samples: int = 0,
) -> Algorithm:
    """A flow trained by maximum likelihood, on vectors (`Flow`) or on images (`ImageFlow`).

    Args:
        model: the flow.
        optimizer: optax transformation.
        num_classes: of a conditional model, which is given the label of each example; or None.
        ema_decay: of the averaged parameters used for sampling and evaluation, in [0, 1); 0 keeps
            none.
        num_importance_samples: K of the bound ``iw<K>`` that `evaluate` adds for images; 0 adds
            none.

    Returns:
        The algorithm. `init` reads the whole first batch, with which `ActNorm` starts. `evaluate`
        gives `log_likelihood`, exact, of vectors; of images `dequantized`, the bound of
        one draw of noise, and maybe `iw<K>` with its standard error. All are in nats, and in
        bits per dimension. `sample` takes a ``temperature`` beside the arguments of all.

    Raises:
        ValueError: if importance samples are asked for of vectors, whose likelihood is exact.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 3.1.
    """
    is_image = isinstance(model, ImageFlow)
    if num_importance_samples and not is_image:
        raise ValueError(
            f"num_importance_samples: {num_importance_samples}, expected 0 for vectors, whose "
            "likelihood is exact"
        )

    def init(key: Key, batch: Batch) -> TrainState:
        x, condition = batch["x"], one_hot_condition(batch.get("label"), num_classes)
        noise_key, key = jax.random.split(key)
        inputs = (noise_key, x) if is_image else (x,)
        variables = model.init(key, *inputs, condition)
        return create_train_state(model.apply, variables, optimizer, ema_decay=ema_decay)

    def step(
        state: TrainState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        keys, x = own_keys(key, len(batch["x"]), axis_name), batch["x"]
        condition = one_hot_condition(batch.get("label"), num_classes)

        def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            loss = _negative_log_prob(model, {"params": params}, keys, x, condition)
            return loss, ({"bits_per_dim": bits_per_dim(loss, x[0].size)}, batch_stats)

        return gradient_step(state, loss_fn, axis_name=axis_name)

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        x, condition = batch["x"], one_hot_condition(batch.get("label"), num_classes)
        keys, variables = example_keys(key, len(x)), state.eval_variables
        log_prob = -_negative_log_prob(model, variables, keys, x, condition)
        if not is_image:
            return _in_nats_and_bits("log_likelihood", log_prob, x)
        metrics = _in_nats_and_bits("dequantized", log_prob, x)
        if num_importance_samples:
            num = num_importance_samples
            metrics |= _importance_weighted(model, variables, keys, x, condition, num)
        return metrics

    return Algorithm(init, step, sampler(model, num_classes=num_classes), evaluate)


def sampler(model: Flow | ImageFlow, *, num_classes: int | None = None) -> Callable[..., Array]:
    """Makes the function that samples from a trained flow.

    Args:
        model: the flow, maybe with another way from latents to data than that of the training.
        num_classes: of a conditional model, or None.

    Returns:
        ``(state, key, num, label=None, *, temperature=1.0) -> x``: `num` vectors `[num, D]` or
        uint8 images `[num, H, W, C]`, by the averaged parameters where there are such. It raises
        ValueError if a label is missing, or given to a model without.

    Source:
        Kingma & Dhariwal 2018, "Glow: generative flow with invertible 1x1 convolutions", of the
        temperature.
    """

    def sample(
        state: TrainState,
        key: Key,
        num: int,
        label: Array | None = None,
        *,
        temperature: Array | float = 1.0,
    ) -> Array:
        if label is not None and num_classes is None:
            raise ValueError("label: given, expected None, since this model is not conditional")
        x: Any = model.apply(
            state.eval_variables,
            key,
            num,
            one_hot_condition(label, num_classes),
            temperature=temperature,
            method="sample",
        )
        return x

    return sample


def _bind(
    model: Any, variables: PyTree, condition: Array | None, method: str
) -> Callable[..., Any]:
    return lambda *inputs: model.apply(variables, *inputs, condition, method=method)


def _negative_log_prob(
    model: Flow | ImageFlow, variables: PyTree, keys: Array, x: Array, condition: Array | None
) -> Array:
    """The loss: exact of vectors, of images the bound of one draw of noise."""
    density = _bind(model, variables, condition, "log_prob")
    if isinstance(model, Flow):
        return losses.negative_log_likelihood(density, x)
    return losses.dequantized(keys, _bind(model, variables, condition, "dequantize"), density, x)


def _importance_weighted(
    model: Flow | ImageFlow,
    variables: PyTree,
    keys: Array,
    x: Array,
    condition: Array | None,
    num: int,
) -> Metrics:
    """The bound of several draws of the noise, and its standard error."""
    functions = (_bind(model, variables, condition, m) for m in ("dequantize", "log_prob"))
    estimate = losses.log_likelihood(keys, *functions, x, num_samples=num)
    metrics = _in_nats_and_bits(f"iw{num}", estimate.log_likelihood, x)
    return {**metrics, f"iw{num}_standard_error": estimate.standard_error}


def _in_nats_and_bits(name: str, log_prob: Array, x: Array) -> Metrics:
    return {name: log_prob, f"{name}_bits_per_dim": bits_per_dim(-log_prob, x[0].size)}
