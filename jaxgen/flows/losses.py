"""Losses of normalizing flows: pure functions of arrays and callables, `[B]` in nats.

A key is one key, or a key for each example `[B]`.
"""

from collections.abc import Callable

import chex
import jax

from jaxgen.importance import LikelihoodEstimate, draw_keys, log_mean_weight
from jaxgen.types import Array, Key, jit_loss

LogProb = Callable[[Array], Array]
Dequantize = Callable[[Array, Array], tuple[Array, Array]]
"""``(keys [B], x) -> (y, log_q [B])``: pixels with noise, and the log-density of the noise."""


@jit_loss
def negative_log_likelihood(log_prob: LogProb, x: Array) -> Array:
    """Negative log-density of continuous data, ``-ln p(x)``.

    Args:
        log_prob: ``x -> ln p(x)``, `[B]`.
        x: `[B, ...]`.

    Returns:
        `[B]` in nats.

    Source:
        Dinh et al. 2015, "NICE: non-linear independent components estimation", equation 1.
    """
    loss = -log_prob(x)
    chex.assert_shape(loss, (len(x),))
    return loss


@jit_loss(static_argnames=("num",))
def reverse_kl(
    key: Key,
    sample_and_log_prob: Callable[[Key, int], tuple[Array, Array]],
    log_prob: LogProb,
    *,
    num: int,
) -> Array:
    """One-draw estimates ``ln q(x) - ln p(x)`` of ``KL(q || p)``, x drawn from q.

    Args:
        key: random key of the draws, or keys `[num]`.
        sample_and_log_prob: of q, ``(key, num) -> (x [num, ...], ln q(x) [num])``.
        log_prob: of p, which may lack its constant: the loss then lacks it too.
        num: number of draws.

    Returns:
        `[num]` in nats; a single value can be negative, its expectation cannot if p is normalised.

    Source:
        Rezende & Mohamed 2015, "Variational inference with normalizing flows", equation 15.
    """
    x, log_q = sample_and_log_prob(key, num)
    loss = log_q - log_prob(x)
    chex.assert_shape(loss, (num,))
    return loss


@jit_loss
def dequantized(key: Key, dequantize: Dequantize, log_prob: LogProb, x: Array) -> Array:
    """Negative bound of the probability of pixels by a density, ``ln q(u|x) - ln p(x + u)``.

    Args:
        key: random key of the noise, or keys `[B]`.
        dequantize: draws ``x + u`` and tells ``ln q(u|x)``; see `dequantization`.
        log_prob: of the density p, in units of pixels.
        x: pixels, `[B, ...]`.

    Returns:
        `[B]` in nats, in expectation at least ``-ln P(x)``.

    Source:
        Ho et al. 2019, "Flow++: improving flow-based generative models with variational
        dequantization and architecture design", section 3.1; with uniform noise Theis et al. 2016,
        "A note on the evaluation of generative models", section 3.1.
    """
    return -_log_weight(draw_keys(key, len(x), 1)[0], dequantize, log_prob, x)


@jit_loss(static_argnames=("num_samples",))
def log_likelihood(
    key: Key, dequantize: Dequantize, log_prob: LogProb, x: Array, *, num_samples: int
) -> LikelihoodEstimate:
    """Estimates ``ln P(x)`` of pixels by K draws of the noise, ``logsumexp_k ln w_k - ln K``.

    The weights are ``w_k = p(x + u_k) / q(u_k|x)``. At ``K = 1`` it is the bound of `dequantized`,
    of the same draw.

    Args:
        key: random key of the noise, or keys `[B]`.
        dequantize: as in `dequantized`.
        log_prob: as in `dequantized`.
        x: pixels, `[B, ...]`.
        num_samples: K, at least 1; the draws are taken one by one.

    Returns:
        `LikelihoodEstimate` of `[B]` in nats.

    Raises:
        ValueError: if `num_samples` is below 1.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", section 3; for dequantization Ho et
        al. 2019, "Flow++: improving flow-based generative models with variational dequantization
        and architecture design", section 3.1.
    """
    keys = draw_keys(key, len(x), num_samples)
    return log_mean_weight(jax.lax.map(lambda k: _log_weight(k, dequantize, log_prob, x), keys))


def _log_weight(keys: Array, dequantize: Dequantize, log_prob: LogProb, x: Array) -> Array:
    y, log_q = dequantize(keys, x)
    log_weight = log_prob(y) - log_q
    chex.assert_shape(log_weight, (len(x),))
    return log_weight
