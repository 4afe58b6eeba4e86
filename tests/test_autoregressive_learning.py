"""Training towards a field whose entropy is known, by exact enumeration of all its images."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.autoregressive import causality, heads, networks, orders, samplers
from jaxgen.autoregressive.algorithm import autoregressive_algorithm, sampler
from jaxgen.autoregressive.models import PixelModel

KEY = jax.random.key(0)


def field_log_mass(x):
    """``logit p(x = 1) = -1 + 2 left + up``, pixels outside 0; nats of images `[N, H, W]`."""
    x = np.pad(np.asarray(x, float), ((0, 0), (1, 0), (1, 0)))
    logit = -1.0 + 2.0 * x[:, 1:, :-1] + x[:, :-1, 1:]
    return (x[:, 1:, 1:] * logit - np.logaddexp(0.0, logit)).sum(axis=(1, 2))


def all_images(side):
    return np.array(list(itertools.product((0, 1), repeat=side**2)), np.uint8).reshape(
        -1, side, side
    )


@pytest.mark.parametrize(
    ("side", "entropy", "num_steps"),
    [(2, 2.3527, 400), pytest.param(4, 9.0848, 3000, marks=pytest.mark.slow)],
)
def test_a_field_of_known_entropy_is_learned(side, entropy, num_steps):
    images = all_images(side)
    log_mass = field_log_mass(images)
    mass = np.exp(log_mass)
    assert -np.sum(mass * log_mass) == pytest.approx(entropy, abs=5e-5)

    order = orders.make_order("raster", side, side)
    model = PixelModel(networks.GatedPixelCNN(8, 3), heads.Bernoulli(1), 2, order)
    rate = optax.cosine_decay_schedule(0.01, num_steps)
    sample = sampler(model, samplers.cached, (side, side, 1))
    algorithm = autoregressive_algorithm(model, optax.adam(rate), sample)
    x = images[np.random.default_rng(0).choice(len(mass), (num_steps, 128), p=mass / mass.sum())]

    @jax.jit
    def train(x):
        state = algorithm.init(KEY, {"x": x[0]})
        keys = jax.random.split(KEY, num_steps)
        step = lambda state, xs: algorithm.step(state, {"x": xs[1]}, xs[0])  # noqa: E731
        return jax.lax.scan(step, state, (keys, x))[0]

    state = train(x[..., None])
    apply = jax.jit(
        lambda parts: jax.lax.map(lambda x: model.apply(state.eval_variables, x), parts)
    )
    found = apply(jnp.asarray(images).reshape(-1, 16, side, side, 1)).reshape(-1)
    divergence = np.sum(mass * (log_mass - np.asarray(found, float)))
    assert 0.0 <= divergence < 0.01
    leaks = causality(model, state.eval_variables, (side, side, 1), KEY).num_leaks
    assert leaks == 0
