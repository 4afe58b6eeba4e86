"""What a GAN's samples and evaluation rest on: averages, statistics of their own, labels."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gan_games import (
    ADAM,
    COUPLED,
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
    image_game,
    play,
    vector_game,
)

from jaxgen.gan import (
    alternating_algorithm,
    objectives,
)
from jaxgen.gan.algorithm import standing_variables
from jaxgen.gan.models import MLPGenerator
from jaxgen.pixels import to_model_range

# --- Averages and statistics ---


def test_the_average_moves_once_per_generator_step():
    game = vector_game("batch")
    algorithm, start = play(game, num_critic_steps=4)
    state, average = start, start.generator.params
    for number in range(1, 4):
        state, _ = algorithm.step(state, VECTORS, jax.random.key(number))
        decay = min(DECAY, (1 + number) / (10 + number))
        average = jax.tree.map(
            lambda a, p, d=decay: d * a + (1 - d) * p, average, state.generator.params
        )
        chex.assert_trees_all_close(state.generator.ema_params, average, rtol=1e-5, atol=1e-6)
        for other in (start.generator.params, state.generator.params):
            assert optax.tree.norm(optax.tree.sub(average, other)) > 1e-4
    assert state.critic.ema_params is None
    assert (int(state.step), int(state.critic.step)) == (3, 12)


def test_statistics_of_samples_are_those_of_the_averaged_weights():
    game = vector_game("batch", critic=COUPLED["spectral"])._replace(
        generator=MLPGenerator((2,), (8, 8), norm="batch")
    )
    algorithm, state = play(game)
    for number in range(10):
        state, _ = algorithm.step(state, VECTORS, jax.random.key(number))
    average = state.generator.ema_params
    standing = jax.jit(functools.partial(standing_variables, game))(state)
    chex.assert_trees_all_equal(standing["params"], average)

    def statistics(params):
        """Of one large batch: the module keeps 0.9 of the old ones, here 0, and takes 0.1 of the new."""
        zeros = jax.tree.map(jnp.zeros_like, state.generator.batch_stats)
        z = jax.random.normal(jax.random.key(77), (8192, D))
        _, new = game.generator.apply(
            {"params": params, "batch_stats": zeros}, z, train=True, mutable=["batch_stats"]
        )
        return jax.tree.map(lambda s: 10.0 * s, new["batch_stats"])

    def distance(a, b):
        return float(optax.tree.norm(optax.tree.sub(a, b)) / optax.tree.norm(b))

    expected = jax.jit(statistics)(average)
    assert distance(standing["batch_stats"], expected) < 0.08
    assert distance(state.generator.batch_stats, expected) > 0.2
    # A further run over latents, from where this one ended, hardly moves them.
    again = state.replace(generator=state.generator.replace(batch_stats=standing["batch_stats"]))
    further = jax.jit(functools.partial(standing_variables, game))(again)
    assert distance(further["batch_stats"], standing["batch_stats"]) < 0.02
    # Samples and evaluations rest on nothing of training but the averaged weights.
    moved = state.replace(
        generator=state.generator.replace(params=jax.tree.map(jnp.zeros_like, average))
    )
    chex.assert_trees_all_equal(
        algorithm.sample(state, KEY, num=9), algorithm.sample(moved, KEY, num=9)
    )
    z = jax.random.normal(KEY, (9, D))
    x = game.generator.apply({"params": average, "batch_stats": expected}, z, train=False)
    np.testing.assert_allclose(algorithm.sample(state, KEY, num=9), x, rtol=0.1, atol=0.1)


# --- Samples and evaluation ---


def test_samples_are_pixels_of_the_label_asked_for():
    algorithm, state = conditional()
    label = jnp.arange(9) % NUM_CLASSES
    x = algorithm.sample(state, KEY, num=9, label=label)
    chex.assert_shape(x, (9, *ODD_SHAPE))
    chex.assert_type(x, jnp.uint8)
    assert np.all(np.asarray(x) < LEVELS)
    assert len(np.unique(x)) > 2
    np.testing.assert_array_equal(x, algorithm.sample(state, KEY, num=9, label=label))
    other = algorithm.sample(state, jax.random.key(6), num=9, label=label)
    assert np.any(np.asarray(x) != np.asarray(other))
    assert np.any(x != algorithm.sample(state, KEY, num=9, label=(label + 1) % NUM_CLASSES))
    with pytest.raises(ValueError, match=r"label: expected int32 \[9\], the classes to generate"):
        algorithm.sample(state, KEY, num=9)


def test_vectors_are_sampled_as_they_are():
    algorithm, state = play(vector_game())
    x = algorithm.sample(state, KEY, num=5)
    chex.assert_shape(x, (5, 2))
    chex.assert_type(x, jnp.float32)
    with pytest.raises(ValueError, match="label: this model is not conditional"):
        algorithm.sample(state, KEY, num=5, label=jnp.zeros(5, int))


def test_evaluation_gives_one_value_per_example():
    algorithm, state = conditional()
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
    logits = image_game().critic.apply(
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
    game = vector_game()._replace(generator=Point(), critic=Slope())
    batch = {"x": jnp.full((4, 1), -1.0)}
    algorithm, state = play(game, STILL, STILL, batch)
    w = {"w": jnp.float32(-1.0)}
    state = state.replace(critic=state.critic.replace(params=w))
    np.testing.assert_array_equal(algorithm.evaluate(state, batch, KEY)["critic_accuracy"], 1.0)
    _, metrics = algorithm.step(state, batch, KEY)
    assert float(metrics["critic_accuracy"]) == 1.0


def test_labels_reach_both_players():
    algorithm, start = conditional()
    state, _ = algorithm.step(start, IMAGES, KEY)
    for player in ("generator", "critic"):
        (new, old) = (
            {
                jax.tree_util.keystr(p): v
                for p, v in jax.tree_util.tree_leaves_with_path(s.params[player])
            }
            for s in (state, start)
        )
        name = next(name for name in new if "Embed" in name)
        assert np.all(np.any(new[name] != old[name], axis=1)), player


def test_a_generator_finds_where_the_data_are():
    data = {"x": jax.random.normal(jax.random.key(1), (64, 2)) * 0.3 + jnp.array([[2.0, -1.0]])}
    rules = WGAN_GP._replace(penalty_weight=1.0)
    game = vector_game(rules=rules, objective=objectives.wasserstein)
    algorithm = alternating_algorithm(game, ADAM, ADAM, num_critic_steps=4)

    @jax.jit
    def train(key):
        state, _ = jax.lax.scan(
            lambda state, key: algorithm.step(state, data, key),
            algorithm.init(key, data),
            jax.random.split(key, 300),
        )
        return algorithm.sample(state, key, 500)

    np.testing.assert_allclose(jnp.mean(train(KEY), axis=0), [2.0, -1.0], atol=0.6)
