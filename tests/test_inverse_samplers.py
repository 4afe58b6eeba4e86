"""Posterior samplers under an exact Gaussian denoiser against the recursion of their law."""

import functools

import inverse_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.oracles import denoise
from jaxgen.diffusion import grids, samplers
from jaxgen.inverse import guided, operators, posterior_samplers, spectral_samplers

NUM, KEY = references.NUM, jax.random.key(0)
OPERATOR = operators.matrix(jnp.asarray(references.MATRIX, jnp.float32), (NUM,))
STD = references.NOISE_STD


def gaussian_denoiser(covariance):
    density = FullGaussian(jnp.zeros(NUM), jnp.asarray(np.linalg.cholesky(covariance), jnp.float32))

    def estimate(x_t, log_snr, condition=None):
        return denoise(density, x_t, log_snr)

    return estimate


def with_guidance(make, eta):
    def sample(key, denoise, x_T, grid, operator, y, noise_std):
        return samplers.ddim(key, make(denoise, operator, y, noise_std), x_T, grid, eta=eta)

    return sample


def own(sampler, **numbers):
    return functools.partial(sampler, **numbers)


GUIDED = {
    "moment_matching": guided.moment_matching,
    "pigdm": guided.pigdm,
    "likelihood_gradient": guided.likelihood_gradient,
}
STOCHASTIC = {
    ("moment_matching", 1.0): with_guidance(guided.moment_matching, 1.0),
    ("pigdm", 1.0): with_guidance(guided.pigdm, 1.0),
    ("diffpir", 1.0): own(posterior_samplers.diffpir),
    ("ddrm", 0.85): own(spectral_samplers.ddrm),
    ("repaint", 1.0): own(spectral_samplers.repaint, num_rounds=2),
}


def draw(sample, x_T, num_steps, *, covariance=references.COVARIANCE, y=references.Y, key=KEY):
    grid = grids.grid_of_betas(grids.linear_betas(1000), num_steps)
    y = jnp.broadcast_to(jnp.asarray(y, jnp.float32), (len(x_T), references.SEEN))

    @jax.jit
    def run(key, x_T, y, operator, grid):
        return sample(key, gaussian_denoiser(covariance), x_T, grid, operator, y, STD)

    return np.asarray(run(key, x_T, y, OPERATOR, grid), np.float64)


def affine_law(sample, num_steps, covariance=references.COVARIANCE):
    """The law of a deterministic sampler's draws, from its values at 0 and at the unit vectors."""
    x_T = jnp.concatenate([jnp.zeros((1, NUM)), jnp.eye(NUM)])
    x = draw(sample, x_T, num_steps, covariance=covariance)
    columns = x[1:] - x[:1]
    return x[0], columns.T @ columns


@pytest.mark.parametrize("method", GUIDED)
@pytest.mark.parametrize("num_steps", [50, 1000])
def test_guided_ddim_has_the_law_of_its_recursion(method, num_steps):
    found = references.wasserstein(
        *affine_law(with_guidance(GUIDED[method], 0.0), num_steps), *references.exact()
    )
    expected = references.wasserstein(*references.law(method, num_steps), *references.exact())
    assert abs(found - expected) < 0.01


def test_moment_matching_converges_to_the_posterior_and_nothing_else_does():
    gaps = {
        (method, num): references.wasserstein(*references.law(method, num), *references.exact())
        for method in GUIDED
        for num in (125, 250, 500, 1000)
    }
    matching = [gaps["moment_matching", num] for num in (125, 250, 500, 1000)]
    assert matching == sorted(matching, reverse=True) and matching[-1] < 0.01
    assert gaps["pigdm", 1000] > 0.1 and gaps["likelihood_gradient", 1000] > 0.3


@pytest.mark.parametrize("is_unit", [True, False])
def test_pigdm_is_exact_only_for_unit_gaussian_data(is_unit):
    covariance = np.eye(NUM) if is_unit else references.COVARIANCE
    laws = [
        affine_law(with_guidance(make, 0.0), 100, covariance)
        for make in (guided.pigdm, guided.moment_matching)
    ]
    gap = max(np.abs(a - b).max() for a, b in zip(*laws, strict=True))
    assert gap < 1e-4 if is_unit else gap > 0.02


@pytest.mark.parametrize(("method", "eta"), STOCHASTIC)
def test_samplers_with_fresh_noise_have_the_law_of_their_recursion(method, eta):
    num = 20_000
    x = draw(STOCHASTIC[method, eta], jax.random.normal(KEY, (num, NUM)), 50)
    mean, covariance = references.law(method, 50, eta=eta)
    deviation = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * deviation / np.sqrt(num))
    bound = 5 * np.sqrt(2 / num) * np.outer(deviation, deviation)
    assert np.all(np.abs(np.cov(x.T) - covariance) < bound)


def reference_dps(zeta, num_steps, num, rng):
    a, s = references.levels(num_steps)
    x = rng.normal(size=(num, NUM))
    for i in range(num_steps):
        D = references.denoiser_matrix(a[i], s[i], references.COVARIANCE)
        x0 = x @ D.T
        rest = references.Y - x0 @ references.MATRIX.T
        gradient = -rest @ references.MATRIX @ D / np.linalg.norm(rest, axis=1, keepdims=True)
        var = (s[i + 1] / s[i]) ** 2 * (1 - (a[i] / a[i + 1]) ** 2)
        share = np.sqrt(max(s[i + 1] ** 2 - var, 0.0)) / s[i]
        mean = share * x + (a[i + 1] - share * a[i]) * x0 - zeta * gradient
        x = mean + np.sqrt(var) * rng.normal(size=x.shape)
    return x


@pytest.mark.parametrize("zeta", [0.1, 1.0])
def test_published_dps_is_that_of_numpy(zeta):
    num = 20_000
    sample = lambda *args: posterior_samplers.dps(*args[:-1], zeta=zeta)  # noqa: E731
    found = draw(sample, jax.random.normal(KEY, (num, NUM)), 50)
    expected = reference_dps(zeta, 50, num, np.random.default_rng(0))
    error = np.sqrt((found.var(axis=0) + expected.var(axis=0)) / num)
    assert np.all(np.abs(found.mean(axis=0) - expected.mean(axis=0)) < 5 * error)
    np.testing.assert_allclose(found.std(axis=0), expected.std(axis=0), rtol=0.03)


EVERY = {
    **{name: with_guidance(make, 0.0) for name, make in GUIDED.items()},
    "dps": lambda *args: posterior_samplers.dps(*args[:-1]),
    **{name: sample for (name, _), sample in STOCHASTIC.items() if name not in GUIDED},
}


@pytest.mark.parametrize("method", EVERY)
def test_an_example_does_not_depend_on_its_batch(method):
    """Alone, first of a batch, or elsewhere in it: each has its own key, norm and system."""
    keys = jax.random.split(KEY, 4)
    x_T = jax.random.normal(KEY, (4, NUM))
    y = np.linspace(-1, 1, 12).reshape(4, 3)

    def run(rows):
        rows = np.asarray(rows)
        return draw(EVERY[method], x_T[rows], 200, y=y[rows], key=keys[rows])

    whole = run(range(4))
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(run(order), whole[order], atol=2e-5)
    np.testing.assert_allclose(run([1]), whole[1:2], atol=2e-5)


@pytest.mark.parametrize("method", [name for name in EVERY if name != "dps"])
def test_operator_measurement_and_noise_may_be_rescaled_together(method):
    """The posterior is the same; of the published dps, whose step has no unit, it is not."""
    x_T = jax.random.normal(KEY, (3, NUM))
    grid = grids.grid_of_betas(grids.linear_betas(1000), 200)
    estimate = gaussian_denoiser(references.COVARIANCE)
    y = jnp.broadcast_to(jnp.asarray(references.Y, jnp.float32), (3, 3))

    def run(scale):
        operator = operators.matrix(scale * jnp.asarray(references.MATRIX, jnp.float32), (NUM,))
        return EVERY[method](KEY, estimate, x_T, grid, operator, scale * y, scale * STD)

    # The floor that moment_matching gives to the noise of its system is not scaled.
    np.testing.assert_allclose(run(3.0), run(1.0), atol=1e-3)


def test_methods_of_singular_values_ask_for_them():
    operator = operators.matrix(jnp.eye(NUM), (NUM,)) @ operators.identity((NUM,))
    grid = grids.grid_of_betas(grids.linear_betas(10), 2)
    estimate, x = gaussian_denoiser(np.eye(NUM)), jnp.zeros((1, NUM))
    for sampler in (spectral_samplers.ddrm, spectral_samplers.repaint):
        with pytest.raises(ValueError, match="singular values are not known"):
            sampler(KEY, estimate, x, grid, operator, x, STD)
    for sampler in (posterior_samplers.diffpir,):
        assert np.all(np.isfinite(sampler(KEY, estimate, x, grid, operator, x, STD)))


def test_measurements_without_noise_are_met():
    operator = operators.mask(np.arange(NUM) < 4, (NUM,))
    grid = grids.grid_of_betas(grids.linear_betas(1000), 100)
    estimate = gaussian_denoiser(references.COVARIANCE)
    x_T, y = jax.random.normal(KEY, (5, NUM)), jnp.ones((5, 4))
    samplers_of = {
        **{name: EVERY[name] for name in ("moment_matching", "pigdm")},
        **{name: EVERY[name] for name in ("ddrm", "repaint", "diffpir")},
    }
    for name, sample in samplers_of.items():
        x = sample(KEY, estimate, x_T, grid, operator, y, 0.0)
        np.testing.assert_allclose(x[:, :4], 1.0, atol=5e-3, err_msg=name)
        assert np.abs(x[:, 4:] - 1.0).min() > 1e-4
