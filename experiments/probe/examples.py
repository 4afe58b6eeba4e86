"""What the probe learns from: labelled examples as pixels, principal components and features."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import sklearn.decomposition

from experiments.encoding import encode_part
from jaxgen.data import Dataset, Split, labelled, subset_indices

_MAX_TRAIN = 10_000
_MAX_TEST = 2000
_MAX_COMPONENTS = 50


class Part(NamedTuple):
    """Examples of a split in every form.

    Attributes:
        forms: name to float32 `[N, F]`.
        label: int32 `[N]`.
    """

    forms: dict[str, np.ndarray]
    label: np.ndarray


def labelled_split(dataset: Dataset, name: str) -> Split:
    """The labelled examples of a split, or raises ValueError if there are none."""
    split = labelled(dataset.train if name == "train" else dataset.test)
    if dataset.class_names is None or len(split) == 0:
        raise ValueError(
            f"dataset: {dataset.name} without {name} labels, expected a class for some"
        )
    return split


def train_labels(dataset: Dataset) -> np.ndarray:
    """Labels of the train examples that are drawn from: a random part, where there are many."""
    split: Any = labelled_split(dataset, "train")
    return split.labels()[subset_indices(len(split), _MAX_TRAIN)]


def read_parts(dataset: Dataset, extract: Callable[[np.ndarray], jax.Array]) -> tuple[Part, Part]:
    """Reads train and test examples, of which no label is used.

    Every form is centred and divided by one number, the root mean square of all its train values;
    principal components are those of the train pixels, as many as features, up to 50.

    Args:
        dataset: whose labelled examples are read.
        extract: ``x -> [B, F]``, the features of a run.

    Returns:
        The train examples, in the order of `train_labels`, and a random part of the test examples.
    """
    train, test = (
        _read(labelled_split(dataset, split), extract, num)
        for split, num in (("train", _MAX_TRAIN), ("test", _MAX_TEST))
    )
    pixels, features = zip(train[:2], test[:2], strict=True)
    num = min(_MAX_COMPONENTS, features[0].shape[1], *pixels[0].shape)
    pca = sklearn.decomposition.PCA(num, random_state=0).fit(pixels[0])
    components = tuple(pca.transform(part) for part in pixels)
    forms = {"pixels": pixels, f"PCA of {num}": components, "features": features}
    scaled = {key: _scaled(*pair) for key, pair in forms.items()}
    return tuple(  # type: ignore[return-value]
        Part({key: pair[i] for key, pair in scaled.items()}, part[2])
        for i, part in enumerate((train, test))
    )


def _read(
    split: Any, extract: Callable[[np.ndarray], jax.Array], num: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, features and labels of a random part of a split."""
    x, features = encode_part(lambda x: (x, extract(x)), split, num)
    label = split.labels()[subset_indices(len(split), num)]
    return x.reshape(len(x), -1).astype(np.float32), features.astype(np.float32), label


def _scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = train.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.mean((train - mean) ** 2)) or 1.0
    return ((train - mean) / scale), ((test - mean) / scale)
