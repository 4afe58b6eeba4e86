"""What a GAN's samples and evaluation rest on: averages, statistics of their own, labels."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gan_games import (
    ADAM,
    DECAY,
    IMAGES,
    KEY,
    LEVELS,
    NUM_CLASSES,
    ODD_SHAPE,
    STILL,
    VECTORS,
    WGAN_GP,
    B,
    D,
    Point,
    Slope,
    conditional,
    play,
    start,
    vector_game,
)

from jaxgen.gan import alternating_algorithm, decoder, objectives
from jaxgen.gan.decoders import standing_variables
from jaxgen.gan.models import MLPCritic, MLPGenerator
from jaxgen.gan.moves import critic_step, generator_step
from jaxgen.pixels import from_model_range, to_model_range

# --- Averages and statistics ---


def test_the_average_moves_once_per_generator_step():
    algorithm, before = play(vector_game(), num_critic_steps=4)
    state, average = before, before.generator.params
    for number in range(1, 4):
        state, _ = algorithm.step(state, VECTORS, jax.random.key(number))
        decay = min(DECAY, (1 + number) / (10 + number))
        average = jax.tree.map(
            lambda a, p, d=decay: d * a + (1 - d) * p, average, state.generator.params
        )
        chex.assert_trees_all_close(state.generator.ema_params, average, rtol=1e-5, atol=1e-6)
        for other in (before.generator.params, state.generator.params):
            assert optax.tree.norm(optax.tree.sub(average, other)) > 1e-4
    assert state.critic.ema_params is None
    assert (int(state.step), int(state.critic.step)) == (3, 12)


def test_statistics_of_samples_are_those_of_the_averaged_weights():
    game = vector_game(generator=MLPGenerator((2,), (8, 8), norm="batch"))
    algorithm, state = play(game)
    average = state.generator.ema_params
    trained = jax.tree.map(lambda w: 1.5 * w + 0.1, average)
    state = state.replace(generator=state.generator.replace(params=trained))
    standing = standing_variables(game, state)
    chex.assert_trees_all_equal(standing["params"], average)

    @jax.jit
    def statistics(params):
        """Of one large batch: the module keeps 0.9 of the old ones, here 0, and 0.1 of the new."""
        zeros = jax.tree.map(jnp.zeros_like, state.generator.batch_stats)
        z = jax.random.normal(jax.random.key(77), (8192, D))
        _, new = game.generator.apply(
            {"params": params, "batch_stats": zeros}, z, train=True, mutable=["batch_stats"]
        )
        return jax.tree.map(lambda s: 10.0 * s, new["batch_stats"])

    def distance(a, b):
        return float(optax.tree.norm(optax.tree.sub(a, b)) / optax.tree.norm(b))

    expected = statistics(average)
    assert distance(standing["batch_stats"], expected) < 0.08
    assert distance(state.generator.batch_stats, expected) > 0.2
    # A further run over latents, from where this one ended, hardly moves them.
    again = state.replace(generator=state.generator.replace(batch_stats=standing["batch_stats"]))
    further = standing_variables(game, again)
    assert distance(further["batch_stats"], standing["batch_stats"]) < 0.02
    # Samples and evaluations rest on nothing of training but the averaged weights.
    z = jax.random.normal(KEY, (9, D))
    x = game.generator.apply({"params": average, "batch_stats": expected}, z, train=False)
    np.testing.assert_allclose(algorithm.sample(state, KEY, num=9), x, rtol=0.1, atol=0.1)


# --- Latents ---


def test_a_decoder_makes_what_sample_makes_and_is_compiled_once():
    game, algorithm, state = conditional()
    label = jnp.arange(9, dtype=jnp.int32) % NUM_CLASSES
    z = jax.random.normal(KEY, (9, D))
    x = decoder(game, state)(z, label)
    chex.assert_shape(x, (9, *ODD_SHAPE))
    chex.assert_type(x, jnp.uint8)
    assert np.all(np.asarray(x) < LEVELS)
    assert len(np.unique(x)) > 2
    np.testing.assert_array_equal(x, algorithm.sample(state, KEY, num=9, label=label))
    variables = standing_variables(game, state)
    images = game.generator.apply(variables, z, label, train=False)
    off_by_rounding = np.abs(from_model_range(images, LEVELS).astype(int) - x.astype(int))
    assert off_by_rounding.max() <= 1
    # As an argument of a jitted function the decoder of a new state is no new function.
    trained = state.replace(
        generator=state.generator.replace(
            ema_params=jax.tree.map(lambda w: 0.5 * w, state.generator.ema_params)
        )
    )
    structures = {jax.tree.structure(decoder(game, each)) for each in (state, trained)}
    assert len(structures) == 1
    assert np.any(decoder(game, trained)(z, label) != x)


def test_vectors_are_decoded_as_they_are():
    game = vector_game()
    state = start(alternating_algorithm(game, ADAM, ADAM), VECTORS)
    z = jax.random.normal(KEY, (5, D))
    x = decoder(game, state)(z)
    chex.assert_shape(x, (5, 2))
    chex.assert_type(x, jnp.float32)
    expected = game.generator.apply(state.generator.eval_variables, z, train=False)
    np.testing.assert_allclose(x, expected, rtol=1e-5)


def test_labels_are_asked_for_where_there_are_classes():
    _, algorithm, state = conditional()
    message = r"^label: None, expected int32 \[9\], the classes to generate"
    with pytest.raises(ValueError, match=message):
        algorithm.sample(state, KEY, num=9)
    game = vector_game()
    algorithm = alternating_algorithm(game, ADAM, ADAM)
    state = start(algorithm, VECTORS)
    for function in (
        lambda label: algorithm.sample(state, KEY, 5, label),
        lambda label: decoder(game, state)(jnp.zeros((5, D)), label),
    ):
        with pytest.raises(ValueError, match="^label: given, expected None"):
            function(jnp.zeros(5, int))


def test_truncated_latents_are_sampled_within_the_bound():
    """A generator that shows its latents; evaluation has all of them."""
    game = vector_game(generator=MLPGenerator((D,), ()), critic=MLPCritic((4,)))
    game = dataclasses.replace(game, ema_decay=0.0)
    batch = {"x": jnp.zeros((400, D))}
    free = alternating_algorithm(game, ADAM, ADAM)
    state = start(free, batch)
    identity = {"Dense_0": {"kernel": jnp.eye(D), "bias": jnp.zeros(D)}}
    state = state.replace(generator=state.generator.replace(params=identity))
    bounded = alternating_algorithm(game, ADAM, ADAM, truncation=0.7)
    x = np.asarray(bounded.sample(state, KEY, 400))
    assert 0.65 < np.abs(x).max() <= 0.7
    assert np.mean(np.abs(x) > 0.69) < 0.05
    assert np.abs(free.sample(state, KEY, 400)).max() > 2.0
    logits = [a.evaluate(state, batch, KEY)["critic_fake_logit"] for a in (free, bounded)]
    np.testing.assert_array_equal(*logits)


# --- Evaluation ---


def test_evaluation_gives_one_value_per_example():
    game, algorithm, state = conditional()
    metrics = algorithm.evaluate(state, IMAGES, KEY)
    assert set(metrics) == {
        "critic_loss",
        "generator_loss",
        "critic_real_logit",
        "critic_fake_logit",
        "critic_accuracy",
    }
    for value in metrics.values():
        chex.assert_shape(value, (B,))
        chex.assert_type(value, jnp.float32)
    chex.assert_tree_all_finite(metrics)
    logits = game.critic.apply(
        state.critic.eval_variables,
        to_model_range(IMAGES["x"], LEVELS),
        IMAGES["label"],
        train=False,
    )
    np.testing.assert_allclose(metrics["critic_real_logit"], logits, rtol=1e-4, atol=1e-6)
    r, f = np.asarray(metrics["critic_real_logit"]), np.asarray(metrics["critic_fake_logit"])
    hinge = np.maximum(1 - r, 0) + np.maximum(1 + f, 0)
    np.testing.assert_allclose(metrics["critic_loss"], hinge, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["generator_loss"], -f, rtol=1e-6)
    np.testing.assert_array_equal(metrics["critic_accuracy"], ((r > 0) + 0.0 + (f < 0)) / 2)


def test_a_critic_that_knows_all_has_accuracy_one():
    game = vector_game(generator=Point(), critic=Slope())
    batch = {"x": jnp.full((4, 1), -1.0)}
    algorithm, state = play(game, STILL, STILL, batch)
    state = state.replace(
        generator=state.generator.replace(ema_params={"theta": jnp.full((1, 1), 2.0)}),
        critic=state.critic.replace(params={"w": jnp.float32(-1.0)}),
    )
    np.testing.assert_array_equal(algorithm.evaluate(state, batch, KEY)["critic_accuracy"], 1.0)


# --- Training ---


def test_labels_reach_both_networks():
    """The gradient of every class that a batch has, in both embeddings."""
    game, _, before = conditional()

    @jax.jit
    def both(state):
        critic, _ = critic_step(game, state, IMAGES, KEY, None)
        generator, _ = generator_step(game, state, IMAGES, KEY, None)
        return {"generator": generator.params, "critic": critic.params}

    for name, params in both(before).items():
        leaves, old = map(dict, map(jax.tree.leaves_with_path, (params, before.params[name])))
        path = next(path for path in leaves if "Embed" in jax.tree_util.keystr(path))
        assert np.all(np.any(leaves[path] != old[path], axis=1)), name


def test_a_generator_finds_where_the_data_are():
    data = {"x": jax.random.normal(jax.random.key(1), (64, 2)) * 0.3 + jnp.array([[2.0, -1.0]])}
    rules = dataclasses.replace(WGAN_GP, penalty_weight=1.0)
    game = vector_game(rules=rules, objective=objectives.wasserstein)
    algorithm = alternating_algorithm(game, ADAM, ADAM, num_critic_steps=4)

    @jax.jit
    def train(state, key):
        state, _ = jax.lax.scan(
            lambda state, key: algorithm.step(state, data, key),
            state,
            jax.random.split(key, 300),
        )
        return algorithm.sample(state, key, 500)

    x = train(start(algorithm, data), KEY)
    np.testing.assert_allclose(jnp.mean(x, axis=0), [2.0, -1.0], atol=0.6)
    # Nor has it collapsed to a point there.
    assert np.all(np.std(x, axis=0) > 0.1)
