"""Training of the classifier whose features measure samples, and what it must beat to count.

The recipe is fixed. At most 20,000 labelled train images are taken, drawn over the whole split, and
a tenth of them, drawn at random, is held out. Adam at a constant rate, random shifts by up to an
eighth of an axis, an average of the parameters; every 100 steps the loss on what is held out is
taken, and training ends when it has not fallen by 0.005 nats for 300 steps, or after 2,000 steps of
64 images (a few seconds on `digits`, half a minute on 32x32x3, on two CPU cores). A multinomial
logistic regression on pixels is trained in the same way, without shifts, and the network is
accepted only if it clearly beats that. The test split gives the reported accuracies, and nothing
else.
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.data.dataset import Dataset, Split
from jaxgen.data.pipeline import chunk_indices
from jaxgen.data.subset import subset
from jaxgen.data.view import labelled
from jaxgen.metrics.features import (
    FeatureClassifier,
    FeatureNet,
    initial_params,
    predicted_labels,
)
from jaxgen.pixels import to_model_range
from jaxgen.training.leaves import parameter_digest
from jaxgen.types import Array, PyTree

_MAX_TRAIN = 20_000
_MAX_TEST = 10_000
_MAX_BYTES = 2**29  # Of pixels, which lie on the device while the network is trained.
_MIN_LABELLED = 50
_BATCH_SIZE = 64
_RATE = 2e-3
_LINEAR_RATE = 0.1  # Over the root of the number of pixels.
_WARMUP = 100  # Without it Adam's first steps leave a quarter of the units at 0 for ever.
_AVERAGE = 0.02  # Weight of the newest parameters in the average.
_STEPS_PER_BLOCK = 100
_MAX_STEPS = 2000
_PATIENCE = 3
_MIN_GAIN = 0.005
_PERFECT = 0.05
_MIN_STANDARD_ERRORS = 2.0


class NoClassifierError(ValueError):
    """No classifier of a data set can be had; the message is a clause that says why."""


class LinearClassifier(nn.Module):
    """Multinomial logistic regression on pixels.

    Attributes:
        num_classes: number of labels.
    """

    num_classes: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Map `[B, H, W, C]` to the values `[B, H W C]` and the logits `[B, num_classes]`."""
        x = x.reshape(len(x), -1)
        return x, nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros)(x)


class _Examples(NamedTuple):
    """Images, uint8 `[N, H, W, C]`, and labels, int32 `[N]`."""

    x: np.ndarray
    label: np.ndarray


class _Trained(NamedTuple):
    """Parameters and the loss of each held-out example under them, `[N]` in nats."""

    params: PyTree
    losses: np.ndarray


class _Carry(NamedTuple):
    params: PyTree
    opt_state: PyTree
    average: PyTree
    step: Array


def train_features(dataset: Dataset, *, seed: int = 0) -> FeatureNet:
    """Train a classifier on the labelled train images, for features that are not those of FID.

    It is accepted if its held-out loss is below that of the linear classifier by more than two
    standard errors of the paired difference, or below 0.05 nats. The parameters are a function of
    the arguments; on another kind of device or under another version of JAX they differ by
    rounding, and so does the name.

    Args:
        dataset: images with labels; an example whose label is below 0 is left out.
        seed: of the first parameters, the held-out part and the order of examples, at least 0.

    Returns:
        The trained network.

    Raises:
        NoClassifierError: a ValueError, if the data have no labels, fewer than 50 train images have
            one or all have the same, or the trained network does not clearly beat a linear one.
        ValueError: if the data are no images, or the seed is negative.
    """
    if dataset.num_classes is None or dataset.levels is None:
        raise NoClassifierError("the data have no labels")
    module, levels = FeatureClassifier(dataset.num_classes), dataset.levels
    fitted, held_out = _parts(_labelled_examples(dataset.train, _MAX_TRAIN), seed)
    shift = tuple(max(round(size / 8), 1) for size in dataset.shape[:2])
    net = _train(module, _RATE, shift, dataset, fitted, held_out, seed)
    linear = LinearClassifier(dataset.num_classes)
    rate = _LINEAR_RATE / math.sqrt(math.prod(dataset.shape))
    baseline = _train(linear, rate, (0, 0), dataset, fitted, held_out, seed)
    _check_better(net.losses, baseline.losses)
    test = _labelled_examples(dataset.test, _MAX_TEST)
    what = "test accuracy" if len(test.x) else "accuracy on held-out train images"
    measured = test if len(test.x) else held_out
    accuracy, linear_accuracy = (
        float(np.mean(predicted_labels(m, {"params": p}, levels, measured.x) == measured.label))
        for m, p in ((module, net.params), (linear, baseline.params))
    )
    name = parameter_digest(net.params)
    return FeatureNet(
        module,
        {"params": net.params},
        dataset.shape,
        levels,
        module.num_features,
        test_accuracy=accuracy if len(test.x) else None,
        linear_accuracy=linear_accuracy if len(test.x) else None,
        name=name,
        note=f"classifier of {what} {accuracy:.3f} (linear on pixels {linear_accuracy:.3f}), "
        f"net {name[:8]}",
    )


def _labelled_examples(split: Split, num: int) -> _Examples:
    """A random part of the examples that have a label."""
    known = labelled(split)
    if len(known) == 0:
        return _Examples(np.zeros((0,), np.uint8), np.zeros((0,), np.int32))
    size = known.gather(np.zeros(1, np.int64))["x"].size
    batch = subset(known, min(num, max(_MAX_BYTES // size, 1)))
    return _Examples(batch["x"], batch["label"])


def _parts(examples: _Examples, seed: int) -> tuple[_Examples, _Examples]:
    """Cut examples into those that are fitted and those that are held out, at random."""
    num = len(examples.x)
    if num < _MIN_LABELLED:
        raise NoClassifierError(f"{num} train images have labels and a classifier takes 50")
    if len(np.unique(examples.label)) < 2:
        raise NoClassifierError("all labelled train images are of one class")
    num_held_out = min(max(num // 10, 100), num // 4)
    order = np.random.default_rng(seed).permutation(num)
    held_out, fitted = order[:num_held_out], order[num_held_out:]
    return (
        _Examples(examples.x[fitted], examples.label[fitted]),
        _Examples(examples.x[held_out], examples.label[held_out]),
    )


def _train(
    module: nn.Module,
    rate: float,
    shift: tuple[int, ...],
    dataset: Dataset,
    fitted: _Examples,
    held_out: _Examples,
    seed: int,
) -> _Trained:
    """Train until the held-out loss stops falling; the best average of parameters is returned."""
    params = initial_params(module, dataset, seed)
    average = jax.tree.map(jnp.copy, params)
    opt_state = optax.scale_by_adam().init(params)
    carry = _Carry(params, opt_state, average, jnp.zeros((), jnp.int32))
    on_device = jax.tree.map(jnp.asarray, (fitted, held_out))
    best, lowest, waited = None, math.inf, 0
    num, rng = len(fitted.x), np.random.default_rng(seed)
    for first in range(0, _MAX_STEPS, _STEPS_PER_BLOCK):
        indices = chunk_indices(
            seed,
            first,
            _STEPS_PER_BLOCK,
            num_examples=num,
            batch_size=min(_BATCH_SIZE, num),
        )
        moves = np.stack([rng.integers(-s, s + 1, indices.shape) for s in shift], axis=-1)
        carry, device_losses = _train_block(
            carry, *on_device, indices, moves, rate, module=module, levels=dataset.levels
        )
        losses = np.asarray(device_losses, np.float64)
        if best is not None and not losses.mean() < lowest - _MIN_GAIN:
            waited += 1
            if waited == _PATIENCE:
                break
        else:
            # Copied: the next call writes over the arrays of this one.
            best = _Trained(jax.tree.map(np.array, carry.average), losses)
            lowest, waited = float(losses.mean()), 0
    assert best is not None
    return best


@functools.partial(jax.jit, static_argnames=("module", "levels"), donate_argnums=(0,))
def _train_block(
    carry: _Carry,
    fitted: Any,
    held_out: Any,
    indices: Array,
    moves: Array,
    rate: float,
    *,
    module: nn.Module,
    levels: int,
) -> tuple[_Carry, Array]:
    """Adam for the steps of `indices [T, B]` and shifts `moves [T, B, 2]`, then held-out losses."""
    optimizer = optax.scale_by_adam()

    def losses(params: PyTree, x: Array, label: Array) -> Array:
        logits: Any = module.apply({"params": params}, to_model_range(x, levels))
        return optax.softmax_cross_entropy_with_integer_labels(logits[1], label)

    def step(carry: _Carry, drawn: tuple[Array, Array]) -> tuple[_Carry, None]:
        x = _shifted(fitted.x, *drawn)
        gradient = jax.grad(lambda p: jnp.mean(losses(p, x, fitted.label[drawn[0]])))
        updates, opt_state = optimizer.update(gradient(carry.params), carry.opt_state)
        now = rate * jnp.minimum(1.0, (carry.step + 1) / _WARMUP)
        params = jax.tree.map(lambda p, u: p - now * u, carry.params, updates)
        weight = jnp.maximum(_AVERAGE, 1.0 / (carry.step + 1))
        average = jax.tree.map(lambda a, p: a + weight * (p - a), carry.average, params)
        return _Carry(params, opt_state, average, carry.step + 1), None

    carry = jax.lax.scan(step, carry, (indices, moves))[0]
    return carry, losses(carry.average, *held_out)


def _shifted(images: Array, indices: Array, moves: Array) -> Array:
    """Images `[B, H, W, C]` at `indices`, moved by `moves [B, 2]`; borders are repeated outward."""
    rows, columns = (
        jnp.clip(jnp.arange(size)[None] + moves[:, axis, None], 0, size - 1)
        for axis, size in enumerate(images.shape[1:3])
    )
    return images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]


def _check_better(losses: np.ndarray, linear_losses: np.ndarray) -> None:
    """Raises NoClassifierError unless the network beats the linear classifier on held-out data."""
    gain = linear_losses - losses
    error = gain.std(ddof=1) / math.sqrt(len(gain))
    if losses.mean() < _PERFECT or gain.mean() > _MIN_STANDARD_ERRORS * error:
        return
    raise NoClassifierError(
        "the network does not clearly beat a linear classifier on pixels (held-out loss "
        f"{losses.mean():.3f} and {linear_losses.mean():.3f} nats)"
    )
