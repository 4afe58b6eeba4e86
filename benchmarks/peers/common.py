"""What every contestant shares: the data and the shape of a program."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

SEED = 0
NUM_IMAGES = 12_800
IMAGE_SIZE = 28


class Window(NamedTuple):
    """What was measured over some steps.

    Attributes:
        steps: training steps, or draws, that were timed.
        seconds: time they took, to the end of the last one.
        loss: training loss at the end; after draws the root mean square of the last one.
    """

    steps: int
    seconds: float
    loss: float


class Program(NamedTuple):
    """A contestant that is ready to train.

    Attributes:
        num_parameters: trained scalars in all networks together.
        step_multiple: `run` does a multiple of this many steps.
        run: trains for a number of steps and measures.
        draw: returns examples of the model as it is trained by then, or None if that is not timed.
    """

    num_parameters: int
    step_multiple: int
    run: Callable[[int], Window]
    draw: Callable[[], np.ndarray] | None = None


def timed(train: Callable[[int], float]) -> Callable[[int], Window]:
    """Measures a function that trains for a number of steps and returns the last loss."""

    def run(num_steps: int) -> Window:
        start = time.perf_counter()
        loss = train(num_steps)
        return Window(num_steps, time.perf_counter() - start, loss)

    return run


def timed_draws(draw: Callable[[], np.ndarray], num_draws: int) -> Window:
    """Measures a function that draws examples.

    Args:
        draw: returns when the examples are there.
        num_draws: number of calls.

    Returns:
        the measurement.
    """
    start = time.perf_counter()
    for _ in range(num_draws):
        examples = draw()
    seconds = time.perf_counter() - start
    rms = float(np.sqrt(np.mean(np.square(examples, dtype=np.float64))))
    return Window(num_draws, seconds, rms)


def images() -> np.ndarray:
    """Synthetic binary images: one filled ellipse each, with 2 % of the pixels flipped.

    Returns:
        uint8 `[12800, 28, 28, 1]`, values 0 and 1, the same in every process.
    """
    generator = np.random.default_rng(SEED)
    center = generator.uniform(8, 20, (2, NUM_IMAGES, 1, 1)).astype(np.float32)
    radius = generator.uniform(3, 8, (2, NUM_IMAGES, 1, 1)).astype(np.float32)
    row, column = np.ogrid[:IMAGE_SIZE, :IMAGE_SIZE]
    distance = ((row - center[0]) / radius[0]) ** 2 + ((column - center[1]) / radius[1]) ** 2
    flipped = generator.random(distance.shape, dtype=np.float32) < 0.02
    return ((distance < 1) ^ flipped).astype(np.uint8)[..., None]


def batch_rows(batch_size: int, num_examples: int = NUM_IMAGES) -> Iterator[np.ndarray]:
    """Rows of the data for one step after another: a fresh permutation each epoch.

    Args:
        batch_size: a divisor of the number of examples.
        num_examples: N.

    Yields:
        int64 `[batch_size]`, values 0 to N - 1.
    """
    generator = np.random.default_rng(SEED)
    while True:
        yield from generator.permutation(num_examples).reshape(-1, batch_size)
