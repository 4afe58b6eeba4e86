"""VAE losses against exact linear-Gaussian likelihoods, closed forms and each other."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references
from jax.tree_util import Partial
from sklearn.decomposition import PCA

from jaxgen.arrays import example_keys, split_keys
from jaxgen.distributions import Normal, NormalMixture, bound_log_var, normal_kl_per_dimension
from jaxgen.vae import likelihoods, losses, priors
from jaxgen.vae.priors import standard_normal

B, N, Q = 4, 6, 2
PRIOR = standard_normal(Q)


def draw_data(num):
    rng = np.random.default_rng(0)
    scales = np.array([3.0, 2.0, 1.0, 0.7, 0.5, 0.3])
    return (rng.normal(size=(num, N)) * scales) @ rng.normal(size=(N, N)) + rng.normal(size=N)


DATA = draw_data(200)
WEIGHTS, MEAN, VARIANCE = references.ppca_fit(DATA, Q)
X = DATA[:B].astype(np.float32)
MANY = 1000
"""Repetitions of each example in Monte-Carlo tests, which share their programs."""
LOG_LIKELIHOOD = references.ppca_log_likelihood(X, WEIGHTS, MEAN, VARIANCE)


def encode(parameters, x):
    """The exact posterior, of diagonal covariance at maximum likelihood, moved and widened."""
    matrix, offset, log_var, shift, widening = parameters
    mean = x @ matrix - offset[None] + shift
    return Normal(mean, jnp.broadcast_to(log_var[None] + widening, mean.shape))


def decode(parameters, z):
    weights, mean, log_var = parameters
    return Normal(z @ weights.T + mean[None], jnp.full((len(z), N), log_var))


def exact_posterior(shift=0.0, widening=0.0):
    zero, covariance = references.ppca_posterior(np.zeros((1, N)), WEIGHTS, MEAN, VARIANCE)
    matrix = references.ppca_posterior(np.eye(N), WEIGHTS, MEAN, VARIANCE)[0] - zero
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-12)
    values = (matrix, -zero[0], np.log(np.diag(covariance)), shift, widening)
    return Partial(encode, tuple(np.asarray(value, np.float32) for value in values))


ENCODE = exact_posterior()
DECODE = Partial(
    decode, tuple(np.asarray(v, np.float32) for v in (WEIGHTS, MEAN, math.log(VARIANCE)))
)
WRONG = exact_posterior(shift=0.2, widening=0.5)
MIXTURE = NormalMixture(np.zeros(1, np.float32), *(np.zeros((1, Q), np.float32) for _ in range(2)))
"""The standard normal as a mixture, whose KL has no closed form."""


def tile(x, num=MANY):
    return np.repeat(x, num, axis=0)


def mean_and_error(values):
    """Mean and standard error over the draws of each example, from rows tiled by `tile`."""
    values = np.asarray(values, np.float64).reshape(B, -1)
    return values.mean(1), values.std(1) / math.sqrt(values.shape[1] - 1)


# --- The exact likelihood of the linear-Gaussian model ---


def test_reference_likelihood_equals_scikit_learn():
    pca = PCA(Q, svd_solver="full").fit(DATA)
    expected = pca.score_samples(DATA[:B])
    # scikit-learn's eigenvalues have N - 1 in their denominator.
    factor = (len(DATA) - 1) / len(DATA)
    scaled = WEIGHTS / math.sqrt(factor), MEAN, VARIANCE / factor
    np.testing.assert_allclose(references.ppca_log_likelihood(DATA[:B], *scaled), expected)
    rest = np.sum((DATA - pca.inverse_transform(pca.transform(DATA))) ** 2, axis=1).mean()
    assert references.pca_error(DATA, Q) == pytest.approx(rest)


@pytest.mark.parametrize("seed", range(3))
def test_exact_posterior_gives_the_exact_likelihood_for_every_draw(seed):
    key = jax.random.key(seed)
    terms = losses.negative_elbo(key, ENCODE, DECODE, MIXTURE, X)
    np.testing.assert_allclose(-(terms.distortion + terms.rate), LOG_LIKELIHOOD, rtol=2e-5)
    for num_samples in (1, 3):
        bound = losses.importance_weighted(key, ENCODE, DECODE, PRIOR, X, num_samples=num_samples)
        np.testing.assert_allclose(-bound, LOG_LIKELIHOOD, rtol=2e-5)


def test_exact_posterior_has_no_standard_error():
    estimate = losses.log_likelihood(jax.random.key(0), ENCODE, DECODE, PRIOR, X, num_samples=20)
    np.testing.assert_allclose(estimate.log_likelihood, LOG_LIKELIHOOD, rtol=2e-5)
    np.testing.assert_allclose(estimate.standard_error, 0.0, atol=1e-5)


def test_closed_form_elbo_is_exact_in_expectation():
    terms = losses.negative_elbo(jax.random.key(0), ENCODE, DECODE, PRIOR, tile(X))
    mean, error = mean_and_error(-(terms.distortion + terms.rate))
    assert np.all(np.abs(mean - LOG_LIKELIHOOD) < 5 * error)


def test_gap_of_a_wrong_posterior_is_its_divergence_from_the_true_one():
    q, posterior = jax.jit(lambda x: (WRONG(x), ENCODE(x)))(X)
    gap = references.normal_kl(q.mean, q.log_var, posterior.mean, posterior.log_var)
    assert np.all(gap > 0.1)
    terms = losses.negative_elbo(jax.random.key(1), WRONG, DECODE, PRIOR, tile(X))
    mean, error = mean_and_error(-(terms.distortion + terms.rate))
    assert np.all(np.abs(mean - (LOG_LIKELIHOOD - gap)) < 5 * error)
    assert np.all(error < 0.1 * gap)


def test_bounds_rise_with_samples_to_the_likelihood():
    """``elbo <= iw5 <= iw50 <= ln p(x)`` in expectation, each by more than its error explains."""
    x = tile(X)
    bounds = [
        mean_and_error(
            -losses.importance_weighted(
                jax.random.key(2), WRONG, DECODE, PRIOR, x, num_samples=num_samples
            )
        )
        for num_samples in (1, 5, 50)
    ]
    for (lower, lower_error), (upper, upper_error) in itertools.pairwise(bounds):
        assert np.all(upper - lower > -5 * np.hypot(lower_error, upper_error))
    (elbo, elbo_error), (_, _), (iw50, iw50_error) = bounds
    assert np.all(iw50 - elbo > 5 * np.hypot(elbo_error, iw50_error))
    assert np.all(iw50 < LOG_LIKELIHOOD + 5 * iw50_error)
    assert np.all(LOG_LIKELIHOOD - iw50 < 0.1 * (LOG_LIKELIHOOD - elbo) + 5 * iw50_error)


def test_standard_error_covers_the_likelihood():
    estimates = losses.log_likelihood(
        jax.random.key(3), WRONG, DECODE, PRIOR, tile(X, 100), num_samples=500, chunk_size=500
    )
    values = np.asarray(estimates.log_likelihood, np.float64).reshape(B, -1)
    errors = np.asarray(estimates.standard_error, np.float64).reshape(B, -1)
    z = (values - LOG_LIKELIHOOD[:, None]) / errors
    assert np.all(np.abs(z) < 5)
    # The spread over repetitions is what the error promises.
    assert 0.8 < np.sqrt(np.mean(z**2)) < 1.2


def test_linear_autoencoder_reaches_the_error_of_pca():
    x = DATA[:64].astype(np.float32)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 1000))

    def unit_normal(parameters, z):
        mean = z @ parameters["decoder"] + parameters["bias"][None]
        return Normal(mean, jnp.zeros_like(mean))

    def linear(parameters, x):
        return (x - parameters["bias"][None]) @ parameters["encoder"]

    def loss(parameters):
        return jnp.mean(
            losses.reconstruction(Partial(linear, parameters), Partial(unit_normal, parameters), x)
        )

    def step(carry, _):
        parameters, state = carry
        value, gradients = jax.value_and_grad(loss)(parameters)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(parameters, updates), state), value

    rng = np.random.default_rng(0)
    shapes = {"encoder": (N, Q), "decoder": (Q, N), "bias": N}
    parameters = {
        name: (0.1 * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()
    }

    @jax.jit
    def train(parameters):
        carry = parameters, optimizer.init(parameters)
        (parameters, _), _ = jax.lax.scan(step, carry, length=1000)
        return loss(parameters)

    error = 2.0 * float(train(parameters)) - N * math.log(2.0 * math.pi)
    expected = references.pca_error(x, Q)
    assert expected * (1 - 1e-4) < error < 1.005 * expected


# --- Sums, signs and units ---


def test_tiled_pixels_cost_four_times_the_distortion_and_the_same_rate():
    def decode_tiled(parameters, z):
        return jax.tree.map(lambda a: jnp.tile(a, (1, 4)), decode(parameters, z))

    key = jax.random.key(0)
    terms = losses.negative_elbo(key, WRONG, DECODE, PRIOR, X)
    tiled = losses.negative_elbo(
        key,
        Partial(lambda parameters, x: encode(parameters, x[:, :N]), WRONG.args[0]),
        Partial(decode_tiled, DECODE.args[0]),
        PRIOR,
        np.tile(X, (1, 4)),
    )
    np.testing.assert_allclose(tiled.distortion, 4.0 * np.asarray(terms.distortion), rtol=1e-5)
    np.testing.assert_array_equal(tiled.rate, terms.rate)


def test_rate_is_a_divergence_and_the_terms_sum_to_the_loss():
    terms = losses.negative_elbo(jax.random.key(0), WRONG, DECODE, PRIOR, X)
    q = jax.jit(WRONG)(X)
    expected = references.normal_kl(q.mean, q.log_var, np.zeros((B, Q)), np.zeros((B, Q)))
    np.testing.assert_allclose(terms.rate, expected, rtol=1e-5)
    assert np.all(np.asarray(terms.rate) >= 0.0)
    loss = losses.beta_weighted(terms, beta=1.0)
    np.testing.assert_allclose(loss, np.sum(terms, axis=0), rtol=1e-6)
    np.testing.assert_allclose(losses.beta_weighted(terms, beta=0.0), terms.distortion)


def test_the_prior_decides_on_the_rate():
    """In closed form, with the value of every draw, or by the draw, with the same expectation."""
    shifted = priors.NormalPrior(np.float32([1.0, -0.5]), np.float32([0.3, -0.2]))
    terms = losses.negative_elbo(jax.random.key(0), WRONG, DECODE, shifted, X)
    q = jax.jit(WRONG)(X)
    mean, log_var = (np.tile(a, (B, 1)) for a in (shifted.mean, shifted.log_var))
    expected = references.normal_kl(q.mean, q.log_var, mean, log_var)
    np.testing.assert_allclose(terms.rate, expected, rtol=1e-5)
    mixture = NormalMixture(np.zeros(1, np.float32), shifted.mean[None], shifted.log_var[None])
    drawn = losses.negative_elbo(jax.random.key(0), WRONG, DECODE, mixture, tile(X))
    average, error = mean_and_error(drawn.rate)
    assert np.all(error > 0.0)
    assert np.all(np.abs(average - expected) < 5 * error)


def test_the_likelier_draw_weighs_more():
    """The gradient of the bound by ``ln w_k`` is the normalised weight: the best draw has most."""
    offsets = np.zeros(3, np.float32)

    def bound(offsets):
        log_weights = jnp.array([0.0, 1.0, 3.0]) + offsets
        return losses.importance_weighted(
            jax.random.key(0),
            lambda x: _StubPosterior(log_weights),
            _StubDecoder,
            priors.standard_normal(1),
            np.zeros((1, 1), np.float32),
            num_samples=64,
        )[0]

    slope = -np.asarray(jax.jit(jax.grad(bound))(offsets))
    np.testing.assert_allclose(slope.sum(), 1.0, rtol=1e-5)
    assert slope[2] > slope[1] > slope[0] > 0.0


class _StubPosterior:
    """Draws one of three log-weights at random; its density cancels that of the prior."""

    def __init__(self, log_weights):
        self.log_weights = log_weights

    def sample_and_log_prob(self, keys):
        drawn = jax.vmap(lambda key: jax.random.randint(key, (1,), 0, 3))(keys)
        z = self.log_weights[drawn]
        return z, priors.standard_normal(1).log_prob(z)


class _StubDecoder:
    """A decoder whose log-likelihood is z itself."""

    def __init__(self, z):
        self.z = z

    def log_prob(self, x):
        return self.z[:, 0]


def test_bernoulli_constants_and_gradients():
    @jax.jit
    @jax.value_and_grad
    def cost(logit, label):
        likelihood = likelihoods.bernoulli(levels=2)
        x = jnp.full((1, 1), label)
        return losses.reconstruction(
            lambda x: jnp.full((1, 1), 0.0),
            lambda z: likelihood.distribution(z[..., None] + logit),
            x,
        )[0]

    for logit, label, expected in ((0.0, 0, math.log(2)), (0.0, 1, math.log(2)), (88.0, 1, 0.0)):
        assert float(cost(logit, label)[0]) == pytest.approx(expected, abs=1e-6)
    assert float(cost(88.0, 0)[0]) == pytest.approx(88.0)
    for logit in (-1e30, -88.0, 88.0, 1e30):
        for label in (0, 1):
            assert np.isfinite(cost(logit, label)[1])


def test_huge_encoder_outputs_stay_finite():
    """Beyond float32's exponent, were the log-variance not bounded as in `VAE.encode`."""

    @jax.jit
    @jax.value_and_grad
    def total(raw):
        q = Normal(jnp.zeros((B, Q)), bound_log_var(raw, low=-20.0, high=10.0))
        terms = losses.negative_elbo(jax.random.key(0), lambda x: q, DECODE, PRIOR, X)
        return jnp.sum(losses.beta_weighted(terms, beta=1.0))

    for log_var in (-1e6, 1e6):
        value, slope = total(np.full((B, Q), log_var, np.float32))
        assert np.isfinite(value)
        assert np.all(np.isfinite(slope))


def test_bfloat16_networks_have_float32_losses():
    def low_precision(function):
        cast = functools.partial(jax.tree.map, lambda a: a.astype(jnp.bfloat16))
        return lambda value: cast(function(value))

    low = low_precision(WRONG), low_precision(DECODE)
    terms = losses.negative_elbo(jax.random.key(0), *low, PRIOR, X)
    exact = losses.negative_elbo(jax.random.key(0), WRONG, DECODE, PRIOR, X)
    for value, expected in zip(terms, exact, strict=True):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=0.1)


# --- Draws and chunks ---


def test_estimate_sees_exactly_its_number_of_draws():
    seen, num_samples, chunk_size = [], 7, 3

    def count(z):
        jax.debug.callback(lambda value: seen.append(np.array(value)), z)
        return DECODE(z)

    losses.log_likelihood(
        jax.random.key(0), WRONG, count, PRIOR, X, num_samples=num_samples, chunk_size=chunk_size
    )[0].block_until_ready()
    jax.effects_barrier()
    assert len({draw.tobytes() for draw in seen}) == len(seen) == num_samples


def test_chunks_do_not_change_the_estimate():
    """Weights that float32 cannot hold outside the logarithm, ``e^-600``."""
    far = X + 30.0
    estimates = [
        losses.log_likelihood(
            jax.random.key(0), WRONG, DECODE, PRIOR, far, num_samples=15, chunk_size=chunk_size
        )
        for chunk_size in (7, 15)
    ]
    assert np.all(np.asarray(estimates[0].log_likelihood) < -600)
    for estimate in estimates[1:]:
        np.testing.assert_allclose(estimate[0], estimates[0][0], rtol=1e-6)
        # A weight of 1 in logarithms of -2000 has an error of 1e-4.
        np.testing.assert_allclose(estimate[1], estimates[0][1], rtol=2e-3)
    bound = losses.importance_weighted(jax.random.key(0), WRONG, DECODE, PRIOR, far, num_samples=15)
    np.testing.assert_allclose(estimates[0].log_likelihood, -np.asarray(bound), rtol=1e-6)


@pytest.mark.parametrize("settings", [{"num_samples": 0}, {"num_samples": 1, "chunk_size": 0}])
def test_estimates_need_a_draw_and_a_chunk(settings):
    with pytest.raises(ValueError, match=r"(num_samples|chunk_size): 0, expected at least 1"):
        losses.log_likelihood(jax.random.key(0), WRONG, DECODE, PRIOR, X, **settings)
    if settings["num_samples"] < 1:
        with pytest.raises(ValueError, match="num_samples: 0, expected at least 1"):
            losses.importance_weighted(jax.random.key(0), WRONG, DECODE, PRIOR, X, num_samples=0)


# --- Reductions to the ELBO ---


def test_importance_weighting_with_one_draw_is_the_elbo():
    key = jax.random.key(0)
    bound = losses.importance_weighted(key, WRONG, DECODE, PRIOR, X, num_samples=1)
    (draws,) = split_keys(example_keys(key, B), 1)
    terms = losses.negative_elbo(draws, WRONG, DECODE, MIXTURE, X)
    np.testing.assert_allclose(bound, np.sum(terms, axis=0), rtol=1e-5)
    estimate = losses.log_likelihood(key, WRONG, DECODE, PRIOR, X, num_samples=1)
    np.testing.assert_allclose(estimate.log_likelihood, -np.asarray(bound), rtol=1e-6)
    np.testing.assert_array_equal(estimate.standard_error, np.zeros(B))
    x = tile(X)
    mean, error = mean_and_error(
        losses.importance_weighted(key, WRONG, DECODE, PRIOR, x, num_samples=1)
    )
    closed_form, closed_form_error = mean_and_error(
        np.sum(losses.negative_elbo(jax.random.key(1), WRONG, DECODE, PRIOR, x), axis=0)
    )
    assert np.all(np.abs(mean - closed_form) < 5 * np.hypot(error, closed_form_error))


def test_a_mixture_of_standard_normals_is_the_standard_prior():
    zero = np.zeros((3, Q), np.float32)
    mixture = NormalMixture(np.arange(3, dtype=np.float32), zero, zero)
    arguments = jax.random.key(0), WRONG, DECODE
    expected = losses.negative_elbo(*arguments, MIXTURE, X)
    actual = losses.negative_elbo(*arguments, mixture, X)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    terms = losses.negative_elbo(*arguments, mixture, tile(X))
    mean, error = mean_and_error(terms.rate)
    closed_form = losses.negative_elbo(*arguments, PRIOR, X).rate
    assert np.all(np.abs(mean - closed_form) < 5 * error)


# --- Free bits ---


RATES = np.array([[0.1, 2.0], [0.7, 0.0], [0.2, 1.0]], np.float32)


def test_free_bits_are_floors_of_their_own_kind():
    np.testing.assert_allclose(losses.free_bits(RATES, minimum=0.5), [2.5, 1.2, 1.5], rtol=1e-6)
    # Batch means 1/3 and 1: the floor holds for the first latent alone.
    batch = losses.free_bits_batch(RATES, minimum=0.5)
    np.testing.assert_allclose(batch, [1.5, 1.5, 1.5], rtol=1e-6)


def test_both_free_bits_agree_on_a_batch_of_one():
    for minimum in (0.0, 0.5, 3.0):
        one, batch = (
            f(RATES[:1], minimum=minimum) for f in (losses.free_bits, losses.free_bits_batch)
        )
        np.testing.assert_array_equal(one, batch)


def test_no_free_bits_is_the_analytic_rate():
    rates = jax.jit(lambda x: normal_kl_per_dimension(WRONG(x)))(X)
    rate = np.asarray(losses.negative_elbo(jax.random.key(0), WRONG, DECODE, PRIOR, X).rate)
    np.testing.assert_allclose(losses.free_bits(rates, minimum=0.0), rate, rtol=1e-6)
    batch = losses.free_bits_batch(rates, minimum=0.0)
    np.testing.assert_allclose(batch, np.full(B, rate.mean()), rtol=1e-6)


def test_free_bits_of_a_spread_batch_equal_those_of_the_whole():
    rates = np.random.default_rng(0).uniform(size=(2, 4, 3)).astype(np.float32)

    def loss(rates, axis_name=None):
        return jnp.mean(losses.free_bits_batch(rates, minimum=0.5, axis_name=axis_name))

    value, slope = jax.pmap(
        jax.value_and_grad(functools.partial(loss, axis_name="devices")), axis_name="devices"
    )(rates)
    whole, whole_slope = jax.jit(jax.value_and_grad(loss))(rates.reshape(8, 3))
    np.testing.assert_allclose(value, np.full(2, whole), rtol=1e-6)
    # The mean over devices of the gradients is that of the mean, so each of the 2 counts twice.
    np.testing.assert_allclose(slope, 2 * np.reshape(whole_slope, slope.shape), rtol=1e-6)


# --- Corruptions ---

masking_noise = jax.jit(losses.masking_noise, static_argnames="probability")
gaussian_noise = jax.jit(losses.gaussian_noise, static_argnames="std")


def test_masking_noise_drops_its_share_and_keeps_the_rest():
    x = np.full((100, 100), 7, np.uint8)
    corrupted = np.asarray(masking_noise(jax.random.key(0), x, probability=0.3))
    assert corrupted.dtype == np.float32
    assert set(np.unique(corrupted)) == {0.0, 7.0}
    assert abs(np.mean(corrupted == 0) - 0.3) < 5 * math.sqrt(0.21 / x.size)
    unchanged = masking_noise(jax.random.key(0), x, probability=0.0)
    np.testing.assert_array_equal(unchanged, x)


def test_gaussian_noise_has_its_deviation():
    x = np.full((100, 100), 7, np.uint8)
    noise = np.asarray(gaussian_noise(jax.random.key(0), x, std=2.0), np.float64) - 7.0
    assert abs(noise.mean()) < 5 * 2.0 / 100
    assert abs(noise.var() - 4.0) < 5 * 4.0 * math.sqrt(2) / 100
    np.testing.assert_array_equal(gaussian_noise(jax.random.key(0), x, std=0.0), x)


@pytest.mark.parametrize(
    ("corrupt", "setting"), [(masking_noise, {"probability": 0.5}), (gaussian_noise, {"std": 1.0})]
)
def test_corruption_of_an_example_comes_from_its_own_key(corrupt, setting):
    x = np.full((100, 100), 7, np.uint8)
    keys = jax.random.split(jax.random.key(0), 100)
    whole = np.asarray(corrupt(jax.random.key(0), x, **setting))
    np.testing.assert_array_equal(corrupt(keys[::-1], x, **setting), whole[::-1])
    assert len(np.unique(whole, axis=0)) == 100


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_masking_noise_refuses_what_is_no_probability(probability):
    with pytest.raises(ValueError, match=r"probability: .*expected in \[0, 1\)"):
        losses.masking_noise(jax.random.key(0), X, probability=probability)


def test_gaussian_noise_refuses_a_negative_deviation():
    with pytest.raises(ValueError, match=r"std: -1\.0, expected at least 0"):
        losses.gaussian_noise(jax.random.key(0), X, std=-1.0)


def test_a_denoising_autoencoder_has_a_clean_target():
    corrupted = X + np.float32(5.0)

    def code(x):
        return WRONG(x).mean

    expected = jax.jit(lambda x, target: -DECODE(code(x)).log_prob(target))(corrupted, X)

    np.testing.assert_allclose(losses.denoising(code, DECODE, corrupted, X), expected, rtol=1e-5)
    plain = losses.reconstruction(code, DECODE, X)
    np.testing.assert_allclose(losses.denoising(code, DECODE, X, X), plain, rtol=1e-6)
    with pytest.raises(AssertionError):
        losses.denoising(code, DECODE, corrupted[:1], X)


def test_sparse_activity_is_the_sum_of_absolute_codes():
    terms = losses.sparse(lambda x: x[:, :Q], DECODE, X)
    np.testing.assert_allclose(terms.activity, np.abs(X[:, :Q]).sum(1), rtol=1e-6)
    expected = losses.reconstruction(lambda x: x[:, :Q], DECODE, X)
    np.testing.assert_allclose(terms.distortion, expected, rtol=1e-6)
