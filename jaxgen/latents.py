"""Walks through a latent space: interpolation, attributes, traversals, truncation and grids.

All of them work on arrays, so they serve any family. Apply them to posterior means (or to inverted
images of a flow), not to draws, or the ends of a walk will not be the two reconstructions.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import at_least_float32
from jaxgen.types import Array, Key


@jax.jit
def lerp(start: Array, end: Array, weights: Array) -> Array:
    """Interpolates along straight lines, ``(1 - w) start + w end``; exact at both ends.

    Args:
        start: `[B, ...]`.
        end: same shape.
        weights: `[T]`, 0 at the start and 1 at the end; values outside extrapolate.

    Returns:
        float32 `[B, T, ...]`.

    Source:
        Radford et al. 2016, "Unsupervised representation learning with deep convolutional
        generative adversarial networks", section 6.1.
    """
    start, end, weights = _path_arguments(start, end, weights)
    return (1.0 - weights) * start + weights * end


@jax.jit
def slerp(start: Array, end: Array, weights: Array) -> Array:
    """Interpolates along great circles, with lengths interpolated linearly.

    ``u = [sin((1 - w) angle) u_start + sin(w angle) u_end] / sin(angle)`` for the directions u,
    times ``(1 - w) |start| + w |end|``. In high dimension a normal latent lies near a sphere, and a
    straight line leaves it. Where no arc is defined, between parallel, opposite or zero vectors,
    the path is the straight line of `lerp`: exact for parallel vectors, and for opposite ones
    through the origin.

    Args:
        start: `[B, ...]`; all axes but the first form one vector.
        end: same shape.
        weights: `[T]` in [0, 1].

    Returns:
        float32 `[B, T, ...]`.

    Source:
        Shoemake 1985, "Animating rotation with quaternion curves", section 3.3; White 2016,
        "Sampling generative networks", section 2.1.
    """
    start, end, weights = _path_arguments(start, end, weights)
    start_length, end_length = _length(start), _length(end)
    start_unit, end_unit = start / start_length, end / end_length
    # atan2 keeps its digits for nearly parallel vectors, where arccos of their product has none.
    angle = 2.0 * jnp.arctan2(_length(start_unit - end_unit), _length(start_unit + end_unit))
    sine = jnp.sin(angle)
    has_arc = (sine > 1e-4) & (jnp.minimum(start_length, end_length) > 1e-12)
    safe_sine = jnp.where(has_arc, sine, 1.0)
    direction = (
        jnp.sin((1.0 - weights) * angle) * start_unit + jnp.sin(weights * angle) * end_unit
    ) / safe_sine
    on_arc = direction * ((1.0 - weights) * start_length + weights * end_length)
    return jnp.where(has_arc, on_arc, (1.0 - weights) * start + weights * end)


def attribute_vector(z: Array, has_attribute: Array) -> Array:
    """Direction from examples without an attribute to those with it: the difference of their means.

    Args:
        z: latents, `[N, ...]`.
        has_attribute: boolean `[N]`, e.g. ``label == 3``. Must be concrete, so do not jit this.

    Returns:
        float32 `[...]`, to be added to a latent with any weight.

    Raises:
        ValueError: if every example, or none, has the attribute.

    Source:
        Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric".
    """
    mask = np.asarray(has_attribute, dtype=bool)
    chex.assert_shape(mask, (len(z),))
    if mask.all() or not mask.any():
        raise ValueError(
            f"has_attribute: {mask.sum()} of {mask.size} examples, expected some but not all"
        )
    z = at_least_float32(z)
    return jnp.mean(z[mask], axis=0) - jnp.mean(z[~mask], axis=0)


@jax.jit
def shift(z: Array, direction: Array, weights: Array) -> Array:
    """Moves a latent along a straight line, ``z + w v``.

    Args:
        z: one latent, `[D]`.
        direction: v, such as an `attribute_vector`, `[D]`.
        weights: w, `[T]`; 0 gives z itself.

    Returns:
        float32 `[T, D]`.

    Source:
        Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric".
    """
    chex.assert_rank([z, direction, weights], 1)
    chex.assert_equal_shape([z, direction])
    z, direction, weights = map(at_least_float32, (z, direction, weights))
    return z[None] + weights[:, None] * direction[None]


@jax.jit
def move(z: Array, direction: Array, weights: Array) -> Array:
    """Moves a latent on the sphere on which it lies: ``(z + w v) norm(z) / norm(z + w v)``.

    Latents of many dimensions have nearly one length, and a generator has seen no others.

    Args:
        z: one latent, `[D]`.
        direction: v, such as an `attribute_vector`, `[D]`.
        weights: w, `[T]`; 0 gives z itself.

    Returns:
        float32 `[T, D]`, all as long as z; 0 where the sum is 0.

    Source:
        Radford et al. 2016, "Unsupervised representation learning with deep convolutional
        generative adversarial networks", section 6.3.2 (the sum; the length is kept here).
    """
    moved = shift(z, direction, weights)
    return moved * (_length(at_least_float32(z)[None]) / _length(moved))


def traversal(z: Array, dimension: int, values: Array) -> Array:
    """Copies of latents with one dimension set to each of some values.

    Args:
        z: `[B, D]`.
        dimension: 0 to D - 1.
        values: `[T]`.

    Returns:
        float32 `[B, T, D]`.

    Raises:
        ValueError: if `dimension` is outside 0 to D - 1.

    Source:
        Higgins et al. 2017, "beta-VAE: learning basic visual concepts with a constrained
        variational framework", figures 1 to 4.
    """
    chex.assert_rank([z, values], [2, 1])
    num_dimensions = z.shape[1]
    if not 0 <= dimension < num_dimensions:
        raise ValueError(f"dimension: {dimension}, expected 0 to {num_dimensions - 1}")
    copies = jnp.repeat(at_least_float32(z)[:, None], len(values), axis=1)
    return copies.at[:, :, dimension].set(at_least_float32(values)[None])


@functools.partial(jax.jit, static_argnames=("shape", "threshold"))
def truncated_normal(key: Key, shape: tuple[int, ...], *, threshold: float) -> Array:
    """Standard normal latents, each value redrawn until it is within the threshold.

    A low threshold trades the variety of samples for their fidelity.

    Args:
        key: random key.
        shape: of the latents.
        threshold: positive; large values give back the standard normal.

    Returns:
        float32 of `shape`, in [-threshold, threshold].

    Raises:
        ValueError: if `threshold` is not positive.

    Source:
        Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis",
        section 3.1.
    """
    if not threshold > 0.0:
        raise ValueError(f"threshold: {threshold}, expected above 0")
    return jax.random.truncated_normal(key, -threshold, threshold, shape)


@functools.partial(jax.jit, static_argnames=("num_rows", "num_columns"))
def normal_grid(num_rows: int, num_columns: int) -> Array:
    """Grid over a two-dimensional standard normal latent space, of equal probability steps.

    The point of row r and column c is ``(Phi^-1((c + 1/2) / num_columns), -Phi^-1((r + 1/2) /
    num_rows))`` with the normal's inverse distribution function: the first axis points right and
    the second up, as in a plot.

    Args:
        num_rows: at least 1.
        num_columns: at least 1.

    Returns:
        float32 `[num_rows * num_columns, 2]`, row by row from the top.

    Raises:
        ValueError: if a number is below 1.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix A.
    """
    for name, num in (("num_rows", num_rows), ("num_columns", num_columns)):
        if num < 1:
            raise ValueError(f"{name}: {num}, expected at least 1")
    right, down = (
        jax.scipy.stats.norm.ppf((jnp.arange(num, dtype=jnp.float32) + 0.5) / num)
        for num in (num_columns, num_rows)
    )
    x, y = jnp.meshgrid(right, -down)
    return jnp.stack([x.ravel(), y.ravel()], axis=1)


def _path_arguments(start: Array, end: Array, weights: Array) -> tuple[Array, Array, Array]:
    """float32 `[B, 1, ...]`, `[B, 1, ...]` and `[1, T, 1, ...]`."""
    chex.assert_equal_shape([start, end])
    chex.assert_rank(weights, 1)
    column = at_least_float32(weights).reshape(1, -1, *(1 for _ in start.shape[1:]))
    return at_least_float32(start)[:, None], at_least_float32(end)[:, None], column


def _length(x: Array) -> Array:
    """Euclidean length over all axes but the first; tiny, not 0, for a zero vector."""
    squared = jnp.sum(x * x, axis=tuple(range(1, x.ndim)), keepdims=True)
    return jnp.sqrt(jnp.maximum(squared, 1e-30))
