"""Gaussians in closed form: fits, shrinkage, principal components, conditionals, against dense algebra in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn import covariance as sk_covariance

from jaxgen.classical import gaussian

ROWS = np.array([(2, 1, 0), (0, 1, 1), (-1, 0, 2), (-2, -1, -1), (1, -1, -2)], float)


def draws(num, size, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(rank or size, size))
    return rng.normal(size=(num, rank or size)) @ mixing + rng.normal(size=size)


def dense_log_prob(x, mean, covariance):
    return stats.multivariate_normal(mean, covariance).logpdf(x)


def both_kinds(size=6, seed=0):
    """A full Gaussian, one of factors, and the mean and covariance of each."""
    rng = np.random.default_rng(seed)
    mean, half = rng.normal(size=size), rng.normal(size=(size, size))
    factors, noise = rng.normal(size=(size, 2)), rng.uniform(0.2, 1.0, size)
    full = gaussian.FullGaussian(
        jnp.asarray(mean), jnp.linalg.cholesky(half @ half.T + np.eye(size))
    )
    factor = gaussian.FactorGaussian(*map(jnp.asarray, (mean, factors, noise)))
    dense = half @ half.T + np.eye(size), factors @ factors.T + np.diag(noise)
    return [(full, mean, dense[0]), (factor, mean, dense[1])]


def conditional(x, mean, covariance, mask):
    """Mean and covariance of what is hidden given what a mask shows."""
    o, m = np.flatnonzero(mask), np.flatnonzero(~mask)
    gain = covariance[np.ix_(m, o)] @ np.linalg.inv(covariance[np.ix_(o, o)])
    after = covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)]
    return mean[m] + gain @ (x[o] - mean[o]), after


def test_shrinkage_coefficients_are_those_of_the_papers():
    with jax.enable_x64(True):
        assert float(gaussian.ledoit_wolf(ROWS)) == pytest.approx(0.868293, abs=5e-7)
        assert float(gaussian.oas(ROWS)) == 1.0
        repeated = np.tile(ROWS, (8, 1))
        assert float(gaussian.ledoit_wolf(repeated)) == pytest.approx(0.108537, abs=5e-7)
        assert float(gaussian.oas(repeated)) == pytest.approx(0.201774, abs=5e-7)
        covariance = gaussian.fit(ROWS, min_variance=0.0).covariance()
    np.testing.assert_allclose(
        covariance, [[2, 0.6, -0.4], [0.6, 0.8, 0.8], [-0.4, 0.8, 2]], atol=1e-12
    )


@pytest.mark.parametrize("shape", [(50, 6), (7, 30)])
def test_ledoit_wolf_agrees_with_scikit_learn_on_both_sides_of_n(shape):
    x = draws(*shape)
    expected = sk_covariance.ledoit_wolf(x)[1]
    with jax.enable_x64(True):
        assert float(gaussian.ledoit_wolf(x)) == pytest.approx(expected, rel=1e-10)
    assert float(gaussian.ledoit_wolf(x.astype(np.float32))) == pytest.approx(expected, rel=1e-3)


def test_shrinkage_of_what_is_a_multiple_of_the_identity_already_is_one():
    for x in (np.zeros((4, 3), np.float32), np.vstack([np.eye(2), -np.eye(2)]).astype(np.float32)):
        for coefficient in (gaussian.ledoit_wolf, gaussian.oas):
            assert float(coefficient(x)) == 1.0


@pytest.mark.parametrize(("num", "size"), [(40, 6), (5, 30)])
@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
@pytest.mark.parametrize("noise", [0.0, 1.0 / 12.0])
def test_a_fit_has_the_shrunk_covariance_with_the_noise(num, size, shrinkage, noise):
    x = draws(num, size)
    sample = np.cov(x.T, bias=True)
    mu = np.trace(sample) / size
    expected = (1 - shrinkage) * sample + shrinkage * mu * np.eye(size) + noise * np.eye(size)
    with jax.enable_x64(True):
        fitted = gaussian.fit(x, shrinkage=shrinkage, noise_variance=noise, min_variance=0.0)
        np.testing.assert_allclose(fitted.covariance(), expected, atol=1e-10)
        np.testing.assert_allclose(fitted.mean, x.mean(0), atol=1e-12)
        np.testing.assert_allclose(fitted.variance(), np.diag(expected), atol=1e-10)
    assert isinstance(fitted, gaussian.FullGaussian if num > size else gaussian.FactorGaussian)


@pytest.mark.parametrize(("num", "size"), [(40, 6), (5, 30)])
def test_the_floor_raises_small_eigenvalues_and_no_other(num, size):
    x = draws(num, size, rank=3)
    sample = np.cov(x.T, bias=True)
    values, basis = np.linalg.eigh(sample)
    floor = 0.05 * np.trace(sample) / size
    expected = basis @ np.diag(np.maximum(values, floor)) @ basis.T
    with jax.enable_x64(True):
        fitted = gaussian.fit(x, min_variance=0.05)
        np.testing.assert_allclose(fitted.covariance(), expected, atol=1e-9)
    narrow = gaussian.fit(x.astype(np.float32), min_variance=0.05)
    np.testing.assert_allclose(narrow.covariance(), expected, atol=2e-4 * values[-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_mean_costs_no_digits(dtype):
    x = draws(200, 4)
    with jax.enable_x64(dtype == np.float64):
        near = gaussian.fit((x - x.mean(0)).astype(dtype))
        far = gaussian.fit((x - x.mean(0) + 1e4).astype(dtype))
        np.testing.assert_allclose(far.covariance(), near.covariance(), rtol=0, atol=5e-2)
        assert np.all(far.variance() > 0)


def test_whole_numbers_are_fitted_as_floats():
    x = np.random.default_rng(0).integers(0, 200, (30, 5)).astype(np.uint8)
    from_ints, from_floats = gaussian.fit(x), gaussian.fit(x.astype(np.float32))
    np.testing.assert_array_equal(from_ints.covariance(), from_floats.covariance())
    np.testing.assert_array_equal(from_ints.log_prob(x), from_floats.log_prob(x.astype(np.float32)))


@pytest.mark.parametrize("num", [1, 2, 3])
def test_few_examples_constant_and_repeated_ones_stay_finite(num):
    for x in (draws(num, 8), np.ones((num, 8)), np.repeat(draws(1, 8), num, axis=0)):
        fitted = gaussian.fit(x.astype(np.float32))
        assert np.all(np.isfinite(fitted.log_prob(x.astype(np.float32))))
        assert np.all(np.isfinite(fitted.sample(jax.random.key(0), 3)))
        assert np.all(fitted.noise > 0.0)
    one = gaussian.fit(x.astype(np.float32), noise_variance=0.25)
    np.testing.assert_allclose(one.covariance(), 0.25 * np.eye(8), atol=1e-6)


def test_no_example_is_refused():
    with pytest.raises(ValueError, match="x: 0 examples, expected at least 1"):
        gaussian.fit(np.zeros((0, 3)))


@pytest.mark.parametrize("index", [0, 1])
class TestGaussians:
    def test_density_and_solves_are_those_of_dense_algebra(self, index):
        x = draws(5, 6, seed=3)
        with jax.enable_x64(True):
            density, mean, covariance = both_kinds()[index]
            np.testing.assert_allclose(
                density.log_prob(x), dense_log_prob(x, mean, covariance), rtol=1e-10
            )
            np.testing.assert_allclose(density.covariance(), covariance, rtol=1e-12, atol=1e-14)
            inverse = np.linalg.inv(covariance)
            np.testing.assert_allclose(density.solve(x), x @ inverse, atol=1e-10)
            np.testing.assert_allclose(density.multiply(x), x @ covariance, atol=1e-10)
            np.testing.assert_allclose(density.precision(), np.diag(inverse), rtol=1e-10)
            distance = np.einsum("bi,ij,bj->b", x - mean, inverse, x - mean)
            np.testing.assert_allclose(density.distance(x), distance, rtol=1e-10)
            scaled = density.scaled(0.5, 0.3)
            np.testing.assert_allclose(
                scaled.covariance(), 0.25 * covariance + 0.3 * np.eye(6), atol=1e-12
            )
            np.testing.assert_allclose(scaled.mean, 0.5 * mean)

    def test_what_is_hidden_does_not_count(self, index):
        x = draws(4, 6, seed=3)
        masks = np.random.default_rng(4).random((4, 6)) < 0.5
        masks[0], masks[1] = True, False
        with jax.enable_x64(True):
            density, mean, covariance = both_kinds()[index]
            hidden = np.where(masks, x, np.nan)
            log_prob, filled = density.log_prob(hidden, masks), density.fill(hidden, masks)
            shared = density.log_prob(hidden[2:3], masks[2])
        for i, mask in enumerate(masks):
            o = np.flatnonzero(mask)
            expected = dense_log_prob(x[i, o], mean[o], covariance[np.ix_(o, o)]) if len(o) else 0.0
            assert float(log_prob[i]) == pytest.approx(expected, rel=1e-10, abs=1e-12)
            np.testing.assert_array_equal(filled[i, o], x[i, o])
            np.testing.assert_allclose(
                filled[i][~mask], conditional(x[i], mean, covariance, mask)[0], rtol=1e-9
            )
        np.testing.assert_allclose(shared[0], log_prob[2], rtol=1e-12)

    def test_draws_have_the_mean_and_the_covariance(self, index):
        density, mean, covariance = both_kinds()[index]
        x = np.asarray(density.sample(jax.random.key(1), 40_000), float)
        error = np.sqrt(np.diag(covariance) / len(x))
        assert np.all(np.abs(x.mean(0) - mean) < 5 * error)
        variances = np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2
        assert np.all(np.abs(np.cov(x.T) - covariance) < 5 * np.sqrt(variances / len(x)))
        distance = np.asarray(density.distance(x), float)
        assert abs(distance.mean() - 6) < 5 * np.sqrt(12 / len(x))
        assert distance.var() == pytest.approx(12, rel=0.1)
        entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
        assert -np.mean(density.log_prob(x)) == pytest.approx(entropy, abs=5 * np.sqrt(3 / len(x)))

    def test_a_draw_depends_on_its_own_key_alone(self, index):
        density = both_kinds()[index][0]
        keys = jax.random.split(jax.random.key(0), 5)
        whole = density.sample(keys, 5)
        np.testing.assert_allclose(density.sample(keys[3:], 2), whole[3:], rtol=1e-6)

    def test_conditional_draws_have_the_conditional_law(self, index):
        density, mean, covariance = both_kinds()[index]
        mask = np.array([True, False, True, True, False, False])
        x = draws(1, 6, seed=5)
        num = 20_000
        given = density.condition(np.repeat(x, num, axis=0).astype(np.float32), mask)
        completed = np.asarray(given.sample(jax.random.key(2)), float)
        np.testing.assert_array_equal(
            completed[:, mask], np.repeat(x.astype(np.float32), num, 0)[:, mask]
        )
        expected, after = conditional(x[0], mean, covariance, mask)
        hidden = completed[:, ~mask]
        assert np.all(np.abs(hidden.mean(0) - expected) < 5 * np.sqrt(np.diag(after) / num))
        np.testing.assert_allclose(np.cov(hidden.T), after, atol=0.08 * np.max(np.diag(after)))
        np.testing.assert_allclose(given.expectation()[0][~mask], expected, rtol=1e-3, atol=1e-3)

    def test_joint_is_marginal_times_conditional(self, index):
        x = draws(3, 6, seed=6)
        with jax.enable_x64(True):
            density, mean, covariance = both_kinds()[index]
            mask = np.array([True, True, False, False, True, False])
            log_prob = density.condition(x, mask).log_prob(x)
        for i in range(3):
            expected, after = conditional(x[i], mean, covariance, mask)
            assert float(log_prob[i]) == pytest.approx(
                dense_log_prob(x[i, ~mask], expected, after), rel=1e-9
            )

    def test_one_number_residual_is_that_of_the_regression_on_the_rest(self, index):
        x = draws(3, 6, seed=7)
        with jax.enable_x64(True):
            density, mean, covariance = both_kinds()[index]
            residual = np.asarray(gaussian.one_number_residual(density, x))
        for i in range(6):
            mask = np.arange(6) != i
            for row, z in zip(x, residual[:, i], strict=True):
                expected, after = conditional(row, mean, covariance, mask)
                assert z == pytest.approx((row[i] - expected[0]) / np.sqrt(after[0, 0]), rel=1e-8)


def test_factors_of_extreme_noise_equal_dense_algebra_in_float32():
    rng = np.random.default_rng(0)
    mean, factors = rng.normal(size=3072), rng.normal(size=(3072, 5))
    for deviation in (0.01, 100.0):
        noise = np.full(3072, deviation**2)
        density = gaussian.FactorGaussian(
            *(jnp.asarray(v, jnp.float32) for v in (mean, factors, noise))
        )
        x = mean + rng.normal(size=(2, 5)) @ factors.T + deviation * rng.normal(size=(2, 3072))
        inner = np.eye(5) + factors.T @ factors / deviation**2
        d = x - mean
        u = d @ factors / deviation**2
        distance = (d**2).sum(1) / deviation**2 - np.einsum(
            "bq,qp,bp->b", u, np.linalg.inv(inner), u
        )
        log_det = np.linalg.slogdet(inner)[1] + 3072 * np.log(deviation**2)
        expected = -0.5 * (distance + log_det + 3072 * np.log(2 * np.pi))
        np.testing.assert_allclose(density.log_prob(x.astype(np.float32)), expected, rtol=1e-3)


@pytest.mark.parametrize(("num", "size"), [(40, 6), (5, 784)])
def test_principal_components_are_orthonormal_and_explain_the_variance(num, size):
    x = draws(num, size)
    q = 3
    values, basis = np.linalg.eigh(np.cov(x.T, bias=True))
    with jax.enable_x64(True):
        parts = gaussian.principal_components(x, q)
        np.testing.assert_allclose(parts.variances, values[::-1][:q], rtol=1e-9)
        np.testing.assert_allclose(parts.basis.T @ parts.basis, np.eye(q), atol=1e-9)
        overlap = np.abs(np.sum(np.asarray(parts.basis) * basis[:, ::-1][:, :q], axis=0))
        np.testing.assert_allclose(overlap, 1.0, atol=1e-9)
        assert float(parts.total) == pytest.approx(np.trace(np.cov(x.T, bias=True)))
        rebuilt = parts.reconstruct(parts.project(x))
    error = ((np.asarray(rebuilt) - x) ** 2).sum() / num
    assert error == pytest.approx(values.sum() - values[::-1][:q].sum(), rel=1e-8, abs=1e-10)


def test_directions_without_variance_are_zeros_and_not_noise():
    x = draws(6, 20, rank=2).astype(np.float32)
    parts = gaussian.principal_components(x, 5)
    assert np.all(np.asarray(parts.variances[2:]) == 0.0) and np.all(
        np.asarray(parts.basis[:, 2:]) == 0.0
    )


@pytest.mark.parametrize("num", [0, 6, 5])
def test_more_components_than_there_are_is_refused(num):
    with pytest.raises(ValueError, match=f"num: {num}, expected 1 to 4 .5 examples of 7 numbers."):
        gaussian.principal_components(draws(5, 7), num)


@pytest.mark.parametrize(("num", "size", "q"), [(60, 6, 2), (20, 100, 5)])
def test_ppca_is_the_maximum_of_the_likelihood(num, size, q):
    x = draws(num, size, seed=1)
    values, basis = np.linalg.eigh(np.cov(x.T, bias=True))
    values, basis = values[::-1], basis[:, ::-1]
    noise = values[q:].sum() / (size - q)
    expected = basis[:, :q] @ np.diag(values[:q] - noise) @ basis[:, :q].T + noise * np.eye(size)
    with jax.enable_x64(True):
        fitted = gaussian.fit_ppca(x, q)
        np.testing.assert_allclose(fitted.covariance(), expected, atol=1e-8)
        best = float(np.mean(fitted.log_prob(x)))
        for factor in (0.9, 1.1):
            other = fitted.replace(noise=factor * fitted.noise)
            assert float(np.mean(other.log_prob(x))) < best
            other = fitted.replace(factors=factor * fitted.factors)
            assert float(np.mean(other.log_prob(x))) < best


def test_ppca_with_noise_is_that_of_data_with_it():
    x = draws(4000, 5)
    rng = np.random.default_rng(1)
    noisy = x + rng.uniform(-2, 2, x.shape)
    with jax.enable_x64(True):
        analytic = gaussian.fit_ppca(x, 2, noise_variance=16 / 12).covariance()
        drawn = gaussian.fit_ppca(noisy, 2).covariance()
    np.testing.assert_allclose(analytic, drawn, atol=0.35)


def test_factors_beyond_the_examples_are_refused():
    with pytest.raises(
        ValueError, match="num_factors: 5, expected 1 to 4 .5 examples of 7 numbers."
    ):
        gaussian.fit_ppca(draws(5, 7), 5)


def test_wide_data_need_no_matrix_of_their_width():
    x = jnp.asarray(draws(12, 64 * 64 * 3), jnp.float32)

    def run(x):
        fitted = gaussian.fit(x, shrinkage=gaussian.ledoit_wolf(x))
        return fitted.log_prob(x), gaussian.principal_components(x, 3), fitted.precision()

    shapes = [
        v.aval.shape for e in jax.make_jaxpr(run)(x).eqns for v in e.outvars if hasattr(v, "aval")
    ]
    assert max(int(np.prod(shape)) for shape in shapes) <= 12 * 64 * 64 * 3
    log_prob, _, precision = jax.jit(run)(x)
    assert np.all(np.isfinite(log_prob)) and np.all(precision > 0)


@pytest.mark.parametrize("density", both_kinds()[:2])
def test_masks_and_vectors_of_another_form_are_refused(density):
    density = density[0] if isinstance(density, tuple) else density
    x, shown = np.zeros((3, 6), np.float32), np.ones((3, 6), bool)
    for use in (density.condition, density.fill, density.log_prob):
        for mask in (shown[0], shown):
            use(x, mask)
        with pytest.raises(ValueError, match=r"observed: int(32|64), expected booleans"):
            use(x, np.array([0, 1]))
        for bad in ((shown, x), (x[0], shown[0]), (x[:, :5], shown[0]), (x, shown[:2])):
            with pytest.raises((AssertionError, ValueError)):
                use(*bad)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"shrinkage": -0.1}, r"shrinkage: -0.1, expected in \[0, 1\]"),
        ({"shrinkage": float("nan")}, "shrinkage: nan"),
        ({"min_variance": -1.0}, "min_variance: -1.0, expected at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        gaussian.fit(ROWS, **numbers)
