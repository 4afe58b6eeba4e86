"""How far solvers of inverse problems are from the exact posterior of a Gaussian prior.

    python -m benchmarks.posterior_solvers

Eight numbers of covariance .9^|i - j| are measured three times with noise of deviation .1; the
denoiser is exact, so that whatever is missing is the solver's. W2 is the Wasserstein distance
between Gaussians of the moments of the draws and the exact posterior's; the trace is that of the
draws' covariance over the posterior's, below 1 where a solver is too sure. Written to
posterior_solvers.png too.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from scipy import linalg

from jaxgen import inverse, plots
from jaxgen.diffusion import grids
from jaxgen.diffusion.process import amplitudes
from jaxgen.types import Array

_NUM, _SEEN, _NOISE_STD = 8, 3, 0.1
_COVARIANCE = 0.9 ** np.abs(np.subtract.outer(np.arange(_NUM), np.arange(_NUM)))
_Y = np.array([0.5, -0.2, 0.3])
_SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "moment matching, ODE": ("moment_matching", {"eta": 0.0}),
    "moment matching": ("moment_matching", {}),
    "PiGDM, ODE": ("pigdm", {"eta": 0.0}),
    "PiGDM": ("pigdm", {}),
    "DPS, true 1/v, ODE": ("likelihood_gradient", {"eta": 0.0}),
    "DPS, true 1/v": ("likelihood_gradient", {}),
    "DPS, zeta .1": ("dps", {"zeta": 0.1}),
    "DPS, zeta .3": ("dps", {"zeta": 0.3}),
    "DPS, zeta 1": ("dps", {"zeta": 1.0}),
    "DDRM": ("ddrm", {}),
    "DiffPIR": ("diffpir", {}),
    "RePaint": ("repaint", {}),
}


class Distance(NamedTuple):
    """Of a solver from the exact posterior.

    Attributes:
        w2: Wasserstein distance.
        trace: of the covariance, over the exact one.
    """

    w2: float
    trace: float


def problem() -> tuple[inverse.Operator, np.ndarray, np.ndarray]:
    """The measurement, and mean and covariance of the posterior."""
    matrix = np.array(
        [
            [0.5, 0.3, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.4, -0.5, 0.0, 0.2, 0.0, 0.0],
            [0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.3, 0.4],
        ]
    )
    seen = matrix @ _COVARIANCE @ matrix.T + _NOISE_STD**2 * np.eye(_SEEN)
    gain = _COVARIANCE @ matrix.T @ np.linalg.inv(seen)
    operator = inverse.operators.matrix(jnp.asarray(matrix, jnp.float32), (_NUM,))
    return operator, gain @ _Y, _COVARIANCE - gain @ matrix @ _COVARIANCE


def distance(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> Distance:
    """Of draws `[B, n]` from a Gaussian, by their moments."""
    found = np.cov(x.T)
    root = linalg.sqrtm(covariance).real
    both = linalg.sqrtm(root @ found @ root).real
    squared = np.sum((x.mean(axis=0) - mean) ** 2) + np.trace(found + covariance - 2.0 * both)
    return Distance(
        float(np.sqrt(max(squared, 0.0))), float(np.trace(found) / np.trace(covariance))
    )


def solver(method: str, numbers: dict[str, Any], num_steps: int) -> Callable[..., Array]:
    """A method under the exact denoiser, ``(key, y) -> x``, jitted."""
    values, vectors = (jnp.asarray(part, jnp.float32) for part in np.linalg.eigh(_COVARIANCE))

    def denoise(x: Array, log_snr: Array, condition: None) -> Array:
        a, s = (part[:, None] for part in amplitudes(log_snr))
        shrunk = a * values[None] / (a**2 * values[None] + s**2) * (x @ vectors)
        return shrunk @ vectors.T

    grid = grids.grid_of_betas(grids.linear_betas(1000), num_steps)
    prior, operator = inverse.DiffusionPrior(denoise, grid), problem()[0]
    return jax.jit(
        lambda key, y: inverse.solve(key, prior, operator, y, _NOISE_STD, method, **numbers)[0]
    )


def main(
    num_draws: int = 20_000, num_steps: int = 1000, out: pathlib.Path = pathlib.Path(".")
) -> None:
    """Measures every solver, prints the table and draws it.

    Args:
        num_draws: of each solver.
        num_steps: N, 1 to 1000.
        out: folder of the figure.
    """
    _, mean, covariance = problem()
    y = jnp.broadcast_to(jnp.asarray(_Y, jnp.float32)[None], (num_draws, _SEEN))
    deviation = np.sqrt(np.trace(covariance) / _NUM)
    print(f"{num_steps} steps, {num_draws:,} draws; root mean square deviation {deviation:.3f}")
    rng = np.random.default_rng(0)
    exact = rng.multivariate_normal(mean, covariance, num_draws)
    found = {"exact draws (floor)": distance(exact, mean, covariance)}
    for name, (method, numbers) in _SOLVERS.items():
        x = np.asarray(solver(method, numbers, num_steps)(jax.random.key(0), y), np.float64)
        found[name] = distance(x, mean, covariance)
    print(f"{'solver':24}  {'W2':>6}  trace")
    for name, (w2, trace) in found.items():
        print(f"{name:24}  {w2:6.3f}  {trace:5.2f}")
    draw(found, out / "posterior_solvers.png")


def draw(found: dict[str, Distance], path: pathlib.Path) -> None:
    """Draws the table: a bar for each solver."""
    figure = plots.new_figure(7.0, 0.35 * len(found) + 1.2)
    axes = figure.subplots()
    names = list(found)[::-1]
    axes.barh(names, [found[name].w2 for name in names], color=plots.LINE_COLOURS[0])
    for place, name in enumerate(names):
        axes.text(found[name].w2, place, f" {found[name].trace:.2f}", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.set_xlabel("W2 to the exact posterior; beside the bars the trace, 1 where it is right")
    plots.save_figure(path, figure)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
