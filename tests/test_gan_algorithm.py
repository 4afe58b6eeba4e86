"""GAN algorithms: what moves in which step, and which rules are kept."""

import dataclasses
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
    IMAGES,
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
    start,
    vector_game,
)

from jaxgen.gan import (
    Rules,
    alternating_algorithm,
    objectives,
    penalties,
    simultaneous_algorithm,
)
from jaxgen.gan.game import to_critic_range
from jaxgen.gan.models import DCGANCritic, MLPCritic
from jaxgen.gan.moves import critic_step, generator_step
from jaxgen.gan.objectives import Objective

# --- One step ---


def adam_by_hand(params, gradients):
    """The first step of Adam, without optax: its moments are the gradient and its square."""
    return jax.tree.map(lambda p, g: p - LEARNING_RATE * g / (jnp.abs(g) + 1e-8), params, gradients)


def adam_again(params, first, second):
    """The second step, after the gradient `first`."""

    def move(p, g0, g1):
        mean = (BETA * (1 - BETA) * g0 + (1 - BETA) * g1) / (1 - BETA**2)
        square = (0.999 * 0.001 * g0**2 + 0.001 * g1**2) / (1 - 0.999**2)
        return p - LEARNING_RATE * mean / (jnp.sqrt(square) + 1e-8)

    return jax.tree.map(move, params, first, second)


def test_a_step_equals_a_hand_written_one():
    """WGAN-GP with two critic steps: penalty and loss are one sum under one Adam, latents fresh."""
    game = vector_game("batch", rules=WGAN_GP, objective=objectives.wasserstein)
    algorithm, before = play(game, num_critic_steps=2)
    state, metrics = algorithm.step(before, VECTORS, KEY)
    critic_key, generator_key = jax.random.split(KEY)

    def generated(params, key):
        variables = {"params": params, "batch_stats": before.generator.batch_stats}
        z = latents(key, B // 2)
        return game.generator.apply(variables, z, train=True, mutable=["batch_stats"])

    def judge(params, x):
        return game.critic.apply({"params": params}, x, train=False)

    def critic_loss(params, real, key):
        latent_key, _, penalty_key = jax.random.split(key, 3)
        fake, _ = generated(before.generator.params, latent_key)
        u = jax.vmap(jax.random.uniform)(jax.random.split(penalty_key, B // 2))[:, None]
        slope = jax.vmap(jax.grad(lambda x: judge(params, x[None])[0]))(u * real + (1 - u) * fake)
        penalty = (jnp.sqrt(jnp.sum(slope**2, axis=1)) - 1) ** 2
        return jnp.mean(judge(params, fake)) - jnp.mean(judge(params, real)) + 10 * penalty.mean()

    def generator_loss(params, critic_params):
        fake, new = generated(params, jax.random.split(generator_key)[0])
        return -jnp.mean(judge(critic_params, fake)), new["batch_stats"]

    @jax.jit
    def by_hand():
        keys, old = jax.random.split(critic_key, 2), before.critic.params
        critic_gradient = jax.value_and_grad(critic_loss)
        loss0, g0 = critic_gradient(old, VECTORS["x"][::2], keys[0])
        middle = adam_by_hand(old, g0)
        loss1, g1 = critic_gradient(middle, VECTORS["x"][1::2], keys[1])
        critic = adam_again(middle, g0, g1)
        (loss, stats), g = jax.value_and_grad(generator_loss, has_aux=True)(
            before.generator.params, critic
        )
        generator = adam_by_hand(before.generator.params, g)
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
    """Reals at 0: at once both see the old parameters, and the norm grows by 1 + h^2 a step."""
    game = vector_game(objective=objectives.wasserstein, generator=Point(), critic=Slope())
    h, batch = 0.1, {"x": jnp.zeros((4, 1))}
    algorithm, state = compiled(make(game, optax.sgd(h), optax.sgd(h)), batch)
    theta, w = 2.0, 0.5
    state = state.replace(
        generator=state.generator.replace(params={"theta": jnp.full((1, 1), theta)}),
        critic=state.critic.replace(params={"w": jnp.float32(w)}),
    )
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


def test_every_move_has_latents_and_reals_of_its_own():
    seen, num = {"critic": [], "generator": []}, 4

    def spy(role):
        def loss(real_logits, fake_logits):
            def record(real, fake):
                seen[role].append((np.array(real), np.array(fake)))

            jax.debug.callback(record, real_logits, fake_logits)
            return real_logits + fake_logits

        return loss

    game = vector_game(
        objective=Objective(spy("critic"), spy("generator")), generator=Identity(), critic=Slope()
    )
    batch = {"x": jnp.arange(float(B))[:, None]}
    algorithm, state = play(game, STILL, STILL, batch, num_critic_steps=num)
    state = state.replace(critic=state.critic.replace(params={"w": jnp.float32(0.5)}))
    algorithm.step(state, batch, KEY)
    jax.effects_barrier()
    assert (len(seen["critic"]), len(seen["generator"])) == (num, 1)
    np.testing.assert_allclose(
        np.sort(np.concatenate([real for real, _ in seen["critic"]])), 0.5 * np.arange(B)
    )
    latents = np.concatenate([fake for _, fake in seen["critic"] + seen["generator"]])
    assert len(np.unique(latents)) == B + B // num


# --- The critic's own state ---


def test_the_critic_stands_still_in_the_generators_step():
    """Whatever the generator's step does, the critic is left as its own steps left it."""
    game = vector_game(critic=MLPCritic((8,), norm="batch", spectral=True))
    algorithm, before = play(game, num_critic_steps=2)
    state, _ = algorithm.step(before, VECTORS, KEY)
    step = jax.jit(lambda state, x, key: critic_step(game, state, {"x": x}, key, None)[0])
    alone = before
    parts = VECTORS["x"][::2], VECTORS["x"][1::2]
    for key, x in zip(jax.random.split(jax.random.split(KEY)[0]), parts, strict=True):
        alone = alone.replace(critic=step(alone, x, key))
    close = functools.partial(chex.assert_trees_all_close, rtol=1e-5, atol=1e-6)
    close(state.critic.params, alone.critic.params)
    close(state.critic.batch_stats, alone.critic.batch_stats)
    for module, name in (("BatchNorm_0", "mean"), ("SpectralNorm_0", "Dense_0/kernel/u")):
        old, new = (s.critic.batch_stats[module][name] for s in (before, alone))
        assert np.any(old != new)


def test_a_coupled_critic_judges_reals_and_fakes_as_one_batch():
    game = vector_game(critic=COUPLED["batch"])
    assert game.is_coupled
    before = start(alternating_algorithm(game, ADAM, ADAM), VECTORS)
    critic, metrics = jax.jit(functools.partial(critic_step, game, axis_name=None))(
        before, VECTORS, key=KEY
    )
    z = latents(jax.random.split(KEY, 3)[0], B)
    fake = game.generator.apply({"params": before.generator.params}, z, train=True)
    both = np.concatenate([VECTORS["x"], fake])
    features = both @ np.asarray(before.critic.params["Dense_0"]["kernel"])
    found = critic.batch_stats["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], 0.1 * features.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * features.var(0), rtol=1e-4)
    hidden = (features - features.mean(0)) / np.sqrt(features.var(0) + 1e-5)
    last = before.critic.params["ProjectionHead_0"]["Dense_0"]
    real_logits, fake_logits = np.split((np.maximum(hidden, 0) @ last["kernel"])[:, 0], 2)
    np.testing.assert_allclose(metrics["critic_real_logit"], real_logits.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["critic_fake_logit"], fake_logits.mean(), rtol=1e-4)
    known = (np.mean(real_logits > 0) + np.mean(fake_logits < 0)) / 2
    np.testing.assert_allclose(metrics["critic_accuracy"], known, rtol=1e-6)


@pytest.mark.parametrize("name", COUPLED)
def test_both_networks_train_against_one_critic(name):
    """The value of a zero-sum game is one number: the generator's gain is the critic's loss."""

    def value(real_logits, fake_logits):
        return fake_logits * jnp.abs(fake_logits) - real_logits

    game = vector_game(
        critic=COUPLED[name], objective=Objective(value, lambda real, fake: -value(real, fake))
    )
    state = start(alternating_algorithm(game, ADAM, ADAM), VECTORS)
    # The two steps split their keys differently; a generator that ignores z makes them equal.
    last = {"kernel": jnp.zeros((8, 2)), "bias": jnp.array([0.3, -0.2])}
    params = {**state.generator.params, "Dense_1": last}
    state = state.replace(generator=state.generator.replace(params=params))

    @jax.jit
    def losses(key):
        _, critic = critic_step(game, state, VECTORS, key, None)
        _, generator = generator_step(game, state, VECTORS, key, None)
        return critic["critic_loss"], generator["generator_loss"]

    critic_loss, generator_loss = losses(KEY)
    np.testing.assert_allclose(generator_loss, -critic_loss, rtol=1e-5)
    assert abs(float(critic_loss)) > 1e-3


# --- Rules ---


def test_weights_are_clipped_after_the_step():
    """The generator trains against a critic within the bound."""
    bound = 0.01
    game = vector_game(rules=Rules(weight_clip=bound), objective=objectives.wasserstein)
    algorithm, before = play(game, critic=optax.sgd(1.0))
    assert max(float(jnp.abs(w).max()) for w in jax.tree.leaves(before.critic.params)) > bound
    state, metrics = algorithm.step(before, VECTORS, KEY)
    for w in jax.tree.leaves(state.critic.params):
        assert np.all(np.abs(w) <= np.float32(bound))
    z = latents(jax.random.split(jax.random.split(KEY)[1])[0], B)
    fake = game.generator.apply({"params": before.generator.params}, z, train=True)
    logits = game.critic.apply({"params": state.critic.params}, fake, train=True)
    np.testing.assert_allclose(metrics["generator_loss"], -np.mean(logits), rtol=1e-4, atol=1e-7)


def test_a_lazy_penalty_is_taken_every_so_often_with_as_much_weight():
    """No penalty moves a spectral vector: there is one power iteration a critic step."""
    interval = 3
    assert Rules().penalty_interval == 1
    game = vector_game(critic=COUPLED["spectral"])
    state = start(alternating_algorithm(game, ADAM, SGD), VECTORS)

    def step(rules, critic, key):
        game = vector_game(critic=COUPLED["spectral"], rules=rules)
        return critic_step(game, state.replace(critic=critic), VECTORS, key, None)

    lazy = jax.jit(functools.partial(step, dataclasses.replace(WGAN_GP, penalty_interval=interval)))

    @jax.jit
    def weighed(weight, critic, key):
        """A step with a penalty of this weight."""
        return step(Rules(lambda *args: weight * penalties.wgan_gp(*args), 1.0), critic, key)

    critic = expected = state.critic
    for number, is_taken in enumerate((True, False, False, True)):
        key, heavy = jax.random.key(number), interval * WEIGHT
        critic, metrics = lazy(critic, key)
        other, _ = weighed(heavy * (not is_taken), expected, key)
        expected, found = weighed(heavy * is_taken, expected, key)
        chex.assert_trees_all_close(critic.params, expected.params, rtol=1e-5, atol=1e-6)
        assert optax.tree.norm(optax.tree.sub(critic.params, other.params)) > 1e-3
        taken = WEIGHT * metrics["critic_penalty"]
        np.testing.assert_allclose(taken, found["critic_penalty"], rtol=1e-5)
    kernel = np.asarray(state.critic.params["Dense_0"]["kernel"], np.float64)
    first, _ = weighed(WEIGHT, state.critic, KEY)
    old, new = (found["SpectralNorm_0"] for found in (state.critic.batch_stats, first.batch_stats))
    u = np.asarray(old["Dense_0/kernel/u"], np.float64) @ kernel.T @ kernel
    np.testing.assert_allclose(new["Dense_0/kernel/u"], u / np.linalg.norm(u), rtol=1e-4, atol=1e-5)


class MeanSquare(nn.Module):
    """A critic that shows the size of its inputs."""

    @nn.compact
    def __call__(self, x, label=None, *, train):
        return jnp.mean(x**2, axis=1) + 0.0 * self.param("w", nn.initializers.ones, ())


def test_instance_noise_follows_the_generators_steps():
    """All that the critic sees is blurred: its mean square grows by the variance of the noise."""
    batch = {"x": jnp.zeros((512, 1))}
    rules = Rules(instance_noise=lambda step: jnp.where(step < 2, 3.0, 0.0))
    game = vector_game(rules=rules, generator=Point(), critic=MeanSquare())
    algorithm, state = play(game, STILL, STILL, batch)
    params = {"theta": jnp.full((1, 1), 2.0)}
    state = state.replace(generator=state.generator.replace(params=params))
    for fake, variance in ((4.0, 9.0), (4.0, 9.0), (4.0, 0.0)):
        state, metrics = algorithm.step(state, batch, KEY)
        np.testing.assert_allclose(metrics["critic_real_logit"], variance, rtol=0.2)
        np.testing.assert_allclose(metrics["critic_fake_logit"], fake + variance, rtol=0.2)


# --- Settings ---


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"penalty_weight": 1.0}, r"penalty_weight: 1\.0, expected 0 without a penalty"),
        (
            {"penalty": WGAN_GP.penalty, "penalty_weight": -1.0},
            r"penalty_weight: -1\.0, expected at least 0",
        ),
        (
            {"penalty": WGAN_GP.penalty, "penalty_weight": math.nan},
            "penalty_weight: nan, expected at least 0",
        ),
        ({"penalty_interval": 0}, "penalty_interval: 0, expected at least 1"),
        ({"weight_clip": 0.0}, r"weight_clip: 0\.0, expected above 0 or None"),
        ({"weight_clip": math.nan}, "weight_clip: nan, expected above 0"),
        ({"instance_noise": -0.1}, r"instance_noise: -0\.1, expected at least 0"),
        ({"instance_noise": math.nan}, "instance_noise: nan, expected at least 0"),
    ],
)
def test_rules_out_of_range_are_refused(rules, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Rules(**rules)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ({"latent_dim": 0}, "latent_dim: 0, expected at least 1"),
        ({"num_classes": 0}, "num_classes: 0, expected at least 1"),
        ({"num_classes": None}, "label: None, expected integers"),
        ({"critic": DCGANCritic(width=4)}, "label: given"),
    ],
)
def test_games_that_cannot_be_played_are_refused(game, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        dataclasses.replace(image_game(), **game)


def test_other_settings_out_of_range_are_refused():
    game = vector_game()
    with pytest.raises(ValueError, match="^num_critic_steps: 0, expected at least 1"):
        alternating_algorithm(game, ADAM, ADAM, num_critic_steps=0)
    for make in (alternating_algorithm, simultaneous_algorithm):
        for truncation in (0.0, -1.0, math.nan):
            with pytest.raises(ValueError, match=f"^truncation: {truncation}, expected above 0"):
                make(game, ADAM, ADAM, truncation=truncation)
    algorithm, state = play(game, num_critic_steps=3)
    message = "^num_critic_steps: 3, expected a divisor of the 16 examples"
    with pytest.raises(ValueError, match=message):
        algorithm.step(state, VECTORS, KEY)
    with pytest.raises(ValueError, match=r"^ema_decay: 1\.0, expected in \[0, 1\)"):
        start(alternating_algorithm(dataclasses.replace(game, ema_decay=1.0), ADAM, ADAM), VECTORS)


@pytest.mark.parametrize(
    ("game", "batch", "message"),
    [
        (vector_game, {"x": jnp.zeros((B, 2), int)}, r"int32 \[2\] .*, expected floats \[2\]"),
        (vector_game, {"x": jnp.zeros((B, 3))}, r"float32 \[3\] .*, expected floats \[2\]"),
        (
            image_game,
            IMAGES | {"x": IMAGES["x"] / 17.0},
            r"float32 \[7, 5, 3\] .*, expected integers \[7, 5, 3\] at levels=17",
        ),
        (image_game, IMAGES | {"x": IMAGES["x"][..., :1]}, r"uint8 \[7, 5, 1\] .*, expected "),
    ],
)
def test_examples_of_another_kind_are_refused_when_traced(game, batch, message):
    algorithm = alternating_algorithm(game(), ADAM, ADAM)
    with pytest.raises(ValueError, match=f"^x: {message}"):
        jax.eval_shape(algorithm.init, KEY, batch)
    good = VECTORS if game is vector_game else IMAGES
    for function in (algorithm.step, algorithm.evaluate):
        with pytest.raises(ValueError, match=f"^x: {message}"):
            jax.eval_shape(function, start(algorithm, good), batch, KEY)


def test_pixels_beyond_the_levels_stop_a_loop():
    """Types cannot tell grey images given as ones of 17 levels."""
    x = IMAGES["x"].at[0, 0, 0, 0].set(17)
    assert np.isnan(to_critic_range(image_game(), x)).sum() == 1
