"""Data sets, and the map from (seed, step) to the indices of a batch.

This package loads NumPy alone; scikit-learn, Pillow, tensorflow-datasets and grain are imported by
the functions that use them.
"""

from jaxgen.data.dataset import ArraySplit, DataError, Dataset, Split, StreamSplit
from jaxgen.data.describe import describe
from jaxgen.data.few_labels import balanced_indices, with_labels_of
from jaxgen.data.load import load
from jaxgen.data.pipeline import batch_indices, chunk_indices, stream
from jaxgen.data.subset import subset, subset_indices
from jaxgen.data.text import counted, printable
from jaxgen.data.view import labelled

__all__ = [
    "ArraySplit",
    "DataError",
    "Dataset",
    "Split",
    "StreamSplit",
    "balanced_indices",
    "batch_indices",
    "chunk_indices",
    "counted",
    "describe",
    "labelled",
    "load",
    "printable",
    "stream",
    "subset",
    "subset_indices",
    "with_labels_of",
]
