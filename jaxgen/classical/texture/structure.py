"""How much of a texture its autocovariance leaves out: edges, blobs and bricks are not Gaussian."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import at_least_float32
from jaxgen.classical.texture.draws import random_phase_noise
from jaxgen.types import Array, Key

_SHIFTS = (1, 2, 4)


@jax.jit
def difference_kurtosis(u: Array, known: Array | np.ndarray | None = None) -> Array:
    """The excess kurtosis of differences of pixels: 0 for a Gaussian texture, above 0 for edges.

    ``E d^4 / (E d^2)^2 - 3`` of ``d = u(x + s) - u(x)`` inside the image, for shifts s of 1, 2 and
    4 pixels down and across, averaged over the channels. It is 0 where there is no difference but
    for rounding.

    Args:
        u: an image `[H, W, C]`, of any range.
        known: booleans `[H, W]`; differences with other sites are left out. None for
            all.

    Returns:
        `[F]`, one number for each of the shifts, up to 6, that fit into the image.
    """
    chex.assert_rank(u, 3)
    u, (height, width) = at_least_float32(u), u.shape[:2]
    known = jnp.ones((height, width), bool) if known is None else jnp.asarray(known, bool)
    # A kurtosis has no scale; at this one the squares of variances cannot underflow.
    largest = jnp.max(jnp.where(known[..., None], jnp.abs(u), 0.0))
    u = u / jnp.maximum(largest, jnp.finfo(u.dtype).tiny)
    found = [
        _kurtosis(u[s:] - u[: height - s], known[s:] & known[: height - s])
        for s in _SHIFTS
        if s < height
    ]
    found += [
        _kurtosis(u[:, s:] - u[:, : width - s], known[:, s:] & known[:, : width - s])
        for s in _SHIFTS
        if s < width
    ]
    return jnp.stack(found) if found else jnp.zeros(0, u.dtype)


@jax.jit
def structure_gap(
    key: Key, u: Array, spot: Array, known: Array | np.ndarray | None = None
) -> Array:
    """How far an exemplar is from its random phase noise: ``mean_f |kurtosis - kurtosis of RPN|``.

    Both have the same spectrum, so what differs is what phases hold: about 0 for a Gaussian
    exemplar, 2 for photographs of grass and gravel, 10 for bricks and more for scenes, of which no
    texture of this kind looks like the exemplar.

    Args:
        key: random key.
        u: the exemplar, `[H, W, C]`.
        spot: of its model, `[H, W, C]`.
        known: booleans `[H, W]`: the sites of the exemplar to look at. None for all.

    Returns:
        A number, at least 0, without a unit.
    """
    gaps = jnp.abs(
        difference_kurtosis(u, known) - difference_kurtosis(random_phase_noise(key, spot))
    )
    return jnp.sum(gaps) / max(len(gaps), 1)


def _kurtosis(differences: Array, is_counted: Array) -> Array:
    """Of the counted places, averaged over the channels."""
    num = jnp.maximum(jnp.sum(is_counted), 1)
    squares = jnp.where(is_counted[..., None], differences, 0.0) ** 2
    variance = jnp.sum(squares, axis=(0, 1)) / num
    fourth = jnp.sum(squares**2, axis=(0, 1)) / num
    is_flat = variance <= (8 * jnp.finfo(squares.dtype).eps) ** 2
    return jnp.mean(jnp.where(is_flat, 0.0, fourth / jnp.where(is_flat, 1.0, variance) ** 2 - 3.0))
