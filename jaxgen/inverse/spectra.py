"""Singular value decompositions of linear operators, as functions of images instead of matrices.

Of ``H = U S V'`` solvers need two things: ``V f(S) V'`` of images and ``V f(S) U'`` of
measurements, for functions f of the singular values.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxgen.classical.products import einsum
from jaxgen.types import Array

Weight = Callable[[Array], Array]
"""A function of singular values, 0 or more, of any shape, which it keeps."""


class Spectrum(NamedTuple):
    """What is known of the singular values of an operator.

    Attributes:
        on_x: ``(f, x [B, *shape]) -> V f(S) V' x``; directions that are not measured have s = 0.
        on_y: ``(f, y [B, *out_shape]) -> V f(S) U' y``; f is not asked where s = 0.
        largest: the largest singular value.
    """

    on_x: Callable[[Weight, Array], Array]
    on_y: Callable[[Weight, Array], Array]
    largest: Array


def of_frame(
    apply: Callable[[Array], Array], adjoint: Callable[[Array], Array], value: float
) -> Spectrum:
    """Of an operator whose singular values are all the same, ``H H' = s^2 I``.

    Args:
        apply: H, of images `[B, ...]`, a `Partial`.
        adjoint: H', of measurements, a `Partial`.
        value: s, above 0.

    Returns:
        The spectrum.
    """
    return Spectrum(
        Partial(_frame_on_x, apply, adjoint, value),
        Partial(_frame_on_y, adjoint, value),
        jnp.asarray(value),
    )


def of_convolution(transfer: Array, shape: tuple[int, ...]) -> Spectrum:
    """Of a periodic convolution: the moduli of its transfer function.

    Args:
        transfer: of `jnp.fft.rfft2`, complex `[H, W // 2 + 1]`.
        shape: of an image, `[H, W, C]`.

    Returns:
        The spectrum.
    """
    sizes = Sizes(*shape[:2])
    modulus = jnp.abs(transfer)
    phase = jnp.where(modulus > 0.0, transfer / jnp.where(modulus > 0.0, modulus, 1.0), 0.0)
    return Spectrum(
        Partial(_wave_on_x, modulus, sizes=sizes),
        Partial(_wave_on_y, modulus, jnp.conj(phase), sizes=sizes),
        jnp.max(modulus),
    )


def of_matrix(matrix: Array, shape: tuple[int, ...]) -> Spectrum:
    """Of a matrix, by LAPACK.

    Args:
        matrix: `[m, n]`.
        shape: of an example of n numbers.

    Returns:
        The spectrum.
    """
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
    # Values that are rounding are those of directions that are not measured.
    s = jnp.where(s > max(matrix.shape) * jnp.finfo(s.dtype).eps * s[0], s, 0.0)
    return Spectrum(
        Partial(_dense_on_x, s, vt), Partial(_dense_on_y, u, s, vt, _Shape(shape)), s[0]
    )


@jax.tree_util.register_static
class Sizes(NamedTuple):
    """Height and width of images, static."""

    height: int
    width: int


@jax.tree_util.register_static
class _Shape(tuple[int, ...]):
    """The shape of an example, static."""


def filtered(response: Array, x: Array, sizes: Sizes) -> Array:
    """Multiplies the Fourier coefficients of images.

    Args:
        response: of `jnp.fft.rfft2`, real or complex, `[H, W // 2 + 1]`.
        x: `[B, H, W, C]`.
        sizes: H and W.

    Returns:
        `[B, H, W, C]`.
    """
    waves = jnp.fft.rfft2(x, axes=(1, 2)) * response[None, :, :, None]
    return jnp.fft.irfft2(waves, s=tuple(sizes), axes=(1, 2))


def _frame_on_x(
    apply: Callable[[Array], Array],
    adjoint: Callable[[Array], Array],
    value: float,
    weight: Weight,
    x: Array,
) -> Array:
    seen = adjoint(apply(x)) / value**2
    of_seen, of_rest = (weight(jnp.asarray(s, x.dtype)) for s in (value, 0.0))
    return of_rest * x + (of_seen - of_rest) * seen


def _frame_on_y(adjoint: Callable[[Array], Array], value: float, weight: Weight, y: Array) -> Array:
    return weight(jnp.asarray(value, y.dtype)) / value * adjoint(y)


def _wave_on_x(modulus: Array, weight: Weight, x: Array, *, sizes: Sizes) -> Array:
    return filtered(weight(modulus), x, sizes)


def _wave_on_y(modulus: Array, phase: Array, weight: Weight, y: Array, *, sizes: Sizes) -> Array:
    return filtered(_where_seen(weight, modulus) * phase, y, sizes)


def _dense_on_x(s: Array, vt: Array, weight: Weight, x: Array) -> Array:
    flat = x.reshape(len(x), -1)
    of_rest = weight(jnp.zeros((), s.dtype))
    seen = einsum("rn,bn->br", vt, flat) * (weight(s) - of_rest)[None]
    return (of_rest * flat + einsum("rn,br->bn", vt, seen)).reshape(x.shape)


def _dense_on_y(u: Array, s: Array, vt: Array, shape: _Shape, weight: Weight, y: Array) -> Array:
    seen = einsum("mr,bm->br", u, y.reshape(len(y), -1)) * _where_seen(weight, s)[None]
    return einsum("rn,br->bn", vt, seen).reshape(len(y), *shape)


def _where_seen(weight: Weight, s: Array) -> Array:
    """The weights of singular values, 0 where they are 0, whatever the function says there."""
    return jnp.where(s > 0.0, weight(jnp.where(s > 0.0, s, 1.0)), 0.0)
