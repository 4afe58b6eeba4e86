"""Mixtures of Gaussians of six kinds of covariance, as one density."""

import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxgen.arrays import example_keys, split_keys
from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.gaussian.protocol import check_vectors
from jaxgen.types import Array, Key, PyTree

Kind = Literal["full", "tied", "diagonal", "spherical", "ppca", "factor_analysis"]
KINDS: tuple[str, ...] = get_args(Kind)


@struct.dataclass
class Mixture:
    """``p(x) = sum_k pi_k N_k(x)``.

    Args:
        logits: unnormalised ``ln pi``, `[K]`.
        components: `FullGaussian` or `FactorGaussian` whose arrays have an axis of components
            before them; one that all share has length 1.
        kind: which covariances they have (static).
    """

    logits: Array
    components: FullGaussian | FactorGaussian
    kind: Kind = struct.field(pytree_node=False)

    @property
    def num_components(self) -> int:
        """K."""
        return len(self.logits)

    def component(self, k: Array | int) -> FullGaussian | FactorGaussian:
        """The Gaussian of number k; raises ValueError if it is none of 0 to K - 1."""
        if isinstance(k, int) and not 0 <= k < self.num_components:
            raise ValueError(f"k: {k}, expected 0 to {self.num_components - 1}")
        return jax.tree.map(lambda a: jnp.asarray(a)[jnp.minimum(k, len(a) - 1)], self.components)

    def over_components(self, function: Callable[..., Any], *rest: PyTree) -> Any:
        """Maps ``(gaussian, *rest[k])`` over the components, one after the other."""

        def one(inputs: tuple[Array, PyTree]) -> Any:
            return function(self.component(inputs[0]), *inputs[1])

        return jax.lax.map(one, (jnp.arange(self.num_components), rest))

    @jax.jit
    def joint_log_prob(self, x: Array, observed: Array | None = None) -> Array:
        """``ln pi_k + ln N_k`` of ``x [B, n]``, or of what is observed of it: `[B, K]` in nats."""
        log_probs = self.over_components(lambda gaussian: gaussian.log_prob(x, observed))
        return log_probs.T + jax.nn.log_softmax(self.logits)[None]

    @jax.jit
    def log_prob(self, x: Array, observed: Array | None = None) -> Array:
        """Log-density of ``x [B, n]``, or of what is observed of it: `[B]` in nats."""
        return jax.nn.logsumexp(self.joint_log_prob(x, observed), axis=1)

    @jax.jit
    def responsibilities(self, x: Array, observed: Array | None = None) -> Array:
        """Probability of each component given ``x [B, n]``, or what is observed of it: `[B, K]`."""
        return jax.nn.softmax(self.joint_log_prob(x, observed), axis=1)

    @functools.partial(jax.jit, static_argnames="num")
    def sample(self, key: Key, num: int, temperature: Array | float = 1.0) -> Array:
        """Draws `[num, n]` by one key or keys `[num]`, deviations times `temperature`."""
        choice_keys, keys = split_keys(example_keys(key, num), 2)
        choose = jax.vmap(lambda key: jax.random.categorical(key, self.logits))
        return self.sample_components(keys, choose(choice_keys), temperature)

    @jax.jit
    def sample_components(
        self, keys: Array, component: Array, temperature: Array | float = 1.0
    ) -> Array:
        """A draw of each of the components `[num]`, `[num, n]`, by keys `[num]`."""
        return jax.lax.map(
            lambda pair: self.component(pair[1]).sample(pair[0][None], 1, temperature)[0],
            (keys, component),
        )

    @jax.jit
    def fill(self, x: Array, observed: Array) -> Array:
        """The expectation of all numbers given those observed, `[B, n]`."""
        weights = self.responsibilities(x, observed)
        filled = self.over_components(lambda gaussian: gaussian.fill(x, observed))
        return jnp.sum(weights.T[..., None] * filled, axis=0)

    def condition(self, x: Array, observed: Array) -> "MixtureConditional":
        """The distribution of all numbers given those of ``x [B, n]`` that are observed."""
        check_vectors(x, self.components.mean.shape[1], observed)
        return MixtureConditional(self, x, observed)

    def expectation(self) -> Array:
        """Mean of the mixture, `[n]`."""
        return jnp.sum(jax.nn.softmax(self.logits)[:, None] * self.components.mean, axis=0)

    def num_parameters(self) -> int:
        """Number of free parameters, as in information criteria."""
        num, size = self.components.mean.shape
        means = num - 1 + num * size
        if isinstance(self.components, FullGaussian):
            return means + len(self.components.cholesky) * size * (size + 1) // 2
        q = self.components.factors.shape[-1]
        rotations = q * (q - 1) // 2
        noise = size if self.kind in ("diagonal", "factor_analysis") else 1
        return means + num * (size * q - rotations + noise)


@struct.dataclass
class MixtureConditional:
    """The distribution of all numbers given those that a mask shows.

    Args:
        mixture: before anything was observed.
        x: `[B, n]`; what is not observed is not read.
        observed: true where a number is known, `[n]` or `[B, n]`.

    Source:
        Ghahramani & Jordan 1994, "Supervised learning from incomplete data via an EM approach",
        section 3.
    """

    mixture: Mixture
    x: Array
    observed: Array

    @jax.jit
    def expectation(self) -> Array:
        """The expectation, `[B, n]`; numbers observed are themselves."""
        return self.mixture.fill(self.x, self.observed)

    @jax.jit
    def sample(self, key: Key) -> Array:
        """A draw for each example, `[B, n]`, by one key or keys `[B]`."""
        choice_keys, keys = split_keys(example_keys(key, len(self.x)), 2)
        logits = self.mixture.joint_log_prob(self.x, self.observed)
        component = jax.vmap(jax.random.categorical)(choice_keys, logits)
        draw = self.mixture.sample_components(keys, component)
        shifts = self.mixture.over_components(
            lambda gaussian: gaussian.condition(self.x, self.observed).shift(draw)
        )
        moved = draw + shifts[component, jnp.arange(len(draw))]
        return jnp.where(jnp.atleast_2d(self.observed), self.x, moved)

    @jax.jit
    def log_prob(self, x: Array) -> Array:
        """Log-density of what is not observed, taken from ``x [B, n]``: `[B]` in nats.

        What is observed is taken from the condition.
        """
        whole = jnp.where(jnp.atleast_2d(self.observed), self.x, x)
        return self.mixture.log_prob(whole) - self.mixture.log_prob(self.x, self.observed)


def bic(mixture: Mixture, log_prob: Array) -> Array:
    """Bayesian information criterion ``-2 ln L + p ln N`` of p free parameters; less is better.

    Args:
        mixture: the model.
        log_prob: of the N examples that it was fitted to, `[N]` in nats.

    Returns:
        A scalar, twice nats.

    Source:
        Schwarz 1978, "Estimating the dimension of a model", equation 1, times -2.
    """
    chex.assert_rank(log_prob, 1)
    num = len(log_prob)
    return -2.0 * jnp.sum(log_prob) + mixture.num_parameters() * jnp.log(float(num))
