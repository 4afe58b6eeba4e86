"""VAE networks: every image shape and likelihood, the VampPrior, dropout and bounds."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxgen import vae
from jaxgen.distributions import Normal
from jaxgen.pixels import dequantize, to_model_range
from jaxgen.vae import likelihoods, priors

SHAPES = ((8, 8, 1), (7, 5, 3), (9, 16, 2))
LIKELIHOODS = {
    "bernoulli": likelihoods.bernoulli,
    "categorical": likelihoods.categorical,
    "discretized_logistic": likelihoods.discretized_logistic,
    "gaussian": likelihoods.gaussian,
    "gaussian_learned_variance": likelihoods.gaussian_learned_variance,
}
B, D = 3, 2


def levels_of(name):
    return 2 if name == "bernoulli" else 17


def make(kind, shape, likelihood, **settings):
    if kind == "mlp":
        return vae.mlp_vae(shape, likelihood, latent_dim=D, hidden_sizes=(6,), **settings)
    return vae.conv_vae(shape, likelihood, latent_dim=D, channels=(3, 4), **settings)


def pixels(shape, levels):
    return jax.random.randint(jax.random.key(1), (B, *shape), 0, levels).astype(jnp.uint8)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, SHAPES[i % 3]) for i, name in enumerate(LIKELIHOODS)],
)
def test_every_shape_and_likelihood(kind, name, shape):
    levels = levels_of(name)
    likelihood = LIKELIHOODS[name](levels=levels)
    model, x = make(kind, shape, likelihood), pixels(shape, levels)

    @jax.jit
    def run(key):
        variables = model.init(key, to_model_range(x, levels))
        distribution = model.apply(variables, to_model_range(x, levels))
        data = dequantize(key, x) if likelihood.is_density else x
        draw = distribution.sample(key)
        return distribution.log_prob(data), draw, distribution.expectation(), variables

    log_prob, draw, expectation, _ = run(jax.random.key(0))
    chex.assert_shape(log_prob, (B,))
    chex.assert_type(log_prob, jnp.float32)
    chex.assert_tree_all_finite((log_prob, expectation))
    chex.assert_shape([draw, expectation], (B, *shape))
    if not likelihood.is_density:
        assert np.all(np.asarray(log_prob) < 0.0)
        assert np.all((np.asarray(draw) >= 0) & (np.asarray(draw) < levels))


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_of_zero_are_middle_grey(name, shape):
    """Outputs of 0 stand for an image of middle grey."""
    levels = levels_of(name)
    likelihood = LIKELIHOODS[name](levels=levels)
    distribution = likelihood.distribution(jnp.zeros((B, *shape, likelihood.num_outputs)))
    middle = 0.5 * levels if likelihood.is_density else 0.5 * (levels - 1)
    np.testing.assert_allclose(distribution.expectation(), middle, rtol=1e-3)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("output", [-1e6, 1e6])
def test_likelihoods_survive_extreme_outputs(name, output):
    levels = levels_of(name)
    likelihood = LIKELIHOODS[name](levels=levels)
    x = jnp.array([[0], [1], [levels - 1]], jnp.uint8)

    def total(outputs):
        return jnp.sum(likelihood.distribution(outputs).log_prob(x))

    outputs = jnp.full((3, 1, likelihood.num_outputs), output)
    chex.assert_tree_all_finite(jax.value_and_grad(total)(outputs))


def test_bernoulli_refuses_grey_data():
    with pytest.raises(ValueError, match="levels: 17, but a Bernoulli likelihood needs binary"):
        likelihoods.bernoulli(levels=17)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_gaussian_refuses_a_deviation_that_is_none(std):
    with pytest.raises(ValueError, match="std: .*expected a positive share"):
        likelihoods.gaussian(levels=2, std=std)


def test_gaussian_deviation_is_a_share_of_the_pixel_range():
    distribution = likelihoods.gaussian(levels=17, std=0.1).distribution(jnp.zeros((1, 4, 1)))
    x = np.array([[0.0, 3.0, 8.5, 16.9]])
    expected = references.normal_log_prob(x, 8.5, 2 * math.log(1.7))
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(x)), expected, rtol=1e-5)


def test_convolutions_refuse_what_is_no_image():
    with pytest.raises(ValueError, match=r"shape: \(64,\), but a convolutional model needs images"):
        vae.conv_vae((64,), likelihoods.categorical(levels=17))


# --- Priors ---


@pytest.mark.parametrize("num_pseudo_inputs", [1, 3])
def test_vamp_prior_is_the_mixture_of_its_posteriors(num_pseudo_inputs):
    """With one pseudo-input it is a Normal; ``ln [1/K sum_k q(z given u_k)]`` in float64."""
    shape = SHAPES[1]
    likelihood = likelihoods.categorical(levels=17)
    model = make("mlp", shape, likelihood, num_pseudo_inputs=num_pseudo_inputs)
    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)))
    pseudo_inputs = variables["params"]["pseudo_inputs"]
    chex.assert_shape(pseudo_inputs, (num_pseudo_inputs, *shape))
    q = model.apply(variables, jnp.tanh(pseudo_inputs), method="encode")
    z = jax.random.normal(jax.random.key(1), (B, D))
    densities = [
        references.normal_log_prob(z, np.tile(mean, (B, 1)), np.tile(log_var, (B, 1)))
        for mean, log_var in zip(q.mean, q.log_var, strict=True)
    ]
    expected = np.logaddexp.reduce(densities, axis=0) - math.log(num_pseudo_inputs)
    prior = model.apply(variables, method="prior")
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-5)
    if num_pseudo_inputs == 1:
        shared = Normal(*(jnp.broadcast_to(a, (B, D)) for a in (q.mean, q.log_var)))
        np.testing.assert_allclose(prior.log_prob(z), shared.log_prob(z), rtol=1e-6)
    chex.assert_shape(prior.sample(jax.random.key(2), 5), (5, D))


def test_one_pseudo_input_with_a_standard_posterior_is_the_standard_prior():
    shape = SHAPES[0]
    model = make("mlp", shape, likelihoods.categorical(levels=17), num_pseudo_inputs=1)
    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)))
    variables = jax.tree.map(jnp.zeros_like, variables)
    z = jax.random.normal(jax.random.key(1), (B, D))
    standard = priors.standard_normal(D).log_prob(z)
    vamp = model.apply(variables, method="prior").log_prob(z)
    np.testing.assert_allclose(vamp, standard, rtol=1e-3)


def test_standard_normal_prior():
    prior = priors.standard_normal(D)
    z = jax.random.normal(jax.random.key(0), (B, D))
    expected = references.normal_log_prob(z, np.zeros((B, D)), np.zeros((B, D)))
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-6)
    draws = np.asarray(prior.sample(jax.random.key(1), 10_000), np.float64)
    assert np.all(np.abs(draws.mean(0)) < 0.05)
    assert np.all(np.abs(draws.var(0) - 1.0) < 5 * math.sqrt(2 / 10_000))


def test_fitted_mixture_finds_its_clusters_and_survives_a_file(tmp_path):
    rng = np.random.default_rng(0)
    centres = np.array([[-4.0, 0.0], [3.0, 1.0]])
    codes = np.concatenate([rng.normal(c, 0.5, (300, 2)) for c in centres])
    mixture = priors.fit_mixture(codes, num_components=2)
    order = np.argsort(mixture.mean[:, 0])
    np.testing.assert_allclose(np.asarray(mixture.mean)[order], centres, atol=0.15)
    np.testing.assert_allclose(np.exp(mixture.log_var), 0.25, rtol=0.2)
    priors.save_mixture(tmp_path / "mixture.npz", mixture)
    chex.assert_trees_all_equal(priors.load_mixture(tmp_path / "mixture.npz"), mixture)
    with pytest.raises(ValueError, match="num_components: 3, expected from 1 to .*, 2"):
        priors.fit_mixture(codes[:2], num_components=3)


def test_a_constant_code_keeps_a_finite_density():
    codes = np.column_stack([np.random.default_rng(0).normal(size=50), np.full(50, 7.0)])
    mixture = priors.fit_mixture(codes, num_components=1)
    chex.assert_tree_all_finite((mixture, mixture.log_prob(jnp.asarray(codes, jnp.float32))))


# --- Encoder and decoder ---


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_dropout_acts_in_training_alone(kind):
    shape = SHAPES[0]
    model = make(kind, shape, likelihoods.categorical(levels=17), dropout_rate=0.5)
    x = to_model_range(pixels(shape, 17), 17)
    variables = model.init(jax.random.key(0), x)

    def logits(train, seed):
        key = jax.random.key(seed)
        q = model.apply(variables, x, method="encode", train=train, rngs={"dropout": key})
        z = jnp.ones((B, D))
        p = model.apply(variables, z, method="decode", train=train, rngs={"dropout": key})
        return np.asarray(q.mean), np.asarray(p.logits)

    for first, second in zip(logits(False, 0), logits(False, 1), strict=True):
        np.testing.assert_array_equal(first, second)
    for first, second in zip(logits(True, 0), logits(True, 1), strict=True):
        assert np.any(first != second)


def test_reconstruction_from_the_mean_is_deterministic():
    """It takes no key at all."""
    shape = SHAPES[2]
    model = make("conv", shape, likelihoods.categorical(levels=17))
    x = to_model_range(pixels(shape, 17), 17)
    variables = model.init(jax.random.key(0), x)
    first, second = (model.apply(variables, x).logits for _ in range(2))
    chex.assert_trees_all_equal(first, second)
    mean = model.apply(variables, x, method="encode").mean
    chex.assert_trees_all_equal(model.apply(variables, mean, method="decode").logits, first)


def test_huge_features_keep_a_finite_posterior_and_a_gradient():
    shape = SHAPES[0]
    model = make("mlp", shape, likelihoods.categorical(levels=17))
    x = to_model_range(pixels(shape, 17), 17)
    params = model.init(jax.random.key(0), x)["params"]

    def log_var(bias):
        head = {**params["log_var_head"], "bias": jnp.full(D, bias)}
        moved = {"params": {**params, "log_var_head": head}}
        return jnp.sum(model.apply(moved, x, method="encode").log_var)

    for bias in (-1e6, -25.0, 15.0, 1e6):
        value, slope = jax.value_and_grad(log_var)(bias)
        assert -20.0 * B * D - 1e-2 <= float(value) <= 10.0 * B * D + 1e-2
        assert np.isfinite(slope)
        if abs(bias) < 1e6:
            assert float(slope) > 0.0


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_bfloat16_networks_have_float32_posteriors_and_parameters(kind):
    shape, likelihood = SHAPES[1], likelihoods.gaussian_learned_variance(levels=17)
    if kind == "mlp":
        encoder = vae.models.MLPEncoder((6,), dtype=jnp.bfloat16)
        decoder = vae.models.MLPDecoder(shape, 2, (6,), dtype=jnp.bfloat16)
    else:
        encoder = vae.models.ConvEncoder((3,), dtype=jnp.bfloat16)
        decoder = vae.models.ConvDecoder(shape, 2, (3,), dtype=jnp.bfloat16)
    model = vae.VAE(encoder, decoder, D, likelihood)
    x = to_model_range(pixels(shape, 17), 17)
    variables = model.init(jax.random.key(0), x)
    chex.assert_trees_all_equal_dtypes(
        variables, jax.tree.map(lambda a: a.astype(jnp.float32), variables)
    )
    q = model.apply(variables, x, method="encode")
    chex.assert_type([q.mean, q.log_var], jnp.float32)
    distribution = model.apply(variables, q.mean, method="decode")
    chex.assert_type(distribution.log_prob(pixels(shape, 17)), jnp.float32)
