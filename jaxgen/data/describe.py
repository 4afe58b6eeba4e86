"""What a data set is, in one line for people."""

from jaxgen.data.dataset import Dataset
from jaxgen.data.text import counted, printable


def describe(dataset: Dataset) -> str:
    """Says what was loaded.

    Args:
        dataset: any data set.

    Returns:
        One printable line, as in `folder:/data/pets: 18 train and 2 test images 64x64x3, 256
        levels, 2 classes; 3 files left out (2 .txt, 1 .csv)`.
    """
    counts = f"{len(dataset.train):,} train and {len(dataset.test):,} test"
    if len(dataset.shape) == 3:
        labels = counted(dataset.num_classes, "class") if dataset.num_classes else "no classes"
        what = f"images {'x'.join(map(str, dataset.shape))}, {dataset.levels} levels, {labels}"
    else:
        what = f"vectors of {counted(dataset.shape[0], 'value')}"
    return "; ".join([f"{printable(dataset.name)}: {counts} {what}", *dataset.notes])
