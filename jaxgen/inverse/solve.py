"""Draws of images given a measurement, under any prior: one function for all methods."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.arrays import example_keys
from jaxgen.diffusion import guidance, samplers
from jaxgen.diffusion.process import draw_noise
from jaxgen.inverse import guided, latent_posteriors, posterior_samplers, spectral_samplers
from jaxgen.inverse.exact_posteriors import LEAST_STD, complete_exactly, draw_exactly, draw_keys
from jaxgen.inverse.image_priors import (
    CompletionPrior,
    DiffusionPrior,
    GaussianPrior,
    LatentPrior,
    Prior,
)
from jaxgen.inverse.latent_posteriors import posterior_energy
from jaxgen.inverse.linear_operator import Operator
from jaxgen.types import Array, Key

_NUM_RESTARTS = 4


def solve(
    key: Key,
    prior: Prior,
    operator: Operator,
    y: Array,
    noise_std: float,
    method: str = "auto",
    *,
    num_draws: int = 1,
    **numbers: Any,
) -> Array:
    """Draws images x given measurements ``y = H x + noise``.

    Further arguments are those of the method: the numbers of the functions of `guided`,
    `posterior_samplers` and `spectral_samplers`, such as `zeta` of "dps", `eta` of guided samplers,
    1 being ancestral, and `num_steps` and `learning_rate` of "map" and "langevin".

    Every example has its own key and is solved by itself: its draws do not depend on the others of
    the batch. Composes with `jax.jit` in everything but `noise_std`, `method` and `num_draws`.

    Args:
        key: random key, or keys `[B]`.
        prior: of the images, in the units in which H measures them.
        operator: H.
        y: measurements `[B, *out_shape]`.
        noise_std: deviation of the noise of a measurement, in the units of y; at least 0.
        method: one of `methods_of` the prior; "auto" is the first of them.
        num_draws: D, at least 1; "map" makes one and takes D as the number of restarts.

    Returns:
        float32 `[D, B, *shape]`; `[1, B, *shape]` for "map". NaN where a measurement is not finite.

    Raises:
        ValueError: if the method is not one of the prior's, the noise is negative, or the shape of
            `y` is not that of the operator's measurements.
    """
    known = methods_of(prior)
    method = known[0] if method == "auto" else method
    if method not in known:
        raise ValueError(f"method: {method!r}, expected {', '.join(known)} for {_name(prior)}")
    if not (math.isfinite(noise_std) and noise_std >= 0.0):
        raise ValueError(f"noise_std: {noise_std}, expected at least 0")
    if y.shape[1:] != operator.out_shape:
        expected = f"(B, {', '.join(map(str, operator.out_shape))})"
        raise ValueError(f"y: of shape {y.shape}, expected {expected}, which the operator gives")
    if num_draws < 1:
        raise ValueError(f"num_draws: {num_draws}, expected at least 1")
    if isinstance(prior, DiffusionPrior | LatentPrior):
        numbers = {"method": method, **numbers}
    x = _SOLVERS[type(prior)](key, prior, operator, y, noise_std, num_draws, **numbers)
    # Iterations that end on what is no number would give images that look like any other.
    is_known = jnp.all(jnp.isfinite(y.reshape(len(y), -1)), axis=1)
    return jnp.where(is_known.reshape(1, len(y), *(1,) * (x.ndim - 2)), x, jnp.nan)


def methods_of(prior: Prior) -> tuple[str, ...]:
    """The methods that a prior can serve, the one to begin with first.

    Args:
        prior: of images.

    Returns:
        Their names.

    Raises:
        ValueError: if it is no prior, such as a plain function.
    """
    if type(prior) not in _METHODS:
        expected = ", ".join(kind.__name__ for kind in _METHODS)
        raise ValueError(f"prior: {prior!r}, expected a {expected}, or density_prior(...)")
    return _METHODS[type(prior)]


def _diffusion(
    key: Key,
    prior: DiffusionPrior,
    operator: Operator,
    y: Array,
    noise_std: float,
    num_draws: int,
    *,
    method: str,
    eta: float = 1.0,
    **numbers: Any,
) -> Array:
    num = len(y)
    keys = draw_keys(key, num, num_draws).reshape(-1)
    ys = jnp.broadcast_to(y[None], (num_draws, *y.shape)).reshape(-1, *y.shape[1:])
    pairs = jax.vmap(jax.random.split)(keys)
    x_T = draw_noise(pairs[:, 0], jnp.zeros((len(ys), *operator.shape)))
    condition = jax.tree.map(
        lambda c: jnp.broadcast_to(c[None], (len(ys), *c.shape)), prior.condition
    )
    if method in _GUIDED:
        denoise = _GUIDED[method](prior.denoise, operator, ys, noise_std, **numbers)
        if prior.bounds is not None:
            denoise = guidance.clip(denoise, *prior.bounds)
        x = samplers.ddim(pairs[:, 1], denoise, x_T, prior.grid, condition=condition, eta=eta)
    else:
        numbers = numbers if method == "dps" else {"noise_std": noise_std, **numbers}
        x = _OWN[method](
            pairs[:, 1],
            prior.denoise,
            x_T,
            prior.grid,
            operator,
            ys,
            condition=condition,
            **numbers,
        )
    return x.reshape(num_draws, num, *operator.shape)


def _latent(
    key: Key,
    prior: LatentPrior,
    operator: Operator,
    y: Array,
    noise_std: float,
    num_draws: int,
    *,
    method: str,
    num_steps: int = 500,
    **numbers: Any,
) -> Array:
    std = jnp.sqrt(jnp.square(max(noise_std, LEAST_STD)) + jnp.square(prior.model_std))
    energy = posterior_energy(prior.decode, prior.log_prior, operator, y, std)
    pairs = jax.vmap(jax.random.split)(example_keys(key, len(y)))
    num_starts = max(num_draws, _NUM_RESTARTS)
    start = jax.vmap(
        lambda key: jax.random.normal(key, (num_starts, *prior.latent_shape)), out_axes=1
    )(pairs[:, 0])
    found, values = latent_posteriors.descend(energy, start, num_steps=num_steps, **numbers)
    best = found[jnp.argmin(values, axis=0), jnp.arange(len(y))]
    if method == "map":
        return prior.decode(best)[None]
    # A chain that began in a valley of its own, higher than the best, would seldom leave it.
    start = jnp.broadcast_to(best[None], (num_draws, *best.shape))
    chains = latent_posteriors.langevin(pairs[:, 1], energy, start, num_steps=2 * num_steps)
    return jax.vmap(prior.decode)(chains.latents)


def _name(prior: Prior) -> str:
    return type(prior).__name__


_GUIDED: dict[str, Callable[..., Any]] = {
    "moment_matching": guided.moment_matching,
    "pigdm": guided.pigdm,
    "likelihood_gradient": guided.likelihood_gradient,
}
_OWN: dict[str, Callable[..., Any]] = {
    "dps": posterior_samplers.dps,
    "ddrm": spectral_samplers.ddrm,
    "diffpir": posterior_samplers.diffpir,
    "repaint": spectral_samplers.repaint,
}
_METHODS: dict[type, tuple[str, ...]] = {
    DiffusionPrior: (*_GUIDED, *_OWN),
    LatentPrior: ("langevin", "map"),
    GaussianPrior: ("exact",),
    CompletionPrior: ("completion",),
}
_SOLVERS: dict[type, Callable[..., Array]] = {
    DiffusionPrior: _diffusion,
    LatentPrior: _latent,
    GaussianPrior: draw_exactly,
    CompletionPrior: complete_exactly,
}
