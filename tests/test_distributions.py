"""Distributions: SciPy in float64, closed constants, supports, and properties."""

import functools
import math

import chex
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen import distributions as d

B, D, LEVELS, K = 3, 4, 6, 5
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)


def floats(shape, bound):
    return hnp.arrays(np.float32, shape, elements=st.floats(-bound, bound, width=32))


PIXELS = hnp.arrays(np.uint8, (B, D), elements=st.integers(0, LEVELS - 1))
BITS = hnp.arrays(np.uint8, (B, D), elements=st.integers(0, 1))


def make(name, shape=(B, D), *, seed=0, scale=1.0):
    """One distribution of each kind with random parameters, and data for it: NumPy arrays."""
    rng = np.random.default_rng(seed)

    def draw(*s):
        return (scale * rng.normal(size=s)).astype(np.float32)

    pixels = rng.integers(0, LEVELS, shape).astype(np.uint8)
    if name == "normal":
        return d.Normal(draw(*shape), draw(*shape)), draw(*shape)
    if name == "bernoulli":
        return d.Bernoulli(draw(*shape)), pixels % 2
    if name == "categorical":
        return d.Categorical(draw(*shape, LEVELS)), pixels
    if name == "discretized_logistic":
        return d.DiscretizedLogistic(2.5 + 2.0 * draw(*shape), draw(*shape), LEVELS), pixels
    return d.NormalMixture(draw(K), draw(K, shape[1]), draw(K, shape[1])), draw(*shape)


PIXEL_NAMES = ("bernoulli", "categorical", "discretized_logistic")
IMAGE_NAMES = ("normal", *PIXEL_NAMES)
NAMES = (*IMAGE_NAMES, "normal_mixture")


def reference_log_prob(distribution, x):
    match distribution:
        case d.Normal(mean, log_var):
            return references.normal_log_prob(x, mean, log_var)
        case d.Bernoulli(logits):
            return references.bernoulli_log_prob(x, logits)
        case d.Categorical(logits):
            return references.categorical_log_prob(x, logits)
        case d.NormalMixture(logits, mean, log_var):
            return references.normal_mixture_log_prob(x, logits, mean, log_var)
    masses = [
        references.discretized_logistic_log_masses(m, s, distribution.levels)[int(v)]
        for m, s, v in zip(
            *(np.ravel(a) for a in (distribution.mean, distribution.log_scale, x)), strict=True
        )
    ]
    return references.sum_event(np.reshape(masses, np.shape(x)))


log_prob = jax.jit(lambda p, x: p.log_prob(x))
gradients = jax.jit(jax.grad(lambda p, x: jnp.sum(p.log_prob(x))))
sample = jax.jit(lambda p, key: p.sample(key))


@pytest.mark.parametrize("name", NAMES)
def test_log_prob_equals_scipy(name):
    for seed in range(3):
        distribution, x = make(name, seed=seed, scale=2.0)
        value = log_prob(distribution, x)
        chex.assert_shape(value, (B,))
        chex.assert_type(value, jnp.float32)
        np.testing.assert_allclose(value, reference_log_prob(distribution, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_images_are_events(name):
    shape = (2, 3, 2, 1)
    distribution, x = make(name, shape)
    expected = reference_log_prob(distribution, x)
    np.testing.assert_allclose(log_prob(distribution, x), expected, rtol=1e-5)
    draws = jax.eval_shape(distribution.sample, jax.random.key(0))
    assert draws.shape == jax.eval_shape(distribution.expectation).shape == shape


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_rows_are_independent(name):
    distribution, x = make(name)
    order = np.array([2, 0, 1])
    shuffled = jax.tree.map(lambda a: a[order], distribution)
    value = np.asarray(log_prob(distribution, x))
    np.testing.assert_array_equal(log_prob(shuffled, x[order]), value[order])
    bad = jax.tree.map(lambda a: np.concatenate([a[:1], np.full_like(a[1:], np.nan)]), distribution)
    assert log_prob(bad, x)[0] == value[0]


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_in_float32_out(name):
    distribution, x = make(name)
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), distribution)
    exact = jax.tree.map(lambda a: a.astype(np.float32), low)
    x = x.astype(jnp.bfloat16).astype(x.dtype)
    value = log_prob(low, x)
    chex.assert_type(value, jnp.float32)
    np.testing.assert_allclose(value, log_prob(exact, x), rtol=1e-6)
    assert jax.eval_shape(low.expectation).dtype == jnp.float32


def test_unsigned_data_do_not_wrap():
    distribution, _ = make("normal")
    x = np.zeros((B, D), np.uint8)
    expected = reference_log_prob(distribution, x)
    np.testing.assert_allclose(log_prob(distribution, x), expected, rtol=1e-5)


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_a_shape_mismatch_is_refused(name):
    distribution, x = make(name)
    with pytest.raises(AssertionError):
        distribution.log_prob(x[:, :1])


# --- Supports ---

BAD_VALUES = (-1.0, 0.5, float(LEVELS), 255.0, 1e30, np.inf, np.nan)


@pytest.mark.parametrize("name", PIXEL_NAMES)
def test_what_is_no_pixel_value_has_no_mass(name):
    """One bad pixel in the second row: -inf there, and all other values and gradients unchanged."""
    distribution, x = make(name)
    x = x.astype(np.float32)
    value, slope = log_prob(distribution, x), gradients(distribution, x)
    for bad in (*BAD_VALUES, *([2.0] if name == "bernoulli" else [])):
        wrong = x.copy()
        wrong[1, 2] = bad
        np.testing.assert_array_equal(log_prob(distribution, wrong), [value[0], -np.inf, value[2]])
        if np.isfinite(bad):
            changed = gradients(distribution, wrong)
            for leaf, expected in zip(*map(jax.tree.leaves, (changed, slope)), strict=True):
                np.testing.assert_array_equal(leaf[::2], expected[::2])
                assert np.all(np.isfinite(leaf))


def test_binary_values_of_grey_images_are_no_binary_ones():
    """The straight line through 0 and 1 gave 255 a log-mass of 255 logit, far above 0."""
    x = np.array([[255.0], [1.0]], np.float32)
    value = log_prob(d.Bernoulli(np.full((2, 1), 50.0, np.float32)), x)
    assert np.isneginf(value[0])
    assert -1e-6 < value[1] <= 0.0


# --- Normal ---


def test_normal_shares_a_variance():
    mean = np.arange(12, dtype=np.float32).reshape(2, 2, 3, 1)
    shared = d.Normal(mean, np.full((2, 1, 1, 1), 0.7, np.float32))
    full = d.Normal(mean, np.full(mean.shape, 0.7, np.float32))
    x = mean + 1.0
    np.testing.assert_allclose(log_prob(shared, x), log_prob(full, x), rtol=1e-6)
    np.testing.assert_allclose(normal_kl(shared), normal_kl(full), rtol=1e-6)
    with pytest.raises(AssertionError):
        d.Normal(mean, np.zeros(2, np.float32)).log_prob(x)


# --- Bernoulli ---


def test_bernoulli_constants():
    logits = np.array([[0.0], [0.0], [88.0], [88.0]], np.float32)
    cost = -log_prob(d.Bernoulli(logits), np.array([[0], [1], [1], [0]], np.uint8))
    np.testing.assert_allclose(cost, [math.log(2.0), math.log(2.0), 0.0, 88.0], rtol=1e-6)


@EXAMPLES
@given(floats((B, D), 1e4), BITS)
def test_bernoulli_extremes(logits, x):
    distribution = d.Bernoulli(logits)
    value = log_prob(distribution, x)
    assert np.all(np.asarray(value) <= 1e-3)
    expected = references.bernoulli_log_prob(x, logits)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=4e-3)
    slope = gradients(distribution, x).logits
    assert np.all(np.abs(slope) <= 1.0)


# --- Categorical ---


@EXAMPLES
@given(floats((B, D, LEVELS), 1e6))
def test_categorical_masses_sum_to_one(logits):
    masses = [
        np.exp(log_prob(d.Categorical(logits[:, :1]), np.full((B, 1), k, np.uint8)))
        for k in range(LEVELS)
    ]
    np.testing.assert_allclose(sum(masses), 1.0, rtol=1e-5)


def test_categorical_is_invariant_to_a_large_shift():
    distribution, x = make("categorical")
    whole = d.Categorical(np.round(distribution.logits))
    shifted = d.Categorical(whole.logits + 2.0**20)
    np.testing.assert_allclose(log_prob(shifted, x), log_prob(whole, x), rtol=1e-6)


@pytest.mark.parametrize(("levels", "bits"), [(256, 8.0), (17, 4.087)])
def test_uniform_costs_log_levels(levels, bits):
    uniform = d.Categorical(np.zeros((1, 2, levels), np.float32))
    value = -log_prob(uniform, np.array([[0, levels - 1]], np.uint8))[0] / (2 * math.log(2.0))
    assert float(value) == pytest.approx(bits, abs=5e-4)


# --- Discretized logistic ---


@functools.partial(jax.jit, static_argnums=2)
def all_log_masses(mean, log_scale, levels):
    """Log-masses [levels] of one pixel."""
    shape = (levels, 1)
    mean, log_scale = (jnp.full(shape, value) for value in (mean, log_scale))
    x = jnp.arange(levels).reshape(shape)
    return d.DiscretizedLogistic(mean, log_scale, levels).log_prob(x)


@pytest.mark.parametrize(("mean", "log_scale", "expected"), [(-0.6, -4, -33.60), (-0.2, -7, -215)])
def test_discretized_logistic_constants(mean, log_scale, expected):
    """The values of a pixel 0 on [-1, 1], 256 levels, where a floor of 1e-12 stops at -27.6.

    That pixel lies between 127 and 128: all is moved by half a pixel.
    """
    half = 127.5
    parameters = (half * (1.0 + mean) - 0.5, log_scale + math.log(half))
    distribution = d.DiscretizedLogistic(*(np.full((1, 1), v, np.float32) for v in parameters), 256)
    pixel = np.full((1, 1), 127, np.uint8)
    assert float(log_prob(distribution, pixel)[0]) == pytest.approx(expected, rel=3e-4)
    slope = gradients(distribution, pixel)
    for part in (slope.mean, slope.log_scale):
        assert np.all(np.isfinite(part))
        assert np.all(np.asarray(part) != 0.0)


@EXAMPLES
@given(st.floats(-300, 600, width=32), st.floats(-8, 12, width=32))
def test_discretized_logistic_masses(mean, log_scale):
    value = all_log_masses(jnp.float32(mean), jnp.float32(log_scale), 256)
    assert math.fsum(np.exp(np.asarray(value, np.float64))) == pytest.approx(1.0, abs=2e-5)
    expected = references.discretized_logistic_log_masses(mean, log_scale, 256)
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-5)


@EXAMPLES
@given(
    st.floats(-1e4, 1e4, width=32),
    st.one_of(st.sampled_from([-1e4, -100, -60, -15, 15, 60, 100, 1e4]), st.floats(-120, 120)),
)
def test_discretized_logistic_stays_finite(mean, log_scale):
    x = np.array([[0], [2], [LEVELS - 1]], np.uint8)
    for centre in (mean, 2.0, 2.5, -0.5):
        parameters = (np.full((3, 1), value, np.float32) for value in (centre, log_scale))
        distribution = d.DiscretizedLogistic(*parameters, LEVELS)
        value = np.asarray(log_prob(distribution, x))
        assert np.all(np.isfinite(value))
        assert np.all(value <= 0.0)
        chex.assert_tree_all_finite(gradients(distribution, x))
        draw = sample(distribution, jax.random.key(0))
        assert np.all((np.asarray(draw) >= 0) & (np.asarray(draw) < LEVELS))


def test_discretized_logistic_gradient_equals_finite_differences():
    def reference(m, s, x):
        return references.discretized_logistic_log_masses(m, s, LEVELS)[x]

    step = 1e-5
    for x in range(LEVELS):
        for m, s in ((1.7, -3.0), (2.0, 0.5), (40.0, -1.0), (2.2, 9.0)):
            parameters = (np.full((1, 1), value, np.float32) for value in (m, s))
            distribution = d.DiscretizedLogistic(*parameters, LEVELS)
            slope = gradients(distribution, np.full((1, 1), x, np.uint8))
            by_mean = (reference(m + step, s, x) - reference(m - step, s, x)) / (2 * step)
            by_scale = (reference(m, s + step, x) - reference(m, s - step, x)) / (2 * step)
            np.testing.assert_allclose(slope.mean[0, 0], by_mean, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(slope.log_scale[0, 0], by_scale, rtol=1e-3, atol=1e-4)


def test_discretized_logistic_needs_two_levels():
    with pytest.raises(ValueError, match="levels: 1, expected at least 2"):
        d.DiscretizedLogistic(np.zeros((1, 1)), np.zeros((1, 1)), 1)


# --- Samples ---


def z_scores(draws, mean, variance):
    draws = np.asarray(draws, np.float64)
    return (draws.mean(axis=0) - mean) / np.sqrt(variance / len(draws))


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_sample_moments(name):
    num = 20_000
    row = jax.tree.map(lambda a: a[:1], make(name)[0])
    tiled = jax.tree.map(lambda a: np.broadcast_to(a, (num, *a.shape[1:])), row)
    draws = sample(tiled, jax.random.key(1))
    chex.assert_type(draws, jnp.float32 if name == "normal" else jnp.int32)
    if name == "normal":
        mean = np.asarray(row.mean[0], np.float64)
        variance = np.exp(np.asarray(row.log_var[0], np.float64))
        # The variance of a squared normal deviation is 2 variance^2.
        squares = (np.asarray(draws, np.float64) - mean) ** 2
        assert np.all(np.abs(z_scores(squares, variance, 2 * variance**2)) < 5)
    else:
        values = np.arange(2 if name == "bernoulli" else LEVELS)
        log_masses = [
            [reference_log_prob(pixel, np.full((1, 1), value))[0] for value in values]
            for pixel in (jax.tree.map(lambda a, j=j: a[:, j : j + 1], row) for j in range(D))
        ]
        masses = np.exp(log_masses)
        mean = masses @ values
        variance = masses @ values**2 - mean**2
        for value in values:
            frequency = (np.asarray(draws) == value).astype(float)
            mass = masses[:, value]
            assert np.all(np.abs(z_scores(frequency, mass, mass * (1 - mass))) < 5)
    assert np.all(np.abs(z_scores(draws, mean, variance)) < 5)
    expectation = jax.jit(lambda p: p.expectation())(row)[0]
    np.testing.assert_allclose(expectation, mean, rtol=1e-5, atol=1e-5)


def test_mixture_sample_moments():
    mixture, _ = make("normal_mixture")
    draws = jax.jit(lambda p, key: p.sample(key, 20_000))(mixture, jax.random.key(2))
    chex.assert_shape(draws, (20_000, D))
    logits, mean, log_var = (np.asarray(a, np.float64) for a in jax.tree.leaves(mixture))
    weights = np.exp(logits) / np.exp(logits).sum()
    expected = weights @ mean
    variance = weights @ (np.exp(log_var) + mean**2) - expected**2
    assert np.all(np.abs(z_scores(draws, expected, variance)) < 5)
    expectation = jax.jit(lambda p: p.expectation())(mixture)
    np.testing.assert_allclose(expectation, expected, rtol=1e-5, atol=1e-6)
    # E_p[1 / p(z) restricted to a box] is the box's volume: density and sampler belong together.
    inside = np.all(np.abs(np.asarray(draws)) < 1.0, axis=1)
    weighted = np.where(inside, np.exp(-np.asarray(log_prob(mixture, draws), np.float64)), 0.0)
    error = weighted.std() / math.sqrt(len(weighted))
    assert abs(weighted.mean() - 2.0**D) < 5 * error


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_drawn_from_its_own_key(name):
    """One key is that of as many examples as there are; another example's key changes nothing."""
    distribution, _ = make(name)
    take = (B,) if name == "normal_mixture" else ()
    draw = functools.partial(jax.jit(lambda p, key: p.sample(key, *take)), distribution)
    keys, others = (jax.random.split(jax.random.key(seed), B) for seed in (0, 1))
    first = np.asarray(draw(jax.random.key(0)))
    np.testing.assert_array_equal(draw(keys), first)
    other = np.asarray(draw(others.at[0].set(keys[0])))
    np.testing.assert_array_equal(other[0], first[0])
    assert np.any(other[1:] != first[1:])


def test_normal_samples_are_reparameterized():
    distribution, _ = make("normal")
    slope = jax.jit(jax.grad(lambda p: jnp.sum(p.sample(jax.random.key(0)))))(distribution)
    np.testing.assert_array_equal(slope.mean, np.ones((B, D)))
    deviation = np.asarray(sample(distribution, jax.random.key(0))) - distribution.mean
    np.testing.assert_allclose(slope.log_var, 0.5 * deviation, rtol=1e-5, atol=1e-6)


# --- Mixture ---


def test_mixture_of_one_is_a_normal_and_order_is_irrelevant():
    mixture, z = make("normal_mixture")
    one = d.NormalMixture(np.float32([3.0]), mixture.mean[:1], mixture.log_var[:1])
    normal = d.Normal(*(np.broadcast_to(a[:1], z.shape) for a in (mixture.mean, mixture.log_var)))
    np.testing.assert_allclose(log_prob(one, z), log_prob(normal, z), rtol=1e-6)
    reverse = jax.tree.map(lambda a: a[::-1], mixture)
    np.testing.assert_allclose(log_prob(reverse, z), log_prob(mixture, z), rtol=1e-6)


def test_mixture_far_away_stays_finite():
    mixture, z = make("normal_mixture")
    assert np.all(np.isfinite(log_prob(mixture, 1e6 * z)))
    chex.assert_tree_all_finite(gradients(mixture, 1e6 * z))


# --- Divergences ---

normal_kl = jax.jit(d.normal_kl)
normal_kl_per_dimension = jax.jit(d.normal_kl_per_dimension)
STANDARD = d.Normal(np.zeros((1, D), np.float32), np.zeros((1, D), np.float32))


@EXAMPLES
@given(*(floats((B, D), bound) for bound in (10, 5, 10, 5)))
def test_normal_kl_equals_the_matrix_form(q_mean, q_log_var, p_mean, p_log_var):
    arguments = (q_mean, q_log_var, p_mean, p_log_var)
    value = normal_kl(d.Normal(q_mean, q_log_var), d.Normal(p_mean, p_log_var))
    np.testing.assert_allclose(value, references.normal_kl(*arguments), rtol=1e-4, atol=1e-4)


@EXAMPLES
@given(floats((B, D), 30), floats((B, D), 20))
def test_normal_kl_is_a_divergence(mean, log_var):
    q = d.Normal(mean, log_var)
    np.testing.assert_array_equal(normal_kl(q, q), np.zeros(B))
    per_dimension = np.asarray(normal_kl_per_dimension(q))
    assert np.all(per_dimension >= -1e-6)
    np.testing.assert_allclose(normal_kl(q), normal_kl(q, STANDARD), rtol=1e-6)
    np.testing.assert_allclose(per_dimension.sum(1), normal_kl(q), rtol=1e-5)


def test_normal_kl_is_accurate_near_its_minimum():
    log_var = np.full((1, D), 1e-3, np.float32)
    value = normal_kl(d.Normal(np.zeros((1, D), np.float32), log_var))
    expected = references.normal_kl([np.zeros(D)], log_var, [np.zeros(D)], [np.zeros(D)])
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    slope = jax.jit(jax.grad(lambda q: d.normal_kl(q)[0]))(STANDARD)
    chex.assert_trees_all_equal(slope, STANDARD)


def test_normal_kl_of_images_and_bfloat16():
    shape = (2, 3, 3, 1)
    q = d.Normal(np.ones(shape, jnp.bfloat16), np.zeros(shape, jnp.bfloat16))
    chex.assert_type(normal_kl(q), jnp.float32)
    np.testing.assert_allclose(normal_kl(q), [4.5, 4.5])
    assert jax.eval_shape(d.normal_kl_per_dimension, q).shape == shape


def test_normal_kl_refuses_another_shape():
    q, _ = make("normal")
    with pytest.raises(AssertionError):
        d.normal_kl(q, d.Normal(np.zeros(D), np.zeros(D)))
    with pytest.raises(AssertionError):
        d.normal_kl(jax.tree.map(lambda a: a[:1], q), q)


# --- Bound ---

bound_log_var = jax.jit(d.bound_log_var, static_argnums=(1, 2))


@EXAMPLES
@given(floats((8,), 1e6), st.sampled_from([(-30.0, 20.0), (-7.0, 3.0), (0.0, 0.5)]))
def test_bound_log_var_bounds(raw, bounds):
    low, high = bounds
    value = np.asarray(bound_log_var(raw, low, high))
    assert value.dtype == np.float32
    assert np.all((value >= low - 1e-4) & (value <= high + 1e-4))
    order = np.argsort(raw)
    assert np.all(np.diff(value[order]) >= -1e-5)


def test_bound_log_var_equals_float64_and_is_the_identity_inside():
    raw = np.linspace(-60.0, 50.0, 23)
    value = bound_log_var(raw.astype(np.float32), -30.0, 20.0)
    inner = 20.0 - np.logaddexp(0.0, 20.0 - raw)
    scale = 50.0 / np.logaddexp(0.0, 50.0)
    expected = -30.0 + scale * np.logaddexp(0.0, inner + 30.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    inside = np.abs(raw + 5.0) < 15.0
    np.testing.assert_allclose(value[inside], raw[inside], atol=1e-3)


def test_bound_log_var_keeps_a_gradient_past_the_bound():
    slope = jax.jit(jax.vmap(jax.grad(lambda raw: d.bound_log_var(raw, -10.0, 10.0))))
    raw = np.float32([-60.0, -15.0, -11.0, 11.0, 15.0, 60.0, -1e30, -1e4, 1e4, 1e30])
    slopes = np.asarray(slope(raw))
    assert np.all(slopes[:6] > 0.0)
    assert np.all(np.isfinite(slopes))


def test_bound_log_var_refuses_an_empty_range():
    with pytest.raises(ValueError, match="expected low < high"):
        d.bound_log_var(np.zeros(1), 2.0, 2.0)
