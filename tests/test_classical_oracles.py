"""Exact denoisers, scores and posteriors of Gaussians and mixtures, by densities, autodiff and dense algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxgen import flows
from jaxgen.classical import gaussian, mixture, oracles
from jaxgen.distributions import Normal
from jaxgen.vae.losses import negative_elbo

SIZE = 3


def parts(seed=0):
    rng = np.random.default_rng(seed)
    mean = 2.0 * rng.normal(size=(2, SIZE))
    factors, noise = rng.normal(size=(2, SIZE, 1)), rng.uniform(0.1, 0.5, (2, SIZE))
    covariances = np.einsum("knq,kmq->knm", factors, factors) + np.stack(
        [np.diag(v) for v in noise]
    )
    return mean, factors, noise, covariances


def densities():
    """A full Gaussian, one of factors, and a mixture of each, with weights, means and covariances."""
    mean, factors, noise, covariances = parts()
    full = gaussian.FullGaussian(jnp.asarray(mean), jnp.linalg.cholesky(jnp.asarray(covariances)))
    factor = gaussian.FactorGaussian(*map(jnp.asarray, (mean, factors, noise)))
    logits = jnp.log(jnp.array([0.3, 0.7]))
    weights = np.array([0.3, 0.7])
    first = (np.ones(1), mean[:1], covariances[:1])
    return {
        "full": (jax.tree.map(lambda a: a[0], full), *first),
        "factor": (jax.tree.map(lambda a: a[0], factor), *first),
        "mixture": (mixture.Mixture(logits, full, "full"), weights, mean, covariances),
        "factors": (mixture.Mixture(logits, factor, "factor_analysis"), weights, mean, covariances),
    }


def noisy_terms(x, weights, mean, covariances, log_snr):
    """Weights, and for each component the solved deviation, of noisy data ``x [n]``."""
    a, v = np.sqrt(special.expit(log_snr)), special.expit(-log_snr)
    logs, solved = [], []
    for weight, m, c in zip(weights, mean, covariances, strict=True):
        total = a**2 * c + v * np.eye(SIZE)
        logs.append(np.log(weight) + stats.multivariate_normal(a * m, total).logpdf(x))
        solved.append(np.linalg.solve(total, x - a * m))
    return special.softmax(logs), solved, a


@pytest.mark.parametrize("name", ["full", "factor", "mixture", "factors"])
def test_denoiser_and_score_are_those_of_dense_algebra(name):
    x = np.random.default_rng(1).normal(size=(4, SIZE))
    log_snr = np.array([-9.0, -1.0, 2.0, 9.0])
    with jax.enable_x64(True):
        density, weights, mean, covariances = densities()[name]
        denoised = oracles.denoise(density, x, jnp.asarray(log_snr))
        score = oracles.score(density, x, jnp.asarray(log_snr))
        one = oracles.denoise(density, x, 2.0)
    for i in range(4):
        shares, solved, a = noisy_terms(x[i], weights, mean, covariances, log_snr[i])
        expected = sum(
            w * (m + a * c @ s)
            for w, m, c, s in zip(shares, mean, covariances, solved, strict=True)
        )
        np.testing.assert_allclose(denoised[i], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            score[i], -np.einsum("k,kn->n", shares, solved), rtol=1e-9, atol=1e-9
        )
    np.testing.assert_allclose(one[2], denoised[2], rtol=1e-12)


@pytest.mark.parametrize("name", ["full", "factors"])
def test_the_score_is_the_gradient_and_tweedie_links_it_to_the_denoiser(name):
    x = np.random.default_rng(1).normal(size=(4, SIZE))
    with jax.enable_x64(True):
        density = densities()[name][0]
        clean = oracles.score(density, x, jnp.inf)
        gradient = jax.grad(lambda x: jnp.sum(density.log_prob(x)))(jnp.asarray(x))
        np.testing.assert_allclose(clean, gradient, rtol=1e-8)
        a, v = np.sqrt(special.expit(0.5)), special.expit(-0.5)
        tweedie = (x + v * oracles.score(density, x, 0.5)) / a
        np.testing.assert_allclose(oracles.denoise(density, x, 0.5), tweedie, rtol=1e-9)


@pytest.mark.parametrize("name", ["full", "mixture"])
def test_all_noise_gives_the_mean_and_no_noise_the_data_in_float32(name):
    x = np.random.default_rng(1).normal(size=(4, SIZE)).astype(np.float32)
    density, weights, mean, _ = densities()[name]
    np.testing.assert_allclose(
        oracles.denoise(density, x, -25.0), np.tile(weights @ mean, (4, 1)), atol=1e-3
    )
    np.testing.assert_allclose(oracles.denoise(density, x, 25.0), x, atol=1e-3)


@pytest.mark.parametrize("name", ["full", "factor", "mixture", "factors"])
def test_the_linear_posterior_is_bayes_rule(name):
    rng = np.random.default_rng(2)
    matrix, y, variance = rng.normal(size=(2, SIZE)), rng.normal(size=2), 0.3
    points = rng.normal(size=(5, SIZE))
    with jax.enable_x64(True):
        density = densities()[name][0]
        posterior = oracles.linear_posterior(density, jnp.asarray(matrix), jnp.asarray(y), variance)
        ratio = np.asarray(posterior.log_prob(points) - density.log_prob(points))
    likelihood = stats.norm(points @ matrix.T, np.sqrt(variance)).logpdf(y).sum(axis=1)
    evidence = likelihood - ratio  # ln p(y), the same at every point.
    np.testing.assert_allclose(evidence, evidence[0], rtol=1e-9)
    _, weights, mean, covariances = densities()[name]
    logs = [
        np.log(w)
        + stats.multivariate_normal(
            matrix @ m, matrix @ c @ matrix.T + variance * np.eye(2)
        ).logpdf(y)
        for w, m, c in zip(weights, mean, covariances, strict=True)
    ]
    assert evidence[0] == pytest.approx(special.logsumexp(logs), rel=1e-6)


@pytest.mark.parametrize("name", ["full", "factors"])
def test_a_density_is_the_base_of_a_flow_and_the_prior_of_a_vae(name):
    density = densities()[name][0]
    points = np.random.default_rng(3).normal(size=(5, SIZE)).astype(np.float32)
    scale = flows.chain(flows.bijectors.ActNorm())
    flow = flows.Flow(scale, density)
    variables = flow.init(jax.random.key(0), points)
    log_prob = jax.jit(flow.apply)(variables, points)
    spread = points.std(axis=0)
    z = (points - points.mean(axis=0)) / spread
    expected = density.log_prob(z) - np.log(spread).sum()
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)
    cold = flow.apply(variables, jax.random.key(0), 400, temperature=1e-4, method="sample")
    centres = np.atleast_2d(density.mean if name == "full" else density.components.mean)
    nearest = np.abs(
        np.asarray(cold)[:, None] - (centres * spread + points.mean(axis=0))[None]
    ).max(axis=2)
    assert nearest.min(axis=1).max() < 1e-2
    posterior = Normal(jnp.asarray(points), jnp.full(points.shape, -40.0))
    terms = negative_elbo(
        jax.random.key(0),
        lambda x: posterior,
        lambda z: Normal(z, jnp.zeros_like(z)),
        density,
        points,
    )
    rate = posterior.log_prob(points) - density.log_prob(points)
    # The deviation of the posterior is e^-20: float32 draws its mean, whose density is the mode's.
    below = np.asarray(rate - terms.rate)
    assert np.all(below > -1e-2) and np.all(below < 15.0)
