"""EM of diagonal Gaussians beside scikit-learn's `GaussianMixture`, from the same start.

Run it with `python -m benchmarks.em_speed`. The contestants take turns; an iteration's time is the
median over turns of that of a fit over its iterations. The last column shows that they do the same.
"""

import dataclasses
import statistics
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from sklearn.mixture import GaussianMixture

from jaxgen.classical import mixture
from jaxgen.training.jax_setup import configure


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    num_examples: int = 60_000
    """Examples."""
    num_dims: int = 784
    """Numbers of an example."""
    num_components: int = 50
    """Gaussians."""
    iterations: int = 10
    """EM iterations of a fit."""
    turns: int = 5
    """Fits of each contestant."""


def examples(settings: Settings) -> np.ndarray:
    """Draws from a mixture whose components overlap, with variances of their own, float32."""
    rng = np.random.default_rng(0)
    shape = (settings.num_components, settings.num_dims)
    centres, deviations = 0.3 * rng.normal(size=shape), rng.uniform(0.5, 1.5, shape)
    label = rng.integers(0, settings.num_components, settings.num_examples)
    x = rng.standard_normal((settings.num_examples, settings.num_dims), dtype=np.float32)
    return x * deviations[label].astype(np.float32) + centres[label].astype(np.float32)


def timed(function: Callable[[], object]) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def jaxgen_fit(x: np.ndarray, begin: mixture.Mixture, settings: Settings) -> Callable[[], float]:
    """A function that fits by jaxgen and returns the mean log-density."""

    @jax.jit
    def fit(begin: mixture.Mixture, x: jax.Array) -> tuple[mixture.Mixture, jax.Array]:
        def step(params: mixture.Mixture, _: None) -> tuple[mixture.Mixture, None]:
            return mixture.em_step(params, x, min_variance=1e-6).mixture, None

        params, _ = jax.lax.scan(step, begin, length=settings.iterations)
        return params, jnp.mean(mixture.expect(params, x)[1])

    on_device = jnp.asarray(x)
    return lambda: float(fit(begin, on_device)[1])


def sklearn_fit(x: np.ndarray, begin: mixture.Mixture, settings: Settings) -> Callable[[], float]:
    """A function that fits by scikit-learn and returns the mean log-density."""
    precisions = 1.0 / np.asarray(begin.over_components(lambda gaussian: gaussian.variance()))
    model = GaussianMixture(
        settings.num_components,
        covariance_type="diag",
        tol=0.0,
        max_iter=settings.iterations,
        weights_init=np.full(settings.num_components, 1 / settings.num_components),
        means_init=np.asarray(begin.components.mean),
        precisions_init=precisions,
    )

    def fit() -> float:
        model.fit(x)
        return float(model.score(x))

    return fit


def main() -> None:
    """Times the contestants and prints the table."""
    configure()
    settings = tyro.cli(Settings, prog="benchmarks.em_speed", description=__doc__)
    warnings.filterwarnings("ignore", message=".*did not converge.*")
    x = examples(settings)

    @jax.jit
    def start(x: jax.Array) -> mixture.Mixture:
        key, num = jax.random.key(0), settings.num_components
        return mixture.start(key, x, kind="diagonal", num_components=num)

    begin = jax.block_until_ready(start(jnp.asarray(x)))
    fits = {
        "jaxgen, float32": jaxgen_fit(x, begin, settings),
        "scikit-learn, float32": sklearn_fit(x, begin, settings),
        "scikit-learn, float64": sklearn_fit(x.astype(np.float64), begin, settings),
    }
    console = Console()
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    log_probs = {name: fit() for name, fit in fits.items()}  # The first one compiles.
    for turn in range(settings.turns):
        console.print(f"turn {turn + 1} of {settings.turns}", style="dim")
        for name, fit in fits.items():
            seconds[name].append(timed(fit))
    starts = {name: _start_seconds(name, x, start, settings) for name in fits}
    console.print(_table(settings, seconds, starts, log_probs))


def _start_seconds(
    name: str, x: np.ndarray, start: Callable[[jax.Array], object], settings: Settings
) -> float:
    """Seconds of a contestant's own way to begin: k-means++ here, k-means there."""
    if name.startswith("jaxgen"):
        on_device = jnp.asarray(x)
        return timed(lambda: jax.block_until_ready(start(on_device)))
    wide = x.astype(np.float64) if name.endswith("64") else x
    model = GaussianMixture(
        settings.num_components, covariance_type="diag", max_iter=1, random_state=0
    )
    return timed(lambda: model.fit(wide))


def _table(
    settings: Settings,
    seconds: dict[str, list[float]],
    starts: dict[str, float],
    log_probs: dict[str, float],
) -> Table:
    table = Table(
        "program",
        title=f"{settings.num_examples:,} x {settings.num_dims}, {settings.num_components} "
        f"diagonal Gaussians, {settings.iterations} iterations",
        caption="start: with the first iteration, by each one's default",
    )
    for name in ("start (s)", "iteration (s)", "jaxgen is faster", "start and fit", "nats"):
        table.add_column(name, justify="right")
    first = next(iter(seconds))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    totals = {name: starts[name] + medians[name] for name in seconds}
    for name, median in medians.items():
        table.add_row(
            name,
            f"{starts[name]:.2f}",
            f"{median / settings.iterations:.3f}",
            f"{median / medians[first]:.2f} times",
            f"{totals[name] / totals[first]:.2f} times",
            f"{log_probs[name]:.3f}",
        )
    return table


if __name__ == "__main__":
    main()
