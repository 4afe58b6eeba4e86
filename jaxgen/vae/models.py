"""Encoders, decoders and the module that joins them; images of any size, aspect ratio and channel count."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.distributions import Normal, NormalMixture, bound_log_var
from jaxgen.nn import Conv, ConvTranspose
from jaxgen.types import Array
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.priors import Prior, standard_normal


class MLPEncoder(nn.Module):
    """Fully connected features of an image or a vector, `[B, ...] -> [B, F]`.

    Attributes:
        hidden_sizes: width of each layer.
        dropout_rate: share of features dropped in training, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    hidden_sizes: Sequence[int] = (400,)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Returns features `[B, F]` of ``x [B, ...]`` in [-1, 1]."""
        x = x.reshape(len(x), -1)
        for size in self.hidden_sizes:
            x = nn.relu(nn.Dense(size, dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return x


class MLPDecoder(nn.Module):
    """Fully connected decoder, `[B, D] -> [B, *shape, num_outputs]`.

    Attributes:
        shape: of one example, such as `(H, W, C)`.
        num_outputs: outputs per value of the example; see `Likelihood`.
        hidden_sizes: width of each layer.
        dropout_rate: share of features dropped in training, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    shape: Sequence[int]
    num_outputs: int
    hidden_sizes: Sequence[int] = (400,)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, *, train: bool = False) -> Array:
        """Returns raw likelihood parameters of ``z [B, D]``."""
        for size in self.hidden_sizes:
            z = nn.relu(nn.Dense(size, dtype=self.dtype)(z))
            z = nn.Dropout(self.dropout_rate, deterministic=not train)(z)
        outputs = nn.Dense(math.prod(self.shape) * self.num_outputs, dtype=self.dtype)(z)
        return outputs.reshape(len(z), *self.shape, self.num_outputs)


class ConvEncoder(nn.Module):
    """Strided convolutions, each halving the image (rounding up), `[B, H, W, C] -> [B, F]`.

    Attributes:
        channels: of each convolution.
        dropout_rate: share of features dropped in training, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    channels: Sequence[int] = (32, 64)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Returns features `[B, F]` of ``x [B, H, W, C]`` in [-1, 1]."""
        for channels in self.channels:
            x = nn.relu(Conv(channels, (4, 4), strides=(2, 2), dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return x.reshape(len(x), -1)


class ConvDecoder(nn.Module):
    """Transposed convolutions, each doubling the image, cropped to its shape, `[B, D] -> [B, H, W, C, num_outputs]`.

    Attributes:
        shape: `(H, W, C)` of the image.
        num_outputs: outputs per pixel and channel; see `Likelihood`.
        channels: of the feature maps, from the smallest to the largest map.
        dropout_rate: share of features dropped in training, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    shape: Sequence[int]
    num_outputs: int
    channels: Sequence[int] = (64, 32)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, *, train: bool = False) -> Array:
        """Returns raw likelihood parameters of ``z [B, D]``."""
        height, width, image_channels = self.shape
        factor = 2 ** len(self.channels)
        smallest = (math.ceil(height / factor), math.ceil(width / factor), self.channels[0])
        x = nn.relu(nn.Dense(math.prod(smallest), dtype=self.dtype)(z))
        x = x.reshape(len(z), *smallest)
        for channels in self.channels[1:]:
            x = nn.relu(ConvTranspose(channels, (4, 4), strides=(2, 2), dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        last = image_channels * self.num_outputs
        x = ConvTranspose(last, (4, 4), strides=(2, 2), dtype=self.dtype)(x)
        return x[:, :height, :width].reshape(len(z), *self.shape, self.num_outputs)


class VAE(nn.Module):
    """A variational autoencoder: posterior, decoder distribution and prior of one model.

    Attributes:
        encoder: ``x [B, ...] -> features [B, F]``.
        decoder: ``z [B, D] -> outputs [B, ..., num_outputs]``.
        latent_dim: D.
        likelihood: turns the decoder's outputs into a distribution over pixels.
        pseudo_inputs_shape: None for a standard normal prior; `(K, H, W, C)` for a VampPrior of K learned
            pseudo-inputs, the mixture ``1/K sum_k q(z given u_k)`` (Tomczak & Welling 2018, section 3).
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int
    likelihood: Likelihood
    pseudo_inputs_shape: Sequence[int] | None = None

    def setup(self) -> None:
        """Makes the two posterior heads and the pseudo-inputs."""
        self.mean_head = nn.Dense(self.latent_dim)
        self.log_var_head = nn.Dense(self.latent_dim)
        if self.pseudo_inputs_shape is not None:
            self.pseudo_inputs = self.param(
                "pseudo_inputs", nn.initializers.normal(1.0), tuple(self.pseudo_inputs_shape)
            )

    def encode(self, x: Array, *, train: bool = False) -> Normal:
        """Returns the posterior of images in [-1, 1]: a `Normal` over `[B, D]`."""
        features = self.encoder(x, train=train).astype(jnp.float32)
        log_var = bound_log_var(self.log_var_head(features), low=-20.0, high=10.0)
        return Normal(self.mean_head(features), log_var)

    def decode(self, z: Array, *, train: bool = False) -> Any:
        """Returns the distribution over pixels of latents `[B, D]`."""
        return self.likelihood.distribution(self.decoder(z, train=train))

    def prior(self) -> Prior:
        """Returns the prior over the latents: a standard normal or the VampPrior mixture."""
        if self.pseudo_inputs_shape is None:
            return standard_normal(self.latent_dim)
        posterior = self.encode(jnp.tanh(self.pseudo_inputs))
        uniform = jnp.zeros(len(self.pseudo_inputs))
        return NormalMixture(uniform, posterior.mean, posterior.log_var)

    def __call__(self, x: Array) -> Any:
        """Reconstructs images in [-1, 1] from the posterior mean; creates every parameter."""
        return self.decode(self.encode(x).mean)


def mlp_vae(
    shape: Sequence[int],
    likelihood: Likelihood,
    *,
    latent_dim: int = 20,
    hidden_sizes: Sequence[int] = (400,),
    dropout_rate: float = 0.0,
    num_pseudo_inputs: int = 0,
) -> VAE:
    """A fully connected VAE for examples of any shape.

    Args:
        shape: of one example.
        likelihood: of the pixels.
        latent_dim: number of latents.
        hidden_sizes: of the encoder; the decoder has them in reverse.
        dropout_rate: of the encoder and decoder in training.
        num_pseudo_inputs: components of a VampPrior, 0 for a standard normal.

    Returns:
        The module.
    """
    decoder = MLPDecoder(
        tuple(shape), likelihood.num_outputs, tuple(reversed(hidden_sizes)), dropout_rate
    )
    encoder = MLPEncoder(tuple(hidden_sizes), dropout_rate)
    return _vae(encoder, decoder, shape, likelihood, latent_dim, num_pseudo_inputs)


def conv_vae(
    shape: Sequence[int],
    likelihood: Likelihood,
    *,
    latent_dim: int = 16,
    channels: Sequence[int] = (32, 64),
    dropout_rate: float = 0.0,
    num_pseudo_inputs: int = 0,
) -> VAE:
    """A convolutional VAE for images of any size, aspect ratio and channel count.

    Args:
        shape: `(H, W, C)`.
        likelihood: of the pixels.
        latent_dim: number of latents.
        channels: of the encoder's convolutions; the decoder has them in reverse.
        dropout_rate: of the encoder and decoder in training.
        num_pseudo_inputs: components of a VampPrior, 0 for a standard normal.

    Returns:
        The module.

    Raises:
        ValueError: if `shape` is not that of an image.
    """
    if len(shape) != 3:
        raise ValueError(
            f"shape: {tuple(shape)}, but a convolutional model needs images (H, W, C); choose the mlp model"
        )
    decoder = ConvDecoder(
        tuple(shape), likelihood.num_outputs, tuple(reversed(channels)), dropout_rate
    )
    encoder = ConvEncoder(tuple(channels), dropout_rate)
    return _vae(encoder, decoder, shape, likelihood, latent_dim, num_pseudo_inputs)


def _vae(
    encoder: nn.Module,
    decoder: nn.Module,
    shape: Sequence[int],
    likelihood: Likelihood,
    latent_dim: int,
    num_pseudo_inputs: int,
) -> VAE:
    pseudo_inputs_shape = (num_pseudo_inputs, *shape) if num_pseudo_inputs else None
    return VAE(encoder, decoder, latent_dim, likelihood, pseudo_inputs_shape)
