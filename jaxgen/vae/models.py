"""The module that joins an encoder, a decoder and a prior, and two that are ready to use."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.distributions import Normal, NormalMixture, bound_log_var
from jaxgen.module_density import ModuleDensity
from jaxgen.types import Array
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from jaxgen.vae.posteriors import Posterior, TransformedNormal
from jaxgen.vae.priors import Prior, standard_normal


class VAE(nn.Module):
    """A variational autoencoder: posterior, decoder distribution and prior of one model.

    In training both networks are given a key for each example, ``dropout_keys [B]``; without them
    nothing is dropped.

    Attributes:
        encoder: ``(x [B, ...], *, dropout_keys) -> features [B, F]``.
        decoder: ``(z [B, D], *, dropout_keys) -> outputs [B, ..., num_outputs]``.
        latent_dim: D.
        likelihood: turns the decoder's outputs into a distribution over pixels.
        pseudo_inputs_shape: None for a standard normal prior; `(K, H, W, C)` for a VampPrior of K
            learned pseudo-inputs, the mixture ``1/K sum_k q(z|u_k)`` (Tomczak & Welling 2018, "VAE
            with a VampPrior", section 3), without the bijector and the module below.
        posterior_bijector: None, or module with ``decode(z, features) -> (z, log_det [B])``, which
            bends the normal posterior; see `posteriors.TransformedNormal`.
        prior_module: None, or a density of the latents that is trained along, such as a flow;
            module with ``log_prob(z, None)`` and ``sample(key, num, None)``.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_dim: int
    likelihood: Likelihood
    pseudo_inputs_shape: Sequence[int] | None = None
    posterior_bijector: Any = None
    prior_module: Any = None

    def setup(self) -> None:
        """Makes the two posterior heads and the pseudo-inputs.

        Raises:
            ValueError: if there are pseudo-inputs beside a bijector or a prior's module.
        """
        others = (self.posterior_bijector, self.prior_module)
        if self.pseudo_inputs_shape is not None and others != (None, None):
            raise ValueError(
                f"pseudo_inputs_shape: {tuple(self.pseudo_inputs_shape)}, expected None with a "
                "posterior_bijector or a prior_module: a VampPrior is a mixture of normals"
            )
        self.mean_head = nn.Dense(self.latent_dim)
        self.log_var_head = nn.Dense(self.latent_dim)
        if self.pseudo_inputs_shape is not None:
            self.pseudo_inputs = self.param(
                "pseudo_inputs", nn.initializers.normal(1.0), tuple(self.pseudo_inputs_shape)
            )

    def encode(self, x: Array, *, dropout_keys: Array | None = None) -> Posterior:
        """Returns the posterior q(z|x) of images in [-1, 1], over `[B, D]`, float32.

        It is a `Normal`, or a `TransformedNormal` where there is a bijector.
        """
        features = at_least_float32(self.encoder(x, dropout_keys=dropout_keys))
        log_var = bound_log_var(self.log_var_head(features), low=-20.0, high=10.0)
        normal = Normal(self.mean_head(features), log_var)
        if self.posterior_bijector is None:
            return normal
        if self.is_initializing():
            self.posterior_bijector.decode(normal.mean, features)
        module = self.posterior_bijector.clone(parent=None)
        return TransformedNormal(normal, module, self.posterior_bijector.variables, features)

    def decode(self, z: Array, *, dropout_keys: Array | None = None) -> Any:
        """Returns p(x|z), the distribution over pixels, of latents `[B, D]`."""
        return self.likelihood.distribution(self.decoder(z, dropout_keys=dropout_keys))

    def prior(self) -> Prior:
        """Returns the prior p(z): a standard normal, the VampPrior mixture, or the module's."""
        if self.prior_module is not None:
            return ModuleDensity(self.prior_module.clone(parent=None), self.prior_module.variables)
        if self.pseudo_inputs_shape is None:
            return standard_normal(self.latent_dim)
        posterior: Any = self.encode(jnp.tanh(self.pseudo_inputs))
        uniform = jnp.zeros(len(self.pseudo_inputs))
        return NormalMixture(uniform, posterior.mean, posterior.log_var)

    def __call__(self, x: Array) -> Any:
        """Reconstructs images in [-1, 1] from the posterior mean; creates every parameter."""
        z = self.encode(x).mean
        if self.prior_module is not None and self.is_initializing():
            self.prior_module.log_prob(z, None)
        return self.decode(z)


def mlp_vae(
    shape: Sequence[int],
    likelihood: Likelihood,
    *,
    latent_dim: int = 20,
    hidden_sizes: Sequence[int] = (400,),
    dropout_rate: float = 0.0,
    num_pseudo_inputs: int = 0,
    dtype: Any = jnp.float32,
) -> VAE:
    """A fully connected VAE for examples of any shape.

    Args:
        shape: of one example.
        likelihood: of the pixels.
        latent_dim: number of latents.
        hidden_sizes: of the encoder; the decoder has them in reverse.
        dropout_rate: of the encoder and decoder in training.
        num_pseudo_inputs: components of a VampPrior, 0 for a standard normal.
        dtype: of the encoder's and decoder's computation; parameters, posterior and losses are
            float32.

    Returns:
        The module.
    """
    decoder = MLPDecoder(
        tuple(shape), likelihood.num_outputs, tuple(reversed(hidden_sizes)), dropout_rate, dtype
    )
    encoder = MLPEncoder(tuple(hidden_sizes), dropout_rate, dtype)
    return _vae(encoder, decoder, shape, likelihood, latent_dim, num_pseudo_inputs)


def conv_vae(
    shape: Sequence[int],
    likelihood: Likelihood,
    *,
    latent_dim: int = 16,
    channels: Sequence[int] = (32, 64),
    dropout_rate: float = 0.0,
    num_pseudo_inputs: int = 0,
    dtype: Any = jnp.float32,
) -> VAE:
    """A convolutional VAE for images of any size, aspect ratio and channel count.

    Args:
        shape: `(H, W, C)`.
        likelihood: of the pixels.
        latent_dim: number of latents.
        channels: of the encoder's convolutions; the decoder has them in reverse.
        dropout_rate: of the encoder and decoder in training.
        num_pseudo_inputs: components of a VampPrior, 0 for a standard normal.
        dtype: of the encoder's and decoder's computation; parameters, posterior and losses are
            float32.

    Returns:
        The module.

    Raises:
        ValueError: if `shape` is not that of an image, or there is no layer.
    """
    check_convolutional(shape, channels)
    decoder = ConvDecoder(
        tuple(shape), likelihood.num_outputs, tuple(reversed(channels)), dropout_rate, dtype
    )
    encoder = ConvEncoder(tuple(channels), dropout_rate, dtype)
    return _vae(encoder, decoder, shape, likelihood, latent_dim, num_pseudo_inputs)


def check_convolutional(shape: Sequence[int], channels: Sequence[int]) -> None:
    """Checks that convolutions fit the data.

    Args:
        shape: of an example.
        channels: of the layers.

    Raises:
        ValueError: if `shape` is not that of an image, or there is no layer.
    """
    if len(shape) != 3:
        raise ValueError(
            f"shape: {tuple(shape)}, expected that of an image (H, W, C); choose the mlp model"
        )
    if len(channels) == 0:
        raise ValueError("channels: none, expected one layer at least")


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
