"""Linear operators of images: pytrees of pure functions, their algebra and the test of adjoints."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.sparse.linalg import cg
from jax.tree_util import Partial

from jaxgen.arrays import at_least_float32
from jaxgen.inverse.spectra import Spectrum
from jaxgen.types import Array, Key

_TOLERANCE = 1e-6  # Of the dot test and of conjugate gradients, relative.
_MOST_ITERATIONS = 200
_COMPARED = (
    "<H x, y> and <x, H' y>",
    "H (x + 2 z) and H x + 2 H z",
    "V S^2 V' x and H' H x",
    "V S U' y and H' y",
)


@struct.dataclass
class Operator:
    """A linear function H of images, or of any arrays, that measures them.

    ``H(x)`` measures a batch, ``H.adjoint(y)`` and ``H.pinv(y)`` lead back, ``H @ G`` measures what
    G has measured.

    Attributes:
        apply: ``x [B, *shape] -> y [B, *out_shape]``, linear.
        shape: of an example.
        spectrum: its singular values, where they are known; else solvers iterate.
    """

    apply: Callable[[Array], Array]
    shape: tuple[int, ...] = struct.field(pytree_node=False)
    spectrum: Spectrum | None = None

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Of a measurement."""
        return jax.eval_shape(self.apply, _like(1, self.shape, jnp.float32)).shape[1:]

    def __call__(self, x: Array) -> Array:
        """Measures examples `[B, *shape]`, integers as float32; raises ValueError for others."""
        _check("x", x, self.shape)
        return self.apply(at_least_float32(x))

    def adjoint(self, y: Array) -> Array:
        """Applies H' to measurements `[B, *out_shape]`; gives `[B, *shape]`."""
        _check("y", y, self.out_shape)
        y = at_least_float32(y)
        (x,) = jax.linear_transpose(self.apply, _like(len(y), self.shape, y.dtype))(y)
        return x

    def pinv(self, y: Array) -> Array:
        """The shortest of the x `[B, *shape]` that come nearest to y `[B, *out_shape]`."""
        if self.spectrum is None:
            # Not through H H', which has no inverse where measurements repeat each other.
            return _solve_each(lambda x: self.adjoint(self.apply(x)), self.adjoint(y))
        _check("y", y, self.out_shape)
        y = at_least_float32(y)
        least = _TOLERANCE * self.spectrum.largest
        inverse = Partial(lambda s: jnp.where(s > least, 1.0 / jnp.maximum(s, least), 0.0))
        return self.spectrum.on_y(inverse, y)

    def __matmul__(self, other: "Operator") -> "Operator":
        """The operator that measures with `other` first; raises ValueError if they do not fit."""
        if other.out_shape != self.shape:
            raise ValueError(
                f"operator: takes {self.shape}, expected {other.out_shape}, which the one before "
                "it gives"
            )
        return Operator(Partial(_in_turn, self.apply, other.apply), other.shape)


def stack(*operators: Operator) -> Operator:
    """Measures the same examples with several operators at once.

    Args:
        operators: of one shape; at least one.

    Returns:
        The operator whose measurements are those of all, flattened and put in a row, `[B, m]`.

    Raises:
        ValueError: if the shapes differ, or there are none.
    """
    if not operators or len({o.shape for o in operators}) > 1:
        shapes = [o.shape for o in operators]
        raise ValueError(f"operators: of shapes {shapes}, expected one shape, of at least one")
    return Operator(Partial(_side_by_side, *(o.apply for o in operators)), operators[0].shape)


def regularized(
    operator: Operator, y: Array, signal_variance: Array | float, noise_variance: Array | float
) -> Array:
    """``r H' (r H H' + v I)^-1 y``: the posterior mean under a prior N(0, r I).

    By the singular values where they are known, else by conjugate gradients for each example.

    Args:
        operator: H.
        y: `[B, *out_shape]`.
        signal_variance: r, above 0.
        noise_variance: v, at least 0.

    Returns:
        `[B, *shape]`.
    """
    r, v = signal_variance, noise_variance
    if operator.spectrum is not None:
        return operator.spectrum.on_y(lambda s: r * s / (r * jnp.square(s) + v), y)
    return r * operator.adjoint(
        _solve_each(lambda u: r * operator.apply(operator.adjoint(u)) + v * u, y)
    )


def check_operator(key: Key, operator: Operator) -> None:
    """Tests an operator by random numbers: that it is linear and keeps to its adjoint and spectrum.

    ``<H x, y> = <x, H' y>`` and ``H (x + 2 z) = H x + 2 H z`` to 1e-6 of the lengths, and, where
    there is a spectrum, ``V S^2 V' x = H' H x`` and ``V S U' y = H' y`` to 1e-4 of them. The
    transposition itself is exact; what the test finds are functions that are not linear, and wrong
    spectra.

    Args:
        key: random key.
        operator: to be tested.

    Raises:
        ValueError: if a test fails, with what was compared.
    """
    # Not an argument of the program: what a user's operator applies may be any function.
    try:
        found = jax.jit(lambda key: _gaps(key, operator))(key)
    except NotImplementedError as error:
        raise ValueError(f"operator: expected a linear function; {error}") from error
    for names, gap, length in zip(_COMPARED, *found, strict=False):
        if not gap <= (most := _TOLERANCE * length):
            raise ValueError(f"operator: {names} differ by {gap:.3g}, expected at most {most:.3g}")


def _gaps(key: Key, operator: Operator) -> tuple[list[Array], list[Array]]:
    """How far the pairs of `_COMPARED` are apart, and the lengths to measure that by."""
    keys = jax.random.split(key, 3)
    x, z = (jax.random.normal(k, (2, *operator.shape)) for k in keys[:2])
    y = jax.random.normal(keys[2], (2, *operator.out_shape))
    seen, back = operator(x), operator.adjoint(y)
    both = operator(x + 2.0 * z)
    gaps = [jnp.vdot(seen, y) - jnp.vdot(x, back), both - (seen + 2.0 * operator(z))]
    lengths = [_norm(seen) * _norm(y), 10 * _norm(both)]
    if operator.spectrum is not None:
        on_x, on_y, _ = operator.spectrum
        normal = operator.adjoint(seen)
        gaps += [on_x(jnp.square, x) - normal, on_y(lambda s: s, y) - back]
        lengths += [100 * _norm(normal), 100 * _norm(back)]
    return [_norm(gap) for gap in gaps], lengths


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(jnp.square(x)))


def _solve_each(matvec: Callable[[Array], Array], y: Array) -> Array:
    """Solves a positive system for each example by itself, so that none depends on its batch."""

    def one(y: Array) -> Array:
        found, _ = cg(lambda u: matvec(u[None])[0], y, tol=_TOLERANCE, maxiter=_MOST_ITERATIONS)
        return found

    return jax.vmap(one)(y)


def _check(name: str, x: Array, shape: tuple[int, ...]) -> None:
    if x.shape[1:] != tuple(shape):
        expected = "x".join(map(str, ("B", *shape)))
        raise ValueError(f"{name}: of shape {x.shape}, expected {expected}")


def _like(num: int, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((num, *shape), dtype)


def _in_turn(after: Callable[[Array], Array], before: Callable[[Array], Array], x: Array) -> Array:
    return after(before(x))


def _side_by_side(*functions_and_x: Any) -> Array:
    *functions, x = functions_and_x
    return jnp.concatenate(
        [f(x).reshape(len(x), math.prod(f(x).shape[1:])) for f in functions], axis=1
    )
