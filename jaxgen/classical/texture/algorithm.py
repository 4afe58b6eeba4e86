"""A texture of one exemplar as an `Algorithm`: the one step fits the model in closed form."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxgen.arrays import example_keys, split_keys
from jaxgen.classical.texture.decomposition import periodic_plus_smooth
from jaxgen.classical.texture.spots import enlarge_spot
from jaxgen.classical.texture.stationary import (
    StationaryGaussian,
    fit_masked,
    fit_periodic,
)
from jaxgen.classical.texture.structure import structure_gap
from jaxgen.pixels import bits_per_dim, dequantize, pixel_values
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics

Draw = Callable[[Key, Array], Array]
"""``(key, spot [R, T, C]) -> x [R, T, C]``, such as `random_phase_noise` and `spot_noise`."""
ROUNDING_VARIANCE = 1.0 / 12.0
"""Of the error that rounding to whole pixel values makes: the white noise of pixel models."""


@struct.dataclass
class TextureState:
    """What there is of a texture.

    Attributes:
        step: 0 before the model is fitted, 1 after it.
        params: the model, in units of pixel values.
        known: the sites of the exemplar that it stands on, booleans `[H, W]`.
    """

    step: Array
    params: StationaryGaussian
    known: Array


def texture_algorithm(
    sample: Callable[..., Array], *, levels: int, known: np.ndarray | None = None
) -> Algorithm:
    """A stationary Gaussian texture of one exemplar.

    Args:
        sample: ``(state, key, num, label=None) -> x``, of `sampler`.
        levels: number of pixel values, 2 to 256.
        known: booleans `[H, W]`, a NumPy array, true where the exemplar is to be looked at; None
            for all of it.

    Returns:
        The algorithm. A batch is the exemplar, `[1, H, W, C]`; `step` fits the periodic part of it,
        with the variance of the rest as white noise, or its known sites. `evaluate` gives, of
        images of the exemplar's size, `structure_gap` and, without a mask, `dequantized`: the
        log-density of the pixels with uniform noise, in nats and bits per dimension. Of the
        exemplar itself it says how sharp the model is, and not how well it would do on another
        image: nothing is held out.

    Raises:
        ValueError: if `known` hides everything.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    if known is not None and not known.any():
        raise ValueError("known: 0 sites, expected at least 1: the mask hides everything")

    def init(key: Key, batch: Batch) -> TextureState:
        del key
        _, *shape = _checked(batch).shape
        model = StationaryGaussian(
            jnp.zeros(shape[-1]), jnp.zeros(shape), jnp.asarray(ROUNDING_VARIANCE, jnp.float32)
        )
        sites = jnp.ones(shape[:2], bool) if known is None else jnp.asarray(known)
        return TextureState(jnp.zeros((), jnp.int32), model, sites)

    def step(
        state: TextureState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TextureState, Metrics]:
        del key, axis_name  # All devices see the same exemplar.
        u = pixel_values(_checked(batch)[0], levels)
        if known is None:
            parts = periodic_plus_smooth(u)
            model = fit_periodic(parts.periodic, noise_variance=ROUNDING_VARIANCE)
            # The smooth part is no part of the texture. To a density it is noise: without it one
            # exemplar, whose colours have rank 1, would be all but impossible under its own model.
            noise_variance = model.noise_variance + jnp.mean(parts.smooth**2)
            model = dataclasses.replace(model, noise_variance=noise_variance)
        else:
            model = fit_masked(u, known, noise_variance=ROUNDING_VARIANCE)
        deviation = jnp.sqrt(jnp.sum(model.spot**2) / len(model.mean))
        return TextureState(state.step + 1, model, state.known), {"standard_deviation": deviation}

    def evaluate(state: TextureState, batch: Batch, key: Key) -> Metrics:
        x, model = batch["x"], state.params
        keys, noise_keys = split_keys(example_keys(key, len(x)), 2)
        gap = jax.vmap(lambda key, u: structure_gap(key, u, model.spot, state.known))
        metrics = {"structure_gap": gap(keys, pixel_values(x, levels))}
        if known is None:
            # The model is of rounded pixels: half a level below the middle of their bins.
            log_prob = model.log_prob(dequantize(noise_keys, x, levels) - 0.5)
            bits = bits_per_dim(-log_prob, x[0].size)
            metrics |= {"dequantized": log_prob, "dequantized_bits_per_dim": bits}
        return metrics

    return Algorithm(init, step, sample, evaluate)


def sampler(
    draw: Draw,
    *,
    levels: int,
    canvas: tuple[int, int] | None = None,
    size: tuple[int, int] | None = None,
) -> Callable[..., Array]:
    """Makes the function that samples textures of a fitted model.

    A texture tiles on its canvas. A part of a canvas that is larger by the exemplar's size does
    not: its opposite borders are independent.

    Args:
        draw: `random_phase_noise` or `spot_noise`.
        levels: number of pixel values, 2 to 256.
        canvas: (R, T) on which the textures are made, at least the size of the exemplar, which is
            the default.
        size: height and width of the part that is kept, at most those of the canvas, which are the
            default.

    Returns:
        ``(state, key, num, label=None) -> x``, uint8 `[num, *size, C]`. It raises ValueError if
        the exemplar is larger than the canvas.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """

    def sample(state: TextureState, key: Key, num: int, label: Array | None = None) -> Array:
        if label is not None:
            raise ValueError("label: given, expected None, since a texture has no classes")
        model = state.params
        spot = enlarge_spot(model.spot, canvas or model.size)
        height, width = size or canvas or model.size

        def one(key: Key) -> Array:
            x = model.mean[None, None] + draw(key, spot)[:height, :width]
            return to_pixels(x, levels)

        return jax.lax.map(one, example_keys(key, num))

    return sample


def to_pixels(x: Array, levels: int) -> Array:
    """Rounds to pixel values, and clips: the last thing that is done to a texture.

    Args:
        x: of any shape.
        levels: number of pixel values, 2 to 256.

    Returns:
        uint8 of the shape of `x`.
    """
    return jnp.clip(jnp.round(x), 0.0, levels - 1.0).astype(jnp.uint8)


def clipped_fraction(x: Array, levels: int) -> Array:
    """The share of the numbers that `to_pixels` would clip, by which statistics are then off.

    Args:
        x: of any shape.
        levels: number of pixel values, 2 to 256.

    Returns:
        A number, 0 to 1.
    """
    rounded = jnp.round(x)
    return jnp.mean((rounded < 0.0) | (rounded > levels - 1.0))


def _checked(batch: Batch) -> Array:
    """The exemplar of a batch, `[1, H, W, C]`."""
    x = batch["x"]
    if x.ndim != 4 or x.shape[0] != 1:
        raise ValueError(
            f'batch["x"]: shape {x.shape}, expected [1, H, W, C]: a texture has one exemplar'
        )
    return x
