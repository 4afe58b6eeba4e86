"""Losses of autoencoders and variational autoencoders: pure functions of arrays and callables.

Each is `[B]` in nats. Two callables describe a model: ``encode(x)`` returns the approximate
posterior q(z|x), such as a `Normal` (or, for the plain autoencoders, the code `[B, D]` itself), and
``decode(z)`` the distribution p(x|z) of the data: any object with ``log_prob(x) -> [B]``. A key is
one key, or a key for each example `[B]`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, sample_by_example, sum_event
from jaxgen.distributions import Density, Normal
from jaxgen.importance import LikelihoodEstimate, draw_keys, log_mean_weight
from jaxgen.types import Array, Key, jit_loss
from jaxgen.vae.posteriors import Posterior
from jaxgen.vae.priors import ClosedFormPrior

Encode = Callable[[Array], Posterior]
EncodeCode = Callable[[Array], Array]
Decode = Callable[[Array], Any]


class ElboTerms(NamedTuple):
    """The two terms of the negative evidence lower bound (ELBO): ``distortion + rate``.

    Attributes:
        distortion: ``-ln p(x|z)``, `[B]` in nats.
        rate: ``KL(q(z|x) || p(z))`` or its estimate, `[B]` in nats.
    """

    distortion: Array
    rate: Array


class SparseTerms(NamedTuple):
    """The two terms of the sparse autoencoder.

    Attributes:
        distortion: ``-ln p(x|z)``, `[B]` in nats.
        activity: ``sum |z|``, `[B]`.
    """

    distortion: Array
    activity: Array


@jit_loss
def reconstruction(encode: EncodeCode, decode: Decode, x: Array) -> Array:
    """Autoencoder loss ``-ln p(x|encode(x))``.

    Args:
        encode: ``x -> z [B, D]``.
        decode: ``z -> p(x|z)``.
        x: `[B, ...]`.

    Returns:
        `[B]` in nats.

    Source:
        Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks",
        the loss of fine-tuning.
    """
    return denoising(encode, decode, x, x)


@jit_loss
def denoising(encode: EncodeCode, decode: Decode, x_corrupted: Array, x: Array) -> Array:
    """Denoising autoencoder loss ``-ln p(x|encode(x_corrupted))``: the target stays clean.

    Args:
        encode: ``x -> z [B, D]``.
        decode: ``z -> p(x|z)``.
        x_corrupted: what the encoder sees, `[B, ...]`; see `masking_noise` and `gaussian_noise`.
        x: the clean target, same shape.

    Returns:
        `[B]` in nats.

    Source:
        Vincent et al. 2008, "Extracting and composing robust features with denoising
        autoencoders", section 2.3.
    """
    chex.assert_equal_shape([x_corrupted, x])
    return -decode(encode(x_corrupted)).log_prob(x)


@jit_loss
def sparse(encode: EncodeCode, decode: Decode, x: Array) -> SparseTerms:
    """Terms of the sparse autoencoder: minimise ``distortion + weight * activity``.

    Args:
        encode: ``x -> z [B, D]``.
        decode: ``z -> p(x|z)``.
        x: `[B, ...]`.

    Returns:
        `SparseTerms` of `[B]`.

    Source:
        Olshausen & Field 1996, "Emergence of simple-cell receptive field properties by learning a
        sparse code for natural images", equations 2 to 4 with ``S(z) = |z|``; here an encoder gives
        the code.
    """
    z = encode(x)
    chex.assert_rank(z, 2)
    activity = jnp.sum(jnp.abs(at_least_float32(z)), axis=-1)
    return SparseTerms(-decode(z).log_prob(x), activity)


@jit_loss
def negative_elbo(key: Key, encode: Encode, decode: Decode, prior: Density, x: Array) -> ElboTerms:
    """Negative ELBO ``E_q[-ln p(x|z)] + KL(q(z|x) || p(z))``, by one reparameterized draw of z.

    The prior decides on the rate: the KL in closed form where it has one (`ClosedFormPrior`, such
    as the standard normal) and q is a `Normal`, otherwise ``ln q(z|x) - ln p(z)`` on the draw of
    the distortion, of which a single value can be negative and the expectation cannot.

    Args:
        key: random key of the draw, or keys `[B]`.
        encode: ``x -> q(z|x)``, such as a `Normal` over `[B, D]`.
        decode: ``z -> p(x|z)``.
        prior: density of z with ``log_prob(z) -> [B]``.
        x: `[B, ...]`.

    Returns:
        `ElboTerms` of `[B]` in nats; their sum is the loss.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", equation 7 and appendix B; without
        a closed form: equation 6.
    """
    q = encode(x)
    z, log_q = q.sample_and_log_prob(key)
    if isinstance(prior, ClosedFormPrior) and isinstance(q, Normal):
        rate = sum_event(prior.kl_per_dimension(q))
    else:
        rate = log_q - prior.log_prob(z)
    return ElboTerms(-decode(z).log_prob(x), rate)


@jit_loss
def beta_weighted(terms: ElboTerms, *, beta: Array | float) -> Array:
    """Beta-VAE objective ``distortion + beta * rate``, a bound only at ``beta = 1``.

    Args:
        terms: of `[B]` each.
        beta: weight of the rate, at least 0; a KL warm-up raises it from 0 to 1.

    Returns:
        `[B]`.

    Source:
        Higgins et al. 2017, "beta-VAE: learning basic visual concepts with a constrained
        variational framework", equation 4.
    """
    return terms.distortion + beta * terms.rate


@jit_loss
def free_bits(rate_per_dimension: Array, *, minimum: Array | float) -> Array:
    """Rate with a floor for every latent of every example: ``sum_d max(minimum, R_d)``.

    Args:
        rate_per_dimension: `[B, D]` in nats.
        minimum: nats below which a latent is not pressed further, at least 0.

    Returns:
        `[B]` in nats.

    Source:
        Kingma et al. 2016, "Improved variational inference with inverse autoregressive flow",
        equation 15, with the floor per example.
    """
    chex.assert_rank(rate_per_dimension, 2)
    return jnp.sum(jnp.maximum(at_least_float32(rate_per_dimension), minimum), axis=-1)


@jit_loss(static_argnames=("axis_name",))
def free_bits_batch(
    rate_per_dimension: Array, *, minimum: Array | float, axis_name: str | None = None
) -> Array:
    """Rate with a floor for the batch mean of every latent: ``sum_d max(minimum, mean_b R_bd)``.

    A different objective from `free_bits`: an example may fall below the floor while the batch
    keeps above it.

    Args:
        rate_per_dimension: `[B, D]` in nats.
        minimum: nats below which a latent is not pressed further, at least 0.
        axis_name: mapped axis over which the batch is spread, or None.

    Returns:
        `[B]` in nats, the same value for every example.

    Source:
        Kingma et al. 2016, "Improved variational inference with inverse autoregressive flow",
        equation 15.
    """
    chex.assert_rank(rate_per_dimension, 2)
    mean_rate = jnp.mean(at_least_float32(rate_per_dimension), axis=0)
    if axis_name is not None:
        mean_rate = jax.lax.pmean(mean_rate, axis_name)
    total = jnp.sum(jnp.maximum(mean_rate, minimum))
    return jnp.broadcast_to(total, (len(rate_per_dimension),))


@jit_loss(static_argnames=("num_samples",))
def importance_weighted(
    key: Key, encode: Encode, decode: Decode, prior: Density, x: Array, *, num_samples: int
) -> Array:
    """Negative importance-weighted bound ``-(logsumexp_k ln w_k - ln K)``.

    The weights of K draws from the posterior are ``w_k = p(x|z_k) p(z_k) / q(z_k|x)``.

    Args:
        key: random key of the draws, or keys `[B]`.
        encode: ``x -> q(z|x)``, such as a `Normal` over `[B, D]`.
        decode: ``z -> p(x|z)``.
        prior: density of z with ``log_prob(z) -> [B]``.
        x: `[B, ...]`.
        num_samples: K, at least 1; at 1 the loss is the negative ELBO.

    Returns:
        `[B]` in nats, in expectation at least ``-ln p(x)``.

    Raises:
        ValueError: if `num_samples` is below 1.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", equation 8.
    """
    keys = draw_keys(key, len(x), num_samples)
    log_weights = jax.vmap(_log_weight, in_axes=(0, None, None, None, None))(
        keys, encode(x), decode, prior, x
    )
    return -log_mean_weight(log_weights).log_likelihood


@jit_loss(static_argnames=("num_samples", "chunk_size"))
def log_likelihood(
    key: Key,
    encode: Encode,
    decode: Decode,
    prior: Density,
    x: Array,
    *,
    num_samples: int,
    chunk_size: int = 50,
) -> LikelihoodEstimate:
    """Estimates ``ln p(x)`` by importance sampling, a chunk of draws at a time.

    The value does not depend on the chunk size: draw k of an example has a key of its own.

    Args:
        key: random key of the draws, or keys `[B]`.
        encode: ``x -> q(z|x)``, such as a `Normal` over `[B, D]`.
        decode: ``z -> p(x|z)``.
        prior: density of z with ``log_prob(z) -> [B]``.
        x: `[B, ...]`.
        num_samples: K, at least 1.
        chunk_size: draws decoded at once; memory grows with ``chunk_size * B``.

    Returns:
        `LikelihoodEstimate` of `[B]` in nats; the standard error is 0 at ``K = 1``, where none can
        be told, and has no gradient.

    Raises:
        ValueError: if `num_samples` or `chunk_size` is below 1.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", section 3.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size: {chunk_size}, expected at least 1")
    keys = draw_keys(key, len(x), num_samples)
    q = encode(x)
    log_weights = jax.lax.map(
        lambda k: _log_weight(k, q, decode, prior, x), keys, batch_size=min(chunk_size, num_samples)
    )
    return log_mean_weight(log_weights)


def _log_weight(keys: Array, q: Posterior, decode: Decode, prior: Density, x: Array) -> Array:
    z, log_q = q.sample_and_log_prob(keys)
    return decode(z).log_prob(x) + prior.log_prob(z) - log_q


def masking_noise(key: Key, x: Array, *, probability: float) -> Array:
    """Sets each value to 0 with a probability: the corruption of denoising autoencoders.

    Args:
        key: random key, or keys `[B]`.
        x: `[B, ...]`.
        probability: in [0, 1).

    Returns:
        float32 of the shape of `x`.

    Raises:
        ValueError: if `probability` is outside [0, 1).

    Source:
        Vincent et al. 2008, "Extracting and composing robust features with denoising
        autoencoders", section 2.3.
    """
    if not 0.0 <= probability < 1.0:
        raise ValueError(f"probability: {probability}, expected in [0, 1)")
    keep = sample_by_example(
        lambda key, shape: jax.random.bernoulli(key, 1.0 - probability, shape), key, x.shape
    )
    return jnp.where(keep, at_least_float32(x), 0.0)


def gaussian_noise(key: Key, x: Array, *, std: float) -> Array:
    """Adds independent normal noise to each value.

    Args:
        key: random key, or keys `[B]`.
        x: `[B, ...]`.
        std: standard deviation in the units of `x`, at least 0.

    Returns:
        float32 of the shape of `x`.

    Raises:
        ValueError: if `std` is negative.

    Source:
        Vincent et al. 2010, "Stacked denoising autoencoders: learning useful representations in a
        deep network with a local denoising criterion", section 3.3.
    """
    if std < 0.0:
        raise ValueError(f"std: {std}, expected at least 0")
    return at_least_float32(x) + std * sample_by_example(jax.random.normal, key, x.shape)
