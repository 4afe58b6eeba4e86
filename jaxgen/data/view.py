"""Parts of a split that are splits themselves."""

import numpy as np

from jaxgen.data.dataset import NumpyBatch, Split, StreamSplit


def view(split: Split, indices: np.ndarray) -> StreamSplit:
    """Some of the examples of a split, which are read when asked for; nothing is copied.

    Args:
        split: the examples.
        indices: integers `[n]`, which of them, in this order.

    Returns:
        The split of those examples.
    """

    def read(places: np.ndarray) -> NumpyBatch:
        return split.gather(indices[places])

    def read_labels() -> np.ndarray | None:
        labels = split.labels()
        return None if labels is None else labels[indices]

    return StreamSplit(len(indices), read, read_labels)


def labelled(split: Split) -> Split:
    """The examples whose label is known, for all that needs labels.

    The labels are read, once; of a split that is streamed they alone are held.

    Args:
        split: the examples; a label below 0 is unknown.

    Returns:
        The split itself where all labels are known, else a view of the examples that have one
        (none, where there are no labels).
    """
    labels = split.labels()
    if labels is None:
        return view(split, np.arange(0))
    return split if (labels >= 0).all() else view(split, np.flatnonzero(labels >= 0))
