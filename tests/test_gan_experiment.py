"""What the settings of a GAN run make, and which are refused together."""

import dataclasses
import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gan import EXPERIMENT
from experiments.gan.build import build, build_game
from experiments.gan.settings import Penalty, Settings
from experiments.settings import DataInfo, TrainingSettings
from jaxgen.data import load
from jaxgen.gan import objectives, penalties

INFO = DataInfo.of(load("digits"))
SMALL = {"width": 4, "latent_dim": 5}
RULES = {
    "clipping": {"loss": "wasserstein", "penalty": "none", "weight_clip": 0.01},
    "penalty": {"loss": "wasserstein", "penalty": "wgan_gp", "num_critic_steps": 2},
    "noise": {"loss": "relativistic", "penalty": "r1_r2", "instance_noise": 0.1},
    "at once": {"penalty": "dragan", "updates": "simultaneous"},
    "spectral": {"loss": "hinge", "penalty": "none", "spectral": True, "conditional": True},
}
NETWORKS = {
    "mlp": {"generator": "mlp", "critic": "dcgan", "hidden_sizes": (8,)},
    "resnet": {"generator": "resnet", "critic": "resnet", "num_plain_blocks": 1},
    "tanh": {"activation": "tanh"},
}


def settings(**own):
    return dataclasses.replace(EXPERIMENT.defaults(), model=Settings(**own))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [*RULES, *NETWORKS])
def test_every_rule_and_network_makes_an_algorithm(name, dtype):
    """Traced, not compiled: a step, samples and an evaluation have their shapes and types."""
    own = SMALL | {**RULES, **NETWORKS}[name]
    given = dataclasses.replace(settings(**own), training=TrainingSettings(dtype=dtype))
    method = build(given, INFO, None)
    num = 4 * method.batches_per_step
    assert method.batches_per_step == own.get("num_critic_steps", 1)
    batch = {"x": jnp.zeros((num, 8, 8, 1), jnp.uint8), "label": jnp.zeros(num, jnp.int32)}
    label = batch["label"][:3] if method.is_conditional else None
    algorithm = method.algorithm

    def run(key):
        state = algorithm.init(key, batch)
        state, metrics = algorithm.step(state, batch, key)
        return (
            state,
            metrics,
            algorithm.sample(state, key, 3, label),
            algorithm.evaluate(state, batch, key),
        )

    state, metrics, x, values = jax.eval_shape(run, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert {(m.shape, m.dtype) for m in metrics.values()} == {((), jnp.dtype("float32"))}
    assert (x.shape, x.dtype) == ((3, 8, 8, 1), jnp.uint8)
    assert {(v.shape, v.dtype) for v in values.values()} == {((num,), jnp.dtype("float32"))}


def test_a_game_is_described_and_a_penalty_has_its_usual_weight():
    for penalty, weight in (("wgan_gp", 10.0), ("dragan", 10.0), ("r1", 0.3), ("none", 0.0)):
        given = settings(loss="hinge", penalty=penalty, num_critic_steps=3)
        assert build_game(given, INFO).rules.penalty_weight == weight
        line = build(given, INFO, None).description
        assert line.startswith("hinge loss, ") and "3 of the critic" in line
        assert (f"penalty {penalty} of weight {weight:g}" in line) == (penalty != "none")
    assert build_game(settings(penalty_weight=2.0), INFO).rules.penalty_weight == 2.0


def test_settings_offer_every_objective_and_penalty_of_the_library():
    hints = typing.get_type_hints(Settings)
    assert set(typing.get_args(hints["loss"])) == set(objectives.BY_NAME)
    assert set(typing.get_args(Penalty)) == set(penalties.BY_NAME)


REFUSED = {
    "loss: wasserstein, expected nonsaturating, or a bounded critic": {
        "loss": "wasserstein",
        "penalty": "none",
    },
    r"weight_clip: 0.01, expected 0.0 \(the default\), since it has an effect only with loss wasserstein": {
        "weight_clip": 0.01,
        "penalty": "none",
    },
    "weight_clip: 0.01, expected 0 where the penalty": {
        "loss": "wasserstein",
        "weight_clip": 0.01,
        "penalty": "wgan_gp",
    },
    "critic_norm: batch, expected layer or none under a penalty": {
        "penalty": "r1",
        "critic_norm": "batch",
    },
    "penalty_interval: 2, expected 1": {"penalty_interval": 2, "penalty": "none"},
    "activation: tanh, expected relu .* only with generator dcgan or critic dcgan": {
        "activation": "tanh",
        "generator": "mlp",
        "critic": "resnet",
    },
    "num_plain_blocks: 1, expected 0": {"num_plain_blocks": 1},
    "num_plain_blocks: -1": {"num_plain_blocks": -1},
    "num_critic_steps: 2, expected 1": {"updates": "simultaneous", "num_critic_steps": 2},
    "weight_clip: 0.01, expected 0 where .* spectral norm bounds": {
        "loss": "wasserstein",
        "weight_clip": 0.01,
        "penalty": "none",
        "spectral": True,
    },
    "critic_norm: layer, expected none under --spectral": {
        "loss": "wasserstein",
        "penalty": "none",
        "spectral": True,
        "critic_norm": "layer",
    },
    "penalty_weight: 1.0, expected None": {"penalty": "none", "penalty_weight": 1.0},
    "penalty_weight: 0": {"penalty_weight": 0.0},
    "width: 8, expected 32": {"width": 8, "generator": "mlp", "critic": "mlp"},
    "hidden_sizes: .* only with generator mlp or critic mlp": {"hidden_sizes": (8,)},
    "instance_noise_steps: 9, .* instance_noise a finite number": {"instance_noise_steps": 9},
    "instance_noise_steps: 0": {"instance_noise_steps": 0},
    "instance_noise: -1": {"instance_noise": -1.0},
    "critic_learning_rate: 0": {"critic_learning_rate": 0.0},
}


@pytest.mark.parametrize("message", REFUSED)
def test_settings_that_make_no_sense_are_refused(message):
    with pytest.raises(ValueError, match=message):
        Settings(**REFUSED[message])


@pytest.mark.slow
def test_any_number_of_devices_trains_alike(shell, tmp_path):
    """Twenty steps of Adam with two critic steps each, WGAN-GP and noise: the losses differ by rounding."""
    options = ("--loss", "wasserstein", "--penalty", "wgan_gp", "--instance-noise", "0.1")
    sizes = ("--steps", 20, "--steps-per-call", 10, "--num-critic-steps", 2, "--width", 4)
    losses = []
    for devices in (1, 2, 4, 8):
        run = tmp_path / str(devices)
        done = shell("gan", "--run-dir", run, *options, *sizes, devices=devices)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([[row["critic_loss"], row["generator_loss"]] for row in rows[:2]])
    np.testing.assert_allclose(losses[1:], [losses[0]] * 3, rtol=1e-3, atol=1e-4)
