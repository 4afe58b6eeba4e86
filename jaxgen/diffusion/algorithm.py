"""Diffusion models as an `Algorithm`: a network, a schedule and an optimizer made into one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgen.arrays import example_keys, split_keys
from jaxgen.conditions import one_hot_condition
from jaxgen.diffusion import guidance, losses, process
from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.likelihood_bounds import Bounds, evaluate_bounds
from jaxgen.diffusion.models import Diffusion, bind, scale, statistics_of, unscale
from jaxgen.diffusion.process import Denoiser
from jaxgen.diffusion.weighting import Weighting
from jaxgen.training.state import TrainState, create_train_state
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree

_LOSSES: dict[str, Callable[..., Array]] = {
    "noise": losses.noise_prediction,
    "x0": losses.x0_prediction,
    "v": losses.v_prediction,
    "velocity": losses.velocity_prediction,
}


def diffusion_algorithm(
    model: Diffusion,
    optimizer: optax.GradientTransformation,
    sample: Callable[..., Array],
    *,
    weighting: Weighting = "simple",
    label_dropout: float = 0.0,
    ema_decay: float = 0.0,
    bounds: Bounds | None = None,
) -> Algorithm:
    """A network trained to tell data from noise at every level.

    Args:
        model: network, schedule and data.
        optimizer: optax transformation.
        sample: ``(state, key, num, label=None) -> x``; see `sampler`.
        weighting: of the noise levels; see `weighting`.
        label_dropout: share of the examples that are trained without their label, in [0, 1); some
            is needed for classifier-free guidance.
        ema_decay: of the averaged parameters used for sampling and evaluation, in [0, 1); 0 keeps
            none.
        bounds: what `evaluate` computes; None takes the defaults.

    Returns:
        The algorithm. `evaluate` gives ``elbo``, the variational bound in continuous time, its
        terms ``prior``, ``diffusion`` and ``reconstruction``, maybe ``elbo<T>`` of T steps and
        ``ode``, in nats and in bits per dimension.

    Raises:
        ValueError: if `label_dropout` is out of its range, or asked for of a model without classes.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", algorithm 1; Kingma et al. 2021,
        "Variational diffusion models", of the bounds.
    """
    if not 0.0 <= label_dropout < 1.0 or (label_dropout and model.num_classes is None):
        raise ValueError(
            f"label_dropout: {label_dropout}, expected in [0, 1), and 0 for a model without classes"
        )

    def init(key: Key, batch: Batch) -> TrainState:
        statistics = statistics_of(model, batch["x"])
        x, condition = (
            scale(model, statistics, batch["x"]),
            one_hot_condition(batch.get("label"), model.num_classes),
        )
        variables = model.network.init(key, x, jnp.zeros(len(x)), condition)
        variables = {"params": variables["params"], "batch_stats": statistics}
        return create_train_state(model.network.apply, variables, optimizer, ema_decay=ema_decay)

    def step(
        state: TrainState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        keys, dropout_keys, label_keys = own_keys(key, len(batch["x"]), axis_name, parts=3)
        condition = one_hot_condition(batch.get("label"), model.num_classes)
        if condition is not None and label_dropout:
            is_kept = jax.vmap(jax.random.bernoulli, (0, None))(label_keys, 1.0 - label_dropout)
            condition = condition * is_kept[:, None]

        def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            def predict(x_t: Array, log_snr: Array, condition: Array | None) -> Any:
                return model.network.apply(
                    {"params": params}, x_t, log_snr, condition, dropout_keys=dropout_keys
                )

            x = scale(model, batch_stats, batch["x"])
            loss = _LOSSES[model.kind](
                keys, predict, x, model.schedule, condition=condition, weighting=weighting
            )
            return loss / x[0].size, ({}, batch_stats)

        return gradient_step(state, loss_fn, axis_name=axis_name)

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        condition = one_hot_condition(batch.get("label"), model.num_classes)
        keys = example_keys(key, len(batch["x"]))
        return evaluate_bounds(
            model, state.eval_variables, keys, batch["x"], condition, bounds or Bounds()
        )

    return Algorithm(init, step, sample, evaluate)


def sampler(
    model: Diffusion,
    method: Callable[..., Any],
    shape: tuple[int, ...],
    *,
    num_classes: int | None = None,
    guide: Callable[[Denoiser, PyTree], Denoiser] | None = None,
    is_clipped: bool = True,
    num_frames: int = 0,
) -> Callable[..., Array]:
    """Makes the function that samples from a trained diffusion model.

    Args:
        model: network, schedule and data.
        method: one of `samplers`.
        shape: of an example.
        num_classes: of the labels, which the model or the guide is given in one-hot form; None if
            neither wants them.
        guide: ``(denoise, inputs) -> denoise``, such as one of `guidance`.
        is_clipped: whether estimates of pixels are kept within their range, after guidance.
        num_frames: of the trajectory; 0 for none.

    Returns:
        ``(state, key, num, label=None, *, grid, knobs, inputs=None) -> x``: `num` vectors
        `[num, D]` or uint8 images `[num, H, W, C]`, by the averaged parameters where there are
        such; with frames ``[F, num, ...]`` in place of x. The knobs are those of the method, the
        inputs those of the guide. What is after the star may be traced: `jax.tree_util.Partial`
        makes of it arguments of a program.
    """

    def sample(
        state: TrainState,
        key: Key,
        num: int,
        label: Array | None = None,
        *,
        grid: Grid,
        knobs: dict[str, Any],
        inputs: PyTree = None,
    ) -> Array:
        variables = state.eval_variables
        denoise = bind(model, variables)
        if guide is not None:
            denoise = guide(denoise, inputs)
        if is_clipped and model.levels is not None:
            denoise = guidance.clip(denoise)
        start_key, key = split_keys(example_keys(key, num), 2)
        x_T = process.draw_noise(start_key, jnp.zeros((num, *shape)))
        condition = one_hot_condition(label, num_classes)
        x: Any = method(
            key, denoise, x_T, grid, condition=condition, num_frames=num_frames, **knobs
        )
        return unscale(model, variables["batch_stats"], x[1] if num_frames else x)

    return sample
