"""Autoregressive sampling with a cache beside a pass over the whole image for every pixel.

Run it with `python -m benchmarks.pixel_sampling`. All ways write the same images from the same key,
which is checked; the time is the median over turns.
"""

import dataclasses
import statistics
import time
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from jaxgen.autoregressive import heads, networks, orders, samplers
from jaxgen.autoregressive.models import PixelModel
from jaxgen.training.jax_setup import configure

_METHODS: dict[str, samplers.Sampler] = {
    "cached": samplers.cached,
    "jacobi": samplers.jacobi,
    "sequential": samplers.sequential,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    size: int = 28
    """Side of the images, of one channel and 2 levels."""
    num: int = 16
    """Images that are written at once."""
    num_features: int = 64
    """Channels of the gated network."""
    num_layers: int = 6
    """Layers of it."""
    turns: int = 3
    """Times that each way is taken."""


def main() -> None:
    """Times the ways and prints the table."""
    configure()
    settings = tyro.cli(Settings, prog="benchmarks.pixel_sampling", description=__doc__)
    shape = (settings.size, settings.size, 1)
    network = networks.GatedPixelCNN(settings.num_features, settings.num_layers, 5)
    order = orders.make_order("raster", settings.size, settings.size)
    model = PixelModel(network, heads.Bernoulli(1), 2, order)
    variables = model.init(jax.random.key(0), np.zeros((1, *shape), np.uint8))
    # A trained head has weights; those of a fresh one are 0.
    variables = jax.tree.map(
        lambda v: v + 0.05 * jax.random.normal(jax.random.key(v.size), v.shape), variables
    )

    def compiled(method: samplers.Sampler) -> Any:
        key = jax.random.key(1)
        return jax.jit(lambda v: method(model, v, key, settings.num, shape))

    programs = {name: compiled(method) for name, method in _METHODS.items()}
    written = {name: jax.block_until_ready(run(variables)) for name, run in programs.items()}
    for name, result in written.items():
        if not np.array_equal(result.x, written["cached"].x):
            raise RuntimeError(f"{name}: other images than with a cache")
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(settings.turns):
        for name, run in programs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run(variables))
            seconds[name].append(time.perf_counter() - begin)
    table = Table(
        "way", title=f"{settings.num} images of {settings.size}x{settings.size} by a gated PixelCNN"
    )
    for name in ("seconds", "times the cached", "passes"):
        table.add_column(name, justify="right")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        passes = int(written[name].num_passes)
        table.add_row(name, f"{median:.2f}", f"{median / medians['cached']:.1f}", f"{passes}")
    Console().print(table)


if __name__ == "__main__":
    main()
