"""A flow as the prior or in the posterior of a VAE: exact bounds, training, and what is refused."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references

from experiments.settings import DataInfo
from experiments.vae import EXPERIMENT
from experiments.vae.build import build, build_model
from experiments.vae.settings import Settings
from jaxgen import flows, vae
from jaxgen.data import load
from jaxgen.distributions import Normal
from jaxgen.vae import losses, priors
from jaxgen.vae.posteriors import TransformedNormal

INFO = DataInfo.of(load("digits"))
SMALL = {"latent_dim": 3, "hidden_sizes": (8,)}


class Affine(nn.Module):
    """``z = L z_0 + A features``, the posterior of a linear Gaussian model."""

    factor: tuple
    gain: tuple

    def decode(self, z, condition):
        factor = jnp.array(self.factor)
        shifted = z @ factor.T + condition @ jnp.array(self.gain).T
        log_det = jnp.sum(jnp.log(jnp.diag(factor)))
        return shifted, jnp.broadcast_to(log_det, (len(z),))


def test_an_exact_posterior_makes_the_bound_the_likelihood():
    """Of every draw, not in the mean alone: the weight of importance sampling is constant."""
    rng = np.random.default_rng(0)
    weights, variance = rng.normal(size=(4, 2)), 0.3
    x = rng.normal(size=(5, 4)).astype(np.float32)
    covariance = np.linalg.inv(np.eye(2) + weights.T @ weights / variance)
    factor, gain = np.linalg.cholesky(covariance), covariance @ weights.T / variance
    rows = lambda matrix: tuple(map(tuple, matrix.tolist()))  # noqa: E731
    bijector = Affine(rows(factor), rows(gain))

    def encode(x):
        return TransformedNormal(Normal(jnp.zeros((5, 2)), jnp.zeros((5, 2))), bijector, {}, x)

    def decode(z):
        mean = z @ jnp.asarray(weights.T, jnp.float32)
        return Normal(mean, jnp.full_like(mean, np.log(variance)))

    prior = priors.standard_normal(2)
    exact = references.ppca_log_likelihood(x, weights, np.zeros(4), variance)
    for seed in (0, 1):
        terms = losses.negative_elbo(jax.random.key(seed), encode, decode, prior, x)
        np.testing.assert_allclose(-terms.distortion - terms.rate, exact, atol=2e-4)
    estimate = losses.log_likelihood(jax.random.key(2), encode, decode, prior, x, num_samples=7)
    np.testing.assert_allclose(estimate.log_likelihood, exact, atol=2e-4)
    np.testing.assert_allclose(estimate.standard_error, 0.0, atol=1e-4)
    np.testing.assert_allclose(encode(x).mean, x @ gain.T, rtol=1e-4)


@pytest.mark.parametrize("own", [{"prior": "flow"}, {"posterior": "iaf"}], ids=str)
def test_flows_are_trained_along_and_start_as_the_plain_model(own):
    model = Settings(**SMALL, **own, dropout_rate=0.0)
    settings = dataclasses.replace(EXPERIMENT.defaults(), model=model)
    algorithm = build(settings, INFO, None).algorithm
    batch = {"x": jnp.asarray(load("digits").train.gather(np.arange(16))["x"])}
    state = jax.jit(algorithm.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(algorithm.step)(state, batch, jax.random.key(1))
    name = "prior_module" if "prior" in own else "posterior_bijector"
    moved = optax.tree.norm(optax.tree.sub(after.params[name], state.params[name]))
    assert moved > 0.0 and np.isfinite(metrics["loss"])
    x = jax.jit(algorithm.sample, static_argnums=2)(after, jax.random.key(2), 3)
    assert x.shape == (3, 8, 8, 1)
    if "posterior" in own:
        bound = build_model(settings, INFO)
        q = bound.apply({"params": state.params}, jnp.zeros((2, 8, 8, 1)), method="encode")
        np.testing.assert_allclose(q.mean[:, ::1], q.base.mean, atol=1e-6)


def test_a_flow_of_a_flow_prior_is_its_density():
    model = vae.mlp_vae((2, 2, 1), vae.likelihoods.bernoulli(levels=2), latent_dim=2)
    flow = flows.Flow(flows.vector_bijector("real_nvp", 2, num_layers=2), flows.make_base(2))
    model = model.clone(prior_module=flow)
    variables = model.init(jax.random.key(0), jnp.zeros((3, 2, 2, 1)))
    prior = model.apply(variables, method="prior")
    z = jnp.asarray(np.random.default_rng(1).normal(size=(4, 2)), jnp.float32)
    own = {"params": variables["params"]["prior_module"]}
    np.testing.assert_array_equal(prior.log_prob(z), flow.apply(own, z, method="log_prob"))
    assert prior.sample(jax.random.key(1), 5).shape == (5, 2)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(
        ValueError, match="prior: flow, expected normal .* only with objective elbo/importance"
    ):
        Settings(objective="autoencoder", prior="flow")
    with pytest.raises(
        ValueError, match="num_pseudo_inputs: 5, expected 100 .* only with prior vamp"
    ):
        Settings(prior="flow", num_pseudo_inputs=5)
    with pytest.raises(
        ValueError, match="posterior: iaf, expected normal .* only with prior normal/flow"
    ):
        Settings(prior="vamp", posterior="iaf")
    alone = Settings(**{**SMALL, "latent_dim": 1}, prior="flow")
    with pytest.raises(ValueError, match="latent_dim: 1, expected at least 2 with prior flow"):
        build(dataclasses.replace(EXPERIMENT.defaults(), model=alone), INFO, None)
    model = Settings(**SMALL, posterior="iaf", free_bits=1.0)
    with pytest.raises(ValueError, match="free_bits: 1.0, expected 0 for this prior and posterior"):
        build(dataclasses.replace(EXPERIMENT.defaults(), model=model), INFO, None)


@pytest.mark.parametrize("own", [{"prior": "flow"}, {"posterior": "iaf"}])
def test_pseudo_inputs_beside_a_flow_are_refused(own):
    settings = dataclasses.replace(EXPERIMENT.defaults(), model=Settings(**SMALL, **own))
    model = build_model(settings, INFO).clone(pseudo_inputs_shape=(5, *INFO.shape))
    with pytest.raises(ValueError, match=r"pseudo_inputs_shape: \(5, .* expected None with a"):
        model.init(jax.random.key(0), jnp.zeros((1, *INFO.shape)))
