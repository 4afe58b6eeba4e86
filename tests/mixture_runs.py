"""Data of a few clusters, and mixtures on their way to them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.classical import mixture
from jaxgen.classical.mixture import KINDS

NUM_FACTORS = {kind: 2 if kind in ("ppca", "factor_analysis") else 0 for kind in KINDS}


def blobs(num=40, size=4, seed=0):
    rng = np.random.default_rng(seed)
    centres = 3.0 * rng.normal(size=(3, size))
    label = rng.integers(0, 3, num)
    mixing = rng.normal(size=(3, size, size))
    return centres[label] + np.einsum("bij,bj->bi", mixing[label], rng.normal(size=(num, size)))


def start(x, kind, num_components=3, seed=0, **settings):
    return mixture.start(
        jax.random.key(seed),
        jnp.asarray(x),
        kind=kind,
        num_components=num_components,
        num_factors=NUM_FACTORS[kind],
        **settings,
    )


@functools.partial(jax.jit, static_argnames=("num_steps", "noise_variance"))
def run(begin, x, *, num_steps, min_variance=1e-9, weight=None, observed=None, noise_variance=0.0):
    """The mixture after some steps, and the mean log-density before each."""

    def step(params, _):
        result = mixture.em_step(
            params,
            x,
            min_variance=min_variance,
            weight=weight,
            observed=observed,
            noise_variance=noise_variance,
        )
        weights = jnp.ones(len(x)) if weight is None else weight
        mean = jnp.sum(result.log_prob * weights) / jnp.sum(weights)
        return result.mixture, (mean, result.num_reseeded)

    return jax.lax.scan(step, begin, length=num_steps)


em_step = jax.jit(mixture.em_step, static_argnames=("noise_variance",))
expect = jax.jit(mixture.expect, static_argnames=("noise_variance",))


def covariances(params):
    return np.stack([params.component(k).covariance() for k in range(params.num_components)])


def fitted(kind, num_steps=5, **settings):
    x = blobs(**settings)
    return run(start(x, kind), x, num_steps=num_steps)[0], x
