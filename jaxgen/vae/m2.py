"""M2, the semi-supervised VAE, as an `Algorithm`, and the classifier of it trained alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.arrays import example_keys, split_keys
from jaxgen.pixels import bits_per_dim, dequantize, pixel_values, to_model_range
from jaxgen.training.state import TrainState, create_train_state
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree
from jaxgen.vae import semi_supervised
from jaxgen.vae.class_binding import BoundClassModel, bind_classes, class_sampler
from jaxgen.vae.class_models import ClassVAE
from jaxgen.vae.semi_supervised import SemiSupervisedTerms


class _Inputs(NamedTuple):
    """What a step or an evaluation is of: pixels, labels below 0 where unknown, keys of z."""

    keys: Array
    x: Array
    label: Array


_Objective = Callable[[BoundClassModel, _Inputs], tuple[Array, Metrics]]


def m2_algorithm(
    model: ClassVAE,
    optimizer: optax.GradientTransformation,
    *,
    levels: int,
    weight: float,
    ema_decay: float = 0.0,
) -> Algorithm:
    """M2: minimises ``L(x, y) - weight * ln q(y|x)`` where a label is known, and else the bound.

    A label below 0 is unknown; where a batch has no ``"label"`` at all, every one is. All classes
    are equally likely a priori.

    Args:
        model: see `ClassVAE`.
        optimizer: optax transformation.
        levels: number of pixel values of the data.
        weight: of a labelled example's ``-ln q(y|x)``, at least 0; in the paper ``0.1 N / n`` for n
            labels of N examples.
        ema_decay: of the averaged parameters used for sampling and evaluation, in [0, 1); 0 keeps
            none.

    Returns:
        The algorithm. `sample` draws the classes that it is not given. `evaluate` gives the bound
        of ``ln p(x)`` as `elbo`, its terms `rate`, `distortion` and `class_rate` in nats, the bound
        in bits per dimension, and of labelled examples `error`, 1 where the likeliest class is
        wrong, and `classification`, ``-ln q(y|x)`` in nats; both are NaN where the label is
        unknown.

    Raises:
        ValueError: if `weight` is negative.

    Source:
        Kingma et al. 2014, "Semi-supervised learning with deep generative models", algorithm 2.
    """
    if not weight >= 0.0:
        raise ValueError(f"weight: {weight}, expected at least 0")

    def objective(bound: BoundClassModel, inputs: _Inputs) -> tuple[Array, Metrics]:
        keys, x, label = inputs
        terms: SemiSupervisedTerms = semi_supervised.partly_labelled(
            keys, bound.encode, bound.decode, bound.classify, x, label=label, prior=bound.prior
        )
        loss = semi_supervised.classification_weighted(terms, weight=weight)
        return loss, {"elbo": -(terms.distortion + terms.rate + terms.class_rate), **_named(terms)}

    def evaluate(bound: BoundClassModel, inputs: _Inputs) -> Metrics:
        keys, x, label = inputs
        terms: SemiSupervisedTerms = semi_supervised.unlabelled(
            keys, bound.encode, bound.decode, bound.classify, x, prior=bound.prior
        )
        loss = terms.distortion + terms.rate + terms.class_rate
        bits = bits_per_dim(loss, x[0].size)
        metrics = {"elbo": -loss, **_named(terms), "elbo_bits_per_dim": bits}
        return metrics | _judged(bound.classify(x), label)

    return _algorithm(model, optimizer, objective, evaluate, levels=levels, ema_decay=ema_decay)


def supervised_algorithm(
    model: ClassVAE,
    optimizer: optax.GradientTransformation,
    *,
    levels: int,
    ema_decay: float = 0.0,
) -> Algorithm:
    """The classifier of M2 by the labelled examples alone: what the others add is the difference.

    It minimises ``-ln q(y|x)`` where a label is known. The generative part is never trained.

    Args:
        model: see `ClassVAE`.
        optimizer: optax transformation.
        levels: number of pixel values of the data.
        ema_decay: of the averaged parameters used for evaluation, in [0, 1); 0 keeps none.

    Returns:
        The algorithm; `evaluate` gives `error` and `classification`, as `m2_algorithm` does.
    """

    def objective(bound: BoundClassModel, inputs: _Inputs) -> tuple[Array, Metrics]:
        log_q = jax.nn.log_softmax(bound.classify(inputs.x))
        y = jax.nn.one_hot(inputs.label, log_q.shape[1])  # Zeros where the label is unknown.
        loss = -jnp.sum(y * log_q, axis=-1)
        return loss, {"classification": loss}

    def evaluate(bound: BoundClassModel, inputs: _Inputs) -> Metrics:
        return _judged(bound.classify(inputs.x), inputs.label)

    return _algorithm(model, optimizer, objective, evaluate, levels=levels, ema_decay=ema_decay)


def _named(terms: SemiSupervisedTerms) -> Metrics:
    """The terms of the bound."""
    return {name: value for name, value in terms._asdict().items() if name != "classification"}


def _judged(logits: Array, label: Array) -> Metrics:
    """What the class of each example says of its label."""
    y = jax.nn.one_hot(label, logits.shape[1])
    is_known = label >= 0
    wrong = (jnp.argmax(logits, axis=-1) != label).astype(jnp.float32)
    nats = -jnp.sum(y * jax.nn.log_softmax(logits), axis=-1)
    values = {"error": wrong, "classification": nats}
    return {name: jnp.where(is_known, value, jnp.nan) for name, value in values.items()}


def _algorithm(
    model: ClassVAE,
    optimizer: optax.GradientTransformation,
    objective: _Objective,
    evaluate_bound: Callable[[BoundClassModel, _Inputs], Metrics],
    *,
    levels: int,
    ema_decay: float,
) -> Algorithm:
    def inputs_of(keys: Array, batch: Batch) -> _Inputs:
        noise_keys, latent_keys = split_keys(keys, 2)
        x = batch["x"]
        is_density = model.likelihood.is_density
        values = dequantize(noise_keys, x, levels) if is_density else pixel_values(x, levels)
        label = batch.get("label")
        return _Inputs(latent_keys, values, jnp.full(len(x), -1) if label is None else label)

    def init(key: Key, batch: Batch) -> TrainState:
        variables = model.init(key, to_model_range(batch["x"][:1], levels))
        return create_train_state(model.apply, variables, optimizer, ema_decay=ema_decay)

    def step(
        state: TrainState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        input_keys, *dropout_keys = own_keys(key, len(batch["x"]), axis_name, parts=4)
        inputs = inputs_of(input_keys, batch)

        def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            bound = bind_classes(
                model, {"params": params}, levels=levels, dropout_keys=dropout_keys
            )
            loss, metrics = objective(bound, inputs)
            return loss, (metrics, batch_stats)

        return gradient_step(state, loss_fn, axis_name=axis_name)

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys: Any = example_keys(key, len(batch["x"]))
        bound = bind_classes(model, state.eval_variables, levels=levels)
        return evaluate_bound(bound, inputs_of(keys, batch))

    return Algorithm(init, step, class_sampler(model, levels=levels), evaluate)
