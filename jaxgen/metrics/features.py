"""Features of images from small classifiers that are trained here: no weights are downloaded.

A classifier of a fixed recipe is accepted above a stated test accuracy, and its penultimate layer
gives 64 features. Distances on these features are **not FID**: they depend on the net, whose name
(a hash of its parameters) belongs beside every score, and compare only with scores under the same
net. Take several seeds and `random_features` as a control; a ranking that flips between nets is a
tie. The features are sparse and not normal, so look at more than one metric.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.data.dataset import Dataset, Split
from jaxgen.data.pipeline import chunk_indices
from jaxgen.nn import Conv
from jaxgen.pixels import to_model_range
from jaxgen.training.leaves import parameter_digest
from jaxgen.types import Array, PyTree

NUM_FEATURES = 64
"""Width of the penultimate layer."""

_WIDTH = 32
_MAX_GROWTH = 4  # Channels double as maps halve, up to this factor.
_LARGEST_MAP = 4  # Axes are halved until they are at most this long.
_BATCH_SIZE = 64
_LEARNING_RATE = 1e-3
_WARMUP = 3  # One part of so many; without it Adam's first steps leave a quarter of the units at 0 for ever.
_STEPS_PER_CALL = 100
_BLOCK_SIZE = 256
_INIT = nn.initializers.he_uniform()


class FeatureClassifier(nn.Module):
    """Convolutional classifier whose penultimate layer gives features; images of any size.

    3x3 convolutions, after the first of stride 2 along each axis until it is at most 4 long, and a
    dense layer, each with ReLU. Nothing is normalised, so that no image changes the features of another.

    Attributes:
        num_classes: number of labels, or None for features alone.
        num_features: width of the penultimate layer.
    """

    num_classes: int | None
    num_features: int = NUM_FEATURES

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array | None]:
        """Maps `[B, H, W, C]` in [-1, 1] to features `[B, num_features]`, at least 0, and logits `[B, num_classes]`."""
        chex.assert_rank(x, 4)
        x = nn.relu(Conv(_WIDTH, 3, kernel_init=_INIT)(x))
        growth = 1
        while max(x.shape[1:3]) > _LARGEST_MAP:
            # No axis falls below the kernel: there XLA's convolutions on a CPU are many times slower.
            strides = [2 if size > _LARGEST_MAP else 1 for size in x.shape[1:3]]
            growth = min(2 * growth, _MAX_GROWTH)
            x = nn.relu(Conv(_WIDTH * growth, 3, strides, kernel_init=_INIT)(x))
        x = x.reshape(len(x), -1)
        found = nn.relu(nn.Dense(self.num_features, kernel_init=_INIT, name="features")(x))
        if self.num_classes is None:
            return found, None
        return found, nn.Dense(self.num_classes, name="logits")(found)


class FeatureNet(NamedTuple):
    """A classifier with its parameters; `features` and `predict` apply it.

    Attributes:
        module: the classifier.
        variables: what its `apply` takes.
        shape: of one image, `(H, W, C)`.
        levels: number of values a pixel takes.
        num_features: length of a feature vector.
        test_accuracy: share of test images with the right prediction; None without labels.
        name: SHA-256 of the parameters, 64 hexadecimal digits. Scores with different names do not
            compare.
    """

    module: FeatureClassifier
    variables: PyTree
    shape: tuple[int, ...]
    levels: int
    num_features: int
    test_accuracy: float | None
    name: str


@functools.partial(jax.jit, static_argnames=("module", "levels", "steps"), donate_argnums=(0,))
def _train(
    carry: PyTree,
    images: Array,
    label: Array,
    *,
    module: FeatureClassifier,
    levels: int,
    steps: int,
) -> PyTree:
    """Adam on the cross-entropy of `images [T, B, H, W, C]`, T steps in one dispatch."""
    optimizer = _optimizer(steps)

    def mean_loss(params: PyTree, x: Array, label: Array) -> Array:
        logits: Any = module.apply({"params": params}, to_model_range(x, levels))[1]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

    def step(carry: PyTree, batch: tuple[Array, Array]) -> tuple[PyTree, None]:
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(mean_loss)(params, *batch), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    return jax.lax.scan(step, carry, (images, label))[0]


def _optimizer(steps: int) -> optax.GradientTransformation:
    decay = optax.cosine_decay_schedule(_LEARNING_RATE, steps)
    return optax.adam(lambda step: jnp.minimum(1.0, _WARMUP * (step + 1) / steps) * decay(step))


def train_features(
    dataset: Dataset, *, seed: int = 0, steps: int = 500, min_accuracy: float = 0.95
) -> FeatureNet:
    """Trains a classifier on the labelled train split, for features that are not those of FID.

    The parameters are a function of the arguments; on another kind of device or under another
    version of JAX they differ by rounding, and so does the name.

    Args:
        dataset: images with labels.
        seed: of the first parameters and of the order of examples, at least 0.
        steps: optimizer steps on 64 examples each, at least 1.
        min_accuracy: least share of test images with the right prediction, 0 to 1.

    Returns:
        The trained net.

    Raises:
        ValueError: if the data have no labels or are no images, a setting is out of its range, or
            the test accuracy is below `min_accuracy`.
    """
    if steps < 1:
        raise ValueError(f"steps: {steps}, expected at least 1")
    if not 0.0 <= min_accuracy <= 1.0:
        raise ValueError(f"min_accuracy: {min_accuracy}, expected 0 to 1")
    if dataset.num_classes is None:
        raise ValueError(f"{dataset.name} has no labels, and a classifier needs labels")
    net = _initial(dataset, seed)
    params = net.variables["params"]
    carry = params, _optimizer(steps).init(params)
    train = dataset.train
    for first in range(0, steps, _STEPS_PER_CALL):
        indices = chunk_indices(
            seed,
            first,
            min(_STEPS_PER_CALL, steps - first),
            num_examples=len(train),
            batch_size=min(_BATCH_SIZE, len(train)),
        )
        batch = train.gather(indices.ravel())
        images = batch["x"].reshape(*indices.shape, *net.shape)
        label = batch["label"].reshape(indices.shape)
        carry = _train(carry, images, label, module=net.module, levels=net.levels, steps=steps)
    net = _finished(net._replace(variables={"params": carry[0]}), dataset.test)
    assert net.test_accuracy is not None
    if net.test_accuracy < min_accuracy:
        raise ValueError(
            f"the classifier of {dataset.name} has test accuracy {net.test_accuracy:.4f} after "
            f"{steps} steps, expected at least {min_accuracy}"
        )
    return net


def random_features(dataset: Dataset, *, seed: int = 0) -> FeatureNet:
    """Makes the net that `train_features` starts from: the control of what training adds.

    Args:
        dataset: images, with labels or without.
        seed: of the parameters, at least 0.

    Returns:
        The net with random parameters.

    Raises:
        ValueError: if the data are no images or the seed is negative.
    """
    return _finished(_initial(dataset, seed), dataset.test)


def _initial(dataset: Dataset, seed: int) -> FeatureNet:
    """The net of step 0, as yet without name and accuracy."""
    if len(dataset.shape) != 3 or dataset.levels is None:
        raise ValueError(f"{dataset.name}: examples of shape {dataset.shape}, expected images")
    if seed < 0:
        raise ValueError(f"seed: {seed}, expected at least 0")
    module = FeatureClassifier(dataset.num_classes)
    variables = module.init(jax.random.key(seed), jnp.zeros((1, *dataset.shape)))
    return FeatureNet(
        module, variables, dataset.shape, dataset.levels, module.num_features, None, ""
    )


def _finished(net: FeatureNet, test: Split) -> FeatureNet:
    """Adds the name and, where there are labels, the accuracy on the test split."""
    net = net._replace(name=parameter_digest(net.variables["params"]))
    if net.module.num_classes is None:
        return net
    correct = 0
    for indices in np.split(np.arange(len(test)), range(_BLOCK_SIZE, len(test), _BLOCK_SIZE)):
        batch = test.gather(indices)
        correct += int(np.count_nonzero(predict(net, batch["x"]) == batch["label"]))
    return net._replace(test_accuracy=correct / len(test))


@functools.partial(jax.jit, static_argnames=("module", "levels"))
def _apply(
    variables: PyTree, x: Array, *, module: FeatureClassifier, levels: int
) -> tuple[Array, Array | None]:
    """Features and logits of pixels, in float32 on devices that would rather round."""
    with jax.default_matmul_precision("float32"):
        result: Any = module.apply(variables, to_model_range(x, levels))
    return result


def _blocks(net: FeatureNet, x: np.ndarray, block_size: int) -> Iterator[tuple[slice, Any, Any]]:
    """Rows with their features and logits (NumPy); the last block is filled up, so one program does."""
    if block_size < 1:
        raise ValueError(f"block_size: {block_size}, expected at least 1")
    chex.assert_type(x, np.uint8)
    chex.assert_shape(x, (None, *net.shape))
    for start in range(0, len(x), block_size):
        block = np.asarray(x[start : start + block_size])
        filled = np.zeros((block_size, *net.shape), np.uint8)
        filled[: len(block)] = block
        results = _apply(net.variables, filled, module=net.module, levels=net.levels)
        num = len(block)
        found, logits = (None if part is None else np.asarray(part)[:num] for part in results)
        yield slice(start, start + num), found, logits


def features(net: FeatureNet, x: np.ndarray, *, block_size: int = _BLOCK_SIZE) -> np.ndarray:
    """Computes features of images, the penultimate layer after its ReLU; not those of FID.

    Args:
        net: from `train_features` or `random_features`.
        x: images, uint8 `[N, H, W, C]`, 0 to levels - 1.
        block_size: images on the device at a time, at least 1.

    Returns:
        float64 `[N, num_features]`, at least 0.
    """
    result = np.zeros((len(x), net.num_features))
    for rows, found, _ in _blocks(net, x, block_size):
        result[rows] = found
    return result


def predict(net: FeatureNet, x: np.ndarray, *, block_size: int = _BLOCK_SIZE) -> np.ndarray:
    """Classifies images.

    Args:
        net: from `train_features` or `random_features`, of data with labels.
        x: images, uint8 `[N, H, W, C]`, 0 to levels - 1.
        block_size: images on the device at a time, at least 1.

    Returns:
        The most probable labels, int64 `[N]`.

    Raises:
        ValueError: if the net was made for data without labels.
    """
    if net.module.num_classes is None:
        raise ValueError("the net was made for data without labels: it predicts none")
    result = np.zeros(len(x), np.int64)
    for rows, _, logits in _blocks(net, x, block_size):
        result[rows] = np.argmax(logits, axis=1)
    return result
