"""VAE algorithms: their contract, what they report, and one device against many."""

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
from sklearn.datasets import load_digits

from jaxgen import vae
from jaxgen.data.dataset import ArraySplit
from jaxgen.distributions import normal_kl_per_dimension
from jaxgen.pixels import to_model_range
from jaxgen.training.evaluation import evaluate
from jaxgen.training.parallel import evaluate_rows, replicate, train_steps
from jaxgen.types import Algorithm
from jaxgen.vae import diagnostics, likelihoods
from jaxgen.vae.priors import fit_mixture, standard_normal

SHAPE, LEVELS, B, D = (3, 2, 1), 5, 16, 2
DIMS = math.prod(SHAPE)
LIKELIHOOD = likelihoods.categorical(levels=LEVELS)
MODEL = vae.mlp_vae(SHAPE, LIKELIHOOD, latent_dim=D, hidden_sizes=(8,))
VAMP_MODEL = vae.mlp_vae(SHAPE, LIKELIHOOD, latent_dim=D, hidden_sizes=(8,), num_pseudo_inputs=3)
OPTIMIZER = optax.adam(1e-2)
X = jax.random.randint(jax.random.key(9), (B, *SHAPE), 0, LEVELS).astype(jnp.uint8)
BATCH = {"x": X}

ALGORITHMS = {
    "elbo": vae.elbo_algorithm(MODEL, OPTIMIZER, levels=LEVELS, num_importance_samples=5),
    "vamp": vae.elbo_algorithm(VAMP_MODEL, OPTIMIZER, levels=LEVELS, kl="monte_carlo"),
    "free bits": vae.elbo_algorithm(MODEL, OPTIMIZER, levels=LEVELS, free_bits=0.5),
    "importance weighted": vae.importance_weighted_algorithm(
        MODEL, OPTIMIZER, levels=LEVELS, num_samples=5, ema_decay=0.9
    ),
    "autoencoder": vae.autoencoder_algorithm(MODEL, OPTIMIZER, levels=LEVELS),
    "denoising": vae.autoencoder_algorithm(
        MODEL, OPTIMIZER, levels=LEVELS, masking_probability=0.3
    ),
    "sparse": vae.autoencoder_algorithm(MODEL, OPTIMIZER, levels=LEVELS, activity_weight=0.1),
}
each_algorithm = pytest.mark.parametrize("name", ALGORITHMS)
ELBO = ALGORITHMS["elbo"]


@functools.cache
def initial(name):
    return jax.jit(ALGORITHMS[name].init)(jax.random.key(0), BATCH)


@functools.cache
def compiled_step(name):
    return jax.jit(ALGORITHMS[name].step)


@functools.cache
def compiled_evaluate(name):
    return jax.jit(ALGORITHMS[name].evaluate)


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


@each_algorithm
def test_step_reports_scalars_and_lowers_the_loss(name):
    state, losses = initial(name), []
    step = compiled_step(name)
    for number in range(60):
        state, metrics = step(state, BATCH, jax.random.key(number))
        losses.append(float(metrics["loss"]))
    chex.assert_shape(list(metrics.values()), ())
    chex.assert_tree_all_finite((state.params, metrics))
    assert np.mean(losses[-10:]) < 0.95 * np.mean(losses[:10])
    assert int(state.step) == 60


@each_algorithm
def test_samples_are_pixels(name):
    sample = jax.jit(ALGORITHMS[name].sample, static_argnames="num")
    x = sample(initial(name), jax.random.key(0), num=7)
    chex.assert_shape(x, (7, *SHAPE))
    chex.assert_type(x, jnp.uint8)
    assert np.all(np.asarray(x) < LEVELS)
    with pytest.raises(ValueError, match="label: this model is not conditional"):
        ALGORITHMS[name].sample(initial(name), jax.random.key(0), 7, label=jnp.zeros(7, int))


@each_algorithm
def test_evaluation_gives_one_value_per_example(name):
    metrics = compiled_evaluate(name)(initial(name), BATCH, jax.random.key(0))
    for value in metrics.values():
        chex.assert_shape(value, (B,))
        chex.assert_type(value, jnp.float32)
    chex.assert_tree_all_finite(metrics)


def test_seeds_train_side_by_side():
    """A vmap over states and keys equals one run after another."""
    keys = jax.random.split(jax.random.key(3), 2)

    def train(key):
        state = ELBO.init(key, BATCH)
        return ELBO.step(state, BATCH, key)

    states, metrics = jax.jit(jax.vmap(train))(keys)
    single = jax.jit(train)
    for i, key in enumerate(keys):
        state, expected = single(key)
        chex.assert_trees_all_close(
            [leaf[i] for leaf in jax.tree.leaves((states, metrics))],
            jax.tree.leaves((state, expected)),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("name", ["free bits", "importance weighted"])
def test_devices_equal_one_device(name):
    """The same keys under pmap on eight devices, and under vmap on one."""
    batch = {"x": X.reshape(8, B // 8, *SHAPE)}
    keys = jax.random.split(jax.random.key(4), 8)
    step = functools.partial(ALGORITHMS[name].step, axis_name="devices")
    spread, together = (
        jax.device_get(
            transform(step, axis_name="devices", in_axes=(None, 0, 0))(initial(name), batch, keys)
        )
        for transform in (jax.pmap, jax.vmap)
    )
    chex.assert_trees_all_close(spread, together, rtol=1e-4, atol=1e-5)
    for leaf in jax.tree.leaves(spread):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))


def test_an_autoencoder_on_eight_devices_equals_one_with_the_whole_batch():
    algorithm, start = ALGORITHMS["autoencoder"], initial("autoencoder")
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(B), (2, 1)), axis=1)
    indices = np.stack(np.split(rows, 8, axis=1))
    run = train_steps(algorithm, rows_are_shared=True)
    spread, metrics = run(replicate(start), dict(BATCH), indices, np.arange(2), jax.random.key(0))
    state = start
    for number, row in enumerate(rows):
        state, expected = compiled_step("autoencoder")(state, {"x": X[row]}, jax.random.key(0))
        np.testing.assert_allclose(metrics["loss"][number], expected["loss"], rtol=1e-5)
    chex.assert_trees_all_close(jax.device_get(spread), jax.device_get(state), rtol=1e-3, atol=1e-5)


# --- What is reported ---


def test_names_say_which_bound_it_is():
    metrics = compiled_evaluate("elbo")(initial("elbo"), BATCH, jax.random.key(0))
    assert set(metrics) == {
        "elbo",
        "rate",
        "distortion",
        "elbo_bits_per_dim",
        "iw5",
        "iw5_standard_error",
        "iw5_bits_per_dim",
    }
    plain = compiled_evaluate("vamp")(initial("vamp"), BATCH, jax.random.key(0))
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
    state = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
    metrics = compiled_evaluate("elbo")(state, BATCH, jax.random.key(0))
    np.testing.assert_allclose(metrics["rate"], 0.0, atol=1e-5)
    for bound in ("elbo", "iw5"):
        np.testing.assert_allclose(metrics[f"{bound}_bits_per_dim"], math.log2(5), rtol=1e-4)


def test_a_warm_up_of_zero_still_reports_the_rate_and_the_elbo():
    schedule = optax.linear_schedule(0.0, 1.0, 2)
    algorithm = vae.elbo_algorithm(MODEL, OPTIMIZER, levels=LEVELS, beta=schedule)
    state, step = initial("elbo"), jax.jit(algorithm.step)
    for weight in (0.0, 0.5, 1.0, 1.0):
        state, m = step(state, BATCH, jax.random.key(0))
        assert float(m["rate"]) > 1e-4
        np.testing.assert_allclose(m["elbo"], -(m["distortion"] + m["rate"]), rtol=1e-5)
        np.testing.assert_allclose(m["loss"], m["distortion"] + weight * m["rate"], rtol=1e-5)


def test_free_bits_change_the_loss_and_not_the_elbo():
    key = jax.random.key(1)
    _, plain = compiled_step("elbo")(initial("elbo"), BATCH, key)
    _, floored = compiled_step("free bits")(initial("elbo"), BATCH, key)
    for name in ("elbo", "rate", "distortion"):
        np.testing.assert_allclose(floored[name], plain[name], rtol=1e-6)
    q = MODEL.apply({"params": initial("elbo").params}, to_model_range(X, LEVELS), method="encode")
    mean_rates = np.asarray(normal_kl_per_dimension(q)).mean(0)
    expected = plain["distortion"] + np.maximum(mean_rates, 0.5).sum()
    np.testing.assert_allclose(floored["loss"], expected, rtol=1e-5)
    first, second = (
        compiled_evaluate(name)(initial("elbo"), BATCH, key)["elbo"]
        for name in ("elbo", "free bits")
    )
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_averaged_parameters_are_those_evaluated():
    name = "importance weighted"
    state, _ = compiled_step(name)(initial(name), BATCH, jax.random.key(0))
    moved = state.replace(params=jax.tree.map(lambda p: p + 1.0, state.params))
    before, after = (compiled_evaluate(name)(s, BATCH, jax.random.key(0)) for s in (state, moved))
    chex.assert_trees_all_equal(before, after)


def test_importance_weighting_reports_its_bound():
    _, metrics = compiled_step("importance weighted")(
        initial("importance weighted"), BATCH, jax.random.key(0)
    )
    np.testing.assert_allclose(metrics["iw5"], -metrics["loss"], rtol=1e-6)


def test_a_fitted_mixture_changes_the_bound_only_where_installed():
    state, key = initial("elbo"), jax.random.key(0)
    before = compiled_evaluate("elbo")(state, BATCH, key)
    codes = np.random.default_rng(0).normal(3.0, 0.1, (50, D))
    mixture = fit_mixture(codes, num_components=2)
    chex.assert_trees_all_equal(compiled_evaluate("elbo")(state, BATCH, key), before)

    def with_prior(prior):
        algorithm = vae.elbo_algorithm(
            MODEL, OPTIMIZER, levels=LEVELS, kl="monte_carlo", prior=prior
        )
        return jax.jit(algorithm.evaluate)(state, BATCH, key), algorithm

    installed, algorithm = with_prior(mixture)
    assert np.all(np.asarray(installed["elbo"]) < np.asarray(before["elbo"]) - 10)
    np.testing.assert_array_equal(installed["distortion"], before["distortion"])
    standard, _ = with_prior(standard_normal(D))
    # The same draw: the rates differ by sampling noise alone.
    assert abs(float(np.mean(standard["elbo"] - before["elbo"]))) < 2.0
    assert algorithm.sample(state, key, 3).shape == (3, *SHAPE)


# --- Evaluation of a split ---


@pytest.fixture(scope="module")
def split():
    return ArraySplit({"x": np.asarray(X[:13])})


@pytest.fixture(scope="module")
def values(split):
    return evaluate(ELBO, initial("elbo"), split, jax.random.key(5), block_size=1)


def test_every_example_of_an_odd_split_counts_once(split, values):
    """13 examples on 8 devices: each equals the evaluation of a batch of one."""
    state = initial("elbo")
    for number in range(len(split)):
        single = {"x": X[number : number + 1]}
        key = jax.random.fold_in(jax.random.key(5), number)
        expected = compiled_evaluate("elbo")(state, single, key)
        for name, value in values.items():
            assert value.shape == (13,)
            np.testing.assert_allclose(value[number], expected[name][0], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("block_size", [2, 128])
def test_blocks_do_not_change_an_example(split, values, block_size):
    other = evaluate(ELBO, initial("elbo"), split, jax.random.key(5), block_size=block_size)
    chex.assert_trees_all_close(other, values, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_devices_do_not_change_an_example(values, num_devices):
    numbers = np.arange(8).reshape(num_devices, -1)
    batch = {"x": np.asarray(X)[numbers]}
    metrics = evaluate_rows(ELBO)(initial("elbo"), batch, numbers, jax.random.key(5))
    for name, value in metrics.items():
        np.testing.assert_allclose(np.ravel(value), values[name][:8], rtol=2e-5, atol=1e-6)


def test_an_example_does_not_depend_on_its_neighbours(split, values):
    reverse = {"x": np.asarray(X[:13])}
    reverse["x"] = np.concatenate([reverse["x"][:1], reverse["x"][:0:-1]])
    other = evaluate(ELBO, initial("elbo"), ArraySplit(reverse), jax.random.key(5), block_size=1)
    for name, value in other.items():
        np.testing.assert_allclose(value[0], values[name][0], rtol=1e-6)


def test_one_compilation_serves_all_batches():
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(ELBO.evaluate, n=1))
    step = jax.jit(chex.assert_max_traces(ELBO.step, n=1))
    state = initial("elbo")
    for number in range(3):
        batch = {"x": (X + number) % LEVELS}
        run(state, batch, jax.random.key(number))
        state, _ = step(state, batch, jax.random.key(number))


# --- Health of the latents on digits ---


class BlindDecoder(nn.Module):
    """The same learned image whatever the latents."""

    @nn.compact
    def __call__(self, z, *, train=False):
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
        q = model.apply(state.eval_variables, to_model_range(x, 17), method="encode")
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
    encoder = vae.models.MLPEncoder((32,))
    model = vae.VAE(encoder, BlindDecoder(), 8, likelihoods.gaussian(levels=17))
    num_active = active_after_training(model)
    assert num_active == 0
    assert diagnostics.describe_collapse(num_active, 8).startswith("posterior collapse: 0 of 8")


def test_near_collapse_is_named():
    assert diagnostics.describe_collapse(1, 20).startswith("near posterior collapse: 1 of 20")
    assert diagnostics.describe_collapse(2, 20).startswith("no posterior collapse: 2 of 20")


# --- Settings ---


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (vae.elbo_algorithm, {"free_bits": -1.0}, r"free_bits: -1\.0, expected at least 0"),
        (vae.elbo_algorithm, {"free_bits": 1.0, "kl": "monte_carlo"}, r"free_bits: 1\.0"),
        (vae.elbo_algorithm, {"prior": standard_normal(D)}, "kl: 'closed_form' needs"),
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


def test_a_vamp_prior_has_no_closed_form():
    with pytest.raises(ValueError, match="kl: 'closed_form' needs the standard normal prior"):
        vae.elbo_algorithm(VAMP_MODEL, OPTIMIZER, levels=LEVELS)
    with pytest.raises(ValueError, match="num_samples: 0, expected at least 1"):
        algorithm = vae.importance_weighted_algorithm(
            MODEL, OPTIMIZER, levels=LEVELS, num_samples=0
        )
        algorithm.step(initial("elbo"), BATCH, jax.random.key(0))
