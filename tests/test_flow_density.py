"""Flows as densities: masses that sum to one, exact likelihoods, samples and their temperatures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen.distributions import Normal, NormalMixture
from jaxgen.flows import Flow, ImageFlow, ModuleDensity, bases, losses, make_base, vector_bijector
from jaxgen.flows.bijectors import ActNorm, Flatten, InvertibleConv, Radial, Repeat, chain
from jaxgen.flows.dequantization import UniformDequantizer, VariationalDequantizer
from jaxgen.pixels import logit_transform
from jaxgen.vae.losses import negative_elbo


def density(model, x, scale=0.2, condition=None):
    """A flow with random parameters about those of its start."""
    variables = jax.jit(model.init)(jax.random.key(0), x, condition)
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda v: v + np.float32(scale) * rng.normal(size=v.shape), variables)
    return ModuleDensity(model, jax.tree.map(jnp.float32, moved), condition)


@pytest.fixture(scope="module")
def plane():
    model = Flow(vector_bijector("spline", 2, num_layers=4, hidden_sizes=(8,)), make_base(2))
    return density(model, jnp.asarray(np.random.default_rng(0).normal(size=(50, 2)), jnp.float32))


def test_a_density_integrates_to_one(plane):
    axis = np.linspace(-8.0, 8.0, 801, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(np.asarray(plane.log_prob(points), np.float64)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1.0, abs=5e-3)


def test_an_affine_flow_is_a_multivariate_normal():
    rng = np.random.default_rng(2)
    model = Flow(chain(ActNorm(), InvertibleConv()), bases.StandardNormal(3))
    x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    flow = density(model, x, scale=0.5)
    origin, _ = model.apply(flow.variables, jnp.zeros((1, 3)), method="decode")
    columns, _ = model.apply(flow.variables, jnp.eye(3), method="decode")
    matrix = np.asarray(columns - origin, np.float64).T
    expected = stats.multivariate_normal(np.asarray(origin[0]), matrix @ matrix.T).logpdf(x)
    np.testing.assert_allclose(flow.log_prob(x), expected, rtol=1e-4)


def test_samples_carry_their_log_density_and_parameters_stay(plane):
    before = jax.tree.map(np.asarray, plane.variables)
    x, log_prob = jax.jit(lambda d, k: d.sample_and_log_prob(k, 200))(plane, jax.random.key(3))
    # The way back rounds, and the slopes of random splines are steep.
    np.testing.assert_allclose(plane.log_prob(x), log_prob, atol=1e-3)
    np.testing.assert_allclose(plane.sample(jax.random.key(3), 200), x, atol=1e-4)
    sample = plane.module.apply
    same = sample(plane.variables, jax.random.key(3), 200, method="sample", temperature=1.0)
    np.testing.assert_allclose(same, x, atol=1e-4)
    cold = sample(plane.variables, jax.random.key(3), 200, method="sample", temperature=0.0)
    np.testing.assert_allclose(cold, jnp.broadcast_to(cold[:1], cold.shape), atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, plane.variables))


def test_reverse_kl_of_a_flow_from_itself_is_zero_and_from_another_positive(plane):
    draw = jax.tree_util.Partial(lambda d, key, num: d.sample_and_log_prob(key, num), plane)
    own = losses.reverse_kl(jax.random.key(0), draw, plane.log_prob, num=500)
    np.testing.assert_allclose(own, 0.0, atol=5e-4)
    other = losses.reverse_kl(jax.random.key(0), draw, lambda x: -jnp.sum(x**2, axis=1), num=500)
    constant = np.log(np.pi)  # That of the unnormalised normal of variance 1/2.
    assert np.mean(other) + constant > 5.0 * np.std(other) / np.sqrt(len(other))


@pytest.mark.parametrize("model", ["spline", "maf"])
def test_a_condition_moves_densities_and_samples(model):
    flow = Flow(vector_bijector(model, 2, num_layers=2, hidden_sizes=(4,)), make_base(2))
    x = jnp.asarray(np.random.default_rng(4).normal(size=(6, 2)), jnp.float32)
    first = density(flow, x, 0.5, jnp.tile(jnp.array([[1.0, 0.0]]), (6, 1)))
    second = first.replace(condition=first.condition[:, ::-1])
    assert np.min(np.abs(first.log_prob(x) - second.log_prob(x))) > 1e-4
    key = jax.random.key(5)
    assert np.min(np.abs(first.sample(key, 6) - second.sample(key, 6)).max(axis=1)) > 1e-4


def test_a_flow_is_a_prior_of_a_vae(plane):
    """The losses take it as any other density, within their own jit."""

    def unit(mean):
        return Normal(mean, jnp.zeros_like(mean))

    terms = negative_elbo(jax.random.key(0), unit, unit, plane, jnp.ones((4, 2)))
    z = unit(jnp.ones((4, 2))).sample(jax.random.split(jax.random.key(0), 4))
    expected = unit(jnp.ones((4, 2))).log_prob(z) - plane.log_prob(z)
    np.testing.assert_allclose(terms.rate, expected, rtol=1e-5)


def one_pixel(levels):
    bijector = chain(Flatten((1, 1, 1)), ActNorm(), Repeat(Radial(), 3))
    return ImageFlow(Flow(bijector, bases.StandardNormal(1)), UniformDequantizer(levels), levels)


@pytest.mark.parametrize("levels", [17, 256])
def test_masses_of_a_pixel_sum_to_that_within_the_range(levels):
    """Each is the mean of the density over its bin: noise over half of a bin would give too much."""
    model = one_pixel(levels)
    x = jnp.asarray(np.random.default_rng(6).integers(0, levels, (60, 1, 1, 1)), jnp.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), jax.random.key(1), x)
    num = 64
    u = (np.arange(num) + 0.5) / num
    points = (np.arange(levels)[:, None] + u[None]).reshape(-1, 1, 1, 1).astype(np.float32)
    log_prob = model.apply(variables, points, method="log_prob")
    masses = np.exp(np.asarray(log_prob, np.float64)).reshape(levels, num).mean(axis=1)
    ends = jnp.array([0.0, levels], jnp.float32).reshape(2, 1, 1, 1)
    logits, _ = logit_transform(ends, levels=levels)
    z, _ = model.flow.bijector.apply(
        {"params": variables["params"]["flow"]["bijector"]}, logits, method="encode"
    )
    inside = np.diff(stats.norm.cdf(np.asarray(z)[:, 0]))[0]
    assert masses.sum() == pytest.approx(inside, rel=2e-3)
    assert 0.9 < inside < 1.0
    bound = losses.dequantized(
        jax.random.key(2),
        lambda keys, x: model.apply(variables, keys, x, method="dequantize"),
        lambda y: model.apply(variables, y, method="log_prob"),
        jnp.broadcast_to(x[:1], (4000, 1, 1, 1)),
    )
    exact = -np.log(masses[int(x[0, 0, 0, 0])])
    error = np.std(np.asarray(bound)) / np.sqrt(len(bound))
    assert np.mean(bound) > exact - 5.0 * error  # A bound of the probability, and near it.
    assert np.mean(bound) < exact + 0.5


@pytest.mark.parametrize("levels", [17, 256])
def test_the_uniform_density_costs_the_logarithm_of_the_levels(levels):
    x = jnp.asarray(np.random.default_rng(7).integers(0, levels, (5, 2, 3, 1)), jnp.uint8)
    dequantizer = UniformDequantizer(levels)

    def log_prob(y):
        inside = jnp.all((y >= 0.0) & (y < levels), axis=(1, 2, 3))
        return jnp.where(inside, -6.0 * jnp.log(float(levels)), -jnp.inf)

    def dequantize(keys, x):
        return dequantizer.apply({}, keys, x)

    loss = losses.dequantized(jax.random.key(0), dequantize, log_prob, x)
    np.testing.assert_allclose(loss / 6.0 / np.log(2.0), np.log2(levels), rtol=1e-6)
    estimate = losses.log_likelihood(jax.random.key(0), dequantize, log_prob, x, num_samples=3)
    np.testing.assert_allclose(estimate.log_likelihood, -loss, rtol=1e-6)
    np.testing.assert_allclose(estimate.standard_error, 0.0, atol=1e-5)


def test_learned_noise_knows_its_density():
    """The mean of p(u) / q(u|x) over draws of q is 1 for a density p, here a narrow logit-normal."""
    model = VariationalDequantizer(4, num_couplings=2, num_features=4)
    x = jnp.broadcast_to(jnp.array([[1, 3], [0, 2]], jnp.uint8)[None, :, :, None], (4000, 2, 2, 1))
    start = jax.eval_shape(model.init, jax.random.key(0), jax.random.key(1), x)
    rng = np.random.default_rng(8)
    variables = jax.tree.map(lambda v: jnp.asarray(0.3 * rng.normal(size=v.shape), v.dtype), start)
    y, log_q = jax.jit(model.apply)(variables, jax.random.key(2), x)
    np.testing.assert_array_equal(np.floor(np.clip(y - x, 0.0, 0.999)), 0.0)
    u = np.asarray(y - x, np.float64)
    logits = np.log(u) - np.log1p(-u)
    log_p = stats.norm.logpdf(logits, 0.0, 0.6) - np.log(u) - np.log1p(-u)
    weights = np.exp(log_p.sum(axis=(1, 2, 3)) - np.asarray(log_q, np.float64))
    error = weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - 1.0) < 5.0 * error
    assert error < 0.1 and np.std(log_q) > 0.05


def test_more_draws_of_the_noise_tighten_the_bound():
    levels = 5
    model = one_pixel(levels)
    x = jnp.asarray(np.random.default_rng(9).integers(0, levels, (200, 1, 1, 1)), jnp.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), jax.random.key(1), x)
    variables = jax.tree.map(lambda v: v + 1.0, variables)  # Steep within bins.

    def bound(num):
        return losses.log_likelihood(
            jax.random.key(3),
            lambda keys, x: model.apply(variables, keys, x, method="dequantize"),
            lambda y: model.apply(variables, y, method="log_prob"),
            x,
            num_samples=num,
        ).log_likelihood

    means = [float(np.mean(bound(num))) for num in (1, 10, 100)]
    assert means[0] < means[1] < means[2]


def test_a_learned_mixture_is_one():
    base = bases.LearnedMixture(2, 3)
    z = jnp.asarray(np.random.default_rng(10).normal(size=(4, 2)), jnp.float32)
    variables = base.init(jax.random.key(0), z, method="log_prob")
    mixture = NormalMixture(**variables["params"])
    np.testing.assert_allclose(base.apply(variables, z, method="log_prob"), mixture.log_prob(z))
    key = jax.random.key(1)
    np.testing.assert_array_equal(
        base.apply(variables, key, 5, method="sample"), mixture.sample(key, 5)
    )
    cold = base.apply(variables, key, 50, 0.0, method="sample")
    distance = np.abs(np.asarray(cold)[:, None] - np.asarray(mixture.mean)[None]).sum(axis=2)
    assert np.max(distance.min(axis=1)) < 1e-6
