"""What the networks of all architectures share: normalization, spectral norm, labels, map sizes."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.nn import BatchNorm
from jaxgen.types import Array

Norm = Literal["batch", "layer", "none"]
"""Batch norm couples the examples of a batch: no per-example penalty may be used with it."""


def normalize(
    norm: Norm, x: Array, *, train: bool, axis_name: str | None = None, dtype: Any = jnp.float32
) -> Array:
    """Normalizes features inside a compact method of a module.

    `"batch"` takes the mean and variance of each channel over the batch and the pixels, in training
    those of this batch, otherwise running averages (0.9 of the old and 0.1 of the new). `"layer"`
    takes one mean and variance per example over pixels and channels. Both end with a scale and a
    bias per channel.

    Args:
        norm: 'batch', 'layer' or 'none'.
        x: features, `[B, ..., C]`.
        train: whether to use and record the statistics of this batch; matters for 'batch' alone.
        axis_name: mapped axis of the devices to average the batch statistics over, or None.
        dtype: of the result; statistics are float32.

    Returns:
        Features of the shape of `x`.

    Raises:
        ValueError: if `norm` is unknown.

    Source:
        Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network training by reducing
        internal covariate shift", algorithms 1 and 2; Ba et al. 2016, "Layer normalization",
        equation 3.
    """
    if norm not in get_args(Norm):
        raise ValueError(f"norm: {norm!r}, expected one of {get_args(Norm)}")
    if norm == "batch":
        return BatchNorm(axis_name=axis_name, dtype=dtype)(x, train=train)
    if norm == "layer":
        axes = tuple(range(1, x.ndim))
        return nn.LayerNorm(epsilon=1e-5, dtype=dtype, reduction_axes=axes, feature_axes=-1)(x)
    return x


def apply_layer(layer: nn.Module, x: Array, *, spectral: bool, train: bool) -> Array:
    """Applies a layer, with its kernel divided by its largest singular value if `spectral`.

    The kernel is seen as a matrix with one column per output channel. One step of the power
    iteration a call starts from the vectors in `batch_stats`; with `train` its result is recorded
    there. The names and shapes of the parameters do not depend on `spectral`; their values at the
    start are normalized once, which changes no result.

    Args:
        layer: with a parameter `kernel` or `embedding`, made in the compact method that calls this.
        x: argument of the layer.
        spectral: whether to normalize.
        train: whether to record the vectors.

    Returns:
        The result of the layer.

    Source:
        Miyato et al. 2018, "Spectral normalization for generative adversarial networks",
        algorithm 1.
    """
    if spectral:
        return nn.SpectralNorm(layer)(x, update_stats=train)
    function: Any = layer
    return function(x)


def check_label(label: Array | None, num_classes: int | None, num: int) -> None:
    """Checks that labels are given just where a model has classes.

    Args:
        label: integers, `[B]`, in `0 ... num_classes - 1`, or None.
        num_classes: of the model, or None.
        num: B.

    Raises:
        ValueError: if labels are missing or superfluous.
    """
    if num_classes is None and label is not None:
        raise ValueError("label: given, expected None for num_classes=None")
    if num_classes is None:
        return
    if label is None:
        raise ValueError(f"label: None, expected integers [B] for num_classes={num_classes}")
    chex.assert_shape(label, (num,))
    chex.assert_type(label, int)


def latent_with_label(
    z: Array, label: Array | None, *, num_classes: int | None, label_dim: int
) -> Array:
    """Appends a learned embedding of the label to the latents, inside a compact method.

    Args:
        z: latents, `[B, D]`.
        label: integers, `[B]`, or None.
        num_classes: of the model, or None.
        label_dim: length of the embedding, which starts standard normal like the latents.

    Returns:
        `z`, or `[B, D + label_dim]`.

    Source:
        Mirza & Osindero 2014, "Conditional generative adversarial nets", section 3.2.
    """
    chex.assert_rank(z, 2)
    check_label(label, num_classes, len(z))
    if num_classes is None:
        return z
    embed = nn.Embed(num_classes, label_dim, embedding_init=nn.initializers.normal(1.0))
    return jnp.concatenate([z, embed(label).astype(z.dtype)], axis=-1)


class ProjectionHead(nn.Module):
    """Logits of features, ``psi(h) + <embed(label), h>`` with an affine ``psi``, in float32.

    Without classes it is ``psi(h)`` alone. The features are sown as the intermediate `features`.

    Attributes:
        num_classes: number of labels, or None.
        spectral: whether the weights of ``psi`` and the embedding are spectrally normalized.
        kernel_init: initializer of the weights of ``psi``.

    Source:
        Miyato & Koyama 2018, "cGANs with projection discriminator", equation 3.
    """

    num_classes: int | None = None
    spectral: bool = False
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, h: Array, label: Array | None = None, *, train: bool) -> Array:
        """Returns logits `[B]` of features ``h [B, F]`` and labels `[B]`."""
        chex.assert_rank(h, 2)
        check_label(label, self.num_classes, len(h))
        h = at_least_float32(h)
        self.sow("intermediates", "features", h)
        psi = nn.Dense(1, kernel_init=self.kernel_init)
        logits = apply_layer(psi, h, spectral=self.spectral, train=train)[:, 0]
        if self.num_classes is None or label is None:
            return logits
        embed = nn.Embed(self.num_classes, h.shape[1])
        rows = apply_layer(embed, label, spectral=self.spectral, train=train)
        return logits + jnp.sum(rows * h, axis=-1)


def map_sizes(size: Sequence[int]) -> list[tuple[int, int]]:
    """Sizes of the feature maps of an image network, from the image to the smallest map.

    Each size halves the one before, rounding up, as long as the shorter side has at least 8 pixels;
    at least twice. 8 x 8 gives 4 and 2, 28 x 20 gives 14 x 10 and 7 x 5, and 32 x 32 gives 16, 8
    and 4.

    Args:
        size: `(H, W)`, positive.

    Returns:
        `(H, W)` and what follows, three sizes or more.

    Raises:
        ValueError: if a side is not positive.
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size: {tuple(size)}, expected a positive height and width")
    sizes = [(size[0], size[1])]
    while len(sizes) < 3 or min(sizes[-1]) >= 8:
        height, width = sizes[-1]
        sizes.append((math.ceil(height / 2), math.ceil(width / 2)))
    return sizes


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Checks the shape of an image.

    Args:
        shape: `(H, W, C)`.

    Returns:
        The same as a tuple.

    Raises:
        ValueError: if there are not three positive numbers.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"shape: {tuple(shape)}, expected (H, W, C), positive, of a convolutional network; "
            "an mlp takes any shape"
        )
    height, width, channels = shape
    return height, width, channels
