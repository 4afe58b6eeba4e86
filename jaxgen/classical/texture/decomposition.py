"""An image as a periodic part, which a Fourier transform takes without harm, and a smooth rest."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.classical.texture.spots import check_exemplar
from jaxgen.types import Array


class PeriodicPlusSmooth(NamedTuple):
    """The two parts of an image, whose sum it is.

    Attributes:
        periodic: `[H, W, C]`, with the mean of the image; without the cross that the jumps between
            opposite borders draw into a spectrum.
        smooth: `[H, W, C]`, of mean 0; all that varies slowly inside and jumps across the border.
    """

    periodic: Array
    smooth: Array


@jax.jit
def periodic_plus_smooth(u: Array) -> PeriodicPlusSmooth:
    """Splits an image so that the periodic part has the Laplacian of the image inside.

    The periodic Laplacian of ``p = u - s`` equals the Laplacian of u over those neighbours that lie
    inside the image. With the jumps ``d = u[-1] - u[0]`` across the border of both axes, v is 0 but
    for ``v[0] += d, v[-1] -= d``, and ``s^(a, b) = v^(a, b) / (2 cos(2 pi a / H) + 2 cos(2 pi b /
    W) - 4)``, ``s^(0, 0) = 0``. A jump of the periodic part remains: of a ramp over M rows the
    share ``(M - 1) / M`` of one step.

    Args:
        u: an image `[H, W, C]`, of any size and range.

    Returns:
        Both parts, in the units of `u`.

    Raises:
        ValueError: if the image has no pixel.

    Source:
        Moisan 2011, "Periodic plus smooth image decomposition".
    """
    check_exemplar(u)
    u = at_least_float32(u)
    height, width = u.shape[:2]
    rows, columns = u[-1] - u[0], u[:, -1] - u[:, 0]
    v = jnp.zeros_like(u).at[0].add(rows).at[-1].add(-rows)
    v = v.at[:, 0].add(columns).at[:, -1].add(-columns)
    a = jnp.arange(height, dtype=u.dtype)[:, None] * (2.0 * jnp.pi / height)
    b = jnp.arange(width // 2 + 1, dtype=u.dtype)[None] * (2.0 * jnp.pi / width)
    # -4 (sin^2 + sin^2) is the same number; 2 cos - 2 would lose the digits of low frequencies.
    symbol = -4.0 * (jnp.sin(a / 2.0) ** 2 + jnp.sin(b / 2.0) ** 2)
    symbol = symbol.at[0, 0].set(1.0)[..., None]  # There v^ is 0 up to rounding, and s^ shall be.
    v_hat = jnp.fft.rfft2(v, axes=(-3, -2)) / symbol
    smooth = jnp.fft.irfft2(v_hat.at[0, 0].set(0.0), s=(height, width), axes=(-3, -2))
    return PeriodicPlusSmooth(u - smooth, smooth)
