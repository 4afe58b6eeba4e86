"""The comparison of adversarial methods on mixtures: what it trains, counts, keeps, draws and refuses."""

import json
import sys
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from scipy import special

from experiments import mode_collapse, mode_collapse_pictures, mode_collapse_runs
from experiments.mode_collapse_settings import Method, Settings
from experiments.training import EVALUATION_SEED
from jaxgen.data import toy
from jaxgen.gan.objectives import minimax, nonsaturating

TINY = {"steps": 4, "steps_per_call": 2, "batch_size": 4, "num_samples": 20, "latent_dim": 3}
TINY |= {"generator_sizes": (8,), "critic_sizes": (8,), "wasserstein_critic_steps": 2}
METHODS = get_args(Method)


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Calls the script on a directory of its own and returns its exit code, output and errors."""

    def run(*args: object) -> tuple[int, str, str]:
        tiny = ["--seeds", "2", "--steps", "4", "--steps-per-call", "2", "--batch-size", "4"]
        tiny += ["--generator-sizes", "8", "--critic-sizes", "8", "--num-samples", "50"]
        line = ["mode_collapse", "--run-dir", str(tmp_path / "run"), *tiny, *map(str, args)]
        monkeypatch.setattr(mode_collapse, "configure", lambda: None)
        monkeypatch.setattr(sys, "argv", line)
        code = 0
        try:
            mode_collapse.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run


def test_a_run_from_end_to_end(call, tmp_path, monkeypatch):
    run = tmp_path / "run"
    code, out, errors = call("--methods", "minimax", "nonsaturating")
    assert code == 0, errors
    assert "98.89% good" in out and "minimax" in out and "step 4/4" in out
    results = json.loads((run / "results.json").read_text())
    assert list(results) == ["minimax", "nonsaturating"]
    for result in results.values():
        assert result["steps"] == [2, 4]
        for name in ("modes", "good_share", "generator_gradient"):
            assert np.shape(result[name]) == (2, 2)
    assert np.load(run / "points" / "minimax.npy").shape == (2, 50, 2)
    pictures = {path.name for path in (run / "samples").iterdir()}
    assert pictures == {"samples.png", "modes.png", "gradients.png"}
    for name in pictures:
        with PIL.Image.open(run / "samples" / name) as picture:
            assert picture.getextrema() != ((0, 0),) * 3, name
    # What is done is skipped, in whatever order it is asked for.
    monkeypatch.setattr(mode_collapse, "train", lambda *_, **__: pytest.fail("trained again"))
    code, out, _ = call("--methods", "nonsaturating")
    assert code == 0 and "nonsaturating" in out and "minimax" not in out
    assert json.loads((run / "results.json").read_text()) == results
    # Other settings are refused and named.
    code, _, errors = call("--methods", "minimax", "--seed", 5)
    assert code == 2 and "settings.seed: 0 there, 5 now" in errors


def test_a_seed_trains_as_alone_step_by_step():
    """Seeds do not meet, and step t has the key fold_in(seed, t + 1), whatever the dispatches."""
    settings = Settings(**TINY)
    algorithm = mode_collapse.build("nonsaturating", settings)
    mixture = mode_collapse_runs.MIXTURES["ring"]
    sizes = {"steps": 4, "steps_per_call": 2, "batch_size": 4, "num_samples": 20}
    result, points = mode_collapse_runs.train(algorithm, mixture, name="two", seeds=[3, 7], **sizes)
    key, draw = jax.random.key(7), mixture.density.sample
    state = algorithm.init(jax.random.fold_in(key, 0), {"x": draw(key, 1)})
    step, norms = jax.jit(algorithm.step), []
    for index in range(4):
        data_key, step_key = jax.random.split(jax.random.fold_in(key, index + 1))
        state, metrics = step(state, {"x": draw(data_key, 4)}, step_key)
        norms.append(float(metrics["generator_gradient_norm"]))
    expected = algorithm.sample(state, jax.random.key(EVALUATION_SEED), 20)
    np.testing.assert_allclose(points[-1], expected, rtol=1e-4, atol=1e-5)
    measured = np.array(result.generator_gradient)[:, -1]
    np.testing.assert_allclose(measured, np.reshape(norms, (2, 2)).mean(axis=1), rtol=1e-4)


def test_the_mixtures_are_those_of_the_toy_densities():
    for name, density in (("ring", toy.ring(radius=1.0, std=0.01)), ("grid", toy.grid())):
        mixture = mode_collapse_runs.MIXTURES[name]
        expected = density.sample(jax.random.key(EVALUATION_SEED), 100)
        np.testing.assert_allclose(mixture.draw(100), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_steps(method):
    settings = Settings(**TINY, weight_clip=0.05)
    algorithm = mode_collapse.build(method, settings)
    num_critic_steps = mode_collapse.critic_steps(method, settings)
    assert num_critic_steps == (2 if "wasserstein" in method else 1)
    batch = {"x": jnp.ones((4 * num_critic_steps, 2))}
    start = algorithm.init(jax.random.key(0), batch)
    state, metrics = jax.jit(algorithm.step)(start, batch, jax.random.key(1))
    assert int(state.critic.step) == num_critic_steps and int(state.generator.step) == 1
    leaves = jax.tree.leaves(state.critic.params)
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in leaves)
    assert (largest < 0.05001) == (method == "wasserstein_clipping")
    assert ("critic_penalty" in metrics) == (
        method in ("wasserstein_penalty", "relativistic_r1_r2")
    )
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(state.params))
    # Plain descent moves by the rate times the gradient, Adam at first by the rate itself.
    moves = jax.tree.map(lambda a, b: a - b, state.generator.params, start.generator.params)
    norm = float(jnp.sqrt(sum(jnp.sum(move**2) for move in jax.tree.leaves(moves))))
    descent = settings.sgd_learning_rate * float(metrics["generator_gradient_norm"])
    assert (abs(norm / descent - 1.0) < 1e-3) == (method == "nonsaturating_sgd")


def test_gradients_in_the_logit():
    """`sigmoid(f)` vanishes for a sure critic, `sigmoid(-f)` does not."""
    logits = np.linspace(-15.0, 15.0, 31)
    sizes = mode_collapse_pictures.logit_gradients(logits)
    np.testing.assert_allclose(sizes["minimax"], special.expit(logits), rtol=1e-5)
    np.testing.assert_allclose(sizes["nonsaturating"], special.expit(-logits), rtol=1e-5)
    assert mode_collapse._OBJECTIVES["minimax"] is minimax
    assert mode_collapse._OBJECTIVES["nonsaturating"] is nonsaturating


def test_a_diverged_seed_counts_as_no_mode_and_is_drawn(tmp_path):
    mixture = mode_collapse_runs.MIXTURES["ring"]
    points = np.full((2, 10, 2), np.nan)
    assert mode_collapse_runs._count(points[0], mixture)[:2] == (0, 0.0)
    points[1] = mixture.centres[0]
    run = mode_collapse_runs.RunDirectory(tmp_path)
    result = mode_collapse_runs.Result([2], [[0, 1]], [[0.0, 1.0]], [None, 2.0], [[1.0, 1.0]], 3.0)
    mode_collapse_runs.save_result(run, "hinge", result, points)
    assert mode_collapse_runs.load_results(run) == {"hinge": result}
    mode_collapse_pictures.draw(run, mixture, {"hinge": result})
    table = mode_collapse_pictures.make_table("title", {"hinge": result}, mixture, 10)
    cells = [list(column.cells)[-1] for column in table.columns]
    assert cells == ["hinge", "0.5 ± 0.7", "50.0 ± 70.7", "2.000 (1 of 2)", "3"]
    assert mode_collapse_pictures._spread([None], 1) == "none"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seeds": 0}, "seeds: 0, expected at least 1"),
        ({"steps": 250}, "steps_per_call: 100, expected a divisor of the steps"),
        ({"methods": ("hinge", "hinge")}, "methods: hinge, hinge, expected one or more"),
        ({"methods": ()}, "methods: none"),
        ({"seed": 2**32}, "seed: 4294967296"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0"),
        ({"penalty_weight": -1.0}, "penalty_weight: -1.0"),
        ({"beta1": 1.0}, "beta1: 1.0"),
        ({"critic_sizes": ()}, "critic_sizes: ()"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError) as caught:
        Settings(**setting)
    assert message in str(caught.value)
