"""Densities in the plane whose every number is known: samples, log-density, entropy."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data.dataset import ArraySplit, DataError, Dataset
from jaxgen.types import Array, Key

NUM_TRAIN = 50_000
NUM_TEST = 10_000
SAMPLE_SEED = 0
NUM_RING = 8
MOONS_STD = 0.1
CHECKERBOARD_SIDE = 2.0
# The Gauss-Legendre nodes of an arc lie at most 0.04 apart, less than half of MOONS_STD: the
# log-density is then exact to float32 over the whole region that has samples.
_ARC_NODES = 128


class ToyDensity(NamedTuple):
    """A density in the plane.

    Attributes:
        sample: `(key, num) -> x`, num independent draws, float32 `[num, 2]`; num is static.
        log_prob: `x -> [B]`, log-density in nats of float `x` `[B, 2]`; float32.
        entropy: differential entropy in nats, `-E log_prob(x)`.
    """

    sample: Callable[[Key, int], Array]
    log_prob: Callable[[Array], Array]
    entropy: float


def ring(*, radius: float = 4.0 / 1.414, std: float = 0.5 / 1.414) -> ToyDensity:
    """Eight equal Gaussians on a circle, the first at angle 0.

    `p(x) = 1/8 sum_k N(x; radius (cos(pi k / 4), sin(pi k / 4)), std^2 I)`. The defaults are the
    "8gaussians" on which flows are compared (entropy 2.8319 nats); PacGAN's ring for counting
    modes has radius 1 and std 0.01.

    Args:
        radius: distance of the modes from the origin, above 0.
        std: standard deviation of each mode along each axis, above 0.

    Returns:
        The density.

    Raises:
        ValueError: if radius or std is not above 0.

    Source:
        Grathwohl et al. 2019, "FFJORD", section 4.1, with the constants of its code;
        Lin et al. 2018, "PacGAN", 2D-ring.
    """
    if not radius > 0:
        raise ValueError(f"radius: {radius}, expected above 0")
    angle = 2 * np.pi * np.arange(NUM_RING) / NUM_RING
    centres = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return gaussians(centres, std=std)


def grid(*, spacing: float = 2.0, std: float = 0.05) -> ToyDensity:
    """Twenty-five equal Gaussians on a square grid around the origin.

    `p(x) = 1/25 sum_ij N(x; spacing (i, j), std^2 I)` with i, j from -2 to 2.

    Args:
        spacing: distance of neighbouring modes, above 0.
        std: standard deviation of each mode along each axis, above 0.

    Returns:
        The density.

    Raises:
        ValueError: if spacing or std is not above 0.

    Source:
        Lin et al. 2018, "PacGAN", 2D-grid.
    """
    if not spacing > 0:
        raise ValueError(f"spacing: {spacing}, expected above 0")
    axis = spacing * np.arange(-2.0, 3.0)
    centres = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return gaussians(centres, std=std)


def gaussians(centres: np.ndarray, *, std: float) -> ToyDensity:
    """An equal mixture of round Gaussians in the plane.

    `p(x) = 1/K sum_k N(x; centres_k, std^2 I)`. The entropy is computed by quadrature in float64.

    Args:
        centres: means `[K, 2]`.
        std: standard deviation of each mode along each axis, above 0.

    Returns:
        The density.

    Raises:
        ValueError: if the shape of centres or std is not as above.
    """
    centres = np.asarray(centres, np.float64)
    if centres.ndim != 2 or centres.shape[1] != 2 or not len(centres):
        raise ValueError(f"centres: shape {centres.shape}, expected [K, 2] with K at least 1")
    if not std > 0:
        raise ValueError(f"std: {std}, expected above 0")
    weights = np.full(len(centres), 1 / len(centres))

    def sample(key: Key, num: int) -> Array:
        key_mode, key_noise = jax.random.split(key)
        mode = jax.random.randint(key_mode, (num,), 0, len(centres))
        noise = jax.random.normal(key_noise, (num, 2), jnp.float32)
        return jnp.asarray(centres, jnp.float32)[mode] + jnp.float32(std) * noise

    # Around each mode, in units of std: the trapezoidal rule is exact to rounding at this step.
    axis = np.arange(-9.0, 9.01, 1 / 3)
    offsets = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(1, -1, 2)
    mass = np.exp(-np.sum(offsets**2, axis=-1) / 2) / (2 * np.pi) / 9
    points = centres[:, None, :] + std * offsets
    nats = -_float64_log_density(points.reshape(-1, 2), centres, weights, std)
    entropy = np.mean(np.sum(mass * nats.reshape(len(centres), -1), axis=1))
    return ToyDensity(sample, _mixture_log_prob(centres, weights, std), float(entropy))


def moons() -> ToyDensity:
    """Two interleaved half circles with noise.

    `x = (cos t + h, sin t + h / 2) + 0.1 eps` with t uniform on [0, 2 pi), eps standard normal,
    and h = -1/2 for t < pi, else 1/2. The density is the integral over t, by Gauss-Legendre
    quadrature with 128 nodes on each arc; samples are exact.

    Returns:
        The density; its entropy is 1.0076 nats.

    Source:
        Pedregosa et al. 2011, "Scikit-learn: Machine Learning in Python", `make_moons`, centred.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_ARC_NODES)
    t = np.concatenate([np.pi * (nodes + 1) / 2, np.pi * (nodes + 3) / 2])
    centres = np.stack(_moons_arc(t, np), axis=1)
    weights = np.tile(weights / 4, 2)

    def sample(key: Key, num: int) -> Array:
        key_angle, key_noise = jax.random.split(key)
        angle = jax.random.uniform(key_angle, (num,), jnp.float32, 0.0, 2 * np.pi)
        noise = jax.random.normal(key_noise, (num, 2), jnp.float32)
        return jnp.stack(_moons_arc(angle, jnp), axis=1) + jnp.float32(MOONS_STD) * noise

    # The trapezoidal rule over a box that holds all mass; exact to rounding at this step.
    axis, step = np.linspace(-2.5, 2.5, 151, retstep=True)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_density = _float64_log_density(points, centres, weights, MOONS_STD)
    entropy = -np.sum(np.exp(log_density) * log_density) * step**2
    return ToyDensity(sample, _mixture_log_prob(centres, weights, MOONS_STD), float(entropy))


def _moons_arc(t: Any, xp: Any) -> tuple[Any, Any]:
    """The point of the noiseless curve at angle t, with the functions of numpy or jax.numpy."""
    shift = xp.where(t < np.pi, -0.5, 0.5)
    return xp.cos(t) + shift, xp.sin(t) + shift / 2


def checkerboard() -> ToyDensity:
    """The uniform density on eight cells of a 4x4 checkerboard.

    The cells have side 2 and fill `[-4, 4]^2`; cell `(i, j)`, which begins at `(2 i, 2 j)` with i
    and j from -2 to 1, is filled where `i + j` is even. There `p(x) = 1/32`, elsewhere 0 (log
    -inf).

    Returns:
        The density; its entropy is ln 32 nats.

    Source:
        Grathwohl et al. 2019, "FFJORD", section 4.1, with the constants of its code.
    """
    cells = np.array([(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0])
    entropy = math.log(len(cells) * CHECKERBOARD_SIDE**2)

    def sample(key: Key, num: int) -> Array:
        key_cell, key_place = jax.random.split(key)
        cell = jax.random.randint(key_cell, (num,), 0, len(cells))
        # Multiples of 2^-23, so that the sum is exact and never rounds into the next cell.
        place = jax.random.uniform(key_place, (num, 2), jnp.float32)
        return CHECKERBOARD_SIDE * (jnp.asarray(cells, jnp.float32)[cell] + place)

    def log_prob(x: Array) -> Array:
        _check_points(x)
        cell = jnp.floor(x.astype(jnp.float32) / CHECKERBOARD_SIDE)
        is_on_board = jnp.all((cell >= -2) & (cell < 2), axis=1)
        is_filled = jnp.mod(jnp.sum(cell, axis=1), 2) == 0
        return jnp.where(is_on_board & is_filled, jnp.float32(-entropy), -jnp.inf)

    return ToyDensity(sample, log_prob, entropy)


def _check_points(x: Array) -> None:
    """Raises AssertionError unless x is floating-point `[B, 2]`."""
    chex.assert_shape(x, (None, 2))
    chex.assert_type(x, float)


def _mixture_log_prob(
    centres: np.ndarray, weights: np.ndarray, std: float
) -> Callable[[Array], Array]:
    """The log-density of a mixture of round Gaussians, as a function of `[B, 2]`."""
    log_weights = np.asarray(np.log(weights) - math.log(2 * math.pi * std**2), np.float32)
    means = np.asarray(centres, np.float32)

    def log_prob(x: Array) -> Array:
        _check_points(x)
        # Differences before squares: expanded squares would cancel for a small std.
        z = (x.astype(jnp.float32)[:, None, :] - means[None, :, :]) / std
        exponent = -0.5 * jnp.sum(jnp.square(z), axis=-1)
        return jax.nn.logsumexp(exponent + log_weights[None, :], axis=1)

    return log_prob


def _float64_log_density(
    x: np.ndarray, centres: np.ndarray, weights: np.ndarray, std: float
) -> np.ndarray:
    """The same log-density in float64 NumPy, for the quadrature of the entropy: `[B, 2] -> [B]`."""
    squares = sum((x[:, None, i] - centres[None, :, i]) ** 2 for i in range(2))
    exponent = np.log(weights)[None, :] - squares / (2 * std**2)
    highest = exponent.max(axis=1)  # taken out, so that not all of the terms underflow
    total = np.exp(exponent - highest[:, None]).sum(axis=1)
    return highest + np.log(total) - math.log(2 * math.pi * std**2)


DENSITIES: dict[str, Callable[[], ToyDensity]] = {
    "ring": ring,
    "grid": grid,
    "moons": moons,
    "checkerboard": checkerboard,
}


def load_toy(name: str) -> Dataset:
    """Draws a data set from a toy density, always the same one.

    Args:
        name: `ring`, `grid`, `moons` or `checkerboard`.

    Returns:
        The data set; `x` is float32 `[50000, 2]` to train and `[10000, 2]` to test, without labels
        and levels.

    Raises:
        DataError: if there is no density of that name.
    """
    if name not in DENSITIES:
        raise DataError(f"name: {name!r}, expected {', '.join(DENSITIES)}")
    x = np.array(DENSITIES[name]().sample(jax.random.key(SAMPLE_SEED), NUM_TRAIN + NUM_TEST))
    train, test = ArraySplit({"x": x[:NUM_TRAIN]}), ArraySplit({"x": x[NUM_TRAIN:]})
    return Dataset(name, shape=(2,), levels=None, class_names=None, train=train, test=test)
