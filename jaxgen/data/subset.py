"""The one way to take a part of a split: at random, the same in every command."""

import numpy as np

from jaxgen.data.dataset import NumpyBatch, Split

SUBSET_SEED = 0
"""For all splits and sizes."""


def subset_indices(num_examples: int, num: int) -> np.ndarray:
    """Samples without replacement from a whole split, which may be sorted by class.

    The order is random, too, so that any first few of them are such a sample as well.

    Args:
        num_examples: number of examples of the split, at least 0.
        num: number to draw, at least 0; all are taken where there are fewer.

    Returns:
        int64 `[min(num, num_examples)]`, a function of the arguments alone; fewer are the first of
        more.

    Raises:
        ValueError: if a number is negative.
    """
    for name, value in (("num_examples", num_examples), ("num", num)):
        if value < 0:
            raise ValueError(f"{name}: {value}, expected at least 0")
    return np.random.default_rng(SUBSET_SEED).permutation(num_examples)[:num]


def subset(split: Split, num: int) -> NumpyBatch:
    """Reads a random part of a split.

    Args:
        split: the examples.
        num: number of examples, at least 0; all are taken where there are fewer.

    Returns:
        The examples of `subset_indices(len(split), num)`.

    Raises:
        ValueError: if `num` is negative.
    """
    return split.gather(subset_indices(len(split), num))
