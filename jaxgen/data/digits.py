"""The 8x8 handwritten digits inside scikit-learn: no download, no file."""

import importlib.util
import pathlib

import numpy as np

from jaxgen.data.dataset import ArraySplit, Dataset

NUM_TRAIN = 1400
NUM_STACKED_TRAIN, NUM_STACKED_TEST = 20_000, 2_000
LEVELS = 17
# The split of the published floors: with uniform noise the test images take 3.406
# (diagonal) and 2.968 (full) bits/dim under a fitted Gaussian, 2.660 under 20 diagonal ones.
SPLIT_SEED = 0


def load_digits() -> Dataset:
    """Loads the digits: 1797 grey images of 8x8 pixels with 17 levels and ten classes.

    Writers come in blocks in the original order, so the images are permuted (seeded, always the
    same) before the first 1400 become the train split and the other 397 the test split.

    Returns:
        The data set; `x` is uint8 `[N, 8, 8, 1]` with values 0 to 16, `label` int32 `[N]`.
    """
    # The file is read past `sklearn.datasets`, whose import takes longer than the first steps.
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None
    path = pathlib.Path(package.origin).parent / "datasets/data/digits.csv.gz"
    table = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    table = table[np.random.default_rng(SPLIT_SEED).permutation(len(table))]
    images = table[:, :-1].reshape(-1, 8, 8, 1)
    labels = table[:, -1].astype(np.int32)
    return Dataset(
        name="digits",
        shape=(8, 8, 1),
        levels=LEVELS,
        class_names=tuple(map(str, range(10))),
        train=ArraySplit({"x": images[:NUM_TRAIN], "label": labels[:NUM_TRAIN]}),
        test=ArraySplit({"x": images[NUM_TRAIN:], "label": labels[NUM_TRAIN:]}),
    )


def load_stacked_digits() -> Dataset:
    """Stacks three digits at a time as the channels of an image, drawn with replacement.

    With ten classes in each channel there are 1,000 modes, all equally likely but for the classes'
    shares of the digits. Train images are made of train digits, and test images of test digits.

    Returns:
        The data set; `x` is uint8 `[N, 8, 8, 3]` with values 0 to 16; it has no labels.
    """
    digits, random = load_digits(), np.random.default_rng(SPLIT_SEED)

    def stack(split: ArraySplit, num: int) -> ArraySplit:
        x = split.arrays["x"][..., 0]
        return ArraySplit({"x": np.moveaxis(x[random.integers(len(x), size=(num, 3))], 1, -1)})

    train, test = digits.train, digits.test
    assert isinstance(train, ArraySplit) and isinstance(test, ArraySplit)
    return Dataset(
        name="stacked_digits",
        shape=(8, 8, 3),
        levels=LEVELS,
        class_names=None,
        train=stack(train, NUM_STACKED_TRAIN),
        test=stack(test, NUM_STACKED_TEST),
    )
