"""The spot of a texture: the centred exemplar, whose autocovariance is that of the model."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import at_least_float32
from jaxgen.types import Array

_RAMP = 0.1  # Of a side, at each of its ends.


@jax.jit
def make_spot(u: Array) -> tuple[Array, Array]:
    """Centres and scales an exemplar: ``h = (u - m) / sqrt(H W)``, so that ``sum h h'`` is its
    covariance.

    Args:
        u: an image `[H, W, C]`, of any range.

    Returns:
        The mean m of each channel, `[C]`, and the spot h, `[H, W, C]`, both in the units of `u`.

    Raises:
        ValueError: if the image has no pixel.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    check_exemplar(u)
    u = at_least_float32(u)
    mean = jnp.mean(u, axis=(0, 1))
    return mean, (u - mean[None, None]) / np.sqrt(u.shape[0] * u.shape[1])


def make_masked_spot(u: Array, known: np.ndarray) -> tuple[Array, Array]:
    """The spot of an exemplar with holes: ``h = 1_known (u - m) / sqrt(number of known sites)``.

    Args:
        u: an image `[H, W, C]`; what is not known of it may be anything, NaN as well.
        known: booleans `[H, W]`, a NumPy array: at least one is true.

    Returns:
        The mean of the known sites, `[C]`, and the spot, `[H, W, C]`, both in the units of `u`.

    Raises:
        ValueError: if the mask has another size, hides everything, or is not one of booleans.

    Source:
        Galerne & Leclaire 2017, "Texture inpainting using efficient Gaussian conditional
        simulation".
    """
    check_exemplar(u)
    known = check_mask("known", known)
    if known.shape != u.shape[:2]:
        raise ValueError(f"known: shape {known.shape}, expected that of the image, {u.shape[:2]}")
    if not known.any():
        raise ValueError("known: 0 sites, expected at least 1: the mask hides everything")
    u, count = at_least_float32(u), int(known.sum())
    u = jnp.where(known[..., None], u, 0.0)
    mean = jnp.sum(u, axis=(0, 1)) / count
    return mean, jnp.where(known[..., None], u - mean[None, None], 0.0) / np.sqrt(count)


def check_exemplar(u: Array) -> None:
    """Checks an image.

    Args:
        u: `[H, W, C]`.

    Raises:
        AssertionError: if it has another rank.
        ValueError: if it has no pixel.
    """
    chex.assert_rank(u, 3)
    if not u.size:
        raise ValueError(f"u: shape {u.shape}, expected an image of at least 1x1x1")


def check_mask(name: str, mask: np.ndarray) -> np.ndarray:
    """Checks what says which sites are known.

    Args:
        name: of the argument.
        mask: true where a site is known.

    Returns:
        The mask as a NumPy array.

    Raises:
        ValueError: if it is not one of booleans, such as weights or places.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(f"{name}: {mask.dtype}, expected booleans, true where a site is known")
    return mask


def taper(size: tuple[int, int]) -> np.ndarray:
    """A window that falls to 0 at the border: ``w^2`` sums to the number of pixels.

    ``sin^2(pi t / 2)`` for a pixel at the distance t, in tenths of the side, from an end, and 1
    inside. A side below 3 has no inside and is left as it is.

    Args:
        size: (height, width), at least 1.

    Returns:
        float64 `[H, W]`, at least 0.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    window = _ramp(size[0])[:, None] * _ramp(size[1])[None]
    return window / np.sqrt(np.mean(window**2))


def enlarge_spot(spot: Array, size: tuple[int, int]) -> Array:
    """Brings a spot to a larger canvas, so that textures of that size can be drawn.

    The spot keeps its scale, the root of the exemplar's pixels. Along a side that grows it is
    tapered, so that no edge of it shows, and rescaled by ``sum w^2 = H W``, so that the variance
    stays; it is centred under the taper, so that draws keep the mean, and padded by 0.

    Args:
        spot: `[H, W, C]`.
        size: (R, T) of the canvas, at least (H, W).

    Returns:
        `[R, T, C]`; the spot itself where the size is its own.

    Raises:
        ValueError: if the spot is larger than the canvas along either side.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    own = (spot.shape[0], spot.shape[1])
    ramps = [_ramp(n) if n != m else np.ones(n) for n, m in zip(own, size, strict=True)]
    window = ramps[0][:, None] * ramps[1][None]
    window = jnp.asarray(window / np.sqrt(np.mean(window**2)), spot.dtype)[..., None]
    # The mean under the window, which is 0 already where nothing is tapered.
    centre = jnp.sum(window * spot, axis=(0, 1), keepdims=True) / jnp.sum(window)
    return pad_spot(window * (spot - centre), size)


def pad_spot(spot: Array, size: tuple[int, int]) -> Array:
    """Puts zeros behind the rows and columns of a spot.

    On a canvas of twice its size the covariance of the model is the plain autocovariance of the
    spot, which does not come back from beyond the border.

    Args:
        spot: `[H, W, C]`.
        size: (R, T) of the canvas, at least (H, W).

    Returns:
        `[R, T, C]`.

    Raises:
        ValueError: if the spot is larger than the canvas along either side.
    """
    chex.assert_rank(spot, 3)
    height, width = spot.shape[:2]
    if size[0] < height or size[1] < width:
        raise ValueError(
            f"size: {size[0]}x{size[1]}, expected at least {height}x{width}, the size of the spot"
        )
    return jnp.pad(spot, ((0, size[0] - height), (0, size[1] - width), (0, 0)))


@jax.jit
def texton(spot: Array) -> Array:
    """The spot of the same model that is gathered about pixel (0, 0): its phase is removed.

    Of colours the one phase of their sum is removed from all, ``h^ e^(-i arg sum_c h^_c)``: phases
    between the channels are part of the model. It is used where a compact spot is wanted.

    Args:
        spot: `[H, W, C]`.

    Returns:
        `[H, W, C]`, with the autocovariance of `spot`.

    Source:
        Desolneux, Moisan & Ronsin 2012, "A compact representation of random phase and Gaussian
        textures".
    """
    chex.assert_rank(spot, 3)
    spectrum = jnp.fft.rfft2(spot, axes=(-3, -2))
    phase = jnp.exp(-1j * jnp.angle(jnp.sum(spectrum, axis=-1, keepdims=True)))
    return jnp.fft.irfft2(spectrum * phase, s=spot.shape[:2], axes=(-3, -2))


@jax.jit
def autocovariance(spot: Array) -> Array:
    """The covariance of the model at every shift, around the border:
    ``C(s) = sum_x h(x) h(x + s)'``.

    Args:
        spot: `[H, W, C]`.

    Returns:
        `[H, W, C, C]`, in squared units of the spot.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    chex.assert_rank(spot, 3)
    spectrum = jnp.fft.rfft2(spot, axes=(-3, -2))
    cross = jnp.conj(spectrum)[..., :, None] * spectrum[..., None, :]
    return jnp.fft.irfft2(cross, s=spot.shape[:2], axes=(-4, -3))


def _ramp(num: int) -> np.ndarray:
    """The taper along one side."""
    if num < 3:
        return np.ones(num)
    distance = np.minimum(np.arange(num), np.arange(num)[::-1])
    return np.sin(0.5 * np.pi * np.minimum(distance / max(1.0, _RAMP * num), 1.0)) ** 2
