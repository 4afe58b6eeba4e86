"""The module of M2, which joins an encoder, a classifier and a decoder, and two ready to use."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.distributions import Normal, bound_log_var
from jaxgen.types import Array
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.models import check_convolutional
from jaxgen.vae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from jaxgen.vae.priors import Prior, standard_normal


class ClassVAE(nn.Module):
    """A VAE with a class y beside its latents z: q(y|x), q(z|x, y) and p(x|y, z) of one model.

    Classes are one-hot, `[B, C]`. The encoder sees the image alone, once for all classes: its
    features meet the class in one more layer, the latents meet it before the decoder.

    Attributes:
        encoder: ``(x [B, ...], *, dropout_keys) -> features [B, F]``.
        classifier: likewise, with parameters of its own.
        decoder: ``(z and y [B, D + C], *, dropout_keys) -> outputs [B, ..., num_outputs]``.
        latent_dim: D.
        num_classes: C.
        likelihood: turns the decoder's outputs into a distribution over pixels.
        joint_size: width of the layer where features and class meet.

    Source:
        Kingma et al. 2014, "Semi-supervised learning with deep generative models", section 2.2.
    """

    encoder: nn.Module
    classifier: nn.Module
    decoder: nn.Module
    latent_dim: int
    num_classes: int
    likelihood: Likelihood
    joint_size: int = 128

    def setup(self) -> None:
        """Makes the layer of features and class, and the heads."""
        self.joint = nn.Dense(self.joint_size)
        self.mean_head = nn.Dense(self.latent_dim)
        self.log_var_head = nn.Dense(self.latent_dim)
        self.class_head = nn.Dense(self.num_classes)

    def encode(self, x: Array, y: Array, *, dropout_keys: Array | None = None) -> Normal:
        """Returns q(z|x, y) of images in [-1, 1] and classes, over `[B, D]`, float32."""
        features = at_least_float32(self.encoder(x, dropout_keys=dropout_keys))
        h = nn.relu(self.joint(jnp.concatenate([features, y], axis=-1)))
        log_var = bound_log_var(self.log_var_head(h), low=-20.0, high=10.0)
        return Normal(self.mean_head(h), log_var)

    def classify(self, x: Array, *, dropout_keys: Array | None = None) -> Array:
        """Returns the logits `[B, C]` of q(y|x), float32."""
        features = self.classifier(x, dropout_keys=dropout_keys)
        return self.class_head(at_least_float32(features))

    def decode(self, z: Array, y: Array, *, dropout_keys: Array | None = None) -> Any:
        """Returns p(x|y, z), the distribution over pixels, of latents `[B, D]` and classes."""
        joined = jnp.concatenate([z, y], axis=-1)
        return self.likelihood.distribution(self.decoder(joined, dropout_keys=dropout_keys))

    def prior(self) -> Prior:
        """Returns the prior p(z), a standard normal."""
        return standard_normal(self.latent_dim)

    def __call__(self, x: Array) -> Any:
        """Reconstructs images in [-1, 1] from their likeliest class; creates every parameter."""
        y = nn.one_hot(jnp.argmax(self.classify(x), axis=-1), self.num_classes)
        return self.decode(self.encode(x, y).mean, y)


def mlp_m2(
    shape: Sequence[int],
    likelihood: Likelihood,
    *,
    num_classes: int,
    latent_dim: int = 20,
    hidden_sizes: Sequence[int] = (400,),
    dropout_rate: float = 0.0,
    dtype: Any = jnp.float32,
) -> ClassVAE:
    """A fully connected M2 for examples of any shape.

    Args:
        shape: of one example.
        likelihood: of the pixels.
        num_classes: number of labels.
        latent_dim: number of latents beside the class.
        hidden_sizes: of the encoder and the classifier; the decoder has them in reverse.
        dropout_rate: of all three in training.
        dtype: of their computation; parameters, posteriors and losses are float32.

    Returns:
        The module.
    """
    sizes, common = tuple(hidden_sizes), (dropout_rate, dtype)
    decoder = MLPDecoder(tuple(shape), likelihood.num_outputs, sizes[::-1], *common)
    encoder, classifier = MLPEncoder(sizes, *common), MLPEncoder(sizes, *common)
    return ClassVAE(encoder, classifier, decoder, latent_dim, num_classes, likelihood)


def conv_m2(
    shape: Sequence[int],
    likelihood: Likelihood,
    *,
    num_classes: int,
    latent_dim: int = 16,
    channels: Sequence[int] = (32, 64),
    dropout_rate: float = 0.0,
    dtype: Any = jnp.float32,
) -> ClassVAE:
    """A convolutional M2 for images of any size, aspect ratio and channel count.

    Args:
        shape: `(H, W, C)`.
        likelihood: of the pixels.
        num_classes: number of labels.
        latent_dim: number of latents beside the class.
        channels: of the encoder's and the classifier's convolutions; the decoder has them in
            reverse.
        dropout_rate: of all three in training.
        dtype: of their computation; parameters, posteriors and losses are float32.

    Returns:
        The module.

    Raises:
        ValueError: if `shape` is not that of an image, or there is no layer.
    """
    check_convolutional(shape, channels)
    sizes, common = tuple(channels), (dropout_rate, dtype)
    decoder = ConvDecoder(tuple(shape), likelihood.num_outputs, sizes[::-1], *common)
    encoder, classifier = ConvEncoder(sizes, *common), ConvEncoder(sizes, *common)
    return ClassVAE(encoder, classifier, decoder, latent_dim, num_classes, likelihood)
