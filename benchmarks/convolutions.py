"""Convolutions of jaxgen beside those of lax: forward and backward, in `lax.scan` and outside.

Run it with `python -m benchmarks.convolutions`. The contestants of a row take turns, and each
number is a median over windows. Lower is better everywhere.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from jax import lax
from rich.console import Console
from rich.table import Table

from jaxgen.nn import conv, conv_transpose
from jaxgen.training.jax_setup import configure
from jaxgen.types import Array

ORDER = ("NHWC", "HWIO", "NHWC")
Layer = Callable[[Array, Array], Array]
Carry = tuple[Array, Array]


class Case(NamedTuple):
    """One layer: `[batch, size, size, channels]` to `features`, 'SAME' padding.

    Attributes:
        name: what the row is called.
        layer: the layer as jaxgen has it.
        lax_layer: the layer as lax has it.
        batch: number of images.
        size: height and width of the argument.
        channels: channels of the argument.
        features: channels of the result.
        kernel: height and width of the kernel.
    """

    name: str
    layer: Layer
    lax_layer: Layer
    batch: int
    size: int
    channels: int
    features: int
    kernel: int

    def arguments(self) -> Carry:
        """Returns random images and a random kernel `[kh, kw, channels, features]`."""
        image_key, kernel_key = jax.random.split(jax.random.key(0))
        images = jax.random.normal(image_key, (self.batch, self.size, self.size, self.channels))
        shape = (self.kernel, self.kernel, self.channels, self.features)
        return images, 0.05 * jax.random.normal(kernel_key, shape)


class Contestant(NamedTuple):
    """A function that is timed.

    Attributes:
        run: does `num_steps` steps and returns arrays to wait for.
        num_steps: steps of one call.
    """

    run: Callable[[], Any]
    num_steps: int


def strided(stride: int) -> tuple[Layer, Layer]:
    """Returns a convolution of this stride by jaxgen and by lax."""

    def ours(x: Array, w: Array) -> Array:
        return conv(x, w, stride=stride)

    def theirs(x: Array, w: Array) -> Array:
        return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=ORDER)

    return ours, theirs


def transposed(stride: int) -> tuple[Layer, Layer]:
    """Returns a transposed convolution with the kernel of `nn.ConvTranspose` by both."""

    def ours(x: Array, w: Array) -> Array:
        return conv_transpose(x, jnp.swapaxes(w[::-1, ::-1], 2, 3), stride=stride)

    def theirs(x: Array, w: Array) -> Array:
        return lax.conv_transpose(x, w, (stride, stride), "SAME")

    return ours, theirs


def cases(batch: int) -> list[Case]:
    """Returns the layers that generative models are made of."""
    return [
        Case("transposed 4x4/2, 128 to 64, 7x7", *transposed(2), batch, 7, 128, 64, 4),
        Case("transposed 4x4/2, 64 to 32, 14x14", *transposed(2), batch, 14, 64, 32, 4),
        Case("conv 3x3, 64 to 64, 14x14", *strided(1), batch, 14, 64, 64, 3),
        Case("conv 3x3/2, 64 to 128, 16x16", *strided(2), batch, 16, 64, 128, 3),
        Case("conv 4x4/2, 64 to 128, 14x14", *strided(2), batch, 14, 64, 128, 4),
        Case("conv 4x4/2, 1 to 64, 28x28", *strided(2), batch, 28, 1, 64, 4),
    ]


def gradient_step(layer: Layer) -> Callable[[Carry], Carry]:
    """Returns a step of gradient descent on both arguments, so that no derivative is dead code."""

    def step(carry: Carry) -> Carry:
        gradients = jax.grad(lambda x, w: 0.5 * jnp.mean(layer(x, w) ** 2), argnums=(0, 1))(*carry)
        return carry[0] - 1e-3 * gradients[0], carry[1] - 1e-3 * gradients[1]

    return step


def outside(layer: Layer, carry: Carry, num_steps: int) -> Contestant:
    """Returns one dispatch a step."""
    step = jax.jit(gradient_step(layer))

    def run() -> Carry:
        state = carry
        for _ in range(num_steps):
            state = step(state)
        return state

    return Contestant(run, num_steps)


def scanned(layer: Layer, carry: Carry, num_steps: int) -> Contestant:
    """Returns all steps in one dispatch; at least two, since XLA dissolves a loop of one."""
    step = gradient_step(layer)
    loop = jax.jit(lambda c: lax.scan(lambda c, _: (step(c), None), c, None, length=num_steps)[0])
    return Contestant(lambda: loop(carry), num_steps)


def kernel_gradient(layer: Layer, carry: Carry, num_steps: int) -> Contestant:
    """Returns the gradient in the kernel alone."""
    gradient = jax.jit(jax.grad(lambda w, x, y: jnp.vdot(layer(x, w), y)))
    x, w = carry
    y = jax.jit(layer)(x, w)
    return Contestant(lambda: [gradient(w, x, y) for _ in range(num_steps)], num_steps)


def interleaved(contestants: dict[str, Contestant], num_windows: int) -> dict[str, list[float]]:
    """Times all contestants in turn.

    Args:
        contestants: what to time, by name.
        num_windows: how many times each runs after it has compiled.

    Returns:
        Milliseconds a step of each window, by name.
    """
    for contestant in contestants.values():
        jax.block_until_ready(contestant.run())
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(num_windows):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(contestant.run())
            milliseconds = 1e3 * (time.perf_counter() - start)
            times[name].append(milliseconds / contestant.num_steps)
    return times


def ratio(numerators: list[float], denominators: list[float]) -> float:
    """Returns the median of the ratios of neighbouring windows, which share their noise."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def measure(case: Case, num_windows: int, num_steps: int) -> list[str]:
    """Times one layer and returns its row of the table."""
    carry = case.arguments()
    contestants = {
        "step": outside(case.layer, carry, num_steps),
        "scan": scanned(case.layer, carry, num_steps),
        "lax step": outside(case.lax_layer, carry, num_steps),
        "kernel": kernel_gradient(case.layer, carry, num_steps),
        "lax kernel": kernel_gradient(case.lax_layer, carry, num_steps),
    }
    times = interleaved(contestants, num_windows)
    # In a scan lax may take seconds a step: two windows of two steps say enough.
    slow = interleaved({"lax scan": scanned(case.lax_layer, carry, 2)}, 2)
    middle = {name: statistics.median(values) for name, values in (times | slow).items()}
    return [
        case.name,
        *(f"{middle[name]:.2f}" for name in ("step", "scan", "lax step", "lax scan")),
        f"{ratio(times['scan'], times['step']):.2f}",
        f"{middle['lax scan'] / middle['scan']:.1f}",
        f"{middle['kernel']:.2f}",
        f"{middle['lax kernel']:.2f}",
        f"{ratio(times['lax kernel'], times['kernel']):.1f}",
    ]


def main(windows: int = 9, steps: int = 4, batch: int = 64, xla_defaults: bool = False) -> None:
    """Measures every layer and prints a table of milliseconds a step.

    Args:
        windows: how many times each contestant runs.
        steps: steps of one run.
        batch: images a step.
        xla_defaults: leave XLA's flags as they are, without those that jaxgen's scripts set.
    """
    if not xla_defaults:
        configure()
    flags = "XLA's default flags" if xla_defaults else "the flags of jaxgen's scripts"
    table = Table(title=f"milliseconds a step on {jax.default_backend()} with {flags}")
    for column in (
        *("forward and backward", "jaxgen", "in scan", "lax", "in scan"),
        *("jaxgen: scan / not", "in scan: lax / jaxgen"),
        *("kernel gradient: jaxgen", "lax", "lax / jaxgen"),
    ):
        is_first = not table.columns
        table.add_column(column, justify="left" if is_first else "right", no_wrap=is_first)
    for case in cases(batch):
        table.add_row(*measure(case, windows, steps))
    Console(width=150).print(table)


if __name__ == "__main__":
    tyro.cli(main)
