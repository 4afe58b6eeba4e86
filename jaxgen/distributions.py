"""Log-densities, samples and divergences of the distributions that several families share.

Every distribution is a pytree of arrays. Its first axis counts examples and every other axis
belongs to the event, so ``log_prob(x)`` is one float32 number per example, `[B]`, in nats, summed
over the event. Image distributions are over pixel values, 0 to levels - 1 (a `Normal` is over
dequantized pixels, in [0, levels)), so ``-log_prob`` is in nats per image and needs no constant on
its way to bits per dimension. What is no pixel value has no mass: its log is -inf, so that a wrong
scale stops training instead of passing for a likelihood.

``sample(key)`` takes one key, or a key for each example `[B]`. Parameters and data may be bfloat16,
data also integers: all are cast to float32 before any arithmetic. Shapes are checked at trace time;
a mismatch is an AssertionError of chex.
"""

import math
from typing import Protocol

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxgen.arrays import (
    at_least_float32,
    example_keys,
    sample_by_example,
    split_keys,
    sum_event,
)
from jaxgen.types import Array, Key


class Density(Protocol):
    """Anything with a log-density: a distribution of this module, a flow, a fitted mixture."""

    def log_prob(self, x: Array, /) -> Array:
        """Log-density of each example, `[B]` in nats."""
        ...


@struct.dataclass
class Normal:
    """Diagonal normal, ``ln p(x) = -sum [(x - mean)^2 / exp(log_var) + log_var + ln(2 pi)] / 2``.

    Args:
        mean: `[B, ...]`.
        log_var: log-variance, of the rank of `mean`; an axis of length 1 is shared, as in
            `[B, 1, 1, 1]`. Networks should bound it with `bound_log_var`: float32 cannot hold the
            density of a log-variance much below -80.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix C.2.
    """

    mean: Array
    log_var: Array

    def log_prob(self, x: Array) -> Array:
        """Log-density of x, of the shape of `mean`: `[B]` in nats."""
        chex.assert_equal_shape([x, self.mean])
        chex.assert_is_broadcastable(self.log_var.shape, self.mean.shape)
        x, mean, log_var = map(at_least_float32, (x, self.mean, self.log_var))
        z = (x - mean) * jnp.exp(-0.5 * log_var)
        return sum_event(-0.5 * (z * z + log_var + math.log(2.0 * math.pi)))

    def sample(self, key: Key) -> Array:
        """One reparameterized draw per example, of the shape of `mean`: float32."""
        mean, log_var = map(at_least_float32, (self.mean, self.log_var))
        return mean + jnp.exp(0.5 * log_var) * sample_by_example(jax.random.normal, key, mean.shape)

    def sample_and_log_prob(self, key: Key) -> tuple[Array, Array]:
        """One draw per example, and its log-density `[B]` in nats."""
        x = self.sample(key)
        return x, self.log_prob(x)

    def expectation(self) -> Array:
        """The mean, `[B, ...]`, float32."""
        return at_least_float32(self.mean)


@struct.dataclass
class Bernoulli:
    """Independent binary values, ``ln p(x) = sum [x logit - softplus(logit)]``.

    Args:
        logits: `[B, ...]`. The data must be 0 or 1: grey values have no likelihood.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix C.1, written with logits.
    """

    logits: Array

    def log_prob(self, x: Array) -> Array:
        """Log-probability of x, of the shape of `logits`: `[B]` in nats, -inf if not 0 or 1."""
        chex.assert_equal_shape([x, self.logits])
        x, logits = map(at_least_float32, (x, self.logits))
        # The line through 0 and 1 goes on beyond them: 255 would have the log-mass 255 logit.
        is_binary = (x == 0.0) | (x == 1.0)
        return sum_event(jnp.where(is_binary, x * logits - jax.nn.softplus(logits), -jnp.inf))

    def sample(self, key: Key) -> Array:
        """One draw per example, of the shape of `logits`: int32."""
        noise = sample_by_example(jax.random.logistic, key, self.logits.shape)
        return (noise < at_least_float32(self.logits)).astype(jnp.int32)

    def expectation(self) -> Array:
        """Probability of a 1, `[B, ...]`, float32."""
        return jax.nn.sigmoid(at_least_float32(self.logits))


@struct.dataclass
class Categorical:
    """Independent integers 0 to levels - 1, ``ln p(x) = sum log_softmax(logits)[x]``.

    Args:
        logits: `[B, ..., levels]`.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", section 2.2.
    """

    logits: Array

    def log_prob(self, x: Array) -> Array:
        """Log-probability of x, `[B, ...]`: `[B]` in nats, -inf if not 0 to levels - 1."""
        chex.assert_shape(x, self.logits.shape[:-1])
        logits = at_least_float32(self.logits)
        # Less the largest before the gather: logits[x] - logsumexp cancels for large logits.
        logits -= jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
        index = x.astype(jnp.int32)[..., None]
        logit = jnp.take_along_axis(logits, index, axis=-1, mode="clip")[..., 0]
        log_mass = logit - jnp.log(jnp.sum(jnp.exp(logits), axis=-1))
        # Otherwise 3.7 would be a 3, -1 the last level, and 300 the nearest one.
        return sum_event(jnp.where(_is_level(x, self.logits.shape[-1]), log_mass, -jnp.inf))

    def sample(self, key: Key) -> Array:
        """One draw per example, `[B, ...]`: int32."""
        noise = sample_by_example(jax.random.gumbel, key, self.logits.shape)
        return jnp.argmax(at_least_float32(self.logits) + noise, axis=-1).astype(jnp.int32)

    def expectation(self) -> Array:
        """Expected value, `[B, ...]`, float32 in [0, levels - 1]."""
        masses = jax.nn.softmax(at_least_float32(self.logits), axis=-1)
        values = jax.lax.broadcasted_iota(jnp.float32, masses.shape, masses.ndim - 1)
        return jnp.sum(masses * values, axis=-1)


@struct.dataclass
class DiscretizedLogistic:
    """Logistic density integrated over each pixel's bin; the edge bins reach to infinity.

    With ``a, b = (x - mean +- 1/2) / exp(log_scale)`` the mass of a bin is
    ``ln [sigmoid(a) - sigmoid(b)] = log_sigmoid(a) + log_sigmoid(-b) + ln(1 - exp(b - a))``: three
    terms of one sign, so nothing cancels, and no floor kills the gradient of an unlikely pixel.
    At 0 ``b = -inf``, at the top ``a = inf``.

    Args:
        mean: location in pixel units, `[B, ...]`.
        log_scale: log of the scale in pixel units, same shape.
        levels: number of pixel values, at least 2 (static).

    Raises:
        ValueError: if `levels` is below 2.

    Source:
        Salimans et al. 2017, "PixelCNN++", equation 2, for one component.
    """

    mean: Array
    log_scale: Array
    levels: int = struct.field(pytree_node=False)

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise ValueError(f"levels: {self.levels}, expected at least 2")

    def log_prob(self, x: Array) -> Array:
        """Log-probability of x, of the shape of `mean`: `[B]` in nats, -inf if no pixel value."""
        chex.assert_equal_shape([x, self.mean, self.log_scale])
        is_level = _is_level(x, self.levels)
        x, mean, log_scale = map(at_least_float32, (x, self.mean, self.log_scale))
        at_bottom, at_top = x <= 0.0, x >= self.levels - 1.0
        a, b = ((x - mean + half) * _inverse_scale(log_scale) for half in (0.5, -0.5))
        below_upper = jnp.where(at_top, 0.0, jax.nn.log_sigmoid(a))
        above_lower = jnp.where(at_bottom, 0.0, jax.nn.log_sigmoid(-b))
        width = jnp.where(at_bottom | at_top, 0.0, _log_bin_width(log_scale))
        # Otherwise whatever lies beyond an edge would have the mass of the whole tail.
        return sum_event(jnp.where(is_level, below_upper + above_lower + width, -jnp.inf))

    def sample(self, key: Key) -> Array:
        """One draw per example, of the shape of `mean`: int32."""
        mean, log_scale = map(at_least_float32, (self.mean, self.log_scale))
        noise = sample_by_example(jax.random.logistic, key, mean.shape)
        x = mean + noise / _inverse_scale(log_scale)
        return jnp.clip(jnp.round(x), 0.0, self.levels - 1.0).astype(jnp.int32)

    def expectation(self) -> Array:
        """Expected pixel value, the sum of ``P(x >= k)`` over k: `[B, ...]`, float32."""
        mean, log_scale = map(at_least_float32, (self.mean, self.log_scale))

        def add(k: Array, total: Array) -> Array:
            return total + jax.nn.sigmoid((mean - k + 0.5) * _inverse_scale(log_scale))

        return jax.lax.fori_loop(1, self.levels, add, jnp.zeros_like(mean))


def _is_level(x: Array, levels: int) -> Array:
    """Whether values are whole numbers 0 to levels - 1."""
    x = at_least_float32(x)
    return (x == jnp.floor(x)) & (x >= 0.0) & (x < levels)


def _inverse_scale(log_scale: Array) -> Array:
    # Beyond +-60 exp and its products leave float32: 0 * inf = NaN where x meets a bin's edge.
    return jnp.exp(-jnp.clip(log_scale, -60.0, 60.0))


def _log_bin_width(log_scale: Array) -> Array:
    """``ln(1 - exp(-1/s))``; for large s -log_scale, where exp underflows and gives ln 0."""
    is_wide = log_scale > 15.0
    # Below -15 the term is 0 to float32; the clip keeps the gradient of both branches finite.
    inverse_scale = jnp.exp(-jnp.clip(log_scale, -15.0, 15.0))
    return jnp.where(is_wide, -log_scale, jnp.log(-jnp.expm1(-inverse_scale)))


@struct.dataclass
class NormalMixture:
    """Mixture of diagonal normals, ``ln p(z) = logsumexp_k [ln pi_k + ln N_k(z)]``.

    The one distribution whose parameters have no axis of examples.

    Args:
        logits: unnormalised ``ln pi``, `[K]`.
        mean: `[K, D]`.
        log_var: `[K, D]`.

    Source:
        Tomczak & Welling 2018, "VAE with a VampPrior" (the mixture of Gaussians prior).
    """

    logits: Array
    mean: Array
    log_var: Array

    def log_prob(self, z: Array) -> Array:
        """Log-density of z `[B, D]`: `[B]` in nats."""
        chex.assert_shape(z, (None, self.mean.shape[-1]))
        shape = (len(self.logits), *z.shape)
        mean, log_var, z = (
            jnp.broadcast_to(v, shape) for v in (self.mean[:, None], self.log_var[:, None], z[None])
        )
        log_densities = jax.vmap(lambda m, v, x: Normal(m, v).log_prob(x))(mean, log_var, z)
        return jax.nn.logsumexp(_log_weights(self.logits)[:, None] + log_densities, axis=0)

    def sample(self, key: Key, num: int) -> Array:
        """Independent draws `[num, D]` by one key or keys `[num]`, float32."""
        component_keys, normal_keys = split_keys(example_keys(key, num), 2)
        logits = jnp.broadcast_to(self.logits, (num, *self.logits.shape))
        component = Categorical(logits).sample(component_keys)
        return Normal(self.mean[component], self.log_var[component]).sample(normal_keys)

    def expectation(self) -> Array:
        """Mean of the mixture, `[D]`, float32."""
        weights = jnp.exp(_log_weights(self.logits))
        return jnp.sum(weights[:, None] * at_least_float32(self.mean), axis=0)


def _log_weights(logits: Array) -> Array:
    return jax.nn.log_softmax(at_least_float32(logits))


def normal_kl_per_dimension(q: Normal, p: Normal | None = None) -> Array:
    """Divergence ``KL(q || p)`` of each dimension between diagonal normals.

    ``[(mean_q - mean_p)^2 / v_p + v_q / v_p - 1 - ln(v_q / v_p)] / 2`` with variances v.

    Args:
        q: over `[B, ...]`.
        p: over the same shape, or axes of length 1 where it is shared; None stands for N(0, I).

    Returns:
        `[B, ...]` in nats, at least 0 up to rounding.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix B, there for p = N(0, I).
    """
    mean, log_var = map(at_least_float32, (q.mean, q.log_var))
    if p is None:
        return 0.5 * (mean * mean + jnp.expm1(log_var) - log_var)
    chex.assert_equal_rank([q.mean, q.log_var, p.mean, p.log_var])
    chex.assert_is_broadcastable(p.mean.shape, q.mean.shape)
    p_mean, p_log_var = map(at_least_float32, (p.mean, p.log_var))
    distance, log_ratio = (mean - p_mean) * jnp.exp(-0.5 * p_log_var), log_var - p_log_var
    # expm1(r) - r and not exp(r) - 1 - r: near r = 0 the latter loses every digit.
    return 0.5 * (distance * distance + jnp.expm1(log_ratio) - log_ratio)


def normal_kl(q: Normal, p: Normal | None = None) -> Array:
    """Divergence ``KL(q || p)`` between diagonal normals, summed over the event.

    Args:
        q: over `[B, ...]`.
        p: over the same shape, or axes of length 1 where it is shared; None stands for N(0, I).

    Returns:
        `[B]` in nats.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", appendix B, there for p = N(0, I).
    """
    return sum_event(normal_kl_per_dimension(q, p))


def bound_log_var(raw: Array, low: float, high: float) -> Array:
    """Smoothly bounds a network output: nearly the identity inside (low, high), flat outside.

    With ``t = high - softplus(high - raw)`` it is ``low + c softplus(t - low)``; for the width w of
    the range ``c = w / softplus(w)``. A hard clip has no gradient outside, so a network that strays
    there never returns; here the slope decays as ``exp(-distance)``.

    Args:
        raw: any shape.
        low: lower bound.
        high: upper bound, above `low`.

    Returns:
        float32 of the shape of `raw`, in [low, high] up to rounding.

    Raises:
        ValueError: if `low` is not below `high`.

    Source:
        Chua et al. 2018, "Deep reinforcement learning in a handful of trials", appendix A.1.
    """
    if not low < high:
        raise ValueError(f"low, high: {low}, {high}, expected low < high")
    width = high - low
    below_high = high - jax.nn.softplus(high - at_least_float32(raw))
    scale = width / (width + math.log1p(math.exp(-width)))
    return low + scale * jax.nn.softplus(below_high - low)
