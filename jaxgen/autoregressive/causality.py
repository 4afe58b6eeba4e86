"""What a network sees of the pixels before, and that it sees nothing of those to come."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.autoregressive.causal import image_input
from jaxgen.autoregressive.models import PixelModel
from jaxgen.types import Array, Key, PyTree


class Causality(NamedTuple):
    """The support of the Jacobian of one pixel's context.

    Attributes:
        pixel: its number in the order of writing.
        seen: whether a pixel moves it, in the arrangement of the order, booleans `[H, W]`.
        num_leaks: pixels at or after it that do; 0 for a causal network.
        num_seen: pixels before it that do.
        num_before: pixels before it.
    """

    pixel: int
    seen: np.ndarray
    num_leaks: int
    num_seen: int
    num_before: int


def causality(
    model: PixelModel,
    variables: PyTree,
    shape: tuple[int, int, int],
    key: Key,
    *,
    pixel: int | None = None,
    condition: Array | None = None,
    num_draws: int = 4,
) -> Causality:
    """Finds which pixels move the context of one, by derivatives at random images.

    Args:
        model: over images of `shape`.
        variables: of it.
        shape: `(H, W, C)`.
        key: random key of the images.
        pixel: its number in the order of writing; None for the one in the middle.
        condition: `[1, K]` of a conditional model, or None.
        num_draws: images; a pixel is seen if one of them shows it.

    Returns:
        What is seen.

    Source:
        Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural
        networks", section 2, of the gradient of an output.
    """
    height, width = model.order.shape
    number = height * width // 2 + width // 2 if pixel is None else pixel
    row, column = divmod(number, width)
    draws = jax.random.randint(key, (num_draws, 1, height, width, shape[2]), 0, model.levels)

    def moved(inputs: Array, direction: Array) -> Array:
        def context(inputs: Array) -> Array:
            bound: Any = model.bind(variables)
            rows = bound.network.row(inputs, None, condition)
            h = bound.network.pixel(inputs, rows, None, condition)
            return jnp.vdot(h[0, row, column], direction)

        return jnp.max(jnp.abs(jax.grad(context)(inputs)[0, :, :, : shape[2]]), axis=-1)

    @jax.jit
    def largest(draws: Array) -> Array:
        inputs = jax.vmap(lambda x: image_input(x, model.levels))(draws)
        like = jax.eval_shape(
            lambda x: model.apply(variables, x, condition, method="context"), draws[0]
        )
        directions = jax.random.normal(key, (num_draws, like.shape[-1]))
        return jnp.max(jax.lax.map(lambda pair: moved(*pair), (inputs, directions)), axis=0)

    seen = np.asarray(largest(draws)) > 0.0
    flat = seen.reshape(-1)
    return Causality(number, seen, int(flat[number:].sum()), int(flat[:number].sum()), int(number))
