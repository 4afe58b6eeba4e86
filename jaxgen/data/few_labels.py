"""A few labels of a split: balanced random draws of them, and splits that hide all others."""

import numpy as np

from jaxgen.data.dataset import NumpyBatch, Split, StreamSplit


def balanced_indices(labels: np.ndarray, num: int, *, seed: int) -> np.ndarray:
    """Draws labelled examples at random, of each class as many as of any other.

    Where a class has fewer examples than its part, the others make up for it; what is left over
    goes to classes at random.

    Args:
        labels: int `[N]`, below 0 where unknown.
        num: number to draw, from the number of classes that occur to that of labelled examples.
        seed: of the draw, at least 0.

    Returns:
        int64 `[num]`, a function of the arguments alone; by one seed fewer are the first of more.

    Raises:
        ValueError: if `num` is out of its range.
    """
    known = np.flatnonzero(labels >= 0)
    num_classes = len(np.unique(labels[known]))
    if not 1 <= num_classes <= num <= len(known):
        raise ValueError(
            f"num_labels: {num}, expected {num_classes} (the classes) to {len(known)} (the "
            "labelled train examples)"
        )
    order = np.random.default_rng(seed).permutation(known)
    rank = np.zeros(len(order), int)
    for label in np.unique(labels[known]):
        places = np.flatnonzero(labels[order] == label)
        rank[places] = np.arange(len(places))
    return order[np.argsort(rank, kind="stable")][:num]


def with_labels_of(split: Split, indices: np.ndarray) -> Split:
    """The same examples, of which only some keep their label; that of the others is -1.

    Args:
        split: the examples, which have labels.
        indices: int `[n]`, which of them keep theirs.

    Returns:
        The split; nothing of its images is copied.

    Raises:
        ValueError: if the examples have no labels.
    """
    labels = split.labels()
    if labels is None:
        raise ValueError("split: examples without labels, expected some to keep")
    kept = np.full(len(labels), -1, np.int32)
    kept[indices] = labels[indices]

    def read(places: np.ndarray) -> NumpyBatch:
        return {**split.gather(places), "label": kept[places]}

    return StreamSplit(len(split), read, lambda: kept)
