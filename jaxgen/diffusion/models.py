"""A diffusion model: a network, a schedule, and the scale on which noise is added to its data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.diffusion import process
from jaxgen.diffusion.process import Denoiser, Kind
from jaxgen.pixels import from_model_range, to_model_range
from jaxgen.types import Array, PyTree

_LEAST_STD = 1e-6


class Diffusion(NamedTuple):
    """What a diffusion model is beside its parameters.

    Attributes:
        network: module ``(x_t, log_snr [B], condition, *, dropout_keys) -> prediction``.
        schedule: log-SNR of times in [0, 1].
        kind: what the network predicts.
        levels: number of pixel values of images; None for vectors, which are standardised with mean
            and deviation of the first batch.
        num_classes: of a conditional model, which is given the label of each example; or None.
    """

    network: nn.Module
    schedule: Callable[[Array], Array]
    kind: Kind = "noise"
    levels: int | None = None
    num_classes: int | None = None


def bind(model: Diffusion, variables: PyTree) -> Denoiser:
    """Joins a network with its variables to a denoiser.

    Args:
        model: network, schedule and data.
        variables: of the network.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x``, at the scale of the network, which sees
        the condition only if it has classes.
    """

    def predict(x_t: Array, log_snr: Array, condition: Array | None) -> Any:
        known = None if model.num_classes is None else condition
        return model.network.apply({"params": variables["params"]}, x_t, log_snr, known)

    return process.denoiser(predict, model.kind)


def scale(model: Diffusion, statistics: PyTree, x: Array) -> Array:
    """Brings data to the scale on which noise is added: pixels to [-1, 1], vectors standardised.

    Args:
        model: whose data they are.
        statistics: mean and deviation of vectors.
        x: uint8 images or float32 vectors, `[B, ...]`.

    Returns:
        float32 of the shape of `x`.
    """
    if model.levels is not None:
        return to_model_range(x, model.levels)
    return (at_least_float32(x) - statistics["mean"][None]) / statistics["std"][None]


def unscale(model: Diffusion, statistics: PyTree, x: Array) -> Array:
    """Undoes `scale`, images rounded and clipped to pixel values.

    Args:
        model: whose data they are.
        statistics: mean and deviation of vectors.
        x: float32, `[..., *shape]`.

    Returns:
        uint8 images or float32 vectors.
    """
    if model.levels is not None:
        return from_model_range(x, model.levels)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return x * statistics["std"].reshape(shape) + statistics["mean"].reshape(shape)


def statistics_of(model: Diffusion, x: Array) -> dict[str, Array]:
    """What `scale` needs to know of the data.

    Args:
        model: whose data they are.
        x: the first batch, whole.

    Returns:
        Mean and deviation of each number of vectors; nothing of images.
    """
    if model.levels is not None:
        return {}
    x = at_least_float32(x)
    return {"mean": jnp.mean(x, axis=0), "std": jnp.maximum(jnp.std(x, axis=0), _LEAST_STD)}
