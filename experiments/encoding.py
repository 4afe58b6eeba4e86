"""Encodes a part of a split in blocks, for whatever looks at latents after the training."""

from collections.abc import Callable

import jax
import numpy as np

from jaxgen.data import Split, subset_indices
from jaxgen.types import PyTree

_NUM_ENCODED = 10_000
_BLOCK_SIZE = 500


def encode_part(
    encode: Callable[[np.ndarray], PyTree], split: Split, num: int = _NUM_ENCODED
) -> PyTree:
    """Encodes a random part of a split in blocks: NumPy arrays `[N, ...]` of what is given."""
    indices, blocks = subset_indices(len(split), num), []
    for start in range(0, len(indices), _BLOCK_SIZE):
        x = split.gather(indices[start : start + _BLOCK_SIZE])["x"]
        blocks.append(jax.device_get(encode(x)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)
