"""Noise schedules: the log signal-to-noise ratio as a function of time, which has no steps.

A schedule is any callable ``t -> log SNR``, elementwise and decreasing; t = 0 is the end of the
data and t = 1 that of noise. Both ends are pinned to finite values: an infinite one would make a
prediction of the noise useless, or the reconstruction of the data without cost.
"""

import dataclasses
import math

import jax.numpy as jnp

from jaxgen.types import Array


@dataclasses.dataclass(frozen=True)
class Linear:
    """The process whose rate of noise grows linearly, ``-ln(expm1(b_0 + b t + (B - b) t^2 / 2))``.

    With the defaults it is the limit of the 1,000 betas from 1e-4 to 0.02, and its log-SNR goes
    from 9.2 to -10.0.

    Attributes:
        beta_min: b, rate of noise at the end of the data, above 0.
        beta_max: B, rate at the end of noise, above 0.
        first: b_0, noise at t = 0, above 0.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", section 4; continuous as in Song
        et al. 2021, "Score-based generative modeling through stochastic differential equations",
        appendix C.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    first: float = 1e-4

    def __post_init__(self) -> None:
        rates = self.beta_min, self.beta_max, self.first
        if not all(0.0 < rate < math.inf for rate in rates):
            raise ValueError(f"beta_min, beta_max, first: {rates}, expected finite numbers above 0")

    def __call__(self, t: Array) -> Array:
        """Returns the log-SNR at times in [0, 1], of their shape."""
        t = jnp.asarray(t)
        noise = self.first + t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t)
        return -(noise + jnp.log(-jnp.expm1(-noise)))


@dataclasses.dataclass(frozen=True)
class Cosine:
    """The amplitudes of signal and noise are cosine and sine of an angle that grows linearly.

    ``-2 ln tan(t_0 + (t_1 - t_0) t)``, with the angles of both ends from their log-SNR.

    Attributes:
        low: log-SNR at t = 1.
        high: log-SNR at t = 0, above `low`.

    Source:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", section 3.2;
        with pinned ends as in Hoogeboom et al. 2023, "Simple diffusion: end-to-end diffusion for
        high resolution images", appendix.
    """

    low: float = -10.0
    high: float = 10.0

    def __post_init__(self) -> None:
        _check_ends(self.low, self.high)

    def __call__(self, t: Array) -> Array:
        """Returns the log-SNR at times in [0, 1], of their shape."""
        first, last = (math.atan(math.exp(-0.5 * end)) for end in (self.high, self.low))
        return -2.0 * jnp.log(jnp.tan(first + (last - first) * jnp.asarray(t)))


@dataclasses.dataclass(frozen=True)
class LogSnrLinear:
    """The log-SNR itself is linear in time.

    Attributes:
        low: log-SNR at t = 1.
        high: log-SNR at t = 0, above `low`.

    Source:
        Kingma et al. 2021, "Variational diffusion models", appendix (the fixed schedule, whose ends
        are those of the defaults).
    """

    low: float = -5.0
    high: float = 13.3

    def __post_init__(self) -> None:
        _check_ends(self.low, self.high)

    def __call__(self, t: Array) -> Array:
        """Returns the log-SNR at times in [0, 1], of their shape."""
        return self.high + (self.low - self.high) * jnp.asarray(t)


def _check_ends(low: float, high: float) -> None:
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"low, high: {low}, {high}, expected two finite numbers, the lower first")
