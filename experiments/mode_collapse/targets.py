"""What the methods learn: mixtures of Gaussians in the plane, and images with one class in each
channel.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.measurement import EVALUATION_SEED
from jaxgen import metrics
from jaxgen.data import labelled, toy
from jaxgen.data.dataset import Dataset
from jaxgen.metrics.features import predict
from jaxgen.types import Array, Key, PyTree

NUM_STACKED = 3
"""Images that are stacked as channels."""

_ANGLES = np.arange(8) * np.pi / 4
_AXIS = np.arange(-4.0, 4.1, 2.0)
_MIXTURES = {
    "ring": (np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), 0.01),
    "grid": (np.array([(x, y) for x in _AXIS for y in _AXIS]), 0.05),
}


class Counts(NamedTuple):
    """What samples score.

    Attributes:
        num_found: modes with a sample.
        good_share: share of samples within 3 standard deviations of a mode; None of images.
        kl: divergence of the histogram of modes from uniform, in nats; not finite where there is
            none.
    """

    num_found: int
    good_share: float | None
    kl: float


class Target(NamedTuple):
    """A distribution with equal modes.

    Attributes:
        shape: of one example, `(2,)` or `(H, W, C)`.
        levels: number of pixel values; None for the plane.
        data: arrays that `sample` needs.
        sample: ``(data, key, num) -> x [num, ...]``, independent draws.
        score: counts samples `[N, ...]`; those that are not finite belong to no mode.
        num_modes: number of modes.
        perfect: what a perfect sampler scores, in words, by number of samples.
        centres: of the modes in the plane, `[K, 2]`; None for images.
    """

    shape: tuple[int, ...]
    levels: int | None
    data: PyTree
    sample: Callable[[PyTree, Key, int], Array]
    score: Callable[[np.ndarray], Counts]
    num_modes: int
    perfect: Callable[[int], str]
    centres: np.ndarray | None = None


def examples(target: Target, num: int) -> np.ndarray:
    """Samples a target itself, `[num, ...]`, the same at every call."""
    return np.asarray(target.sample(target.data, jax.random.key(EVALUATION_SEED), num))


def mixture(name: str) -> Target:
    """Makes a mixture of PacGAN: a ring of radius 1 with std 0.01, or a grid of spacing 2 with std
    0.05.

    Args:
        name: 'ring' or 'grid'.

    Source:
        Lin et al. 2018, "PacGAN: the power of two samples in GANs", section 4.1.
    """
    centres, std = _MIXTURES[name]
    sample = toy.gaussians(centres, std=std).sample
    far = 1e6 * np.max(np.abs(centres))

    def score(x: np.ndarray) -> Counts:
        finite = np.nan_to_num(x, nan=far, posinf=far, neginf=-far)
        found = metrics.count_modes(finite, centres, std)
        return Counts(found.num_found, found.good_share, found.kl)

    def perfect(num: int) -> str:
        ideal = metrics.count_modes(np.asarray(sample(jax.random.key(0), num)), centres, std)
        return (
            f"{ideal.num_modes} modes, {ideal.perfect_good_share:.2%} good samples (within 3 std of a mode) and a KL "
            f"of {ideal.perfect_kl:.4f} nats from uniform modes"
        )

    return Target(
        shape=(2,),
        levels=None,
        data=None,
        sample=lambda _, key, num: sample(key, num),
        score=score,
        num_modes=len(centres),
        perfect=perfect,
        centres=centres,
    )


def stacked(dataset: Dataset) -> Target:
    """Stacks three train images drawn at random as channels: one mode for each combination of
    classes.

    A classifier trained on single images (`metrics.cached_features`) tells the class of each part
    of a sample.

    Args:
        dataset: labelled images `[H, W, C]`; the stacked ones have 3 C channels.

    Raises:
        ValueError: if the data have no labels, or no accurate classifier is found.

    Source:
        Metz et al. 2017, "Unrolled generative adversarial networks", section 3.3.1.
    """
    if dataset.num_classes is None:
        raise ValueError(f"dataset: {dataset.name} has no labels, expected a class for each image")
    net = metrics.cached_features(dataset)
    if not net.is_classifier:
        raise ValueError(f"dataset: {dataset.name} has no classifier to count modes: {net.note}")
    split = labelled(dataset.train)
    train = split.gather(np.arange(len(split)))
    num_classes = dataset.num_classes
    share = np.bincount(train["label"], minlength=num_classes) / len(train["label"])
    modes = np.einsum("a,b,c->abc", share, share, share).ravel()
    uniform = np.full(len(modes), 1 / len(modes))

    def sample(images: Array, key: Key, num: int) -> Array:
        indices = jax.random.randint(key, (NUM_STACKED, num), 0, len(images))
        return jnp.concatenate([images[part] for part in indices], axis=-1)

    def score(x: np.ndarray) -> Counts:
        parts = np.split(x, NUM_STACKED, axis=-1)
        classes = np.stack([np.asarray(predict(net, part)) for part in parts], axis=1)
        found = metrics.count_stacked_modes(classes, num_classes=num_classes)
        return Counts(found.num_found, None, found.kl)

    def perfect(num: int) -> str:
        return (
            f"{np.count_nonzero(modes)} modes and a KL of "
            f"{metrics.expected_kl(num, modes, uniform):.4f} nats from uniform modes; classes are those of a {net.note}"
        )

    height, width, channels = dataset.shape
    return Target(
        shape=(height, width, NUM_STACKED * channels),
        levels=dataset.levels,
        data=jnp.asarray(train["x"]),
        sample=sample,
        score=score,
        num_modes=len(modes),
        perfect=perfect,
    )
