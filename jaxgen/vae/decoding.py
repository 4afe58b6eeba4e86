"""The one way between images and latents of a VAE, used by its algorithms and pictures alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.arrays import example_keys, split_keys
from jaxgen.distributions import Normal
from jaxgen.pixels import dequantized_to_model_range, to_model_range
from jaxgen.training.state import TrainState
from jaxgen.types import Array, Key, PyTree
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.models import VAE
from jaxgen.vae.posteriors import Posterior, TransformedNormal
from jaxgen.vae.priors import Prior, tempered


class BoundModel(NamedTuple):
    """A model with its variables: the callables that losses take.

    Attributes:
        encode: pixels in [0, levels) to the posterior q(z|x).
        decode: latents `[B, D]` to the distribution p(x|z) over pixels.
        prior: p(z).
        expected_images: latents `[B, D]` to the expected images in [-1, 1], not rounded.
    """

    encode: Callable[[Array], Posterior]
    decode: Callable[[Array], Any]
    prior: Prior
    expected_images: Callable[[Array], Array]

    def encode_mean(self, x: Array) -> Array:
        """The code of a plain autoencoder, `[B, D]`."""
        return self.encode(x).mean


class Codec(NamedTuple):
    """What a model makes of images and latents, compiled once for all its variables.

    Attributes:
        encode: ``(variables, x) -> q(z|x)`` of uint8 images `[B, H, W, C]`, a `Normal` over
            `[B, D]`; of a transformed posterior the normal about its mean.
        decode: ``(variables, z) -> x``: of latents `[B, D]` the expected images, rounded to uint8
            in 0 to levels - 1.
        prior: ``variables -> p(z)``, the model's own prior.
    """

    encode: Callable[[PyTree, Array], Normal]
    decode: Callable[[PyTree, Array], Array]
    prior: Callable[[PyTree], Prior]


def bind(
    model: VAE,
    variables: PyTree,
    *,
    levels: int,
    prior: Prior | None = None,
    encoder_keys: Array | None = None,
    decoder_keys: Array | None = None,
) -> BoundModel:
    """Joins a model with its variables.

    Args:
        model: see `VAE`.
        variables: of the model.
        levels: number of pixel values of the data.
        prior: a density to install in place of the model's own prior.
        encoder_keys: for the dropout of the encoder in training, `[B]`; None without.
        decoder_keys: for that of the decoder.

    Returns:
        The callables.
    """
    apply: Any = model.apply

    def encode(x: Array) -> Posterior:
        y = dequantized_to_model_range(x, levels)
        return apply(variables, y, method="encode", dropout_keys=encoder_keys)

    def decode(z: Array) -> Any:
        return apply(variables, z, method="decode", dropout_keys=decoder_keys)

    def expected_images(z: Array) -> Array:
        return dequantized_to_model_range(expected_values(model.likelihood, decode(z)), levels)

    own_prior = apply(variables, method="prior") if prior is None else prior
    return BoundModel(encode, decode, own_prior, expected_images)


def codec(model: VAE, *, levels: int) -> Codec:
    """Makes the functions between images and latents.

    Args:
        model: see `VAE`.
        levels: number of pixel values of the data.

    Returns:
        Functions of the variables, such as `TrainState.eval_variables`.
    """
    apply: Any = model.apply

    @jax.jit
    def encode(variables: PyTree, x: Array) -> Normal:
        q = apply(variables, to_model_range(x, levels), method="encode")
        return Normal(q.mean, q.base.log_var) if isinstance(q, TransformedNormal) else q

    @jax.jit
    def decode(variables: PyTree, z: Array) -> Array:
        distribution = apply(variables, z, method="decode")
        return expected_pixels(model.likelihood, distribution, levels)

    @jax.jit
    def prior(variables: PyTree) -> Prior:
        return apply(variables, method="prior")

    return Codec(encode, decode, prior)


def sampler(
    model: VAE, *, levels: int, prior: Prior | None = None, temperature: float = 1.0
) -> Callable[..., Array]:
    """Makes the `sample` of an `Algorithm`: latents of the prior, then pixels of the likelihood.

    In place of an algorithm's own, ``algorithm._replace(sample=sampler(...))``, it changes what is
    sampled after training and nothing else.

    Args:
        model: see `VAE`.
        levels: number of pixel values of the data.
        prior: a density to sample from in place of the model's own prior.
        temperature: factor of the prior's standard deviations, above 0; see `priors.tempered`.

    Returns:
        ``(state, key, num, label=None) -> x``: uint8 images `[num, H, W, C]` by one key or keys
        `[num]`.

    Raises:
        ValueError: if `temperature` is not above 0.
    """
    if not temperature > 0.0:
        raise ValueError(f"temperature: {temperature}, expected above 0")

    def sample(state: TrainState, key: Key, num: int, label: Array | None = None) -> Array:
        if label is not None:
            raise ValueError("label: given, expected None, since this model is not conditional")
        bound = bind(model, state.eval_variables, levels=levels, prior=prior)
        density: Any = bound.prior
        if temperature != 1.0:
            density = tempered(density, temperature)
        latent_keys, pixel_keys = split_keys(example_keys(key, num), 2)
        x = bound.decode(density.sample(latent_keys, num)).sample(pixel_keys)
        return to_pixels(x, levels)

    return sample


def expected_pixels(likelihood: Likelihood, distribution: Any, levels: int) -> Array:
    """Makes images of the expectation of a likelihood.

    Args:
        likelihood: whose distribution it is.
        distribution: over pixels, `[B, H, W, C]`.
        levels: number of pixel values of the data.

    Returns:
        uint8 `[B, H, W, C]`, 0 to levels - 1.
    """
    return to_pixels(expected_values(likelihood, distribution) + 0.5, levels)


def expected_values(likelihood: Likelihood, distribution: Any) -> Array:
    """The expectation of a likelihood as values of pixels, not rounded.

    Args:
        likelihood: whose distribution it is.
        distribution: over pixels, `[B, H, W, C]`.

    Returns:
        float32 `[B, H, W, C]`, about 0 to levels - 1.
    """
    # A dequantized pixel k lies in [k, k + 1), the expectation of a discrete one is about k.
    return distribution.expectation() - 0.5 * likelihood.is_density


def to_pixels(x: Array, levels: int) -> Array:
    """Makes images of what a likelihood draws or expects.

    Args:
        x: values about 0 to levels, any shape; what lies in [k, k + 1) is the pixel value k.
        levels: number of pixel values of the data.

    Returns:
        uint8 of the shape of `x`, 0 to levels - 1.
    """
    return jnp.clip(jnp.floor(x), 0, levels - 1).astype(jnp.uint8)
