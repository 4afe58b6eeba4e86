"""Total variation: the classical baseline of image restoration, which knows no data."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.inverse.linear_operator import Operator, regularized
from jaxgen.types import Array

_STEP = 0.1  # Of the primal steps, over the weight; the fastest from 0.03 to 0.3 on images.
_SQUARED_NORM = 8.0  # Of the differences of pixels, at most.


def total_variation(x: Array) -> Array:
    """Sums the lengths of the gradients: ``sum sqrt(|down|^2 + |across|^2)``, channels together.

    Args:
        x: images `[B, H, W, C]`.

    Returns:
        `[B]`.

    Source:
        Rudin et al. 1992, "Nonlinear total variation based noise removal algorithms"; Blomgren &
        Chan 1998, "Color TV: total variation methods for restoration of vector-valued images".
    """
    return jnp.sum(_length(_gradient(x)), axis=(1, 2))


def restore(operator: Operator, y: Array, weight: Array | float, *, num_steps: int = 600) -> Array:
    """Minimizes ``|y - H x|^2 / 2 + weight TV(x)`` by primal and dual steps.

    The term of the data is minimized exactly in each step, so that numbers which are not measured
    move as fast as others.

    Args:
        operator: H, whose singular values are known.
        y: measurements `[B, *out_shape]`.
        weight: of the total variation, at least 0.
        num_steps: iterations, all of them in one loop on the device.

    Returns:
        Images `[B, H, W, C]`.

    Raises:
        ValueError: if the spectrum of the operator is not known.

    Source:
        Chambolle & Pock 2011, "A first-order primal-dual algorithm for convex problems with
        applications to imaging", algorithm 1.
    """
    if operator.spectrum is None:
        raise ValueError(
            "operator: its singular values are not known, expected those of its spectrum"
        )
    # Images differ by about 1, the dual variable by the weight or, if that is less, by about 1 too:
    # the steps are in that proportion.
    primal = _STEP / jnp.clip(weight, 1e-6, 1.0)
    dual = 1.0 / (_SQUARED_NORM * primal)

    def step(carry: tuple[Array, Array], _: Any) -> tuple[tuple[Array, Array], None]:
        x, u = carry
        moved = x - primal * _adjoint_of_gradient(u)
        new = moved + regularized(operator, y - operator(moved), primal, 1.0)
        u = u + dual * _gradient(2.0 * new - x)
        u = u / jnp.maximum(1.0, _length(u) / jnp.maximum(weight, 1e-12))[None, ..., None]
        return (new, u), None

    # Not the pseudo-inverse, which begins with noise as large as a blur is small.
    x = regularized(operator, y, 1.0, 0.1 * jnp.square(operator.spectrum.largest))
    (x, _), _ = jax.lax.scan(step, (x, jnp.zeros((2, *x.shape), x.dtype)), None, length=num_steps)
    return x


def _gradient(x: Array) -> Array:
    """Differences down and across, `[2, B, H, W, C]`; 0 past the last row and column."""
    down = jnp.pad(x[:, 1:] - x[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0)))
    across = jnp.pad(x[:, :, 1:] - x[:, :, :-1], ((0, 0), (0, 0), (0, 1), (0, 0)))
    return jnp.stack([down, across])


def _adjoint_of_gradient(u: Array) -> Array:
    like = jax.ShapeDtypeStruct(u.shape[1:], u.dtype)
    (x,) = jax.linear_transpose(_gradient, like)(u)
    return x


def _length(gradient: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(gradient), axis=(0, 4)))
