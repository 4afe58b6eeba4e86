"""What a data set is: two splits of examples, their shape and their number of levels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

OWN_NAMES = ("digits", "stacked_digits", "ring", "grid", "moons", "checkerboard")
"""Data sets that need no file."""
FOLDER_PREFIX = "folder:"
"""Before the path of a folder of images, where a data set is named."""
IMAGE_PREFIX = "image:"
"""Before the path of a single image file."""

_BLOCK = 256

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

    def labels(self) -> np.ndarray | None:
        """The labels of all examples, int32 `[N]`, below 0 where unknown; None without labels."""
        ...


def _checked_indices(indices: np.ndarray, num_examples: int) -> np.ndarray:
    """The indices as an array, or IndexError: a negative index must not wrap around."""
    indices = np.asarray(indices)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise IndexError(f"indices: {indices.dtype} {indices.shape}, expected integers [b]")
    if indices.size and not 0 <= indices.min() <= indices.max() < num_examples:
        raise IndexError(
            f"indices: {indices.min()} to {indices.max()}, expected 0 to {num_examples - 1}"
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
            raise ValueError(f'arrays: {sorted(self.arrays)}, expected "x" among them')
        if self.arrays["x"].dtype not in (np.uint8, np.float32):
            raise ValueError(f"x: {self.arrays['x'].dtype}, expected uint8 or float32")
        if "label" in self.arrays and self.arrays["label"].dtype != np.int32:
            raise ValueError(f"label: {self.arrays['label'].dtype}, expected int32")
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays: lengths {lengths}, expected the same")

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

    def labels(self) -> np.ndarray | None:
        """The labels of all examples, int32 `[N]`, below 0 where unknown; None without labels."""
        return self.arrays.get("label")


class StreamSplit:
    """A split that is too large for memory: examples are read and decoded when asked for."""

    def __init__(
        self,
        num_examples: int,
        read: Callable[[np.ndarray], NumpyBatch],
        read_labels: Callable[[], np.ndarray | None] | None = None,
    ):
        """Keeps the readers.

        Args:
            num_examples: number of examples, at least 0.
            read: indices (integers `[b]`) to a new batch; called from several threads at once.
            read_labels: gives the labels of all examples, int32 `[N]`, or None without labels,
                where that is faster than reading all examples.
        """
        self._num_examples = num_examples
        self._read = read
        self._read_labels = read_labels
        self._labels: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of examples."""
        return self._num_examples

    def gather(self, indices: np.ndarray) -> NumpyBatch:
        """Reads the examples at `indices` (integers `[b]`), in that order, as new arrays.

        Raises:
            IndexError: if an index is not in 0..N-1.
        """
        return self._read(_checked_indices(indices, len(self)))

    def labels(self) -> np.ndarray | None:
        """The labels of all examples, int32 `[N]`, below 0 where unknown; None without labels.

        They are read when first asked for, and kept.
        """
        if self._labels is None:
            read = self._read_labels or self._labels_of_examples
            self._labels = read()
        return self._labels

    def _labels_of_examples(self) -> np.ndarray | None:
        """The labels from the examples, of which few are held at once."""
        blocks = []
        for start in range(0, len(self), _BLOCK):
            batch = self.gather(np.arange(start, min(start + _BLOCK, len(self))))
            if "label" not in batch:
                return None
            blocks.append(batch["label"])
        return np.concatenate(blocks) if blocks else None


@dataclass(frozen=True)
class Dataset:
    """A data set with a train and a test split.

    Attributes:
        name: the name it is loaded by; of a folder or an image in one form, as `folder:` and
            its resolved path.
        shape: shape of one example: `(H, W, C)` of an image, `(D,)` of a vector.
        levels: number of values a pixel takes (pixels are 0 to levels - 1); None for vectors.
        class_names: name of each label 0, 1, ...; None without labels.
        train: the examples to learn from.
        test: the examples to measure on.
        notes: what was left out or how the data were understood, a line each.
        digest: SHA-256 of what is in which split (of a folder the names, sizes and labels,
            of one image its file, wherever they lie), in hexadecimal digits; None for sets that
            cannot change.
    """

    name: str
    shape: tuple[int, ...]
    levels: int | None
    class_names: tuple[str, ...] | None
    train: Split
    test: Split
    notes: tuple[str, ...] = ()
    digest: str | None = None

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None without labels."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def train_unlabelled(self) -> int:
        """Number of train examples whose label is unknown; 0 where the set has no labels."""
        return _num_unlabelled(self.train)

    @property
    def test_unlabelled(self) -> int:
        """Number of test examples whose label is unknown; 0 where the set has no labels."""
        return _num_unlabelled(self.test)


def _num_unlabelled(split: Split) -> int:
    labels = split.labels()
    return 0 if labels is None else int(np.count_nonzero(labels < 0))
