"""Textures given some of their pixels: kriging of what is known, plus an innovation."""

import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.linalg import cho_solve
from jax.scipy.sparse.linalg import cg

from jaxgen.arrays import at_least_float32, example_keys
from jaxgen.classical.texture.spots import autocovariance, check_mask
from jaxgen.types import Array, Key

MOST_BY_CHOLESKY = 1500
"""Known numbers up to which their covariance is factorised; beyond it conjugate gradients go."""
TOLERANCE = 1e-3
"""Relative residual at which conjugate gradients stop."""
MAX_STEPS = 1000
"""Of conjugate gradients."""
_JITTER = 4.0


class Model(Protocol):
    """What kriging needs of a stationary Gaussian on a torus."""

    mean: Array
    spot: Array
    noise_variance: Array

    def sample(self, key: Key, num: int) -> Array:
        """Samples `[num, R, T, C]`."""
        ...

    def multiply(self, x: Array) -> Array:
        """The covariance times `x [R, T, C]`."""
        ...

    def solve(self, x: Array) -> Array:
        """The inverse of the covariance times `x [R, T, C]`."""
        ...


class Kriged(NamedTuple):
    """A field that agrees with what is known.

    Attributes:
        x: `[H, W, C]`.
        relative_residual: ``|C_cc w - r| / |r|`` of the linear system behind it, a number.
    """

    x: Array
    relative_residual: Array


@struct.dataclass
class Conditional:
    """The distribution of a texture given its known sites c: ``Z + C_.c C_cc^-1 (y_c - Z_c)``.

    For Z a draw of the model that is a draw of the conditional, for Z its mean the conditional
    mean. Known sites are returned as they are.

    Args:
        model: on the canvas.
        x: what is known, elsewhere 0, on the canvas: `[R, T, C]`.
        observed: true at the known sites, `[R, T]`.
        sites: rows and columns of the known sites `[K, 2]`, where `cholesky` is given.
        cholesky: factor of their covariance, `[K C, K C]`; None for conjugate gradients.
        size: height and width of the image on the canvas (static).
        tolerance: relative residual at which conjugate gradients stop (static).
        max_steps: of conjugate gradients (static).

    Source:
        Galerne & Leclaire 2017, "Texture inpainting using efficient Gaussian conditional
        simulation".
    """

    model: Model
    x: Array
    observed: Array
    sites: Array | None
    cholesky: Array | None
    size: tuple[int, int] = struct.field(pytree_node=False)
    tolerance: float = struct.field(pytree_node=False, default=TOLERANCE)
    max_steps: int = struct.field(pytree_node=False, default=MAX_STEPS)

    def mean(self) -> Array:
        """The conditional mean: the kriging of what is known, `[H, W, C]`."""
        return self.krige_mean().x

    @functools.partial(jax.jit, static_argnames="num")
    def sample(self, key: Key, num: int) -> Array:
        """Samples `[num, H, W, C]` by one key or keys `[num]`."""
        return jax.lax.map(lambda key: self.krige_draw(key).x, example_keys(key, num))

    @jax.jit
    def krige_mean(self) -> Kriged:
        """The conditional mean, with the residual of its linear system."""
        return self.krige(jnp.broadcast_to(self.model.mean, self.x.shape))

    @jax.jit
    def krige_draw(self, key: Key) -> Kriged:
        """One sample, with the residual of its linear system."""
        return self.krige(self.model.sample(key[None], 1)[0])

    @jax.jit
    def krige(self, z: Array) -> Kriged:
        """The field that has the known sites, and differs from `z [R, T, C]` as the model says."""
        mask = self.observed[..., None]
        residual = jnp.where(mask, self.x - z, 0.0)
        weights = self._weights(residual)
        spread = self.model.multiply(weights)
        error = jnp.linalg.norm(jnp.where(mask, spread - residual, 0.0).ravel())
        norm = jnp.linalg.norm(residual.ravel())
        relative = jnp.where(norm > 0.0, error / jnp.where(norm > 0.0, norm, 1.0), 0.0)
        x = jnp.where(mask, self.x, z + spread)
        return Kriged(x[: self.size[0], : self.size[1]], relative)

    def _weights(self, residual: Array) -> Array:
        """``C_cc^-1 r`` at the known sites and 0 elsewhere, `[R, T, C]`."""
        if self.cholesky is None or self.sites is None:
            return self._conjugate_gradients(residual)
        at = (self.sites[:, 0], self.sites[:, 1])
        solved = cho_solve((self.cholesky, True), residual[at].ravel())
        return jnp.zeros_like(residual).at[at].set(solved.reshape(-1, residual.shape[-1]))

    def _conjugate_gradients(self, residual: Array) -> Array:
        """The same without a matrix; the inverse of the whole covariance is the preconditioner."""
        mask = self.observed[..., None].astype(residual.dtype)

        def masked(product: Callable[[Array], Array]) -> Callable[[Array], Array]:
            return lambda x: mask * product(mask * x)

        multiply, solve = masked(self.model.multiply), masked(self.model.solve)
        return cg(multiply, residual, tol=self.tolerance, maxiter=self.max_steps, M=solve)[0]


def make_conditional(
    model: Model,
    x: Array,
    observed: np.ndarray,
    *,
    size: tuple[int, int],
    most_by_cholesky: int = MOST_BY_CHOLESKY,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> Conditional:
    """Prepares a conditional distribution of a texture.

    Up to `most_by_cholesky` known numbers their covariance is factorised, exact up to rounding; for
    more, preconditioned conjugate gradients multiply by Fourier transforms and are exact up to the
    tolerance. The model's white noise makes the covariance of any sites definite, also where one
    exemplar gives its colours rank 1. To it ``4 eps max_k |h^|^2`` is added before it is
    factorised, eps that of the type: what rounding can take from its smallest eigenvalue.

    Args:
        model: on the canvas, `[R, T, C]`.
        x: `[H, W, C]`; what is not observed of it may be anything.
        observed: booleans `[H, W]`, a NumPy array, true where a site is known.
        size: (H, W), at most that of the canvas, in whose corner the image lies.
        most_by_cholesky: as above.
        tolerance: relative residual at which conjugate gradients stop.
        max_steps: of conjugate gradients; the residual of each field says how far they came.

    Returns:
        The conditional distribution; without a known site it is that of the model.

    Raises:
        ValueError: if the image or the mask has another size, or the mask is not one of booleans.

    Source:
        Galerne & Leclaire 2017, "Texture inpainting using efficient Gaussian conditional
        simulation".
    """
    chex.assert_rank(x, 3)
    observed = check_mask("observed", observed)
    for name, shape in (("x", x.shape[:2]), ("observed", observed.shape)):
        if shape != size:
            raise ValueError(f"{name}: shape {shape}, expected that of the model, {size}")
    known = np.zeros(model.spot.shape[:2], bool)
    known[: size[0], : size[1]] = observed
    values = jnp.where(observed[..., None], at_least_float32(x), 0.0)
    values = jnp.zeros_like(model.spot).at[: size[0], : size[1]].set(values)
    sites, cholesky = np.argwhere(known), None
    if 0 < sites.size // 2 * x.shape[-1] <= most_by_cholesky:
        cholesky = _factor(model, sites)
    places = None if cholesky is None else jnp.asarray(sites)
    return Conditional(
        model, values, jnp.asarray(known), places, cholesky, size, tolerance, max_steps
    )


@jax.jit
def _factor(model: Model, sites: Array) -> Array:
    """The Cholesky factor of the covariance of some sites, the channels of each together."""
    canvas = np.array(model.spot.shape[:2])
    shifts = (sites[None] - sites[:, None]) % canvas[None, None]
    covariance = autocovariance(model.spot)[shifts[..., 0], shifts[..., 1]]
    num = len(sites) * model.spot.shape[-1]
    covariance = covariance.transpose(0, 2, 1, 3).reshape(num, num)
    power = jnp.sum(jnp.abs(jnp.fft.rfft2(model.spot, axes=(-3, -2))) ** 2, axis=-1)
    jitter = _JITTER * jnp.finfo(covariance.dtype).eps * jnp.max(power)
    eye = jnp.eye(num, dtype=covariance.dtype)
    return jnp.linalg.cholesky(covariance + (model.noise_variance + jitter) * eye)
