"""M2 against a float64 reference and its own limits; the few labels it is given; its algorithm."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial
from vae_states import random_state

from jaxgen import data, vae
from jaxgen.arrays import split_keys
from jaxgen.distributions import Normal
from jaxgen.vae import likelihoods, losses, semi_supervised
from jaxgen.vae.priors import standard_normal

B, N, D, C = 4, 5, 2, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, N)).astype(np.float32)
MATRICES = {
    "mean": 0.5 * RNG.normal(size=(N, D)),
    "mean of class": RNG.normal(size=(C, D)),
    "log_var": 0.3 * RNG.normal(size=(N, D)),
    "decoder": RNG.normal(size=(D, N)),
    "decoder of class": RNG.normal(size=(C, N)),
    "logits": RNG.normal(size=(N, C)),
}
SINGLE = {name: matrix.astype(np.float32) for name, matrix in MATRICES.items()}
LABEL = np.array([2, -1, 0, -1])
CLASS_PRIOR = np.array([0.5, 0.3, 0.2])
KEYS = jax.random.split(jax.random.key(0), B)
PRIOR = standard_normal(D)


def encode(m, x, y):
    return Normal(x @ m["mean"] + y @ m["mean of class"], x @ m["log_var"])


def decode(m, z, y):
    mean = z @ m["decoder"] + y @ m["decoder of class"]
    return Normal(mean, jnp.zeros_like(mean))


def classify(m, x):
    return x @ m["logits"]


def model(matrices=None):
    return tuple(Partial(part, matrices or SINGLE) for part in (encode, decode, classify))


def certain(logits):
    """A model whose q(y|x) has the logits `[B, C]`."""
    return (*model()[:2], Partial(lambda logits, x: logits, np.asarray(logits, np.float32)))


def total(terms):
    return np.asarray(terms.distortion + terms.rate + terms.class_rate, np.float64)


def reference(label, class_prior=None):
    """`[B]` in float64, written out class by class, with the noise of the losses."""
    prior = np.full(C, 1 / C) if class_prior is None else class_prior
    noise = np.asarray(Normal(jnp.zeros((B, D)), jnp.zeros((B, D))).sample(KEYS), np.float64)
    values = []
    for i, x in enumerate(X.astype(np.float64)):
        bounds = []
        for c in range(C):
            mean = x @ MATRICES["mean"] + MATRICES["mean of class"][c]
            log_var = x @ MATRICES["log_var"]
            z = mean + np.exp(log_var / 2) * noise[i]
            error = x - z @ MATRICES["decoder"] - MATRICES["decoder of class"][c]
            distortion = 0.5 * np.sum(error**2 + math.log(2 * math.pi))
            rate = 0.5 * np.sum(mean**2 + np.exp(log_var) - 1 - log_var)
            bounds.append(distortion + rate - math.log(prior[c]))
        if label[i] >= 0:
            values.append(bounds[label[i]])
            continue
        logits = x @ MATRICES["logits"]
        q = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        values.append(np.sum(q * bounds) + np.sum(q * np.log(q)))
    return np.array(values)


# --- The losses ---


@pytest.mark.parametrize("class_prior", [None, CLASS_PRIOR])
def test_losses_equal_the_sum_over_classes_in_float64(class_prior):
    log_prior = None if class_prior is None else np.log(class_prior).astype(np.float32)
    common = {"prior": PRIOR, "class_log_prior": log_prior}
    mixed = semi_supervised.partly_labelled(KEYS, *model(), X, label=LABEL, **common)
    np.testing.assert_allclose(total(mixed), reference(LABEL, class_prior), rtol=2e-5)
    free = semi_supervised.unlabelled(KEYS, *model(), X, **common)
    np.testing.assert_allclose(total(free), reference(np.full(B, -1), class_prior), rtol=2e-5)
    known = np.array([0, 1, 2, 1])
    told = semi_supervised.labelled(KEYS, *model(), X, label=known, **common)
    np.testing.assert_allclose(total(told), reference(known, class_prior), rtol=2e-5)


def test_a_sure_posterior_of_the_class_costs_as_much_as_the_label():
    label = np.array([2, 0, 1, 1])
    sure = certain(1e4 * np.eye(C)[label])
    free = semi_supervised.unlabelled(KEYS, *sure, X, prior=PRIOR)
    told = semi_supervised.labelled(KEYS, *sure, X, label=label, prior=PRIOR)
    np.testing.assert_allclose(total(free), total(told), rtol=1e-6)
    np.testing.assert_array_equal(free.classification, 0.0)


def test_a_uniform_posterior_of_the_class_costs_the_mean_less_ln_of_their_number():
    even = certain(np.zeros((B, C)))
    free = semi_supervised.unlabelled(KEYS, *even, X, prior=PRIOR)
    each = [
        total(semi_supervised.labelled(KEYS, *even, X, label=np.full(B, c), prior=PRIOR))
        for c in range(C)
    ]
    np.testing.assert_allclose(total(free), np.mean(each, axis=0) - math.log(C), rtol=1e-6)


def test_all_labels_given_is_the_supervised_loss():
    label = np.array([2, 0, 1, 1])
    mixed, told = (
        loss(KEYS, *model(), X, label=label, prior=PRIOR)
        for loss in (semi_supervised.partly_labelled, semi_supervised.labelled)
    )
    chex.assert_trees_all_close(mixed, told, rtol=1e-5)
    log_q = jax.nn.log_softmax(X @ SINGLE["logits"])
    np.testing.assert_allclose(told.classification, -log_q[np.arange(B), label], rtol=1e-5)
    y = np.eye(C, dtype=np.float32)[label]
    elbo = losses.negative_elbo(
        KEYS, lambda x: encode(SINGLE, x, y), lambda z: decode(SINGLE, z, y), PRIOR, X
    )
    np.testing.assert_allclose(total(told), elbo.distortion + elbo.rate + math.log(C), rtol=1e-6)
    loss = semi_supervised.classification_weighted(told, weight=3.0)
    np.testing.assert_allclose(loss, total(told) + 3.0 * told.classification, rtol=1e-6)


def test_an_unknown_label_picks_no_class():
    """Below 0 all are alike, -1 never means the last class, and what is no class is NaN."""
    values = {
        name: semi_supervised.partly_labelled(
            KEYS, *model(), X, label=np.full(B, name), prior=PRIOR
        )
        for name in (-1, -7, C - 1, C)
    }
    chex.assert_trees_all_equal(values[-1], values[-7])
    np.testing.assert_array_equal(values[-1].classification, 0.0)
    assert np.all(np.abs(total(values[-1]) - total(values[C - 1])) > 1e-3)
    assert np.all(np.isnan(total(values[C])))
    told = semi_supervised.labelled(KEYS, *model(), X, label=np.full(B, -1), prior=PRIOR)
    assert np.all(np.isnan(total(told)))


def test_the_gradient_is_finite_and_reaches_every_part():
    def loss(matrices):
        terms = semi_supervised.partly_labelled(KEYS, *model(matrices), X, label=LABEL, prior=PRIOR)
        return jnp.sum(semi_supervised.classification_weighted(terms, weight=1.0))

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(SINGLE)):
        assert np.all(np.isfinite(leaf)) and np.any(np.asarray(leaf) != 0.0)


# --- A few labels ---


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    num=st.integers(1, 60),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=60)
def test_draws_of_labels_are_even_over_the_classes(sizes, num, seed):
    labels = np.repeat(np.arange(-1, len(sizes)), [3, *sizes])
    labels = np.random.default_rng(1).permutation(labels).astype(np.int32)
    if not len(sizes) <= num <= sum(sizes):
        with pytest.raises(ValueError, match=rf"num_labels: {num}, expected {len(sizes)} "):
            data.balanced_indices(labels, num, seed=seed)
        return
    drawn = data.balanced_indices(labels, num, seed=seed)
    assert len(set(drawn.tolist())) == num and np.all(labels[drawn] >= 0)
    counts = np.bincount(labels[drawn], minlength=len(sizes))
    # A class that could still give one has as many as any other, but for what is left over.
    for count, size in zip(counts, sizes, strict=True):
        assert count == size or count >= counts.max() - 1
    np.testing.assert_array_equal(drawn, data.balanced_indices(labels, num, seed=seed))
    every = data.balanced_indices(labels, sum(sizes), seed=seed)
    np.testing.assert_array_equal(drawn, every[:num])


def test_seeds_draw_other_labels_from_the_whole_split():
    labels = np.repeat(np.arange(2, dtype=np.int32), 500)
    draws = [data.balanced_indices(labels, 20, seed=seed) for seed in range(50)]
    assert len({tuple(draw) for draw in draws}) == 50
    mean = np.mean([(draw % 500 + 0.5) / 500 for draw in draws])
    assert abs(mean - 0.5) < 5 * math.sqrt(1 / 12 / 1000)


def test_a_split_hides_the_labels_of_all_others():
    split = data.load("digits").train
    kept = data.balanced_indices(split.labels(), 30, seed=0)
    hidden = data.with_labels_of(split, kept)
    expected = np.full(len(split), -1)
    expected[kept] = split.labels()[kept]
    np.testing.assert_array_equal(hidden.labels(), expected)
    batch = hidden.gather(np.arange(100))
    np.testing.assert_array_equal(batch["label"], expected[:100])
    np.testing.assert_array_equal(batch["x"], split.gather(np.arange(100))["x"])
    assert batch["label"].dtype == np.int32
    with pytest.raises(ValueError, match="split: examples without labels"):
        data.with_labels_of(data.ArraySplit({"x": batch["x"]}), kept)


# --- The algorithm ---

SHAPE, LEVELS = (3, 2, 1), 5
IMAGES = {
    "x": RNG.integers(0, LEVELS, (B, *SHAPE)).astype(np.uint8),
    "label": LABEL.astype(np.int32),
}
NETWORK = vae.mlp_m2(
    SHAPE,
    likelihoods.categorical(levels=LEVELS),
    num_classes=C,
    latent_dim=D,
    hidden_sizes=(8,),
    dropout_rate=0.2,
)
ADAM = optax.adam(1e-2)
M2 = vae.m2_algorithm(NETWORK, ADAM, levels=LEVELS, weight=5.0)


@functools.cache
def initial():
    return random_state(M2, IMAGES)


def test_steps_lower_the_loss_and_learn_the_labels():
    @jax.jit
    def train(state):
        def step(state, t):
            return M2.step(state, IMAGES, jax.random.fold_in(KEYS[0], t))

        return jax.lax.scan(step, state, jnp.arange(80))

    state, metrics = train(initial())
    chex.assert_tree_all_finite((state.params, metrics))
    assert np.mean(metrics["loss"][-10:]) < 0.8 * np.mean(metrics["loss"][:10])
    evaluation = jax.jit(M2.evaluate)(state, IMAGES, KEYS)
    np.testing.assert_array_equal(np.asarray(evaluation["error"])[LABEL >= 0], 0.0)


def test_evaluations_are_of_the_unlabelled_bound():
    evaluate = jax.jit(M2.evaluate)
    found = evaluate(initial(), IMAGES, KEYS)
    for value in found.values():
        chex.assert_shape(value, (B,))
        chex.assert_type(value, jnp.float32)
    other = {**IMAGES, "label": np.roll(IMAGES["label"], 1)}
    moved = evaluate(initial(), other, KEYS)
    of_bound = set(found) - {"error", "classification"}
    assert of_bound == {"elbo", "rate", "distortion", "class_rate", "elbo_bits_per_dim"}
    for name in of_bound:
        np.testing.assert_array_equal(found[name], moved[name])
    np.testing.assert_array_equal(np.isnan(found["error"]), LABEL < 0)
    bits = -np.asarray(found["elbo"]) / (math.prod(SHAPE) * math.log(2.0))
    np.testing.assert_allclose(found["elbo_bits_per_dim"], bits, rtol=1e-5)
    terms = found["rate"] + found["distortion"] + found["class_rate"]
    np.testing.assert_allclose(found["elbo"], -terms, rtol=1e-6)


def test_with_equal_logits_and_no_weights_the_bound_is_that_of_uniform_pixels():
    zeros = jax.tree.map(np.zeros_like, jax.device_get(initial().params))
    found = jax.jit(M2.evaluate)(initial().replace(params=zeros), IMAGES, KEYS)
    np.testing.assert_allclose(found["elbo_bits_per_dim"], math.log2(LEVELS), rtol=1e-4)


def test_the_classifier_alone_learns_nothing_of_unlabelled_examples():
    supervised = vae.supervised_algorithm(NETWORK, ADAM, levels=LEVELS)
    step = jax.jit(supervised.step)
    state, metrics = step(initial(), IMAGES, KEYS[0])
    changed = IMAGES["x"].copy()
    changed[LABEL < 0] = 0
    other, _ = step(initial(), {**IMAGES, "x": changed}, KEYS[0])
    chex.assert_trees_all_equal(state.params, other.params)
    assert np.isfinite(metrics["loss"]) and metrics["loss"] > 0.0
    before = initial().params
    chex.assert_trees_all_equal(state.params["decoder"], before["decoder"])
    assert np.any(state.params["class_head"]["kernel"] != before["class_head"]["kernel"])
    assert set(jax.eval_shape(supervised.evaluate, state, IMAGES, KEYS)) == {
        "error",
        "classification",
    }


def test_samples_have_the_class_they_are_given_or_one_of_the_prior():
    params = jax.device_get(initial().params)
    state = initial().replace(params=params)
    sample = jax.jit(M2.sample, static_argnums=2)
    label = np.array([0, 1, 2, 0])
    given_label = sample(state, KEYS, B, label)
    chex.assert_shape(given_label, (B, *SHAPE))
    chex.assert_type(given_label, jnp.uint8)
    free = sample(state, KEYS, B)
    class_keys = split_keys(KEYS, 3)[2]
    drawn = jax.vmap(lambda key: jax.random.randint(key, (), 0, C))(class_keys)
    np.testing.assert_array_equal(free, sample(state, KEYS, B, drawn))


def test_the_codec_keeps_the_latents_and_changes_the_class():
    codec = vae.class_codec(NETWORK, levels=LEVELS)
    variables = initial().eval_variables
    z = codec.encode(variables, IMAGES["x"])
    chex.assert_shape(z, (B, D))
    images = [codec.decode(variables, z, jnp.full(B, c)) for c in range(C)]
    assert all(x.dtype == jnp.uint8 and x.shape == (B, *SHAPE) for x in images)
    assert np.any(images[0] != images[1])


def test_a_convolutional_model_of_odd_images_has_the_same_signature():
    likelihood = likelihoods.discretized_logistic(levels=256)
    model = vae.conv_m2((5, 3, 2), likelihood, num_classes=C, latent_dim=D, channels=(4, 8))
    algorithm = vae.m2_algorithm(model, ADAM, levels=256, weight=1.0)
    batch = {"x": np.zeros((B, 5, 3, 2), np.uint8), "label": IMAGES["label"]}
    state = jax.eval_shape(algorithm.init, KEYS[0], batch)
    state, metrics = jax.eval_shape(algorithm.step, state, batch, KEYS[0])
    assert metrics["loss"].shape == ()
    assert jax.eval_shape(lambda s: algorithm.sample(s, KEYS, B), state).shape == (B, 5, 3, 2)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"weight: -1\.0, expected at least 0"):
        vae.m2_algorithm(NETWORK, ADAM, levels=LEVELS, weight=-1.0)
    likelihood = likelihoods.categorical(levels=LEVELS)
    with pytest.raises(ValueError, match=r"shape: \(2,\), expected that of an image"):
        vae.conv_m2((2,), likelihood, num_classes=C)
    with pytest.raises(ValueError, match="channels: none, expected one layer"):
        vae.conv_m2(SHAPE, likelihood, num_classes=C, channels=())
