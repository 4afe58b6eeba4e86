"""GAN algorithms: whose turn it is, what moves in it, and what samples, evaluation and resuming rest on."""

import functools
import json
import math
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen.data.dataset import ArraySplit
from jaxgen.gan import (
    Game,
    GanState,
    Rules,
    alternating_algorithm,
    objectives,
    penalties,
    simultaneous_algorithm,
)
from jaxgen.gan.algorithm import standing_variables
from jaxgen.gan.models import DCGANCritic, DCGANGenerator, MLPCritic, MLPGenerator
from jaxgen.gan.objectives import Objective
from jaxgen.gan.updates import critic_step, generator_step
from jaxgen.pixels import to_model_range
from jaxgen.training.loop import NonFiniteError, fit
from jaxgen.training.run_directory import open_run
from jaxgen.types import Algorithm

B, D = 16, 3
WEIGHT, DECAY, LEARNING_RATE, BETA = 10.0, 0.9, 1e-2, 0.5
KEY = jax.random.key(5)
VECTORS = {"x": jax.random.normal(jax.random.key(9), (B, 2)) + 1.0}
ODD_SHAPE, LEVELS, NUM_CLASSES = (7, 5, 3), 17, 4
IMAGES = {
    "x": jax.random.randint(jax.random.key(8), (B, *ODD_SHAPE), 0, LEVELS).astype(jnp.uint8),
    "label": jnp.arange(B, dtype=jnp.int32) % NUM_CLASSES,
}
ADAM = optax.adam(LEARNING_RATE, b1=BETA)
SGD, STILL = optax.sgd(0.1), optax.sgd(0.0)


def vector_game(generator_norm="none", critic=None, rules=None, objective=None) -> Game:
    return Game(
        generator=MLPGenerator((2,), (8,), norm=generator_norm),
        critic=MLPCritic((8,)) if critic is None else critic,
        objective=objectives.nonsaturating if objective is None else objective,
        rules=Rules() if rules is None else rules,
        latent_dim=D,
        levels=None,
        ema_decay=DECAY,
    )


def image_game(num_classes=NUM_CLASSES, norm="none", *, spectral=False) -> Game:
    return Game(
        generator=DCGANGenerator(ODD_SHAPE, width=4, num_classes=num_classes, label_dim=2),
        critic=DCGANCritic(width=4, num_classes=num_classes, norm=norm, spectral=spectral),
        objective=objectives.hinge,
        rules=Rules(),
        latent_dim=D,
        levels=LEVELS,
        ema_decay=DECAY,
    )


class Play(NamedTuple):
    """An algorithm, compiled, and its state of step 0."""

    algorithm: Algorithm
    state: GanState


def play(game: Game, generator=ADAM, critic=ADAM, batch=VECTORS, **settings) -> Play:
    algorithm = alternating_algorithm(game, generator, critic, **settings)
    return compiled(algorithm, batch)


def compiled(algorithm: Algorithm, batch) -> Play:
    algorithm = Algorithm(
        jax.jit(algorithm.init),
        jax.jit(algorithm.step),
        jax.jit(algorithm.sample, static_argnames="num"),
        jax.jit(algorithm.evaluate),
    )
    return Play(algorithm, algorithm.init(jax.random.key(0), batch))


@functools.cache
def conditional() -> Play:
    """A game with labels after a few steps, which leave the images grey no longer."""
    algorithm, state = play(image_game(), batch=IMAGES)
    for number in range(10):
        state, _ = algorithm.step(state, IMAGES, jax.random.key(number))
    return Play(algorithm, state)


def latents(key, num):
    """Of a step, from a key for each example."""
    return jax.vmap(lambda key: jax.random.normal(key, (D,)))(jax.random.split(key, num))


WGAN_GP = Rules(penalty=penalties.gradient_penalty, penalty_weight=WEIGHT)


# --- One step ---


def adam_by_hand(params, gradients):
    """The first step of Adam, without optax: the moments are the bias-corrected gradient and its square."""
    return jax.tree.map(lambda p, g: p - LEARNING_RATE * g / (jnp.abs(g) + 1e-8), params, gradients)


def adam_again(params, first, second):
    """The second step, after the gradient `first`."""

    def move(p, g0, g1):
        mean = (BETA * (1 - BETA) * g0 + (1 - BETA) * g1) / (1 - BETA**2)
        square = (0.999 * 0.001 * g0**2 + 0.001 * g1**2) / (1 - 0.999**2)
        return p - LEARNING_RATE * mean / (jnp.sqrt(square) + 1e-8)

    return jax.tree.map(move, params, first, second)


def test_a_step_equals_a_hand_written_one():
    """WGAN-GP with two critic steps: the penalty and the loss are one sum under one Adam, and all latents are fresh."""
    game = vector_game("batch", rules=WGAN_GP, objective=objectives.wasserstein)
    algorithm, start = play(game, num_critic_steps=2)
    state, metrics = algorithm.step(start, VECTORS, KEY)
    critic_key, generator_key = jax.random.split(KEY)

    def generated(params, key):
        variables = {"params": params, "batch_stats": start.generator.batch_stats}
        z = latents(key, B // 2)
        return game.generator.apply(variables, z, train=True, mutable=["batch_stats"])

    def judge(params, x):
        return game.critic.apply({"params": params}, x, train=False)

    def critic_loss(params, real, key):
        latent_key, _, penalty_key = jax.random.split(key, 3)
        fake, _ = generated(start.generator.params, latent_key)
        u = jax.vmap(jax.random.uniform)(jax.random.split(penalty_key, B // 2))[:, None]
        slope = jax.vmap(jax.grad(lambda x: judge(params, x[None])[0]))(u * real + (1 - u) * fake)
        penalty = (jnp.sqrt(jnp.sum(slope**2, axis=1)) - 1) ** 2
        return jnp.mean(judge(params, fake)) - jnp.mean(judge(params, real)) + 10 * penalty.mean()

    def generator_loss(params, critic_params):
        fake, new = generated(params, jax.random.split(generator_key)[0])
        return -jnp.mean(judge(critic_params, fake)), new["batch_stats"]

    @jax.jit
    def by_hand():
        keys, old = jax.random.split(critic_key, 2), start.critic.params
        critic_gradient = jax.value_and_grad(critic_loss)
        loss0, g0 = critic_gradient(old, VECTORS["x"][::2], keys[0])
        middle = adam_by_hand(old, g0)
        loss1, g1 = critic_gradient(middle, VECTORS["x"][1::2], keys[1])
        critic = adam_again(middle, g0, g1)
        (loss, stats), g = jax.value_and_grad(generator_loss, has_aux=True)(
            start.generator.params, critic
        )
        generator = adam_by_hand(start.generator.params, g)
        losses = {"critic_loss": (loss0 + loss1) / 2, "generator_loss": loss}
        return critic, generator, stats, losses, optax.tree.norm(g)

    critic, generator, stats, losses, norm = by_hand()
    close = functools.partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-5)
    close(state.critic.params, critic)
    close(state.generator.params, generator)
    close(state.generator.batch_stats, stats)
    close({name: metrics[name] for name in losses}, losses)
    close(metrics["generator_gradient_norm"], norm)
    chex.assert_shape(list(metrics.values()), ())
    assert (int(state.step), int(state.critic.step)) == (1, 2)
    assert set(state.params) == {"generator", "critic"}


class Point(nn.Module):
    """A generator of one number whatever z: the Dirac-GAN."""

    @nn.compact
    def __call__(self, z, label=None, *, train):
        theta = self.param("theta", nn.initializers.constant(2.0), (1, 1))
        return jnp.broadcast_to(theta, (len(z), 1))


class Slope(nn.Module):
    """The critic ``w x`` of numbers."""

    @nn.compact
    def __call__(self, x, label=None, *, train):
        return x[:, 0] * self.param("w", nn.initializers.constant(0.5), ())


@pytest.mark.parametrize("make", [alternating_algorithm, simultaneous_algorithm])
def test_the_dirac_game_turns_as_in_the_paper(make):
    """Reals at 0: at once both use the old parameters and the norm grows by 1 + h^2; in turns theta sees the new w."""
    game = vector_game(objective=objectives.wasserstein)
    game = game._replace(generator=Point(), critic=Slope())
    h, batch = 0.1, {"x": jnp.zeros((4, 1))}
    algorithm, state = compiled(make(game, optax.sgd(h), optax.sgd(h)), batch)
    theta, w = 2.0, 0.5
    for number in range(5):
        state, _ = algorithm.step(state, batch, jax.random.key(number))
        new_w = w - h * theta
        theta = theta + h * (w if make is simultaneous_algorithm else new_w)
        w = new_w
        np.testing.assert_allclose(state.params["critic"]["w"], w, rtol=1e-5)
        np.testing.assert_allclose(state.params["generator"]["theta"], [[theta]], rtol=1e-5)
    assert (int(state.step), int(state.critic.step)) == (5, 5)
    if make is simultaneous_algorithm:
        np.testing.assert_allclose(math.hypot(theta, w), math.hypot(2, 0.5) * (1 + h**2) ** 2.5)


class Identity(nn.Module):
    """A generator that shows its latents."""

    @nn.compact
    def __call__(self, z, label=None, *, train):
        return z[:, :1] + self.param("theta", nn.initializers.zeros, (1, 1))


@pytest.mark.parametrize("num_critic_steps", [1, 2, 4])
def test_every_move_has_latents_and_reals_of_its_own(num_critic_steps):
    seen = {"critic": [], "generator": []}

    def spy(role):
        def loss(real_logits, fake_logits):
            def record(real, fake):
                seen[role].append((np.array(real), np.array(fake)))

            jax.debug.callback(record, real_logits, fake_logits)
            return real_logits + fake_logits

        return loss

    game = vector_game(objective=Objective(spy("critic"), spy("generator")))
    game = game._replace(generator=Identity(), critic=Slope())
    batch = {"x": jnp.arange(float(B))[:, None]}
    algorithm, state = play(game, STILL, STILL, batch, num_critic_steps=num_critic_steps)
    algorithm.step(state, batch, KEY)
    jax.effects_barrier()
    assert (len(seen["critic"]), len(seen["generator"])) == (num_critic_steps, 1)
    np.testing.assert_allclose(
        np.sort(np.concatenate([real for real, _ in seen["critic"]])), 0.5 * np.arange(B)
    )
    latents = np.concatenate([fake for _, fake in seen["critic"] + seen["generator"]])
    assert len(np.unique(latents)) == B + B // num_critic_steps


# --- The critic's own state ---


COUPLED = {"batch": MLPCritic((8,), norm="batch"), "spectral": MLPCritic((8,), spectral=True)}


@pytest.mark.parametrize("name", COUPLED)
def test_the_critic_stands_still_in_the_generators_step(name):
    """Whatever the generator's step does, the critic is left as its own steps left it, once each."""
    game = vector_game(critic=COUPLED[name])
    algorithm, start = play(game, num_critic_steps=2)
    state, _ = algorithm.step(start, VECTORS, KEY)

    @jax.jit
    def critic_alone(state):
        parts = VECTORS["x"][::2], VECTORS["x"][1::2]
        for key, x in zip(jax.random.split(jax.random.split(KEY)[0]), parts, strict=True):
            critic, _ = critic_step(game, state, {"x": x}, key, None)
            state = state.replace(critic=critic)
        return state.critic

    alone = critic_alone(start)
    chex.assert_trees_all_close(state.critic.params, alone.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(state.critic.batch_stats, alone.batch_stats, rtol=1e-5, atol=1e-6)
    before = jax.tree.leaves(start.critic.batch_stats)
    moved = [
        np.any(a != b) for a, b in zip(before, jax.tree.leaves(alone.batch_stats), strict=True)
    ]
    assert any(moved)


def test_a_penalty_moves_no_spectral_vector():
    """One power iteration a critic step, though the penalty applies the critic too."""
    stats = []
    for rules in (Rules(), WGAN_GP):
        game = vector_game(critic=COUPLED["spectral"], rules=rules)
        algorithm, start = play(game, critic=STILL)
        state, _ = algorithm.step(start, VECTORS, KEY)
        stats.append(state.critic.batch_stats)
    chex.assert_trees_all_close(*stats, rtol=1e-6, atol=1e-7)
    kernel = np.asarray(start.critic.params["Dense_0"]["kernel"], np.float64)
    old, new = (found["SpectralNorm_0"] for found in (start.critic.batch_stats, stats[0]))
    u = old["Dense_0/kernel/u"]
    v = np.asarray(u, np.float64) @ kernel.T
    u = v @ kernel
    np.testing.assert_allclose(new["Dense_0/kernel/u"], u / np.linalg.norm(u), rtol=1e-4, atol=1e-5)


def test_a_critic_with_batch_norm_judges_reals_and_fakes_as_one_batch():
    game = vector_game(critic=COUPLED["batch"])
    algorithm, start = play(game)
    state, metrics = algorithm.step(start, VECTORS, KEY)
    key = jax.random.split(jax.random.split(KEY)[0], 1)[0]
    z = latents(jax.random.split(key, 3)[0], B)
    fake = game.generator.apply({"params": start.generator.params}, z, train=True)
    both = np.concatenate([VECTORS["x"], fake])
    features = both @ np.asarray(start.critic.params["Dense_0"]["kernel"])
    found = state.critic.batch_stats["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], 0.1 * features.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * features.var(0), rtol=1e-4)
    logits, _ = game.critic.apply(
        {"params": start.critic.params, "batch_stats": start.critic.batch_stats},
        jnp.asarray(both),
        train=True,
        mutable=["batch_stats"],
    )
    real_logits, fake_logits = np.split(np.asarray(logits), 2)
    np.testing.assert_allclose(metrics["critic_real_logit"], real_logits.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["critic_fake_logit"], fake_logits.mean(), rtol=1e-4)
    known = (np.mean(real_logits > 0) + np.mean(fake_logits < 0)) / 2
    np.testing.assert_allclose(metrics["critic_accuracy"], known, rtol=1e-6)


@pytest.mark.parametrize("name", COUPLED)
def test_both_players_play_against_one_critic(name):
    """The value of a zero-sum game is one number: the generator's gain is the critic's loss of the same draws."""

    def value(real_logits, fake_logits):
        return fake_logits * jnp.abs(fake_logits) - real_logits

    game = vector_game(
        critic=COUPLED[name], objective=Objective(value, lambda real, fake: -value(real, fake))
    )
    _, start = play(game)

    @jax.jit
    def losses(key):
        # The two roles split their keys differently; a generator that ignores z makes the draws equal.
        generator = start.generator.params
        last = jax.tree.map(jnp.zeros_like, generator["Dense_1"])
        last["bias"] = jnp.array([0.3, -0.2])
        state = start.replace(
            generator=start.generator.replace(params={**generator, "Dense_1": last})
        )
        _, critic = critic_step(game, state, VECTORS, key, None)
        _, generator = generator_step(game, state, VECTORS, key, None)
        return critic["critic_loss"], generator["generator_loss"]

    critic_loss, generator_loss = losses(KEY)
    np.testing.assert_allclose(generator_loss, -critic_loss, rtol=1e-5)
    assert abs(float(critic_loss)) > 1e-3


# --- Rules ---


@pytest.mark.parametrize("make", [alternating_algorithm, simultaneous_algorithm])
def test_a_penalty_is_refused_with_batch_norm(make):
    with pytest.raises(ValueError, match="penalty: a gradient penalty is defined per example"):
        make(vector_game(critic=COUPLED["batch"], rules=WGAN_GP), ADAM, ADAM)
    make(vector_game(critic=MLPCritic((8,), norm="layer"), rules=WGAN_GP), ADAM, ADAM)


def test_weights_are_clipped_after_the_step():
    """The generator plays against a critic within the bound."""
    bound = 0.01
    game = vector_game(rules=Rules(weight_clip=bound), objective=objectives.wasserstein)
    algorithm, start = play(game, critic=optax.sgd(1.0))
    assert max(float(jnp.abs(w).max()) for w in jax.tree.leaves(start.critic.params)) > bound
    state, metrics = algorithm.step(start, VECTORS, KEY)
    for w in jax.tree.leaves(state.critic.params):
        assert np.all(np.abs(w) <= np.float32(bound))
    z = latents(jax.random.split(jax.random.split(KEY)[1])[0], B)
    fake = game.generator.apply({"params": start.generator.params}, z, train=True)
    logits = game.critic.apply({"params": state.critic.params}, fake, train=True)
    np.testing.assert_allclose(metrics["generator_loss"], -np.mean(logits), rtol=1e-4, atol=1e-7)


def test_a_lazy_penalty_is_taken_every_so_often_with_as_much_weight():
    interval = 3
    assert Rules().penalty_interval == 1

    def one(rules):
        game = vector_game(critic=COUPLED["spectral"], rules=rules)
        return jax.jit(
            lambda critic, key: critic_step(game, state.replace(critic=critic), VECTORS, key, None)
        )

    game = vector_game(critic=COUPLED["spectral"])
    algorithm = alternating_algorithm(game, ADAM, SGD)
    state = jax.jit(algorithm.init)(jax.random.key(0), VECTORS)
    lazy = one(WGAN_GP._replace(penalty_interval=interval))
    heavy, none = one(WGAN_GP._replace(penalty_weight=interval * WEIGHT)), one(Rules())
    critic = expected = state.critic
    for number, by_hand in enumerate((heavy, none, none, heavy)):
        critic, metrics = lazy(critic, jax.random.key(number))
        other, _ = (none if by_hand is heavy else heavy)(expected, jax.random.key(number))
        expected, found = by_hand(expected, jax.random.key(number))
        chex.assert_trees_all_close(critic.params, expected.params, rtol=1e-5, atol=1e-6)
        assert optax.tree.norm(optax.tree.sub(critic.params, other.params)) > 1e-3
        penalty = interval * found.get("critic_penalty", 0.0)
        np.testing.assert_allclose(metrics["critic_penalty"], penalty, rtol=1e-5)


def test_instance_noise_follows_the_generators_steps():
    """All that the critic sees is blurred: the mean square of its inputs grows by the variance of the noise."""

    class MeanSquare(nn.Module):
        @nn.compact
        def __call__(self, x, label=None, *, train):
            return jnp.mean(x**2, axis=1) + 0.0 * self.param("w", nn.initializers.ones, ())

    batch = {"x": jnp.zeros((512, 1))}
    game = vector_game(rules=Rules(instance_noise=lambda step: jnp.where(step < 2, 3.0, 0.0)))
    game = game._replace(generator=Point(), critic=MeanSquare())
    algorithm, state = play(game, STILL, STILL, batch)
    for fake, variance in ((4.0, 9.0), (4.0, 9.0), (4.0, 0.0)):
        state, metrics = algorithm.step(state, batch, KEY)
        np.testing.assert_allclose(metrics["critic_real_logit"], variance, rtol=0.2)
        np.testing.assert_allclose(metrics["critic_fake_logit"], fake + variance, rtol=0.2)


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


def test_truncated_latents_have_statistics_of_their_own():
    """Of a layer without bias the variances fall with that of the latents: at 0.5 to 0.0806."""
    game = vector_game("batch")
    _, start = play(game)
    whole, truncated = (
        standing_variables(game, start, threshold=threshold)["batch_stats"]["BatchNorm_0"]
        for threshold in (None, 0.5)
    )
    ratio = np.mean(np.asarray(truncated["var"]) / np.asarray(whole["var"]))
    np.testing.assert_allclose(ratio, stats.truncnorm(-0.5, 0.5).var(), rtol=0.1)


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


# --- Devices ---


EVERYTHING = Rules(penalties.gradient_penalty, WEIGHT, instance_noise=0.1)
DEVICE_GAMES = {
    "batch norm": functools.partial(
        alternating_algorithm, image_game(norm="batch"), num_critic_steps=2
    ),
    "penalty and noise": functools.partial(
        alternating_algorithm, image_game()._replace(rules=EVERYTHING), num_critic_steps=2
    ),
    "spectral norm at once": functools.partial(simultaneous_algorithm, image_game(spectral=True)),
}


@pytest.mark.parametrize("num_devices", [2, 4, 8])
@pytest.mark.parametrize("name", DEVICE_GAMES)
def test_any_number_of_devices_takes_the_step_of_one(num_devices, name):
    """Latents, noise, penalty and labels are those of the example: two steps agree within 1e-3, relative, and 1e-5."""
    # Adam would make steps of the signs of gradients that are rounding errors.
    algorithm = DEVICE_GAMES[name](SGD, SGD)
    start = jax.jit(algorithm.init)(jax.random.key(0), IMAGES)
    one, one_metrics = two_steps(algorithm.step)(start, IMAGES, jax.random.key(4))
    batch = {name: x.reshape(num_devices, -1, *x.shape[1:]) for name, x in IMAGES.items()}
    # Each device has a key of its own, as in the loop; the first counts.
    keys = jax.random.split(jax.random.key(5), num_devices).at[0].set(jax.random.key(4))
    step = jax.pmap(
        two_steps(functools.partial(algorithm.step, axis_name="devices")),
        axis_name="devices",
        in_axes=(None, 0, 0),
        devices=jax.devices()[:num_devices],
    )
    state, metrics = jax.device_get(step(start, batch, keys))
    for leaf in jax.tree.leaves((state, metrics)):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    first = jax.tree.map(lambda leaf: leaf[0], (state, metrics))
    chex.assert_trees_all_close(first, (one, one_metrics), rtol=1e-3, atol=1e-5)
    for player, params in start.params.items():
        assert optax.tree.norm(optax.tree.sub(one.params[player], params)) > 1e-3


def two_steps(step):
    @jax.jit
    def run(state, batch, key):
        state, _ = step(state, batch, key)
        return step(state, batch, key)

    return run


def test_batch_norm_is_over_the_examples_of_all_devices():
    game = vector_game("batch", critic=COUPLED["batch"])
    _, start = play(game)
    keys = jax.random.split(jax.random.key(4), 8)
    algorithm = alternating_algorithm(game, STILL, STILL)
    step = functools.partial(algorithm.step, axis_name="devices")
    x = VECTORS["x"].reshape(8, -1, 2)
    state, _ = jax.jit(jax.vmap(step, axis_name="devices", in_axes=(None, 0, 0)))(
        start, {"x": x}, keys
    )

    critic_key, generator_key = jax.random.split(keys[0])
    critic_key = jax.random.split(jax.random.split(critic_key, 1)[0], 3)[0]
    z_critic, z_generator = (
        latents(key, len(VECTORS["x"])) for key in (critic_key, jax.random.split(generator_key)[0])
    )
    features = z_generator @ start.generator.params["Dense_0"]["kernel"]
    fake, _ = game.generator.apply(
        {"params": start.generator.params, "batch_stats": start.generator.batch_stats},
        z_critic,
        train=True,
        mutable=["batch_stats"],
    )
    seen = jnp.concatenate([VECTORS["x"], fake]) @ start.critic.params["Dense_0"]["kernel"]
    for player, values in ((state.generator, features), (state.critic, seen)):
        found = jax.tree.map(lambda s: s[0], player.batch_stats["BatchNorm_0"])
        np.testing.assert_allclose(found["mean"], 0.1 * values.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["var"], 0.9 + 0.1 * values.var(0), rtol=1e-4)


# --- The loop ---


def train(path, algorithm: Algorithm, steps: int):
    rng = np.random.default_rng(0)
    split = ArraySplit({"x": rng.normal(size=(70, 2)).astype(np.float32)})
    with open_run(path, {}) as run:
        return fit(
            algorithm,
            split,
            run,
            seed=3,
            steps=steps,
            batch_size=16,
            steps_per_call=2,
            checkpoint_every=2,
        )


def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(tmp_path):
    """Both optimizers, the average and the statistics of both networks are in the checkpoint."""
    game = vector_game("batch", critic=COUPLED["spectral"])
    algorithm = alternating_algorithm(game, ADAM, ADAM, num_critic_steps=2)
    whole = train(tmp_path / "whole", algorithm, 6)
    assert train(tmp_path / "parts", algorithm, 4).step == 4
    resumed = train(tmp_path / "parts", algorithm, 6)
    chex.assert_trees_all_equal(
        *(jax.device_get(jax.tree.leaves(r.state)) for r in (whole, resumed))
    )
    texts = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    rows = [[json.loads(line) for line in text.splitlines()] for text in texts]
    assert rows[0] == [row for row in rows[1] if "critic_loss" in row or row["step"] == 6]
    assert (int(resumed.state.step), int(resumed.state.critic.step)) == (6, 12)


def test_a_metric_that_is_not_finite_stops_training(tmp_path):
    rules = Rules(instance_noise=lambda step: jnp.where(step == 2, jnp.nan, 0.1))
    algorithm = alternating_algorithm(vector_game(rules=rules), ADAM, ADAM)
    with pytest.raises(NonFiniteError, match=r"^(critic|generator)_\w+ is nan at step 3;"):
        train(tmp_path, algorithm, 6)


# --- Settings ---


@pytest.mark.parametrize("make", [alternating_algorithm, simultaneous_algorithm])
@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (WGAN_GP._replace(penalty_weight=-1.0), r"penalty_weight: -1\.0, expected at least 0"),
        (Rules(penalty_weight=1.0), r"penalty_weight: 1\.0, expected .*0 without a penalty"),
        (Rules(penalty_interval=0), "penalty_interval: 0, expected at least 1"),
        (Rules(weight_clip=0.0), r"weight_clip: 0\.0, expected above 0 or None"),
        (Rules(weight_clip=math.nan), "weight_clip: nan, expected above 0"),
        (Rules(instance_noise=-0.1), r"instance_noise: -0\.1, expected at least 0"),
    ],
)
def test_rules_out_of_range_are_refused(make, rules, message):
    with pytest.raises(ValueError, match=message):
        make(vector_game(rules=rules), ADAM, ADAM)


def test_players_with_and_without_labels_are_refused():
    game = image_game()
    with pytest.raises(ValueError, match="generator and critic must have the same"):
        alternating_algorithm(game._replace(critic=DCGANCritic(width=4)), ADAM, ADAM)


def test_other_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="latent_dim: 0, expected at least 1"):
        alternating_algorithm(vector_game()._replace(latent_dim=0), ADAM, ADAM)
    with pytest.raises(ValueError, match="num_critic_steps: 0, expected at least 1"):
        alternating_algorithm(vector_game(), ADAM, ADAM, num_critic_steps=0)
    algorithm, state = play(vector_game(), num_critic_steps=3)
    with pytest.raises(ValueError, match="num_critic_steps: 3 does not divide the 16 examples"):
        algorithm.step(state, VECTORS, KEY)
