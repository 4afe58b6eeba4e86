"""Features of images from small networks that are trained here: no weights are downloaded.

Distances on these features are **not FID**: they depend on the network, whose name (a hash of its
parameters) and accuracy belong beside every score, and compare only with scores under the same
network. Take several seeds and `random_features` as a control; a ranking that flips between
networks is a tie. The features are sparse and not normal, so look at more than one metric.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data.dataset import Dataset
from jaxgen.nn import Conv
from jaxgen.pixels import to_model_range
from jaxgen.training.leaves import parameter_digest
from jaxgen.types import Array, PyTree

NUM_FEATURES = 64
"""Width of the penultimate layer."""

_WIDTH = 32
_MAX_GROWTH = 4  # Channels double as maps halve, up to this factor.
_FIRST_MAP = 16  # The first convolution leaves at most this length: most of the time goes there.
_LAST_MAP = 4  # Axes are then halved until they are at most this long.
_BLOCK_SIZE = 256
_INIT = nn.initializers.he_uniform()


class FeatureClassifier(nn.Module):
    """Convolutional classifier whose penultimate layer gives features; images of any size.

    A convolution of stride `s = ceil(size / 16)` and kernel `2 s + 1` along each axis, 3x3
    convolutions of stride 2 until an axis is at most 4 long, and a dense layer, each with ReLU.
    Nothing is normalised, so that no image changes the features of another.

    Attributes:
        num_classes: number of labels, or None for features alone.
        num_features: width of the penultimate layer.
    """

    num_classes: int | None
    num_features: int = NUM_FEATURES

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array | None]:
        """Map images in [-1, 1] to features, at least 0, and logits.

        Args:
            x: `[B, H, W, C]`.

        Returns:
            `[B, num_features]` and `[B, num_classes]`, or None without classes.
        """
        chex.assert_rank(x, 4)
        strides = [math.ceil(size / _FIRST_MAP) for size in x.shape[1:3]]
        kernel = [2 * stride + 1 for stride in strides]
        x = nn.relu(Conv(_WIDTH, kernel, strides, kernel_init=_INIT)(x))
        growth = 1
        while max(x.shape[1:3]) > _LAST_MAP:
            # No axis falls below the kernel: there XLA's convolutions on a CPU are many times
            # slower.
            strides = [2 if size > _LAST_MAP else 1 for size in x.shape[1:3]]
            growth = min(2 * growth, _MAX_GROWTH)
            x = nn.relu(Conv(_WIDTH * growth, 3, strides, kernel_init=_INIT)(x))
        x = x.reshape(len(x), -1)
        found = nn.relu(nn.Dense(self.num_features, kernel_init=_INIT, name="features")(x))
        if self.num_classes is None:
            return found, None
        return found, nn.Dense(self.num_classes, name="logits")(found)


class FeatureNet(NamedTuple):
    """What gives the features of a data set; `features` and `predict` apply it.

    Attributes:
        module: the network; None where the features are the values themselves.
        variables: what its `apply` takes.
        shape: of one example, `(H, W, C)` or `(D,)`.
        levels: number of values a pixel takes; None for vectors.
        num_features: length of a feature vector.
        test_accuracy: share of labelled test images with the right prediction; None for what is no
            classifier, and where no test image has a label.
        linear_accuracy: the same of a linear classifier on pixels.
        name: SHA-256 of the parameters, 64 hexadecimal digits; "identity" for the values
            themselves. Scores with different names do not compare.
        note: what it is, in words, with the accuracies.
    """

    module: FeatureClassifier | None
    variables: PyTree
    shape: tuple[int, ...]
    levels: int | None
    num_features: int
    test_accuracy: float | None
    linear_accuracy: float | None
    name: str
    note: str

    @property
    def is_classifier(self) -> bool:
        """Whether it predicts labels."""
        return self.module is not None and self.module.num_classes is not None


def random_features(dataset: Dataset, *, seed: int = 0, reason: str = "asked for") -> FeatureNet:
    """Make a network with random parameters: the control of what training adds.

    Args:
        dataset: images, with labels or without.
        seed: of the parameters, at least 0; `train_features` starts from those of the same seed.
        reason: why it is not trained, for the note.

    Returns:
        The network, which predicts no labels.

    Raises:
        ValueError: if the data are no images or the seed is negative.
    """
    module = FeatureClassifier(None)
    params = initial_params(module, dataset, seed)
    name = parameter_digest(params)
    return FeatureNet(
        module,
        {"params": params},
        dataset.shape,
        dataset.levels,
        module.num_features,
        test_accuracy=None,
        linear_accuracy=None,
        name=name,
        note=f"untrained network, since {reason}, net {name[:8]}",
    )


def identity_features(dataset: Dataset) -> FeatureNet:
    """Take the values of vectors as their features.

    Args:
        dataset: vectors.

    Returns:
        The features, without a network.

    Raises:
        ValueError: if the data are no vectors.
    """
    if len(dataset.shape) != 1:
        raise ValueError(f"dataset: examples of shape {dataset.shape}, expected vectors (D,)")
    (num_features,) = dataset.shape
    note = "the values themselves"
    return FeatureNet(
        None, {}, dataset.shape, None, num_features, None, None, name="identity", note=note
    )


def initial_params(module: nn.Module, dataset: Dataset, seed: int) -> PyTree:
    """Draw the first parameters of a network for the images of a data set.

    Args:
        module: the network.
        dataset: images.
        seed: at least 0.

    Returns:
        The parameters.

    Raises:
        ValueError: if the data are no images or the seed is negative.
    """
    if len(dataset.shape) != 3 or dataset.levels is None:
        raise ValueError(f"dataset: examples of shape {dataset.shape}, expected images (H, W, C)")
    if seed < 0:
        raise ValueError(f"seed: {seed}, expected at least 0")
    images = jnp.zeros((1, *dataset.shape))
    return jax.jit(module.init)(jax.random.key(seed), images)["params"]


@functools.partial(jax.jit, static_argnames=("module", "levels"))
def _apply(variables: PyTree, x: Array, *, module: nn.Module, levels: int) -> Any:
    """Features and logits of pixels, in float32 on devices that would rather round."""
    with jax.default_matmul_precision("float32"):
        return module.apply(variables, to_model_range(x, levels))


def outputs(
    module: nn.Module, variables: PyTree, levels: int, x: np.ndarray, *, part: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Apply a network to images in blocks; the last is filled up, so one program does.

    Args:
        module: gives features and logits, such as `FeatureClassifier`.
        variables: what its `apply` takes.
        levels: number of values a pixel takes.
        x: images, uint8 `[N, H, W, C]`.
        part: 0 for features, 1 for logits.

    Yields:
        Rows of `x` with their results.
    """
    for start in range(0, len(x), _BLOCK_SIZE):
        block = x[start : start + _BLOCK_SIZE]
        filled = np.zeros((_BLOCK_SIZE, *x.shape[1:]), np.uint8)
        filled[: len(block)] = block
        result = _apply(variables, filled, module=module, levels=levels)[part]
        yield slice(start, start + len(block)), np.asarray(result)[: len(block)]


def features(net: FeatureNet, x: np.ndarray) -> np.ndarray:
    """Compute features of examples: the penultimate layer after its ReLU, which is not that of FID.

    Args:
        net: from `cached_features`, `train_features` or `random_features`.
        x: images, uint8 `[N, H, W, C]`, 0 to levels - 1, or vectors, `[N, D]`.

    Returns:
        float64 `[N, num_features]`; at least 0 for images.
    """
    chex.assert_shape(x, (None, *net.shape))
    if net.module is None or net.levels is None:
        return np.asarray(x, np.float64)
    chex.assert_type(x, np.uint8)
    result = np.zeros((len(x), net.num_features))
    for rows, found in outputs(net.module, net.variables, net.levels, x, part=0):
        result[rows] = found
    return result


def predict(net: FeatureNet, x: np.ndarray) -> np.ndarray | None:
    """Classify images.

    Args:
        net: from `cached_features`, `train_features` or `random_features`.
        x: images, uint8 `[N, H, W, C]`, 0 to levels - 1.

    Returns:
        The most probable labels, int64 `[N]`; None if the network is no classifier.
    """
    if net.module is None or net.levels is None or not net.is_classifier:
        return None
    chex.assert_shape(x, (None, *net.shape))
    chex.assert_type(x, np.uint8)
    return predicted_labels(net.module, net.variables, net.levels, x)


def predicted_labels(
    module: nn.Module, variables: PyTree, levels: int, x: np.ndarray
) -> np.ndarray:
    """Take the label of the largest logit.

    Args:
        module: gives features and logits.
        variables: what its `apply` takes.
        levels: number of values a pixel takes.
        x: images, uint8 `[N, H, W, C]`.

    Returns:
        int64 `[N]`.
    """
    result = np.zeros(len(x), np.int64)
    for rows, logits in outputs(module, variables, levels, x, part=1):
        result[rows] = np.argmax(logits, axis=1)
    return result
