"""Latent posteriors and total variation against closed forms and another optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxgen.inverse import latent_posteriors as latent
from jaxgen.inverse import operators, total_variation

KEY = jax.random.key(0)
DECODER = np.random.default_rng(0).normal(size=(6, 4))
OPERATOR = operators.matrix(
    jnp.asarray(np.random.default_rng(1).normal(size=(3, 6)), jnp.float32), (6,)
)
STD = 0.3
Y = np.random.default_rng(2).normal(size=(2, 3))


def linear_energy(rows=slice(None)):
    decode = lambda u: u @ jnp.asarray(DECODER.T, jnp.float32)  # noqa: E731
    y = jnp.asarray(Y[rows], jnp.float32)
    return latent.posterior_energy(decode, latent.standard_normal, OPERATOR, y, STD)


def exact():
    A = np.random.default_rng(1).normal(size=(3, 6)) @ DECODER
    covariance = np.linalg.inv(A.T @ A / STD**2 + np.eye(4))
    return Y @ A @ covariance.T / STD**2, covariance


def test_the_lowest_energy_is_the_mean_from_every_start():
    mean, _ = exact()
    start = 3.0 * jax.random.normal(KEY, (3, 2, 4))
    found, energy = latent.descend(linear_energy(), start, num_steps=3000, learning_rate=0.3)
    np.testing.assert_allclose(found, np.broadcast_to(mean, (3, 2, 4)), atol=2e-3)
    np.testing.assert_allclose(energy[1:], energy[:-1], rtol=1e-4)
    _, higher = latent.descend(linear_energy(), start, num_steps=3)
    assert np.all(higher >= energy) and np.all(higher <= jax.vmap(linear_energy())(start))


def test_langevin_draws_have_the_posterior():
    mean, covariance = exact()
    num = 4000
    start = jnp.zeros((num, 2, 4))
    chains = jax.jit(lambda key: latent.langevin(key, linear_energy(), start, num_steps=800))(KEY)
    x = np.asarray(chains.latents, np.float64)
    for i in range(2):
        error = np.sqrt(np.diag(covariance) / num)
        assert np.all(np.abs(x[:, i].mean(axis=0) - mean[i]) < 5 * error)
        bound = 6 * np.sqrt(2 / num) * np.sqrt(np.outer(*[np.diag(covariance)] * 2))
        assert np.all(np.abs(np.cov(x[:, i].T) - covariance) < bound)
    assert abs(float(chains.acceptance.mean()) - 0.574) < 0.1


def test_an_example_does_not_depend_on_its_batch():
    keys = jax.random.split(KEY, 2)
    start = jnp.ones((3, 2, 4))
    whole = latent.langevin(keys, linear_energy(), start, num_steps=20).latents
    alone = latent.langevin(keys[1:], linear_energy([1]), start[:, 1:], num_steps=20).latents
    np.testing.assert_allclose(alone, whole[:, 1:], atol=1e-4)
    whole = latent.descend(linear_energy(), start, num_steps=20)[0]
    alone = latent.descend(linear_energy([1]), start[:, 1:], num_steps=20)[0]
    np.testing.assert_allclose(alone, whole[:, 1:], atol=1e-5)


def objective(x, kernel_operator, y, weight, smooth):
    x = x.reshape(1, 5, 4, 2)
    down, across = np.zeros_like(x), np.zeros_like(x)
    down[:, :-1], across[:, :, :-1] = np.diff(x, axis=1), np.diff(x, axis=2)
    length = np.sqrt((down**2 + across**2).sum(axis=3) + smooth)
    return 0.5 * np.sum((kernel_operator @ x.ravel() - y) ** 2) + weight * length.sum()


@pytest.mark.parametrize("weight", [0.02, 0.3])
def test_total_variation_reaches_the_minimum_of_another_optimizer(weight):
    operator = operators.blur(
        np.array([[0.0, 0.2, 0.0], [0.2, 0.2, 0.2], [0.0, 0.2, 0.0]]), (5, 4, 2)
    )
    matrix = np.asarray(operator(jnp.eye(40).reshape(40, 5, 4, 2)), float).reshape(40, 40).T
    y = np.random.default_rng(0).normal(size=40)
    best = np.zeros(40)
    for smooth in (1e-2, 1e-4, 1e-6, 1e-8):
        args = (matrix, y, weight, smooth)
        best = optimize.minimize(
            objective, best, args, method="L-BFGS-B", options={"maxfun": 10**6}
        ).x
    found = total_variation.restore(
        operator, jnp.asarray(y, jnp.float32).reshape(1, 5, 4, 2), weight, num_steps=3000
    )
    reached = objective(np.asarray(found, float), matrix, y, weight, 0.0)
    lowest = objective(best, matrix, y, weight, 0.0)
    assert reached < lowest + 2e-3 * abs(lowest)


@pytest.mark.parametrize("weight", [1e-3, 1e-1])
def test_total_variation_fills_what_is_hidden(weight):
    known = np.arange(8)[:, None] * np.ones(8) < 4
    operator = operators.mask(known, (8, 8, 1))
    x = jnp.full((1, 8, 8, 1), 0.8)
    # The constant image costs nothing, and nothing else does.
    np.testing.assert_allclose(total_variation.restore(operator, operator(x), weight), x, atol=5e-3)


def test_total_variation_at_its_limits():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 4, 1)), jnp.float32)
    same = operators.identity((5, 4, 1))
    np.testing.assert_allclose(total_variation.restore(same, x, 0.0), x, atol=1e-5)
    flat = total_variation.restore(same, x, 100.0, num_steps=2000)
    np.testing.assert_allclose(
        flat, jnp.broadcast_to(x.mean(axis=(1, 2), keepdims=True), x.shape), atol=1e-3
    )
    np.testing.assert_allclose(total_variation.total_variation(jnp.ones((2, 5, 4, 3))), 0.0)
    ramp = jnp.broadcast_to(jnp.arange(4.0)[None, None, :, None], (1, 5, 4, 1))
    np.testing.assert_allclose(total_variation.total_variation(ramp), 15.0, rtol=1e-6)
