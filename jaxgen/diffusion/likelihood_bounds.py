"""Bounds of a diffusion model's likelihood, of pixels or of vectors at their own scale."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgen.arrays import split_keys
from jaxgen.diffusion import guidance, likelihood, process, variational
from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.models import Diffusion, bind, scale
from jaxgen.diffusion.process import Denoiser
from jaxgen.distributions import Normal
from jaxgen.pixels import bits_per_dim
from jaxgen.types import Array, Metrics, PyTree


class Bounds(NamedTuple):
    """Which bounds of the likelihood are evaluated, and how finely.

    Attributes:
        num_samples: times drawn for the bound in continuous time.
        grid: steps of the discrete bound; None for none.
        ode_grid: steps of the probability-flow equation, even in log-SNR; None for none.
        is_trace_exact: whether its divergence is exact, by a derivative for each number, or
            estimated along random signs.
    """

    num_samples: int = 16
    grid: Grid | None = None
    ode_grid: Grid | None = None
    is_trace_exact: bool = True


def evaluate_bounds(
    model: Diffusion,
    variables: PyTree,
    keys: Array,
    x: Array,
    condition: Array | None,
    bounds: Bounds,
) -> Metrics:
    """Bounds the log-likelihood of data, term by term.

    Args:
        model: network, schedule and data.
        variables: of the network, and the statistics of vectors.
        keys: of the examples, `[B]`.
        x: uint8 images or float32 vectors, `[B, ...]`.
        condition: what the network is given beside, or None.
        bounds: which bounds.

    Returns:
        ``elbo``, its terms ``prior``, ``diffusion`` and ``reconstruction``, maybe ``elbo<T>`` and
        ``ode``, `[B]` in nats, and each in bits per dimension.
    """
    statistics = variables["batch_stats"]
    smooth, scaled = bind(model, variables), scale(model, statistics, x)
    denoise = smooth if model.levels is None else guidance.clip(smooth)
    low, high = (model.schedule(jnp.asarray(t)) for t in (1.0, 0.0))
    diffusion_keys, last_keys, step_keys, ode_keys = split_keys(keys, 4)
    terms = {
        "prior": variational.prior_term(scaled, low),
        "diffusion": variational.continuous_term(
            diffusion_keys,
            denoise,
            scaled,
            model.schedule,
            condition=condition,
            num_samples=bounds.num_samples,
        ),
        "reconstruction": _reconstruction(
            model, statistics, last_keys, denoise, x, high, condition
        ),
    }
    metrics = {"elbo": -sum(terms.values())}
    if bounds.grid is not None:
        steps = variational.discrete_terms(
            step_keys, denoise, scaled, bounds.grid, condition=condition
        )
        rest = terms["prior"] + terms["reconstruction"]
        metrics[f"elbo{bounds.grid.num_steps}"] = -rest - jnp.sum(steps, axis=1)
    if bounds.ode_grid is not None:
        metrics["ode"] = _ode(model, statistics, ode_keys, smooth, x, condition, bounds)
    in_bits = {f"{name}_bits_per_dim": -value for name, value in metrics.items()}
    in_bits |= {f"{name}_bits_per_dim": value for name, value in terms.items()}
    in_bits = {name: bits_per_dim(value, x[0].size) for name, value in in_bits.items()}
    return {**metrics, **terms, **in_bits}


def _reconstruction(
    model: Diffusion,
    statistics: PyTree,
    keys: Array,
    denoise: Denoiser,
    x: Array,
    log_snr: Array,
    condition: Array | None,
) -> Array:
    """What is left of the data at the least noise, in nats at their own scale."""
    if model.levels is not None:
        return variational.discretized_reconstruction(
            keys, denoise, x, log_snr, levels=model.levels, condition=condition
        )
    scaled = scale(model, statistics, x)
    left = variational.gaussian_reconstruction(keys, denoise, scaled, log_snr, condition=condition)
    return left + jnp.sum(jnp.log(statistics["std"]))


def _ode(
    model: Diffusion,
    statistics: PyTree,
    keys: Array,
    denoise: Denoiser,
    x: Array,
    condition: Array | None,
    bounds: Bounds,
) -> Array:
    """The bound ``ln p(z) - ln q(z|x) + ln P(x|z)`` by the density of data with little noise."""
    grid: Any = bounds.ode_grid
    keys, sign_keys = split_keys(keys, 2)
    log_snr = jnp.asarray(grid.log_snr(grid.num_steps), jnp.float32)
    a, s = process.amplitudes(log_snr)
    scaled = scale(model, statistics, x)
    # Of the same key as in the reconstruction, which then belongs to the same z.
    z = process.diffuse(scaled, process.draw_noise(keys, scaled), log_snr)
    trace: likelihood.Trace = likelihood.exact_trace
    if not bounds.is_trace_exact:
        trace = likelihood.hutchinson_trace(sign_keys, z)
    log_p = likelihood.ode_log_prob(denoise, z, grid, condition=condition, trace=trace)
    log_q = Normal(a * scaled, jnp.full_like(z, 2.0 * jnp.log(s))).log_prob(z)
    left = _reconstruction(model, statistics, keys, denoise, x, log_snr, condition)
    return log_p - log_q - left
