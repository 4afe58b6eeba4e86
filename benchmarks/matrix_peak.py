"""Share of a device's matrix peak that a training step of a diffusion model reaches.

python -m benchmarks.matrix_peak                       # a U-Net of 32x32 images, bfloat16

The step's floating point operations are those that XLA counts in its program; the peak is
the speed of a product of two large matrices on the same device, measured beside it.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from experiments.command_line import parse
from experiments.ranges import AT_LEAST_1, check_settings
from jaxgen import diffusion
from jaxgen.training import jax_setup

_SHAPE = (32, 32, 3)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is timed."""

    channels: Annotated[tuple[int, ...], AT_LEAST_1] = (128, 256, 256)
    """Channels of the U-Net's levels."""
    num_blocks: Annotated[int, AT_LEAST_1] = 2
    """Residual blocks of a level."""
    batch_size: Annotated[int, AT_LEAST_1] = 256
    """Images of a step."""
    steps_per_call: Annotated[int, AT_LEAST_1] = 10
    """Steps of a dispatch."""
    num_calls: Annotated[int, AT_LEAST_1] = 5
    """Dispatches that are timed; the median counts."""
    matrix_size: Annotated[int, AT_LEAST_1] = 8192
    """Rows and columns of the matrices."""
    dtype: str = "bfloat16"
    """Of the computation."""

    def __post_init__(self) -> None:
        check_settings(self)


def main() -> None:
    """Prints operations, times and the share."""
    settings = parse(Settings, "benchmarks.matrix_peak", __doc__)
    jax_setup.configure()
    peak = _peak(settings)
    flops, seconds, num_parameters = _step(settings)
    print(
        f"{jax.devices()[0].device_kind}: product of {settings.dtype} matrices of "
        f"{settings.matrix_size:,}: {peak / 1e12:.1f} TFLOP/s\n"
        f"U-Net of {num_parameters:,} parameters, batches of {settings.batch_size}: "
        f"{flops / 1e12:.3f} TFLOP a step, {seconds * 1e3:.2f} ms, "
        f"{settings.batch_size / seconds:,.0f} images/s\n"
        f"{flops / seconds / 1e12:.1f} TFLOP/s, {flops / seconds / peak:.1%} of the peak"
    )


def _peak(settings: Settings) -> float:
    """Operations per second of a product of matrices."""
    num, dtype = settings.matrix_size, jnp.dtype(settings.dtype)
    x, y = (jax.random.normal(jax.random.key(i), (num, num), dtype) for i in range(2))
    times = 10

    @jax.jit
    def products(x: jax.Array, y: jax.Array) -> jax.Array:
        # Each product is the next one's argument, so that none is left out.
        return jax.lax.fori_loop(0, times, lambda _, x: (x @ y) * num**-0.5, x)

    return 2.0 * num**3 * times / _median_seconds(settings, products, x, y)


def _step(settings: Settings) -> tuple[float, float, int]:
    """Operations and seconds of a training step, and the number of parameters."""
    network = diffusion.UNet(
        settings.channels, settings.num_blocks, (1,), dtype=jnp.dtype(settings.dtype)
    )
    model = diffusion.Diffusion(network, diffusion.schedules.Cosine(), "v", 256)
    sample = diffusion.sampler(model, diffusion.samplers.ddim, _SHAPE)
    algorithm = diffusion.diffusion_algorithm(model, optax.adam(1e-4), sample)
    batch = {"x": jnp.zeros((settings.batch_size, *_SHAPE), jnp.uint8)}
    state = jax.jit(algorithm.init)(jax.random.key(0), batch)

    def step(state: Any, batch: Any, key: jax.Array) -> Any:
        return algorithm.step(state, batch, key)[0]

    @jax.jit
    def steps(state: Any, batch: Any, key: jax.Array) -> Any:
        keys = jax.random.split(key, settings.steps_per_call)
        return jax.lax.scan(lambda state, key: (step(state, batch, key), None), state, keys)[0]

    key = jax.random.key(1)
    lowered = jax.jit(step).lower(state, batch, key)
    # Some backends count only what they have compiled.
    cost: Any = lowered.cost_analysis() or lowered.compile().cost_analysis()
    seconds = _median_seconds(settings, steps, state, batch, key) / settings.steps_per_call
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return float(cost["flops"]), seconds, num_parameters


def _median_seconds(settings: Settings, function: Callable[..., Any], *arguments: Any) -> float:
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(settings.num_calls):
        begin = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - begin)
    return sorted(seconds)[len(seconds) // 2]


if __name__ == "__main__":
    main()
