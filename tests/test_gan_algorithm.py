"""GAN algorithms: whose turn it is, what moves in it, and which rules are kept."""

import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gan_games import (
    ADAM,
    BETA,
    COUPLED,
    KEY,
    LEARNING_RATE,
    SGD,
    STILL,
    VECTORS,
    WEIGHT,
    WGAN_GP,
    B,
    Identity,
    Point,
    Slope,
    compiled,
    image_game,
    latents,
    play,
    vector_game,
)

from jaxgen.gan import (
    Rules,
    alternating_algorithm,
    objectives,
    simultaneous_algorithm,
)
from jaxgen.gan.models import DCGANCritic, MLPCritic
from jaxgen.gan.objectives import Objective
from jaxgen.gan.updates import critic_step, generator_step

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
