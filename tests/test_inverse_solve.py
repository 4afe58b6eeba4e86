"""One function for all priors: draws calibrated under exact ones, the shapes, and what is refused."""

import inverse_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from test_inverse_samplers import gaussian_denoiser

from jaxgen import inverse
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.mixture.density import Mixture
from jaxgen.diffusion import grids

NUM, SEEN, STD = references.NUM, references.SEEN, 0.3
OPERATOR = inverse.operators.matrix(jnp.asarray(references.MATRIX, jnp.float32), (NUM,))
CHOLESKY = np.linalg.cholesky(references.COVARIANCE)
DENSITY = FullGaussian(jnp.full(NUM, 0.5), jnp.asarray(CHOLESKY / 2.0, jnp.float32))


def decode(u):
    return u @ jnp.asarray(CHOLESKY.T, jnp.float32)


def log_prob(x):
    return FullGaussian(jnp.zeros(NUM), jnp.asarray(CHOLESKY, jnp.float32)).log_prob(x)


GRID = grids.grid_of_betas(grids.linear_betas(1000), 250)
# All four are N(0, C) of the references.
PRIORS = {
    "moment_matching": inverse.DiffusionPrior(gaussian_denoiser(references.COVARIANCE), GRID),
    "exact": inverse.GaussianPrior(DENSITY, 2.0, -1.0),
    "langevin": inverse.LatentPrior(decode, (NUM,)),
    "langevin of a density": inverse.density_prior(log_prob, (NUM,)),
}


def measured(num, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, NUM)) @ CHOLESKY.T
    y = x @ references.MATRIX.T + STD * rng.normal(size=(num, SEEN))
    return x, jnp.asarray(y, jnp.float32)


@pytest.mark.parametrize("name", PRIORS)
def test_ranks_of_the_truth_are_uniform(name):
    """Simulation-based calibration: among 9 draws the truth has each of 10 ranks equally often."""
    num, draws = 400, 9
    x, y = measured(num)
    prior, method = PRIORS[name], name.split()[0]
    numbers = {"num_steps": 150} if method == "langevin" else {}
    run = jax.jit(
        lambda key, y: inverse.solve(
            key, prior, OPERATOR, y, STD, method, num_draws=draws, **numbers
        )
    )
    found = np.asarray(run(jax.random.key(1), y))
    assert found.shape == (draws, num, NUM) and np.all(np.isfinite(found))
    for direction in (np.eye(NUM)[0], np.ones(NUM), references.MATRIX[1]):
        ranks = np.sum(found @ direction < x @ direction, axis=0)
        counts = np.bincount(ranks, minlength=draws + 1)
        assert stats.chisquare(counts).pvalue > 1e-3, (name, counts)


def test_over_confident_guidance_is_caught_by_its_ranks():
    num, draws = 800, 9
    x, y = measured(num)
    prior = PRIORS["moment_matching"]
    found = jax.jit(
        lambda key, y: inverse.solve(
            key, prior, OPERATOR, y, STD, "likelihood_gradient", num_draws=draws
        )
    )(jax.random.key(1), y)
    ranks = np.sum(np.asarray(found) @ np.ones(NUM) < x @ np.ones(NUM), axis=0)
    assert stats.chisquare(np.bincount(ranks, minlength=draws + 1)).pvalue < 1e-4


def test_the_most_probable_image_is_the_posterior_mean():
    _, y = measured(3)
    for name in ("langevin", "langevin of a density"):
        found = inverse.solve(
            jax.random.key(0), PRIORS[name], OPERATOR, y, STD, "map", num_steps=4000
        )
        C, H = references.COVARIANCE, references.MATRIX
        expected = np.asarray(y) @ np.linalg.solve(H @ C @ H.T + STD**2 * np.eye(SEEN), H @ C)
        assert found.shape == (1, 3, NUM)
        np.testing.assert_allclose(found[0], expected, atol=0.03)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_do_not_depend_on_the_batch(name):
    _, y = measured(3)
    keys = jax.random.split(jax.random.key(2), 3)
    method, numbers = name.split()[0], {"num_steps": 20} if "langevin" in name else {}

    def run(rows):
        return inverse.solve(
            keys[rows], PRIORS[name], OPERATOR, y[rows], STD, method, num_draws=2, **numbers
        )

    np.testing.assert_allclose(run(np.array([1])), run(np.arange(3))[:, 1:2], atol=1e-3)


NARROW = inverse.GaussianPrior(FullGaussian(jnp.zeros(2), jnp.eye(2)))
REFUSED = {
    r"method: 'ddrm', expected langevin, map for LatentPrior": ("langevin", {"method": "ddrm"}),
    r"noise_std: -0.1, expected at least 0": ("exact", {"noise_std": -0.1}),
    r"y: of shape \(2, 4\), expected \(B, 3\)": ("exact", {"y": jnp.zeros((2, 4))}),
    r"num_draws: 0, expected at least 1": ("exact", {"num_draws": 0}),
    r"num_steps: 0, expected at least 1": ("langevin", {"num_steps": 0}),
    r"prior: a density of 2 numbers, expected \d+": ("narrow", {}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(message):
    name, changed = REFUSED[message]
    given = {"y": jnp.zeros((2, SEEN)), "noise_std": STD, "method": "auto", **changed}
    y, std, method = (given.pop(n) for n in ("y", "noise_std", "method"))
    with pytest.raises(ValueError, match=message):
        prior = NARROW if name == "narrow" else PRIORS[name]
        inverse.solve(jax.random.key(0), prior, OPERATOR, y, std, method, **given)


def test_ranks_under_a_mixture_are_uniform():
    num, draws = 800, 9
    rng = np.random.default_rng(3)
    means, shares = np.array([[-2.0, 0.0], [1.0, 1.0]]), np.array([0.3, 0.7])
    choleskys = np.array([[[0.5, 0.0], [0.2, 0.3]], [[1.0, 0.0], [-0.4, 0.6]]])
    part = rng.choice(2, num, p=shares)
    x = means[part] + np.einsum("nij,nj->ni", choleskys[part], rng.normal(size=(num, 2)))
    row = np.array([[0.5, 1.0]])
    y = x @ row.T + STD * rng.normal(size=(num, 1))
    components = FullGaussian(jnp.asarray(means, jnp.float32), jnp.asarray(choleskys, jnp.float32))
    density = Mixture(jnp.log(jnp.asarray(shares, jnp.float32)), components, "full")
    operator = inverse.operators.matrix(jnp.asarray(row, jnp.float32), (2,))
    found = inverse.solve(
        jax.random.key(4),
        inverse.GaussianPrior(density),
        operator,
        jnp.asarray(y, jnp.float32),
        STD,
        num_draws=draws,
    )
    for direction in np.eye(2):
        ranks = np.sum(np.asarray(found) @ direction < x @ direction, axis=0)
        assert stats.chisquare(np.bincount(ranks, minlength=draws + 1)).pvalue > 1e-3


def test_a_model_that_completes_is_given_what_is_known():
    def complete(keys, x, known):
        drawn = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
        return jnp.where(known[None, :, :, None], x, drawn)

    checked = []
    prior = inverse.CompletionPrior(complete, checked.append)
    known = np.arange(12).reshape(3, 4) < 5
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 2)), jnp.float32)
    operator = inverse.operators.mask(known, (3, 4, 2))
    solve = jax.jit(lambda key, y: inverse.solve(key, prior, operator, y, 0.0, num_draws=3))
    found = np.asarray(solve(jax.random.key(0), operator(x)))
    np.testing.assert_array_equal(checked[0], known)
    np.testing.assert_array_equal(
        found[:, :, known], np.broadcast_to(np.asarray(x)[None][:, :, known], (3, 2, 5, 2))
    )
    hidden = found[:, :, ~known].reshape(6, -1)
    assert len(np.unique(hidden[:, 0])) == 6
    for other, std, message in (
        (operator, 0.1, "noise_std: 0.1, expected 0"),
        (inverse.operators.grey((3, 4, 2)), 0.0, "expected a mask of whole pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            inverse.solve(jax.random.key(0), prior, other, other(x), std)


@pytest.mark.parametrize("method", ["diffpir", "pigdm"])
def test_a_measurement_that_is_no_number_gives_none(method):
    operator = inverse.operators.identity((2, 2, 1))
    grid = grids.grid_of_betas(grids.linear_betas(100), 4)
    prior = inverse.DiffusionPrior(lambda x, log_snr, condition: 0.5 * x, grid)
    y = np.ones((3, 2, 2, 1), np.float32)
    y[1, 0, 1] = np.nan
    x = inverse.solve(jax.random.key(0), prior, operator, jnp.asarray(y), 0.1, method)
    found = np.isnan(x).reshape(3, -1).all(axis=1)
    np.testing.assert_array_equal(found, [False, True, False])
    with pytest.raises(ValueError, match=r"prior: .*, expected a DiffusionPrior"):
        inverse.methods_of(prior.denoise)
