"""Losses of M2, the VAE with a class beside its latents, of which a few examples know theirs.

The model is ``p(y) p(z) p(x|y, z)`` with the posterior ``q(y|x) q(z|x, y)``. Its callables are
``encode(x, y)``, which returns q(z|x, y), ``decode(z, y)``, which returns p(x|y, z), and
``classify(x)``, which returns the logits `[B, C]` of q(y|x); y is one-hot, float32 `[B, C]`. A
label below 0 is unknown. All is `[B]`, in nats.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, example_keys
from jaxgen.distributions import Density
from jaxgen.types import Array, Key, jit_loss
from jaxgen.vae.losses import ElboTerms, negative_elbo
from jaxgen.vae.posteriors import Posterior

EncodeClass = Callable[[Array, Array], Posterior]
DecodeClass = Callable[[Array, Array], Any]
Classify = Callable[[Array], Array]


class SemiSupervisedTerms(NamedTuple):
    """The terms of M2: the negative bound is ``distortion + rate + class_rate``.

    Attributes:
        distortion: ``-ln p(x|y, z)``, `[B]` in nats; averaged over q(y|x) where y is unknown.
        rate: ``KL(q(z|x, y) || p(z))`` or its estimate, likewise.
        class_rate: ``-ln p(y)`` of a known y, else ``KL(q(y|x) || p(y))``.
        classification: ``-ln q(y|x)`` of a known y, else 0.
    """

    distortion: Array
    rate: Array
    class_rate: Array
    classification: Array


@jit_loss
def labelled(
    key: Key,
    encode: EncodeClass,
    decode: DecodeClass,
    classify: Classify,
    x: Array,
    *,
    label: Array,
    prior: Density,
    class_log_prior: Array | None = None,
) -> SemiSupervisedTerms:
    """Terms of M2 where the class is known: ``L(x, y) = -ln p(x|y, z) + rate - ln p(y)``.

    Args:
        key: random key of the draw of z, or keys `[B]`.
        encode: ``(x, y) -> q(z|x, y)``.
        decode: ``(z, y) -> p(x|y, z)``.
        classify: ``x -> logits [B, C]`` of q(y|x).
        x: `[B, ...]`.
        label: int `[B]`, 0 to C - 1; others make the terms NaN.
        prior: density of z.
        class_log_prior: ``ln p(y)``, `[C]`; by default all classes are equally likely.

    Returns:
        `SemiSupervisedTerms` of `[B]`.

    Source:
        Kingma et al. 2014, "Semi-supervised learning with deep generative models", equations 6 and
        9.
    """
    logits, log_prior = _class_inputs(classify(x), class_log_prior)
    y = _one_hot(label, logits.shape[1], is_known=jnp.ones(label.shape, bool))
    terms: ElboTerms = negative_elbo(key, lambda x: encode(x, y), lambda z: decode(z, y), prior, x)
    nats = -_dot(y, jax.nn.log_softmax(logits))
    return SemiSupervisedTerms(terms.distortion, terms.rate, -_dot(y, log_prior), nats)


@jit_loss
def unlabelled(
    key: Key,
    encode: EncodeClass,
    decode: DecodeClass,
    classify: Classify,
    x: Array,
    *,
    prior: Density,
    class_log_prior: Array | None = None,
) -> SemiSupervisedTerms:
    """Terms of M2 where no class is known: ``sum_y q(y|x) L(x, y) - H(q(y|x))``.

    The sum is taken over all classes, with the same noise of z for each.

    Args:
        key: random key of the draw of z, or keys `[B]`.
        encode: ``(x, y) -> q(z|x, y)``.
        decode: ``(z, y) -> p(x|y, z)``.
        classify: ``x -> logits [B, C]`` of q(y|x).
        x: `[B, ...]`.
        prior: density of z.
        class_log_prior: ``ln p(y)``, `[C]`; by default all classes are equally likely.

    Returns:
        `SemiSupervisedTerms` of `[B]`.

    Source:
        Kingma et al. 2014, "Semi-supervised learning with deep generative models", equation 7.
    """
    label = jnp.full(len(x), -1)
    settings = {"label": label, "prior": prior, "class_log_prior": class_log_prior}
    return partly_labelled(key, encode, decode, classify, x, **settings)


@jit_loss
def partly_labelled(
    key: Key,
    encode: EncodeClass,
    decode: DecodeClass,
    classify: Classify,
    x: Array,
    *,
    label: Array,
    prior: Density,
    class_log_prior: Array | None = None,
) -> SemiSupervisedTerms:
    """Terms of M2: those of `labelled` where the class is known, else those of `unlabelled`.

    Args:
        key: random key of the draw of z, or keys `[B]`.
        encode: ``(x, y) -> q(z|x, y)``.
        decode: ``(z, y) -> p(x|y, z)``.
        classify: ``x -> logits [B, C]`` of q(y|x).
        x: `[B, ...]`.
        label: int `[B]`, 0 to C - 1, below 0 where unknown; C and above make the terms NaN.
        prior: density of z.
        class_log_prior: ``ln p(y)``, `[C]`; by default all classes are equally likely.

    Returns:
        `SemiSupervisedTerms` of `[B]`.

    Source:
        Kingma et al. 2014, "Semi-supervised learning with deep generative models", equations 6 to
        9.
    """
    logits, log_prior = _class_inputs(classify(x), class_log_prior)
    chex.assert_shape(label, (len(x),))
    is_known, log_q = label >= 0, jax.nn.log_softmax(logits)
    y, keys = _one_hot(label, logits.shape[1], is_known=is_known), example_keys(key, len(x))

    def bound(one: Array) -> ElboTerms:
        y = jnp.broadcast_to(one[None], logits.shape)
        return negative_elbo(keys, lambda x: encode(x, y), lambda z: decode(z, y), prior, x)

    terms = jax.vmap(bound, out_axes=1)(jnp.eye(logits.shape[1]))
    # A known class is a q(y|x) that is sure of it, whose KL from the prior is -ln p(y).
    share = jnp.where(is_known[:, None], y, jnp.exp(log_q))
    entropy = jnp.where(is_known, 0.0, -_dot(jnp.exp(log_q), log_q))
    return SemiSupervisedTerms(
        _dot(share, terms.distortion),
        _dot(share, terms.rate),
        -_dot(share, log_prior) - entropy,
        -_dot(y, log_q),
    )


@jit_loss
def classification_weighted(terms: SemiSupervisedTerms, *, weight: Array | float) -> Array:
    """The objective of M2, ``distortion + rate + class_rate + weight * classification``.

    The paper weighs the *mean* of ``-ln q(y|x)`` over the labelled examples by ``0.1 N`` beside the
    *sum* of the bounds of all N: of n labelled ones each then has the weight ``0.1 N / n``.

    Args:
        terms: of `[B]` each.
        weight: of a labelled example's ``-ln q(y|x)``, at least 0.

    Returns:
        `[B]` in nats.

    Source:
        Kingma et al. 2014, "Semi-supervised learning with deep generative models", equation 9.
    """
    return terms.distortion + terms.rate + terms.class_rate + weight * terms.classification


def _class_inputs(logits: Array, class_log_prior: Array | None) -> tuple[Array, Array]:
    """Logits and ``ln p(y)``, float32 `[B, C]` each."""
    chex.assert_rank(logits, 2)
    num_classes = logits.shape[1]
    if class_log_prior is None:
        class_log_prior = jnp.full(num_classes, -jnp.log(float(num_classes)))
    chex.assert_shape(class_log_prior, (num_classes,))
    log_prior = jnp.broadcast_to(at_least_float32(class_log_prior)[None], logits.shape)
    return at_least_float32(logits), log_prior


def _one_hot(label: Array, num_classes: int, *, is_known: Array) -> Array:
    """Labels in one-hot form, zeros where unknown, and NaN for what is no class."""
    y = jax.nn.one_hot(label, num_classes)
    is_wrong = is_known & ((label < 0) | (label >= num_classes))
    return jnp.where(is_wrong[:, None], jnp.nan, y)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)
