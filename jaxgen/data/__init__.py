"""Data sets, and the map from (seed, step) to the indices of a batch.

This package loads NumPy alone; scikit-learn, Pillow, tensorflow-datasets and grain are imported by
the functions that use them.
"""

from jaxgen.data.dataset import ArraySplit as ArraySplit
from jaxgen.data.dataset import DataError as DataError
from jaxgen.data.dataset import Dataset as Dataset
from jaxgen.data.dataset import Split as Split
from jaxgen.data.dataset import StreamSplit as StreamSplit
from jaxgen.data.load import load as load
from jaxgen.data.pipeline import batch_indices as batch_indices
from jaxgen.data.pipeline import chunk_indices as chunk_indices
from jaxgen.data.pipeline import stream as stream
