"""VAE networks: every image shape and likelihood, priors, dropout, half precision and bounds."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxgen import vae
from jaxgen.distributions import Categorical, Normal, NormalMixture
from jaxgen.nn import dropout
from jaxgen.pixels import dequantize, to_model_range
from jaxgen.vae import likelihoods, losses, priors
from jaxgen.vae.decoding import bind

SHAPES = ((8, 8, 1), (7, 5, 3), (9, 16, 2))
B, D = 3, 2


def levels_of(name):
    return 2 if name == "bernoulli" else 17


def make(kind, shape, likelihood, **settings):
    if kind == "mlp":
        return vae.mlp_vae(shape, likelihood, latent_dim=D, hidden_sizes=(6,), **settings)
    return vae.conv_vae(shape, likelihood, latent_dim=D, channels=(3, 4), **settings)


def pixels(shape, levels):
    return np.random.default_rng(1).integers(0, levels, (B, *shape)).astype(np.uint8)


def random_variables(model, x):
    """Variables of a model, without compiling how it makes them."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: (0.3 * rng.normal(size=leaf.shape)).astype(leaf.dtype), shapes)


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [(name, ("mlp", "conv")[i % 2], SHAPES[i % 3]) for i, name in enumerate(likelihoods.BY_NAME)],
)
def test_every_shape_and_likelihood(name, kind, shape):
    levels = levels_of(name)
    likelihood = likelihoods.BY_NAME[name](levels=levels)
    model, x = make(kind, shape, likelihood), pixels(shape, levels)

    @jax.jit
    def run(variables, key):
        distribution = model.apply(variables, to_model_range(x, levels))
        data = dequantize(key, x, levels) if likelihood.is_density else x
        return distribution.log_prob(data), distribution.sample(key), distribution.expectation()

    variables = random_variables(model, x.astype(np.float32))
    log_prob, draw, expectation = run(variables, jax.random.key(0))
    chex.assert_shape(log_prob, (B,))
    chex.assert_type(log_prob, jnp.float32)
    chex.assert_tree_all_finite((log_prob, expectation))
    chex.assert_shape([draw, expectation], (B, *shape))
    if not likelihood.is_density:
        assert np.all(np.asarray(log_prob) < 0.0)
        assert np.all((np.asarray(draw) >= 0) & (np.asarray(draw) < levels))


@pytest.mark.parametrize("name", likelihoods.BY_NAME)
def test_likelihoods_at_outputs_of_zero_and_at_extreme_ones(name):
    """Outputs of 0 are an image of middle grey; huge ones keep a finite value and gradient."""
    levels = levels_of(name)
    likelihood = likelihoods.BY_NAME[name](levels=levels)
    x = np.array([[0], [1], [levels - 1]], np.uint8)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def total(outputs):
        distribution = likelihood.distribution(outputs)
        return jnp.sum(distribution.log_prob(x)), distribution.expectation()

    for output in (0.0, -1e6, 1e6):
        outputs = np.full((3, 1, likelihood.num_outputs), output, np.float32)
        (value, expectation), slope = total(outputs)
        chex.assert_tree_all_finite((value, slope))
        if output == 0.0:
            middle = 0.5 * levels if likelihood.is_density else 0.5 * (levels - 1)
            np.testing.assert_allclose(expectation, middle, rtol=1e-3)


def test_bernoulli_refuses_grey_data():
    with pytest.raises(ValueError, match="levels: 17, expected 2 for a Bernoulli"):
        likelihoods.bernoulli(levels=17)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_gaussian_refuses_a_deviation_that_is_none(std):
    with pytest.raises(ValueError, match="std: .*, expected above 0"):
        likelihoods.gaussian(levels=2, std=std)


def test_gaussian_deviation_is_a_share_of_the_pixel_range():
    likelihood = likelihoods.gaussian(levels=17, std=0.1)
    x = np.array([[0.0, 3.0, 8.5, 16.9]], np.float32)
    outputs = np.zeros((1, 4, 1), np.float32)
    value = jax.jit(lambda outputs: likelihood.distribution(outputs).log_prob(x))(outputs)
    expected = references.normal_log_prob(x, 8.5, 2 * math.log(1.7))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_the_usual_likelihood_suits_the_number_of_levels():
    num_outputs = {levels: likelihoods.usual(levels=levels).num_outputs for levels in (2, 17, 256)}
    assert num_outputs == {2: 1, 17: 17, 256: 2}


def test_convolutions_refuse_what_is_no_image():
    with pytest.raises(ValueError, match=r"shape: \(64,\), expected that of an image"):
        vae.conv_vae((64,), likelihoods.categorical(levels=17))


# --- Priors ---

log_prob = jax.jit(lambda prior, z: prior.log_prob(z))
sample = jax.jit(lambda prior, key: prior.sample(key, 10_000))


def test_vamp_prior_is_the_mixture_of_its_posteriors():
    """``ln [1/K sum_k q(z|u_k)]`` in float64."""
    shape, num_pseudo_inputs = SHAPES[1], 3
    likelihood = likelihoods.categorical(levels=17)
    model = make("mlp", shape, likelihood, num_pseudo_inputs=num_pseudo_inputs)
    variables = random_variables(model, np.zeros((1, *shape), np.float32))
    apply = jax.jit(model.apply, static_argnames="method")
    pseudo_inputs = variables["params"]["pseudo_inputs"]
    chex.assert_shape(pseudo_inputs, (num_pseudo_inputs, *shape))
    q = apply(variables, np.tanh(pseudo_inputs), method="encode")
    z = np.random.default_rng(0).normal(size=(B, D)).astype(np.float32)
    densities = [
        references.normal_log_prob(z, np.tile(mean, (B, 1)), np.tile(log_var, (B, 1)))
        for mean, log_var in zip(q.mean, q.log_var, strict=True)
    ]
    expected = np.logaddexp.reduce(densities, axis=0) - math.log(num_pseudo_inputs)
    prior = apply(variables, method="prior")
    np.testing.assert_allclose(log_prob(prior, z), expected, rtol=1e-5)
    assert jax.eval_shape(lambda key: prior.sample(key, 5), jax.random.key(2)).shape == (5, D)


def test_one_pseudo_input_with_a_standard_posterior_is_the_standard_prior():
    shape = SHAPES[0]
    model = make("mlp", shape, likelihoods.categorical(levels=17), num_pseudo_inputs=1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *shape), np.float32))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    z = np.random.default_rng(0).normal(size=(B, D)).astype(np.float32)
    vamp = log_prob(jax.jit(lambda v: model.apply(v, method="prior"))(variables), z)
    np.testing.assert_allclose(vamp, log_prob(priors.standard_normal(D), z), rtol=1e-3)


def test_standard_normal_prior():
    prior = priors.standard_normal(D)
    assert isinstance(prior, priors.ClosedFormPrior)
    z = np.random.default_rng(0).normal(size=(B, D)).astype(np.float32)
    expected = references.normal_log_prob(z, np.zeros((B, D)), np.zeros((B, D)))
    np.testing.assert_allclose(log_prob(prior, z), expected, rtol=1e-6)
    draws = np.asarray(sample(prior, jax.random.key(1)), np.float64)
    assert np.all(np.abs(draws.mean(0)) < 0.05)
    assert np.all(np.abs(draws.var(0) - 1.0) < 5 * math.sqrt(2 / 10_000))


def test_a_normal_prior_has_the_density_and_the_divergence_of_its_parameters():
    rng = np.random.default_rng(0)
    prior = priors.NormalPrior(*rng.normal(size=(2, D)).astype(np.float32))
    mean, log_var = (np.tile(a, (B, 1)) for a in (prior.mean, prior.log_var))
    z, *posterior = rng.normal(size=(3, B, D)).astype(np.float32)
    np.testing.assert_allclose(
        log_prob(prior, z), references.normal_log_prob(z, mean, log_var), rtol=1e-5
    )
    per_dimension = jax.jit(prior.kl_per_dimension)(Normal(*posterior))
    expected = references.normal_kl(*posterior, mean, log_var)
    np.testing.assert_allclose(np.sum(per_dimension, axis=1), expected, rtol=1e-5)


def test_a_temperature_multiplies_deviations_and_nothing_else():
    """Of a normal the samples move towards the mean on straight lines, by one key."""
    prior = priors.NormalPrior(np.float32([3.0, -1.0]), np.float32([0.0, 1.0]))
    draws = np.asarray(sample(prior, jax.random.key(0)), np.float64)
    cold = np.asarray(sample(priors.tempered(prior, 0.5), jax.random.key(0)), np.float64)
    np.testing.assert_allclose(cold - prior.mean, 0.5 * (draws - prior.mean), rtol=1e-4, atol=1e-5)
    mixture = NormalMixture(np.float32([0.0, 1.0]), *np.ones((2, 2, D), np.float32))
    hot = priors.tempered(mixture, 2.0)
    chex.assert_trees_all_equal((hot.logits, hot.mean), (mixture.logits, mixture.mean))
    np.testing.assert_allclose(np.exp(hot.log_var), 4.0 * np.exp(mixture.log_var), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="temperature: .*, expected above 0"):
        priors.tempered(priors.standard_normal(D), temperature)


def test_a_temperature_needs_a_normal_or_a_mixture():
    with pytest.raises(ValueError, match="prior: Categorical, expected a normal or a mixture"):
        priors.tempered(Categorical(np.zeros((1, 2))), 0.5)


def test_a_mixture_survives_a_file(tmp_path):
    rng = np.random.default_rng(0)
    parts = (rng.normal(size=shape).astype(np.float32) for shape in ((3,), (3, D), (3, D)))
    mixture = NormalMixture(*map(jnp.asarray, parts))
    priors.save_mixture(tmp_path / "mixture.npz", mixture)
    chex.assert_trees_all_equal(priors.load_mixture(tmp_path / "mixture.npz"), mixture)


def test_a_mixture_that_was_not_fitted_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mixture.npz: no mixture has been fitted yet"):
        priors.load_mixture(tmp_path / "mixture.npz")


# --- Encoder and decoder ---


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_dropout_acts_in_training_alone(kind):
    shape = SHAPES[0]
    model = make(kind, shape, likelihoods.categorical(levels=17), dropout_rate=0.5)
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (B, *shape)).astype(np.float32)
    variables = random_variables(model, x)

    @jax.jit
    def train(keys):
        q = model.apply(variables, x, method="encode", dropout_keys=keys)
        p = model.apply(variables, np.ones((B, D), np.float32), method="decode", dropout_keys=keys)
        return q.mean, p.logits

    keys = jax.random.split(jax.random.key(0), B)
    first, other = (jax.device_get(train(k)) for k in (keys, keys.at[1].set(jax.random.key(9))))
    for a, b in zip(first, other, strict=True):
        np.testing.assert_array_equal(a[[0, 2]], b[[0, 2]])
        assert np.any(a[1] != b[1])


def test_dropout_keeps_the_mean_and_differs_between_examples_and_layers():
    x = np.full((50, 20, 20), 3.0, np.float32)
    keys = jax.random.split(jax.random.key(0), 50)
    drop = jax.jit(dropout, static_argnames=("rate", "layer"))
    first, again, second = (np.asarray(drop(keys, x, rate=0.25, layer=i)) for i in (0, 0, 1))
    assert set(np.unique(first)) == {0.0, 4.0}
    assert abs(np.mean(first == 0.0) - 0.25) < 5 * math.sqrt(0.1875 / first.size)
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first.reshape(50, -1), axis=0)) == 50
    # Independent masks agree in 0.75^2 + 0.25^2 of the places.
    assert abs(np.mean(first == second) - 0.625) < 5 * math.sqrt(0.234 / first.size)
    assert dropout(None, x, rate=0.25, layer=0) is x
    assert dropout(keys, x, rate=0.0, layer=0) is x
    assert jax.eval_shape(lambda x: drop(keys, x, rate=0.25, layer=0), x.astype(jnp.bfloat16)) == (
        jax.ShapeDtypeStruct(x.shape, jnp.bfloat16)
    )


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_dropout_refuses_what_is_no_share(rate):
    with pytest.raises(ValueError, match=r"dropout_rate: .*, expected in \[0, 1\)"):
        dropout(None, np.ones((1, 1)), rate=rate, layer=0)


def test_huge_features_keep_a_finite_posterior_and_a_gradient():
    shape = SHAPES[0]
    model = make("mlp", shape, likelihoods.categorical(levels=17))
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (B, *shape)).astype(np.float32)
    params = random_variables(model, x)["params"]

    @jax.jit
    @jax.value_and_grad
    def log_var(bias):
        head = {**params["log_var_head"], "bias": jnp.full(D, bias)}
        moved = {"params": {**params, "log_var_head": head}}
        return jnp.sum(model.apply(moved, x, method="encode").log_var)

    for bias in (-1e6, -25.0, 15.0, 1e6):
        value, slope = log_var(bias)
        assert -20.0 * B * D - 1e-2 <= float(value) <= 10.0 * B * D + 1e-2
        assert np.isfinite(slope)
        if abs(bias) < 1e6:
            assert float(slope) > 0.0


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_bfloat16_networks_have_float32_posteriors_losses_and_parameters(kind):
    shape, likelihood = SHAPES[1], likelihoods.discretized_logistic(levels=17)
    x, keys = pixels(shape, 17), jax.random.split(jax.random.key(0), B)
    model = make(kind, shape, likelihood, dtype=jnp.bfloat16)

    def terms(variables):
        bound = bind(model, variables, levels=17)
        return losses.negative_elbo(keys, bound.encode, bound.decode, bound.prior, x)

    variables = random_variables(model, x.astype(np.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    for value in jax.jit(terms)(variables):
        assert value.dtype == jnp.float32
        assert np.all(np.isfinite(value))
    x, z = x.astype(np.float32), np.ones((B, D), np.float32)
    features, outputs = (
        jax.eval_shape(functools.partial(model.apply, method=method), variables, argument)
        for method, argument in ((lambda m, x: m.encoder(x), x), (lambda m, z: m.decoder(z), z))
    )
    assert features.dtype == outputs.dtype == jnp.bfloat16
