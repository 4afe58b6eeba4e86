"""VAE algorithms: their contract, what they report, what they refuse, and their codec."""

import collections
import functools
import inspect
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references
from sklearn.datasets import load_digits
from vae_states import random_state

from jaxgen import vae
from jaxgen.data.dataset import ArraySplit
from jaxgen.distributions import NormalMixture
from jaxgen.training.evaluation import evaluate
from jaxgen.types import Algorithm
from jaxgen.vae import diagnostics, likelihoods
from jaxgen.vae.priors import standard_normal

SHAPE, LEVELS, B, D = (3, 2, 1), 5, 16, 2
DIMS = math.prod(SHAPE)
LIKELIHOOD = likelihoods.categorical(levels=LEVELS)
MODEL = vae.mlp_vae(SHAPE, LIKELIHOOD, latent_dim=D, hidden_sizes=(8,))
VAMP_MODEL = vae.mlp_vae(SHAPE, LIKELIHOOD, latent_dim=D, hidden_sizes=(8,), num_pseudo_inputs=3)
OPTIMIZER = optax.adam(1e-2)
X = np.random.default_rng(9).integers(0, LEVELS, (B, *SHAPE)).astype(np.uint8)
BATCH = {"x": X}
NUM_STEPS = 60

ALGORITHMS = {
    "elbo": vae.elbo_algorithm(MODEL, OPTIMIZER, levels=LEVELS, num_importance_samples=5),
    "vamp": vae.elbo_algorithm(
        VAMP_MODEL, OPTIMIZER, levels=LEVELS, beta=optax.linear_schedule(0.0, 1.0, 2)
    ),
    "free bits": vae.elbo_algorithm(MODEL, OPTIMIZER, levels=LEVELS, free_bits=0.5),
    "importance weighted": vae.importance_weighted_algorithm(
        MODEL, OPTIMIZER, levels=LEVELS, num_samples=5
    ),
    "autoencoder": vae.autoencoder_algorithm(MODEL, OPTIMIZER, levels=LEVELS, ema_decay=0.9),
    "denoising": vae.autoencoder_algorithm(
        MODEL, OPTIMIZER, levels=LEVELS, masking_probability=0.3
    ),
    "sparse": vae.autoencoder_algorithm(MODEL, OPTIMIZER, levels=LEVELS, activity_weight=0.1),
}
each_algorithm = pytest.mark.parametrize("name", ALGORITHMS)
ELBO = ALGORITHMS["elbo"]
KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, B)
num_traces = collections.Counter()


def normals(mean, deviation):
    """A mixture of normals of equal weights."""
    mean = jnp.asarray(mean, jnp.float32)
    return NormalMixture(jnp.zeros(len(mean)), mean, jnp.full(mean.shape, 2 * math.log(deviation)))


@functools.cache
def initial(name):
    return random_state(ALGORITHMS[name], BATCH)


def counted(name, function):
    """A jitted function that counts how often it is traced."""

    @functools.wraps(function)
    def traced(*arguments):
        num_traces[name] += 1
        return function(*arguments)

    return jax.jit(traced)


@functools.cache
def compiled_step(name):
    return counted(f"{name} step", ALGORITHMS[name].step)


@functools.cache
def compiled_evaluate(name):
    """Given the keys of the examples."""
    return counted(f"{name} evaluate", ALGORITHMS[name].evaluate)


@functools.cache
def trained(name):
    """The state after some steps, and their metrics."""

    @jax.jit
    def train(state):
        def step(state, t):
            return ALGORITHMS[name].step(state, BATCH, jax.random.fold_in(KEY, t))

        return jax.lax.scan(step, state, jnp.arange(NUM_STEPS))

    state, metrics = train(initial(name))
    return state, jax.device_get(metrics)


# --- The contract of an algorithm ---


@each_algorithm
def test_signatures(name):
    algorithm = ALGORITHMS[name]
    assert isinstance(algorithm, Algorithm)
    expected = {
        "init": ["key", "batch"],
        "step": ["state", "batch", "key", "axis_name"],
        "sample": ["state", "key", "num", "label"],
        "evaluate": ["state", "batch", "key"],
    }
    for function, parameters in expected.items():
        assert list(inspect.signature(getattr(algorithm, function)).parameters) == parameters


def test_a_start_has_finite_parameters_and_no_steps():
    state = jax.jit(ELBO.init)(KEY, BATCH)
    assert int(state.step) == 0
    chex.assert_tree_all_finite(state.params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, initial("elbo"))


@pytest.mark.parametrize("name", ["elbo", "vamp", "importance weighted", "sparse"])
def test_steps_lower_the_loss(name):
    state, metrics = trained(name)
    chex.assert_shape(list(metrics.values()), (NUM_STEPS,))
    chex.assert_tree_all_finite((state.params, metrics))
    losses = metrics["loss"]
    assert np.mean(losses[-10:]) < 0.95 * np.mean(losses[5:15])
    assert int(state.step) == NUM_STEPS


def test_samples_are_pixels_and_evaluations_have_a_value_for_each_example():
    algorithm, state = ALGORITHMS["vamp"], initial("vamp")

    @jax.jit
    def run(state):
        return algorithm.sample(state, KEY, 7), algorithm.evaluate(state, BATCH, KEY)

    samples, evaluation = run(state)
    chex.assert_shape(samples, (7, *SHAPE))
    chex.assert_type(samples, jnp.uint8)
    assert np.all(np.asarray(samples) < LEVELS)
    for value in evaluation.values():
        chex.assert_shape(value, (B,))
        chex.assert_type(value, jnp.float32)
    chex.assert_tree_all_finite(evaluation)


# --- What is reported ---


def test_names_say_which_bound_it_is():
    metrics = jax.device_get(compiled_evaluate("elbo")(initial("elbo"), BATCH, KEYS))
    assert set(metrics) == {
        "elbo",
        "rate",
        "distortion",
        "elbo_bits_per_dim",
        "iw5",
        "iw5_standard_error",
        "iw5_bits_per_dim",
    }
    state = initial("vamp")
    plain = jax.eval_shape(ALGORITHMS["vamp"].evaluate, state, BATCH, KEY)
    assert set(plain) == {"elbo", "rate", "distortion", "elbo_bits_per_dim"}
    np.testing.assert_allclose(
        metrics["elbo"], -(metrics["rate"] + metrics["distortion"]), rtol=1e-6
    )
    for bound in ("elbo", "iw5"):
        bits = -np.asarray(metrics[bound], np.float64) / (DIMS * math.log(2.0))
        np.testing.assert_allclose(metrics[f"{bound}_bits_per_dim"], bits, rtol=1e-5)


def test_bits_per_dimension_of_an_untrained_uniform_decoder():
    """With all parameters 0 every level has the mass 1/5 and the posterior is the prior."""
    state = initial("elbo")
    zeros = jax.tree.map(lambda leaf: np.zeros_like(leaf), jax.device_get(state.params))
    state = state.replace(params=zeros)
    metrics = compiled_evaluate("elbo")(state, BATCH, KEYS)
    np.testing.assert_allclose(metrics["rate"], 0.0, atol=1e-5)
    for bound in ("elbo", "iw5"):
        np.testing.assert_allclose(metrics[f"{bound}_bits_per_dim"], math.log2(5), rtol=1e-4)


def test_a_warm_up_of_zero_still_reports_the_rate_and_the_elbo():
    _, m = trained("vamp")
    assert np.all(np.abs(m["rate"][:4]) > 1e-4)
    np.testing.assert_allclose(m["elbo"], -(m["distortion"] + m["rate"]), rtol=1e-5)
    weight = np.minimum(np.arange(NUM_STEPS) / 2.0, 1.0)
    np.testing.assert_allclose(m["loss"], m["distortion"] + weight * m["rate"], rtol=1e-5)


def test_free_bits_change_the_loss_and_not_the_elbo():
    state = initial("free bits")
    metrics = jax.device_get(compiled_step("free bits")(state, BATCH, KEY)[1])
    q = vae.codec(MODEL, levels=LEVELS).encode(state.eval_variables, X)
    rates = references.normal_kl_per_dimension(q.mean, q.log_var)
    np.testing.assert_allclose(metrics["rate"], rates.sum(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["elbo"], -(metrics["distortion"] + metrics["rate"]), rtol=1e-5
    )
    floored = np.maximum(rates.mean(0), 0.5).sum()
    assert floored > metrics["rate"] + 1e-2
    np.testing.assert_allclose(metrics["loss"], metrics["distortion"] + floored, rtol=1e-5)


def test_averaged_parameters_are_those_evaluated():
    state, evaluate_one = initial("autoencoder"), compiled_evaluate("autoencoder")
    other = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(1.0), state.params)
    moved = {field: state.replace(**{field: other}) for field in ("params", "ema_params")}
    before = evaluate_one(state, BATCH, KEYS)
    assert set(before) == {"distortion", "squared_error"}
    chex.assert_trees_all_equal(before, evaluate_one(moved["params"], BATCH, KEYS))
    after = evaluate_one(moved["ema_params"], BATCH, KEYS)
    assert np.all(np.asarray(after["distortion"]) != before["distortion"])


def test_importance_weighting_reports_its_bound():
    _, metrics = trained("importance weighted")
    np.testing.assert_allclose(metrics["iw5"], -metrics["loss"], rtol=1e-6)


def test_a_fitted_mixture_changes_the_bound_only_where_installed():
    state = initial("elbo")
    before = jax.device_get(compiled_evaluate("elbo")(state, BATCH, KEYS))
    mixture = normals(np.full((2, D), 3.0), 0.1)
    chex.assert_trees_all_equal(
        jax.device_get(compiled_evaluate("elbo")(state, BATCH, KEYS)), before
    )
    algorithm = vae.elbo_algorithm(MODEL, OPTIMIZER, levels=LEVELS, prior=mixture)
    installed = jax.device_get(jax.jit(algorithm.evaluate)(state, BATCH, KEYS))
    assert np.all(installed["elbo"] < before["elbo"] - 10)
    np.testing.assert_allclose(installed["distortion"], before["distortion"], rtol=1e-6)


# --- Between images and latents ---


def test_the_codec_has_the_posterior_and_the_rounded_expectation():
    """Compiled once for all variables."""
    codec = vae.codec(MODEL, levels=LEVELS)

    @jax.jit
    def expected(variables, x):
        q = MODEL.apply(variables, 2.0 * x / (LEVELS - 1) - 1.0, method="encode")
        return q, MODEL.apply(variables, q.mean, method="decode").expectation()

    for state in (initial("elbo"), trained("elbo")[0]):
        variables = state.eval_variables
        posterior, pixels = jax.device_get(expected(variables, X.astype(np.float32)))
        q = codec.encode(variables, X)
        chex.assert_trees_all_close(jax.device_get(q), posterior, rtol=1e-5, atol=1e-6)
        images = np.asarray(codec.decode(variables, posterior.mean))
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, np.rint(pixels))
        np.testing.assert_array_equal(codec.prior(variables).mean, np.zeros(D))
    assert codec.decode._cache_size() == codec.encode._cache_size() == 1


@pytest.mark.parametrize("make", [likelihoods.gaussian, likelihoods.discretized_logistic])
def test_expected_images_keep_the_levels_of_the_data(make):
    """A decoder that outputs the place of a pixel value exactly gives back that value, of each."""
    levels = 17
    likelihood = make(levels=levels)
    model = vae.VAE(vae.networks.MLPEncoder(), Echo(likelihood.num_outputs), levels, likelihood)
    # A dequantized pixel k lies between k and k + 1; the location of a discrete one is k.
    centre = (2.0 * np.arange(levels) + 1.0) / levels - 1.0
    z = np.tile(centre[None], (2, 1)).astype(np.float32)
    decoded = vae.codec(model, levels=levels).decode({"params": {}}, z)
    np.testing.assert_array_equal(decoded[0].ravel(), np.arange(levels))


class Echo(nn.Module):
    """Outputs its latents as locations, at a scale near 0."""

    num_outputs: int

    @nn.compact
    def __call__(self, z, *, dropout_keys=None):
        rest = jnp.full((*z.shape, self.num_outputs - 1), -10.0)
        return jnp.concatenate([z[..., None], rest], axis=-1)[:, None]


def test_samples_come_from_keys_of_their_own_and_follow_prior_and_temperature():
    mixture = normals(np.full((1, 2), 0.5), 0.5)
    samplers = (
        ELBO.sample,
        vae.sampler(MODEL, levels=LEVELS, temperature=3.0),
        vae.sampler(MODEL, levels=LEVELS, prior=mixture),
    )

    @jax.jit
    def run(state, keys):
        return [sample(state, keys, B) for sample in samplers]

    state = trained("elbo")[0]
    samples, *others = map(np.asarray, run(state, KEYS))
    np.testing.assert_array_equal(run(state, KEYS[::-1])[0], samples[::-1])
    np.testing.assert_array_equal(jax.jit(ELBO.sample, static_argnums=2)(state, KEY, B), samples)
    for other in others:
        assert np.any(other != samples)
    with pytest.raises(ValueError, match="label: given, expected None"):
        ELBO.sample(state, KEYS, B, label=np.zeros(B, int))
    with pytest.raises(ValueError, match=r"temperature: 0\.0, expected above 0"):
        vae.sampler(MODEL, levels=LEVELS, temperature=0.0)


# --- What is no image of so many levels ---


@pytest.mark.parametrize("name", ["elbo", "importance weighted", "denoising"])
def test_floats_are_refused_while_tracing(name):
    algorithm, batch = ALGORITHMS[name], {"x": X / np.float32(LEVELS - 1)}
    state = initial(name)
    message = r'batch\["x"\]: float32, expected uint8 pixels 0 to 4'
    for function in (algorithm.step, algorithm.evaluate):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(function, state, batch, KEY)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(algorithm.init, KEY, batch)


def test_pixels_beyond_the_levels_have_no_finite_loss():
    """One image with a pixel value that the data have not; the other images keep theirs."""
    wrong = X.copy()
    wrong[3, 0, 0, 0] = LEVELS
    _, metrics = compiled_step("free bits")(initial("free bits"), {"x": wrong}, KEY)
    assert not np.isfinite(metrics["loss"])
    values = compiled_evaluate("elbo")(initial("elbo"), {"x": wrong}, KEYS)
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(values["elbo"])), [3])


# --- Evaluation of a split ---


def test_every_example_of_an_odd_split_counts_once():
    """13 examples on 8 devices: each has the value that its key gives it in any other batch."""
    state, key = initial("elbo"), jax.random.key(5)
    values = evaluate(ELBO, state, ArraySplit({"x": X[:13]}), key, block_size=1)
    # A batch of one, by the key of its number.
    keys = jax.jit(jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i), 1)[0]))(
        np.arange(B)
    )
    expected = compiled_evaluate("elbo")(state, BATCH, keys)
    for name, value in values.items():
        assert value.shape == (13,)
        np.testing.assert_allclose(value, np.asarray(expected[name])[:13], rtol=2e-5, atol=1e-6)


def test_one_trace_serves_all_batches():
    state = initial("free bits")
    for number in range(3):
        batch = {"x": ((X + number) % LEVELS).astype(np.uint8)}
        compiled_evaluate("elbo")(state, batch, KEYS)
        state, _ = compiled_step("free bits")(state, batch, jax.random.key(number))
    assert num_traces["free bits step"] == num_traces["elbo evaluate"] == 1


# --- Health of the latents on digits ---


class BlindDecoder(nn.Module):
    """The same learned image whatever the latents."""

    @nn.compact
    def __call__(self, z, *, dropout_keys=None):
        image = self.param("image", nn.initializers.zeros, (8, 8, 1, 1))
        return jnp.broadcast_to(image[None], (len(z), 8, 8, 1, 1))


def active_after_training(model):
    """Number of active latents after 150 steps on digits."""
    x = jnp.asarray(load_digits().images[:512].astype(np.uint8)[..., None])
    algorithm = vae.elbo_algorithm(model, optax.adam(5e-3), levels=17)

    @jax.jit
    def train(key):
        def step(state, t):
            rows = jax.random.randint(jax.random.fold_in(key, -1 - t), (64,), 0, len(x))
            return algorithm.step(state, {"x": x[rows]}, jax.random.fold_in(key, t))

        state, _ = jax.lax.scan(step, algorithm.init(key, {"x": x}), jnp.arange(150))
        q = vae.codec(model, levels=17).encode(state.eval_variables, x)
        return diagnostics.active_units(q.mean)

    variance, active = train(jax.random.key(0))
    np.testing.assert_array_equal(active, np.asarray(variance) > diagnostics.ACTIVITY_THRESHOLD)
    return int(np.sum(active))


def test_default_gaussian_keeps_latents_active_on_digits():
    likelihood = likelihoods.gaussian(levels=17)
    model = vae.mlp_vae((8, 8, 1), likelihood, latent_dim=8, hidden_sizes=(32,))
    num_active = active_after_training(model)
    assert num_active >= 4
    assert "no posterior collapse" in diagnostics.describe_collapse(num_active, 8)


def test_a_decoder_blind_to_the_latents_is_flagged():
    encoder = vae.networks.MLPEncoder((32,))
    model = vae.VAE(encoder, BlindDecoder(), 8, likelihoods.gaussian(levels=17))
    num_active = active_after_training(model)
    assert num_active == 0
    assert diagnostics.describe_collapse(num_active, 8).startswith("posterior collapse: 0 of 8")


def test_near_collapse_is_named():
    assert diagnostics.describe_collapse(1, 20).startswith("near posterior collapse: 1 of 20")
    assert diagnostics.describe_collapse(2, 20).startswith("no posterior collapse: 2 of 20")


@pytest.mark.parametrize(("num", "called"), [(0, "0 examples"), (1, "1 example")])
def test_variance_over_one_example_is_refused(num, called):
    with pytest.raises(ValueError, match=f"posterior_mean: {called}, expected at least 2"):
        diagnostics.active_units(np.zeros((num, 3), np.float32))


# --- Settings ---


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (vae.elbo_algorithm, {"free_bits": -1.0}, r"free_bits: -1\.0, expected at least 0"),
        (
            vae.elbo_algorithm,
            {"free_bits": 1.0, "prior": normals(np.full((1, 2), 0.5), 0.5)},
            r"free_bits: 1\.0, expected 0 for this prior and posterior",
        ),
        (
            vae.importance_weighted_algorithm,
            {"num_samples": 0},
            "num_samples: 0, expected at least",
        ),
        (vae.autoencoder_algorithm, {"masking_probability": 1.0}, r"masking_probability: 1\.0"),
        (vae.autoencoder_algorithm, {"masking_probability": -0.1}, r"masking_probability: -0\.1"),
        (vae.autoencoder_algorithm, {"activity_weight": -1.0}, r"activity_weight: -1\.0"),
        (
            vae.autoencoder_algorithm,
            {"activity_weight": 1.0, "masking_probability": 0.5},
            r"activity_weight: 1\.0",
        ),
    ],
)
def test_settings_out_of_range_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(MODEL, OPTIMIZER, levels=LEVELS, **settings)


def test_free_bits_need_a_prior_with_a_closed_form():
    with pytest.raises(ValueError, match="expected 0 for this prior and posterior: KL"):
        vae.elbo_algorithm(VAMP_MODEL, OPTIMIZER, levels=LEVELS, free_bits=0.5)
    vae.elbo_algorithm(
        VAMP_MODEL, OPTIMIZER, levels=LEVELS, free_bits=0.5, prior=standard_normal(D)
    )
