"""From the context of a pixel to the probability of its channels, one after the other.

A head is a linen module with ``log_prob(h, x)``, the log-mass `[B]` of pixels `[B, ..., C]` given
contexts `[B, ..., F]`, and ``draw(keys, h)``, pixels `[M, C]` of contexts `[M, F]`.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import distributions
from jaxgen.arrays import at_least_float32, split_keys, sum_event
from jaxgen.types import Array

_ZEROS = nn.initializers.zeros_init()


class Categorical(nn.Module):
    """A probability of its own for every level: ``sum_c log_softmax(logits_c)[x_c]``.

    The logits of a channel depend on the context and, through an embedding, on the channels before.
    They start at 0: every level is as probable as any.

    Attributes:
        levels: number of pixel values; with 2 it is a Bernoulli distribution of two logits.
        num_channels: C.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", sections 2.2 and 3.
    """

    levels: int
    num_channels: int

    def setup(self) -> None:
        """Makes the layers."""
        channels = range(self.num_channels)
        self.out = [nn.Dense(self.levels, kernel_init=_ZEROS) for _ in channels]
        # For each channel a table of the levels of all those before it.
        self.before = [
            self.param(f"before_{c}", nn.initializers.normal(0.1), (c, self.levels, self.levels))
            for c in range(1, self.num_channels)
        ]

    def logits(self, h: Array, x: Array, channel: int) -> Array:
        """Of a channel `[..., levels]`, given contexts and the channels of x before it."""
        logits = self.out[channel](at_least_float32(h))
        for c in range(channel):
            logits += self.before[channel - 1][c][x[..., c].astype(jnp.int32)]
        return logits

    def log_prob(self, h: Array, x: Array) -> Array:
        """Log-mass `[B]` in nats of integer pixels `[B, ..., C]`."""
        total = jnp.zeros(len(x))
        for channel in range(self.num_channels):
            total += distributions.Categorical(self.logits(h, x, channel)).log_prob(x[..., channel])
        return total

    def draw(self, keys: Array, h: Array) -> Array:
        """Integer pixels `[M, C]` of contexts `[M, F]`, by keys `[M]`."""
        x = jnp.zeros((len(h), self.num_channels), jnp.int32)
        channel_keys = split_keys(keys, self.num_channels)
        for channel in range(self.num_channels):
            choose = jax.vmap(jax.random.categorical)
            drawn = choose(channel_keys[channel], self.logits(h, x, channel))
            x = x.at[:, channel].set(drawn.astype(jnp.int32))
        return x


class LogisticMixture(nn.Module):
    """Mixtures of logistics over bins; one choice of the component for all channels of a pixel.

    The log-masses of the channels are added for each component, then averaged by the weights. The
    mean of a channel moves with the channels before it: ``m_c + sum_{c' < c} a_cc' x_c'`` with a in
    (-1, 1) and x in [-1, 1].

    Attributes:
        levels: number of pixel values.
        num_channels: C.
        num_components: K.

    Source:
        Salimans et al. 2017, "PixelCNN++: improving the PixelCNN with discretized logistic mixture
        likelihood and other modifications", equations 2 and 3, for any number of channels.
    """

    levels: int
    num_channels: int
    num_components: int = 10

    def setup(self) -> None:
        """Makes the layers."""
        k, c = self.num_components, self.num_channels
        small = nn.initializers.normal(0.01)
        self.weights = nn.Dense(k, kernel_init=small)
        self.means = nn.Dense(k * c, kernel_init=small, bias_init=self._spread)
        self.scales = nn.Dense(k * c, kernel_init=small)
        self.links = nn.Dense(k * (c * (c - 1) // 2), kernel_init=small) if c > 1 else None

    def _spread(self, key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Means of the components from the darkest to the brightest."""
        del key
        each = jnp.linspace(-0.9, 0.9, self.num_components, dtype=dtype)
        return jnp.repeat(each, self.num_channels).reshape(shape)

    def _parameters(self, h: Array) -> tuple[Array, Array, Array, Array | None]:
        """Log-weights `[M, K]`, means and log-scales `[M, K, C]`, links `[M, K, C (C - 1) / 2]`."""
        h = at_least_float32(h)
        shape = (len(h), self.num_components, self.num_channels)
        log_weights = jax.nn.log_softmax(self.weights(h), axis=-1)
        means = self.means(h).reshape(shape)
        log_scales = self.scales(h).reshape(shape) + math.log(self.levels / 16.0)
        links = None
        if self.links is not None:
            links = jnp.tanh(self.links(h)).reshape(*shape[:2], -1)
        return log_weights, means, log_scales, links

    def _moved(self, means: Array, links: Array | None, x: Array, channel: int) -> Array:
        """Mean of a channel in pixel units, `[M, K]`, given the channels of `x [M, C]` before."""
        mean = means[..., channel]
        first = channel * (channel - 1) // 2
        scaled = x.astype(jnp.float32) * (2.0 / (self.levels - 1)) - 1.0
        for c in range(channel):
            if links is not None:
                mean += links[..., first + c] * scaled[:, None, c]
        return (mean + 1.0) * (0.5 * (self.levels - 1))

    def log_prob(self, h: Array, x: Array) -> Array:
        """Log-mass `[B]` in nats of integer pixels `[B, ..., C]`."""
        flat, pixels = h.reshape(-1, h.shape[-1]), x.reshape(-1, self.num_channels)
        log_weights, means, log_scales, links = self._parameters(flat)
        total = log_weights
        for channel in range(self.num_channels):
            mean = self._moved(means, links, pixels, channel)
            value = jnp.broadcast_to(pixels[:, channel, None], mean.shape)
            each = distributions.DiscretizedLogistic(
                mean.reshape(-1, 1), log_scales[..., channel].reshape(-1, 1), self.levels
            )
            total += each.log_prob(value.reshape(-1, 1)).reshape(mean.shape)
        return sum_event(jax.nn.logsumexp(total, axis=-1).reshape(len(x), -1))

    def draw(self, keys: Array, h: Array) -> Array:
        """Integer pixels `[M, C]` of contexts `[M, F]`, by keys `[M]`."""
        log_weights, means, log_scales, links = self._parameters(h)
        # Component and channels have keys of their own: shared noise would tie them together.
        first, *others = split_keys(keys, 1 + self.num_channels)
        component = jax.vmap(jax.random.categorical)(first, log_weights)[:, None]

        def chosen(values: Array) -> Array:
            return jnp.take_along_axis(values, component, axis=1)[:, 0]

        x = jnp.zeros((len(h), self.num_channels), jnp.int32)
        for channel in range(self.num_channels):
            mean = chosen(self._moved(means, links, x, channel))
            noise = jax.vmap(jax.random.logistic)(others[channel])
            value = mean + jnp.exp(chosen(log_scales[..., channel])) * noise
            level = jnp.clip(jnp.round(value), 0.0, self.levels - 1.0)
            x = x.at[:, channel].set(level.astype(jnp.int32))
        return x


class Bernoulli(nn.Module):
    """Binary pixels, one logit for each channel; it depends on the channels before as well.

    Attributes:
        num_channels: C.

    Source:
        Larochelle & Murray 2011, "The neural autoregressive distribution estimator", section 3.
    """

    num_channels: int

    def setup(self) -> None:
        """Makes the layers."""
        shape = (self.num_channels, self.num_channels)
        self.out = nn.Dense(self.num_channels, kernel_init=_ZEROS)
        self.before = self.param("before", nn.initializers.normal(0.1), shape)

    def _logits(self, h: Array, x: Array) -> Array:
        """`[..., C]`, given contexts and the channels of `x [..., C]` before each."""
        links = jnp.tril(self.before, -1)
        told = jnp.einsum("...c,oc->...o", x.astype(jnp.float32), links, precision="highest")
        return self.out(at_least_float32(h)) + told

    def log_prob(self, h: Array, x: Array) -> Array:
        """Log-mass `[B]` in nats of pixels 0 or 1, `[B, ..., C]`."""
        logits = self._logits(h, x)
        return sum_event(x.astype(jnp.float32) * logits - jax.nn.softplus(logits))

    def draw(self, keys: Array, h: Array) -> Array:
        """Pixels 0 or 1, `[M, C]`, of contexts `[M, F]`, by keys `[M]`."""
        x = jnp.zeros((len(h), self.num_channels), jnp.int32)
        channel_keys = split_keys(keys, self.num_channels)
        for channel in range(self.num_channels):
            noise = jax.vmap(jax.random.logistic)(channel_keys[channel])
            x = x.at[:, channel].set((noise < self._logits(h, x)[:, channel]).astype(jnp.int32))
        return x
