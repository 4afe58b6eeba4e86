"""Monotone rational-quadratic splines: increasing, with an inverse in closed form."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.flows.bijectors.elementwise import bounded
from jaxgen.types import Array


class _Bin(NamedTuple):
    """Of the bin that a number lies in: lower corner, width, height, slopes at both ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    slope_0: Array
    slope_1: Array


@dataclasses.dataclass(frozen=True)
class Spline:
    """A rational quadratic function in each of K bins on [-B, B]; the identity outside.

    With ``t = (x - x_k) / w``, ``s = h / w`` and ``e = d_0 + d_1 - 2 s`` it is
    ``y = y_k + h (s t^2 + d_0 t (1 - t)) / (s + e t (1 - t))``. The slope at both ends of the box
    is 1. The ratios of widths, heights and slopes are bounded, since the error of the inverse is
    that of rounding divided by the least slope.

    Attributes:
        num_bins: K, at least 2.
        limit: B, above 0. Standardise the data: what lies outside passes untouched.
        max_log_ratio: of a bin's width or height to the mean in logarithms, about.
        max_log_slope: of the slope at a knot.

    Source:
        Durkan et al. 2019, "Neural spline flows", equations 4 to 8.
    """

    num_bins: int = 8
    limit: float = 4.0
    max_log_ratio: float = 1.5
    max_log_slope: float = 2.5

    @property
    def num_params(self) -> int:
        """Widths and heights of the bins, and slopes at the knots between them."""
        return 3 * self.num_bins - 1

    def encode(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """Returns `(z, ln dz/dx)`."""
        # A gradient finds the bins anew, which costs less than keeping what each of them gave.
        return jax.checkpoint(self._encode)(x, jnp.moveaxis(raw, -2, 0))

    def decode(self, z: Array, raw: Array) -> tuple[Array, Array]:
        """Returns `(x, ln dx/dz)`."""
        return jax.checkpoint(self._decode)(z, jnp.moveaxis(raw, -2, 0))

    def _encode(self, x: Array, raw: Array) -> tuple[Array, Array]:
        inside = jnp.abs(x) < self.limit
        # Both branches of a `where` need a finite gradient.
        safe = jnp.where(inside, x, 0.0)
        k = self._bin(safe, raw, by="x")
        t = jnp.clip((safe - k.x) / k.width, 0.0, 1.0)
        s = k.height / k.width
        denominator = s + (k.slope_0 + k.slope_1 - 2.0 * s) * t * (1.0 - t)
        y = k.y + k.height * (s * t * t + k.slope_0 * t * (1.0 - t)) / denominator
        log_slope = _log_slope(k, t)
        return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)

    def _decode(self, z: Array, raw: Array) -> tuple[Array, Array]:
        inside = jnp.abs(z) < self.limit
        safe = jnp.where(inside, z, 0.0)
        k = self._bin(safe, raw, by="y")
        s, q = k.height / k.width, safe - k.y
        e = k.slope_0 + k.slope_1 - 2.0 * s
        a = k.height * (s - k.slope_0) + q * e
        b = k.height * k.slope_0 - q * e
        c = -s * q
        # Rounding can leave it a little below 0, and the root has no gradient there.
        discriminant = jnp.maximum(b * b - 4.0 * a * c, 1e-20)
        t = jnp.clip(2.0 * c / (-b - jnp.sqrt(discriminant)), 0.0, 1.0)
        log_slope = _log_slope(k, t)
        return jnp.where(inside, k.x + t * k.width, z), jnp.where(inside, -log_slope, 0.0)

    def _bin(self, value: Array, raw: Array, *, by: str) -> _Bin:
        """Finds the bin of each number among the knots of one axis; `raw [P, ...]`.

        Bins are gone through one by one, each a layer of arrays like `value`: XLA makes one loop
        of it all, where gathers and cumulative sums over an axis of bins would be many. The
        exponentials come before, at once, so that no loop takes them twice.
        """
        num = self.num_bins
        bounds = np.repeat([self.max_log_ratio, self.max_log_slope], [2 * num, num - 1])
        bounds = bounds.astype(np.float32).reshape(-1, *[1] * value.ndim)
        positive = jnp.exp(bounded(raw, bounds))
        # Split rather than indexed: the gradient joins the parts again in one go.
        layers = [layer[0] for layer in jnp.split(positive, self.num_params)]
        widths, x = self._fill(layers[:num])
        heights, y = self._fill(layers[num : 2 * num])
        one = jnp.ones_like(value)
        slopes = [one, *layers[2 * num :], one]
        found = _Bin(x[0], y[0], widths[0], heights[0], slopes[0], slopes[1])
        for k in range(1, num):
            is_behind = value >= (x if by == "x" else y)[k]
            here = _Bin(x[k], y[k], widths[k], heights[k], slopes[k], slopes[k + 1])
            pairs = zip(here, found, strict=True)
            found = _Bin(*(jnp.where(is_behind, new, old) for new, old in pairs))
        return found

    def _fill(self, weights: list[Array]) -> tuple[list[Array], list[Array]]:
        """Widths or heights of the bins, which fill [-B, B], and where each begins."""
        total = sum(weights[1:], start=weights[0])
        scale = 2.0 * self.limit / total
        sizes = [weight * scale for weight in weights]
        starts = [jnp.full_like(total, -self.limit)]
        for size in sizes[:-1]:
            starts.append(starts[-1] + size)
        return sizes, starts


def _log_slope(k: _Bin, t: Array) -> Array:
    """``ln [s^2 (d_1 t^2 + 2 s t (1 - t) + d_0 (1 - t)^2) / (s + e t (1 - t))^2]``."""
    s = k.height / k.width
    denominator = s + (k.slope_0 + k.slope_1 - 2.0 * s) * t * (1.0 - t)
    numerator = k.slope_1 * t * t + 2.0 * s * t * (1.0 - t) + k.slope_0 * (1.0 - t) ** 2
    return 2.0 * jnp.log(s) + jnp.log(numerator) - 2.0 * jnp.log(denominator)
