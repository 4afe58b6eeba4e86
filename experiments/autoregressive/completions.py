"""Completions of images in part hidden, by a trained autoregressive model."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.autoregressive.build import build_model
from experiments.experiment import Trained
from jaxgen.autoregressive import check_mask, known_mask, samplers
from jaxgen.conditions import one_hot_condition
from jaxgen.types import Array, Key


def complete(
    trained: Trained, x: Array, label: Array | None, mask_name: str, keys: Iterable[Key]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draws what a mask hides.

    Args:
        trained: the run.
        x: uint8 images `[B, H, W, C]`.
        label: of each for a conditional run, or None.
        mask_name: of the part that is hidden.
        keys: of each draw.

    Returns:
        The images with grey in place of what is hidden, and a completed copy for each key.

    Raises:
        ValueError: if the order of the run cannot serve the mask, before anything is compiled.
    """
    info, model = trained.info, build_model(trained.settings, trained.info)
    height, width, channels = info.shape
    mask = known_mask(mask_name, height, width)
    check_mask(mask, model.order)
    num_classes = info.num_classes if trained.method.is_conditional else None
    condition = one_hot_condition(label, num_classes)
    variables = {"params": trained.state.eval_variables["params"]}

    @jax.jit
    def draw(key: Key) -> Array:
        known = samplers.Known(x, jnp.asarray(mask))
        return samplers.cached(
            model,
            variables,
            key,
            len(x),
            (height, width, channels),
            condition=condition,
            known=known,
        ).x

    grey = jnp.asarray(info.image_levels // 2, jnp.uint8)
    shown = jnp.where(jnp.asarray(mask)[None, :, :, None], x, grey)
    return np.asarray(shown), [np.asarray(draw(key)) for key in keys]
