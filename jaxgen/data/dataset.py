"""What a data set is: two splits of examples, their shape and their number of levels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

OWN_NAMES = ("digits", "ring", "grid", "moons", "checkerboard")
"""Data sets that need no file."""
FOLDER_PREFIX = "folder:"
"""Before the path of a folder of images, where a data set is named."""

NumpyBatch = dict[str, np.ndarray]


class DataError(ValueError):
    """A data set cannot be found, read or used as asked; the message says what to do."""


class Split(Protocol):
    """Examples that are read by index.

    A batch is a dict with `"x"`, uint8 `[b, H, W, C]` or float32 `[b, D]`, and, where the data set
    has labels, `"label"`, int32 `[b]`.
    """

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def gather(self, indices: np.ndarray) -> NumpyBatch:
        """Reads the examples at `indices` (integers `[b]`), in that order, as new arrays."""
        ...


def _checked_indices(indices: np.ndarray, num_examples: int) -> np.ndarray:
    """The indices as an array, or IndexError: a negative index must not wrap around."""
    indices = np.asarray(indices)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise IndexError(f"indices must be integers [b], got {indices.dtype} {indices.shape}")
    if indices.size and not 0 <= indices.min() <= indices.max() < num_examples:
        raise IndexError(
            f"indices must lie in 0..{num_examples - 1}, got {indices.min()}..{indices.max()}"
        )
    return indices


class ArraySplit:
    """A split that is held in memory.

    Attributes:
        arrays: name to array, all with the same first axis.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        """Keeps the arrays, without a copy.

        Args:
            arrays: `"x"`, uint8 `[N, H, W, C]` or float32 `[N, D]`, and optionally `"label"`,
                int32 `[N]`.

        Raises:
            ValueError: if `"x"` is missing, or the lengths or dtypes are not as above.
        """
        self.arrays = dict(arrays)
        if "x" not in self.arrays:
            raise ValueError(f'arrays must hold "x", got {sorted(self.arrays)}')
        if self.arrays["x"].dtype not in (np.uint8, np.float32):
            raise ValueError(f'"x" must be uint8 or float32, got {self.arrays["x"].dtype}')
        if "label" in self.arrays and self.arrays["label"].dtype != np.int32:
            raise ValueError(f'"label" must be int32, got {self.arrays["label"].dtype}')
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays must have the same length, got {lengths}")

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.arrays["x"])

    def gather(self, indices: np.ndarray) -> NumpyBatch:
        """Reads the examples at `indices` (integers `[b]`), in that order, as new arrays.

        Raises:
            IndexError: if an index is not in 0..N-1.
        """
        indices = _checked_indices(indices, len(self))
        return {name: array[indices] for name, array in self.arrays.items()}


class StreamSplit:
    """A split that is too large for memory: examples are read and decoded when asked for."""

    def __init__(self, num_examples: int, read: Callable[[np.ndarray], NumpyBatch]):
        """Keeps the reader.

        Args:
            num_examples: number of examples, at least 1.
            read: indices (integers `[b]`) to a new batch; called from several threads at once.
        """
        self._num_examples = num_examples
        self._read = read

    def __len__(self) -> int:
        """Number of examples."""
        return self._num_examples

    def gather(self, indices: np.ndarray) -> NumpyBatch:
        """Reads the examples at `indices` (integers `[b]`), in that order, as new arrays.

        Raises:
            IndexError: if an index is not in 0..N-1.
        """
        return self._read(_checked_indices(indices, len(self)))


@dataclass(frozen=True)
class Dataset:
    """A data set with a train and a test split.

    Attributes:
        name: the name it was loaded by.
        shape: shape of one example: `(H, W, C)` of an image, `(D,)` of a vector.
        levels: number of values a pixel takes (pixels are 0 to levels - 1); None for vectors.
        class_names: name of each label 0, 1, ...; None without labels.
        train: the examples to learn from.
        test: the examples to measure on.
    """

    name: str
    shape: tuple[int, ...]
    levels: int | None
    class_names: tuple[str, ...] | None
    train: Split
    test: Split

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None without labels."""
        return None if self.class_names is None else len(self.class_names)
