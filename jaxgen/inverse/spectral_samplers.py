"""Samplers of images given a measurement, in the coordinates of the operator's singular values.

``sampler(key, denoise, x_T, grid, operator, y, noise_std) -> x``, as those of `posterior_samplers`.
The noise of measurements is in the units of data.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.process import Denoiser, draw_noise, noise_of
from jaxgen.diffusion.samplers.steps import Level, for_each, lost_signal, towards, walk
from jaxgen.inverse.linear_operator import Operator
from jaxgen.inverse.spectra import Spectrum
from jaxgen.types import Array, Key


def ddrm(
    key: Key,
    denoise: Denoiser,
    x_T: Array,
    grid: Grid,
    operator: Operator,
    y: Array,
    noise_std: Array | float,
    *,
    eta: Array | float = 0.85,
    eta_b: Array | float = 1.0,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """Steps in the coordinates of the singular values, each by the noise it is measured with.

    With ``u = s / a``, the noise added to the data themselves, a coordinate of singular value d >
    0, measured as ``z = U'y / d`` with noise ``w = v / d``, goes to ``(1 - eta_b) x0 + eta_b z``
    where u is at least w, with noise that makes u of it; else, and where it is not measured, along
    the noise that z, or x_t, holds, with a share ``eta^2`` of fresh noise.

    Args:
        key: as in `posterior_samplers.dps`.
        denoise: as in `posterior_samplers.dps`.
        x_T: as in `posterior_samplers.dps`.
        grid: noise levels.
        operator: H, whose spectrum is known.
        y: measurements `[B, *out_shape]`.
        noise_std: v, of the measurements, in the units of data, at least 0.
        eta: in [0, 1].
        eta_b: in [0, 1].
        condition: arrays `[B, ...]`, or None.
        num_frames: of the trajectory; 0 for none.

    Returns:
        As `posterior_samplers.dps`.

    Raises:
        ValueError: if the spectrum of the operator is not known.

    Source:
        Kawar et al. 2022, "Denoising diffusion restoration models", equations 7 and 8.
    """
    spectrum = _known_spectrum(operator, "ddrm")
    along = jnp.sqrt(1.0 - jnp.square(eta))

    def step(keys: Key, x: Array, memory: Any, i: Array, t: Level, s: Level) -> tuple[Array, Any]:
        log_snr = for_each(t.log_snr, x)
        x0, u = denoise(x, log_snr, condition), s.s / s.a

        def parts(d: Array) -> tuple[Array, Array, Array, Array]:
            """Of a singular value: factors of x0, of z, of the noise in x, and of fresh noise."""
            is_seen = d > 0.0
            w = noise_std / jnp.where(is_seen, d, 1.0)
            is_coarse = is_seen & (u >= w)
            to_z = jnp.where(u >= w, eta_b, along * u / jnp.where(u >= w, 1.0, w))
            to_z = jnp.where(is_seen, to_z, 0.0)
            left = jnp.maximum(jnp.square(u) - jnp.square(w * eta_b), 0.0)
            fresh = jnp.where(is_coarse, jnp.sqrt(left), eta * u)
            return 1.0 - to_z, to_z, jnp.where(is_seen, 0.0, along * u), fresh

        x_s = spectrum.on_x(lambda d: parts(d)[0], x0)
        x_s += spectrum.on_y(lambda d: parts(d)[1] / d, y)
        x_s += spectrum.on_x(lambda d: parts(d)[2], noise_of(x0, x, log_snr))
        x_s += spectrum.on_x(lambda d: parts(d)[3], draw_noise(keys, x))
        return s.a * x_s, memory

    return walk(step, key, x_T, None, grid, num_frames)


def repaint(
    key: Key,
    denoise: Denoiser,
    x_T: Array,
    grid: Grid,
    operator: Operator,
    y: Array,
    noise_std: Array | float,
    *,
    num_rounds: int = 4,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """Ancestral steps whose measured part is replaced by the measurement at the level's noise.

    Each step is taken `num_rounds` times, with noise added back in between, so that what is not
    measured comes to fit what is. It calls the denoiser `num_rounds` times a step.

    Args:
        key: as in `posterior_samplers.dps`.
        denoise: as in `posterior_samplers.dps`.
        x_T: as in `posterior_samplers.dps`.
        grid: noise levels.
        operator: H, whose spectrum is known: a mask, of the paper, or another.
        y: measurements `[B, *out_shape]`.
        noise_std: of the measurements, in the units of data, at least 0; it is part of the level's
            noise, and a coordinate is no longer replaced where that falls below it.
        num_rounds: at least 1; the paper's number of resamplings, with jumps of one step.
        condition: arrays `[B, ...]`, or None.
        num_frames: of the trajectory; 0 for none.

    Returns:
        As `posterior_samplers.dps`.

    Raises:
        ValueError: if the spectrum of the operator is not known.

    Source:
        Lugmayr et al. 2022, "RePaint: inpainting using denoising diffusion probabilistic models",
        algorithm 1.
    """
    spectrum = _known_spectrum(operator, "repaint")

    def step(keys: Key, x: Array, memory: Any, i: Array, t: Level, s: Level) -> tuple[Array, Any]:
        lost = lost_signal(t, s)
        fresh = s.s / t.s * jnp.sqrt(lost)
        rest = jnp.sqrt(jnp.maximum((s.s - fresh) * (s.s + fresh), 0.0))
        x_s = x
        for number, (own, back) in enumerate(_round_keys(keys, num_rounds)):
            if number:
                x = s_to_t(x_s, back, t, s, lost)
            x0 = denoise(x, for_each(t.log_snr, x), condition)
            z = draw_noise(own, x)
            x_s = _replaced(spectrum, towards(x0, x, t, s, rest) + fresh * z, z, y, noise_std, s)
        return x_s, memory

    def s_to_t(x_s: Array, keys: Key, t: Level, s: Level, lost: Array) -> Array:
        return jnp.exp(t.log_a - s.log_a) * x_s + jnp.sqrt(lost) * draw_noise(keys, x_s)

    return walk(step, key, x_T, None, grid, num_frames)


def _replaced(
    spectrum: Spectrum, x: Array, z: Array, y: Array, noise_std: Array | float, s: Level
) -> Array:
    """The state at level s with what y measures at no more noise in place of its own."""

    def noise_of_y(d: Array) -> Array:
        return s.a * noise_std / jnp.where(d > 0.0, d, 1.0)

    def is_known(d: Array) -> Array:
        return (d > 0.0) & (noise_of_y(d) <= s.s)

    def deviation(d: Array) -> Array:
        left = jnp.maximum(jnp.square(s.s) - jnp.square(noise_of_y(d)), 0.0)
        return jnp.where(is_known(d), jnp.sqrt(left), 0.0)

    kept = spectrum.on_x(lambda d: jnp.where(is_known(d), 0.0, 1.0), x)
    known = spectrum.on_y(lambda d: jnp.where(is_known(d), s.a / d, 0.0), y)
    return kept + spectrum.on_x(deviation, z) + known


def _round_keys(keys: Key, num_rounds: int) -> list[tuple[Key, Key]]:
    """Two keys `[B]` for each round."""
    rounds = jax.vmap(lambda key: jax.random.split(key, (num_rounds, 2)))(keys)
    return [(rounds[:, n, 0], rounds[:, n, 1]) for n in range(num_rounds)]


def _known_spectrum(operator: Operator, name: str) -> Spectrum:
    if operator.spectrum is None:
        raise ValueError(
            f"operator: its singular values are not known, expected them for {name}; "
            "moment_matching, pigdm, dps and diffpir need none"
        )
    return operator.spectrum
