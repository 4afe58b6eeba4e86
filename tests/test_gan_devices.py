"""GANs on several devices and in the training loop: the same draws, resuming, metrics that are not finite."""

import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gan_games import (
    ADAM,
    COUPLED,
    IMAGES,
    SGD,
    STILL,
    VECTORS,
    WEIGHT,
    image_game,
    latents,
    play,
    vector_game,
)

from jaxgen.data.dataset import ArraySplit
from jaxgen.gan import (
    Rules,
    alternating_algorithm,
    penalties,
    simultaneous_algorithm,
)
from jaxgen.training.loop import NonFiniteError, fit
from jaxgen.training.run_directory import open_run
from jaxgen.types import Algorithm

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
