"""Ranges of settings, settings from JSON, and the optimizers that they name."""

import dataclasses
import json
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.command_line import from_json
from experiments.families import FAMILIES
from experiments.optimizers import make_optimizer
from experiments.ranges import AT_LEAST_0, AT_LEAST_1, POSITIVE, SHARE, Range, check_settings
from experiments.settings import DataInfo, DataSettings, OptimizerSettings


@dataclasses.dataclass(frozen=True)
class Bounded:
    count: Annotated[int, AT_LEAST_1] = 1
    share: Annotated[float, SHARE] = 0.5
    rate: Annotated[float | None, POSITIVE] = None
    sizes: Annotated[tuple[int, ...], AT_LEAST_1] = ()
    free: float = math.nan

    def __post_init__(self) -> None:
        check_settings(self)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"count": 0}, "count: 0, expected at least 1"),
        ({"count": math.inf}, "count: inf, expected at least 1"),
        ({"share": 1.0}, r"share: 1.0, expected in \[0, 1\)"),
        ({"share": math.nan}, "share: nan, expected"),
        ({"rate": 0.0}, "rate: 0.0, expected a finite number above 0"),
        ({"sizes": (3, 0)}, r"sizes: \(3, 0\), expected at least 1"),
    ],
)
def test_a_setting_out_of_its_range_is_named(setting, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Bounded(**setting)


def test_settings_in_their_ranges_are_taken():
    assert Bounded(count=1, share=0.0, rate=1e-9, sizes=(1, 2)).free != 0
    assert 0 in AT_LEAST_0 and -1 not in AT_LEAST_0
    assert str(Range(0, 2, is_open=True)) == "in (0, 2)"
    assert str(Range(0, 2**32)) == "in [0, 4294967296)"


@pytest.mark.parametrize("name", FAMILIES)
def test_settings_come_back_from_json(name):
    settings = FAMILIES[name].defaults()
    stored = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert from_json(FAMILIES[name].settings, stored) == settings
    del stored["plan"]["steps"]
    stored["plan"]["stepz"] = 3
    with pytest.raises(ValueError, match=r"missing \['steps'\], unknown \['stepz'\]"):
        from_json(FAMILIES[name].settings, stored)


def test_a_path_is_stored_in_one_form(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    dataset = DataSettings().load()
    for data_dir in ("~/tfds", "tfds", f"{tmp_path}/tfds/"):
        assert DataSettings(data_dir=data_dir).settled(dataset).data_dir == f"{tmp_path}/tfds"


def test_a_model_of_images_refuses_vectors():
    with pytest.raises(ValueError, match=r"dataset: vectors of shape \(2,\), expected images"):
        _ = DataInfo.of(DataSettings(dataset="moons").load()).image_levels


# --- Optimizers ---

PARAMS = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}
GRADIENTS = {"kernel": jnp.array([[3.0, 0.0]]), "bias": jnp.array([4.0])}


def updates(settings: OptimizerSettings, steps: int, num: int, **arguments):
    """The parameters' change in each of the first updates under a constant gradient."""
    optimizer = make_optimizer(settings, steps, **arguments)
    state, found = optimizer.init(PARAMS), []
    for _ in range(num):
        update, state = optimizer.update(GRADIENTS, state, PARAMS)
        found.append(update)
    return found


def rates(settings: OptimizerSettings, steps: int, num: int) -> np.ndarray:
    """Learning rates read off plain descent."""
    settings = dataclasses.replace(settings, optimizer="sgd", beta1=0.0)
    return np.array([-float(u["bias"][0]) / 4.0 for u in updates(settings, steps, num)])


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        ("constant", lambda t: np.ones_like(t)),
        ("linear", lambda t: 1.0 - t / 8),
        ("cosine", lambda t: 0.5 * (1.0 + np.cos(np.pi * t / 8))),
    ],
)
def test_a_schedule_rises_over_the_warm_up_and_ends_at_the_last_step(schedule, after):
    settings = OptimizerSettings(
        learning_rate=0.2, learning_rate_schedule=schedule, warm_up_steps=2
    )
    found = rates(settings, 10, 11)
    np.testing.assert_allclose(found[:2], [0.0, 0.1], atol=1e-7)
    np.testing.assert_allclose(found[2:], 0.2 * after(np.arange(9.0)), atol=1e-6)
    without = rates(dataclasses.replace(settings, warm_up_steps=0), 8, 9)
    np.testing.assert_allclose(without, 0.2 * after(np.arange(9.0)), atol=1e-6)


def test_a_warm_up_leaves_steps_to_fall():
    settings = OptimizerSettings(learning_rate_schedule="cosine", warm_up_steps=10)
    with pytest.raises(ValueError, match="warm_up_steps: 10, expected fewer than the 10 steps"):
        make_optimizer(settings, 10)


def test_rules_are_those_of_optax():
    rules = {
        "adam": optax.adam(0.1, 0.8, 0.95),
        "sgd": optax.sgd(0.1, 0.8),
        "rmsprop": optax.rmsprop(0.1, 0.95, momentum=0.8),
    }
    for name, rule in rules.items():
        settings = OptimizerSettings(name, learning_rate=0.5, beta1=0.8, beta2=0.95)
        found = updates(settings, 10, 2, learning_rate=0.1)[-1]
        state = rule.init(PARAMS)
        _, state = rule.update(GRADIENTS, state)
        expected, _ = rule.update(GRADIENTS, state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_kernels_decay_and_biases_do_not():
    plain, decayed = (
        updates(OptimizerSettings("adamw", learning_rate=0.1, weight_decay=w), 10, 1)[0]
        for w in (0.0, 0.5)
    )
    np.testing.assert_allclose(
        decayed["kernel"] - plain["kernel"], -0.1 * 0.5 * PARAMS["kernel"], rtol=1e-5
    )
    np.testing.assert_array_equal(decayed["bias"], plain["bias"])
    with pytest.raises(
        ValueError, match=r"weight_decay: 0.5, expected 0.0 .* only with optimizer adamw"
    ):
        OptimizerSettings(weight_decay=0.5)


def test_the_norm_of_the_whole_gradient_is_clipped():
    settings = OptimizerSettings("sgd", learning_rate=1.0, beta1=0.0, clip_norm=0.5)
    update = updates(settings, 10, 1)[0]
    np.testing.assert_allclose(optax.tree.norm(update), 0.5, rtol=1e-6)
    np.testing.assert_allclose(update["bias"], [-0.4], rtol=1e-6)
