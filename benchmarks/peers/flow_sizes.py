"""What the flow contestants share: the five workloads, their data, sizes and optimizer."""

from typing import Literal, NamedTuple

import numpy as np

from benchmarks.peers import common

Workload = Literal["real_nvp_2d", "real_nvp_43d", "spline_2d", "spline_43d", "glow_32"]
SPLINES = ("spline_2d", "spline_43d")

LEARNING_RATE = 1e-3
"""Of Adam."""

NUM_COUPLINGS = 8
"""Of a flow of vectors."""

NUM_BINS = 8
LIMIT = 5.0
"""A spline is the identity outside of -5 to 5."""

NUM_LEVELS = 2
NUM_STEPS = 4
"""Of each level of Glow: actnorm, invertible 1x1 convolution, affine coupling."""

NUM_FEATURES = 64
"""Hidden channels of Glow's networks."""

SHAPE = (32, 32, 3)
"""Of Glow's images."""


class Sizes(NamedTuple):
    """How a workload is trained and drawn from.

    Attributes:
        batch_size: examples of a training step.
        num_examples: in the data, a multiple of the batch size.
        num_drawn: examples of one draw.
        num_dims: numbers of an example.
        hidden_sizes: of the fully connected networks; empty for Glow.
    """

    batch_size: int
    num_examples: int
    num_drawn: int
    num_dims: int
    hidden_sizes: tuple[int, ...]


SIZES: dict[Workload, Sizes] = {
    "real_nvp_2d": Sizes(256, 12_800, 10_000, 2, (64, 64)),
    "real_nvp_43d": Sizes(256, 12_800, 10_000, 43, (128, 128)),
    "spline_2d": Sizes(512, 51_200, 10_000, 2, (64, 64)),
    "spline_43d": Sizes(256, 12_800, 10_000, 43, (128, 128)),
    "glow_32": Sizes(32, 1_280, 256, 32 * 32 * 3, ()),
}


def data(workload: Workload) -> np.ndarray:
    """Synthetic data of mean 0 and variance 1: whatever noise it has is drawn once.

    Args:
        workload: whose data.

    Returns:
        float32 `[N, D]`, two rings or a mixture of five normal densities; for Glow
        `[N, 32, 32, 3]`, one disk each on a background of another colour. The same in every
        process.
    """
    generator = np.random.default_rng(common.SEED)
    sizes = SIZES[workload]
    if workload == "glow_32":
        x = _disks(generator, sizes.num_examples)
    elif sizes.num_dims == 2:
        x = _rings(generator, sizes.num_examples)
    else:
        x = _mixture(generator, sizes.num_examples, sizes.num_dims)
    axes = tuple(range(x.ndim - 1))
    x -= x.mean(axes)
    x /= x.std(axes)
    return x.astype(np.float32, copy=False)


def _rings(generator: np.random.Generator, num: int) -> np.ndarray:
    angle = generator.uniform(0, 2 * np.pi, num)
    radius = generator.integers(1, 3, num) + generator.normal(0, 0.1, num)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _mixture(generator: np.random.Generator, num: int, num_dims: int) -> np.ndarray:
    mean = generator.normal(size=(5, 1, num_dims))
    root = generator.normal(size=(5, num_dims, num_dims)) / np.sqrt(num_dims)
    component = generator.integers(5, size=num)
    candidates = mean + generator.normal(size=(num, num_dims)) @ root
    return candidates[component, np.arange(num)]


def _disks(generator: np.random.Generator, num: int) -> np.ndarray:
    row, column = np.ogrid[: SHAPE[0], : SHAPE[1]]
    center = generator.uniform(8, 24, (2, num, 1, 1))
    radius = generator.uniform(4, 12, (num, 1, 1))
    is_inside = np.hypot(row - center[0], column - center[1]) < radius
    # In float32, so that making the data does not set the peak of memory.
    colors = generator.random((2, num, 1, 1, SHAPE[2]), dtype=np.float32)
    x = generator.standard_normal((num, *SHAPE), dtype=np.float32)
    x *= 0.1
    x += np.where(is_inside[..., None], *colors)
    return x
