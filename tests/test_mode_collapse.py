"""The comparison of adversarial methods: what it learns, trains, counts, keeps, draws and refuses."""

import dataclasses
import json
import math
import re
import sys
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from scipy import special

from experiments.measurement import EVALUATION_SEED
from experiments.mode_collapse import __main__ as mode_collapse
from experiments.mode_collapse import methods, pictures, results, targets, training
from experiments.mode_collapse.settings import PROTOCOLS, Method, Settings
from experiments.settings import DataSettings
from jaxgen.data import load, toy
from jaxgen.gan import penalties
from jaxgen.gan.objectives import minimax, nonsaturating
from jaxgen.metrics import count_stacked_modes
from jaxgen.training import jax_setup
from jaxgen.training.run_directory import RunDirectory

TINY = {"steps": 4, "steps_per_call": 2, "batch_size": 4, "num_samples": 20, "latent_dim": 3}
TINY |= {"generator_sizes": (8,), "critic_sizes": (8,), "wasserstein_critic_steps": 2}
METHODS = get_args(Method)
STACKED = ["--target", "stacked", "--methods", "nonsaturating", "--num-samples", "40"]


def make(method, settings, target):
    return methods.build(methods.rows(settings)[method], settings, target)


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Calls the script on a directory of its own and returns its exit code, output and errors."""

    def run(*args: object) -> tuple[int, str, str]:
        tiny = ["--num-seeds", "2", "--steps", "4", "--steps-per-call", "2", "--batch-size", "4"]
        tiny += ["--generator-sizes", "8", "--critic-sizes", "8", "--num-samples", "50"]
        line = ["mode_collapse", "--run-dir", str(tmp_path / "run"), *tiny, *map(str, args)]
        monkeypatch.setattr(jax_setup, "configure", lambda: None)
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
    found = json.loads((run / "results.json").read_text())
    assert list(found) == ["minimax", "nonsaturating"]
    for result in found.values():
        assert result["steps"] == [2, 4]
        for name in ("modes", "good_share", "kl", "generator_gradient"):
            assert np.shape(result[name]) == (2, 2)
    assert np.load(run / "final_samples" / "minimax.npy").shape == (2, 50, 2)
    pictures = {path.name for path in (run / "samples").iterdir()}
    assert pictures == {"samples.png", "modes.png", "gradients.png"}
    for name in pictures:
        with PIL.Image.open(run / "samples" / name) as picture:
            assert len(picture.convert("RGB").getcolors(2**24)) > 1, name
    # What is done is skipped, in whatever order it is asked for.
    monkeypatch.setattr(mode_collapse, "train", lambda *_, **__: pytest.fail("trained again"))
    code, out, _ = call("--methods", "nonsaturating")
    assert code == 0 and "nonsaturating" in out and "minimax" not in out
    assert json.loads((run / "results.json").read_text()) == found
    # Other settings are refused and named.
    code, _, errors = call("--methods", "minimax", "--seed", 5)
    assert code == 2 and "settings.seed: 0 there, 5 now" in errors


def test_a_seed_trains_as_alone_step_by_step(tmp_path):
    """Seeds do not meet, and step t has the key fold_in(seed, t + 1), whatever the dispatches."""
    settings = Settings(**TINY)
    algorithm = make("nonsaturating", settings, targets.mixture("ring"))
    mixture = targets.mixture("ring")
    sizes = {"steps": 4, "steps_per_call": 2, "batch_size": 4, "num_samples": 20}
    run = RunDirectory(tmp_path)
    result = training.train(algorithm, mixture, run, name="two", seeds=[3, 7], **sizes)
    points = np.load(results.samples_file(run, "two"))
    key = jax.random.key(7)
    state = algorithm.init(jax.random.fold_in(key, 0), {"x": jnp.zeros((1, 2))})
    step, norms = jax.jit(algorithm.step), []
    for index in range(4):
        data_key, step_key = jax.random.split(jax.random.fold_in(key, index + 1))
        state, metrics = step(state, {"x": mixture.sample(None, data_key, 4)}, step_key)
        norms.append(float(metrics["generator_gradient_norm"]))
    (sample_key,) = jax.random.split(jax.random.key(EVALUATION_SEED), 1)
    expected = algorithm.sample(state, sample_key, 20)
    np.testing.assert_allclose(points[-1], expected, rtol=1e-4, atol=1e-5)
    measured = np.array(result.generator_gradient)[:, -1]
    np.testing.assert_allclose(measured, np.reshape(norms, (2, 2)).mean(axis=1), rtol=1e-4)


def test_an_interrupted_method_goes_on_with_the_same_bits(call, tmp_path, monkeypatch):
    """Stopped in the third of four dispatches, after the second was saved; the end is as if it never had."""
    line = ("--methods", "hinge", "--steps", 8, "--seed", 2)
    assert call("--run-dir", tmp_path / "whole", *line)[0] == 0
    monkeypatch.setattr(training, "_SECONDS_PER_CHECKPOINT", 0.0)
    update = training.Progress.update

    def interrupt(self, step, metrics):
        if step == 6:
            raise KeyboardInterrupt
        update(self, step, metrics)

    monkeypatch.setattr(training.Progress, "update", interrupt)
    code, _, errors = call(*line)
    assert code == 130 and "goes on" in errors
    stopped = RunDirectory(tmp_path / "run")
    kept = results.load_results(stopped)["hinge"]
    assert kept.step == 4 and len(kept.modes) == 2
    # As after a kill between the result and its checkpoint: what the checkpoint lacks is done again.
    counts = [targets.Counts(0, 0.0, math.nan)] * 2
    ahead = kept.extended(6, counts, [math.nan, 1.0], 1.0)
    assert (ahead.kl[-1], ahead.generator_gradient[-1]) == ([None, None], [None, 1.0])
    results.save_result(stopped, "hinge", ahead, np.zeros((2, 50, 2)))
    monkeypatch.setattr(training.Progress, "update", update)
    code, out, errors = call(*line)
    assert code == 0 and "step 8/8" in out, errors
    both = [RunDirectory(tmp_path / name) for name in ("whole", "run")]
    whole, resumed = (results.load_results(run)["hinge"] for run in both)
    assert dataclasses.replace(whole, seconds=0.0) == dataclasses.replace(resumed, seconds=0.0)
    np.testing.assert_array_equal(*(np.load(results.samples_file(run, "hinge")) for run in both))


@pytest.mark.parametrize(("steps_per_call", "ends"), [(3, [3, 4]), (100, [4])])
def test_the_last_dispatch_takes_what_is_left(tmp_path, steps_per_call, ends):
    mixture, run = targets.mixture("ring"), RunDirectory(tmp_path)
    algorithm = make("hinge", Settings(**TINY), mixture)
    sizes = {"seeds": [0], "steps": 4, "batch_size": 4, "num_samples": 20}
    found = [
        training.train(algorithm, mixture, run, name=str(num), steps_per_call=num, **sizes)
        for num in (2, steps_per_call)
    ]
    assert found[1].steps == ends
    both = [np.load(results.samples_file(run, str(num))) for num in (2, steps_per_call)]
    np.testing.assert_allclose(*both, rtol=1e-5)


def test_one_by_one_is_the_other_way_to_map_seeds(tmp_path):
    settings = Settings(**TINY)
    mixture = targets.mixture("grid")
    algorithm = make("wasserstein_penalty", settings, mixture)
    sizes = {"steps": 4, "steps_per_call": 2, "batch_size": 8, "num_samples": 20}
    run = RunDirectory(tmp_path)
    for name, way in (("at once", {}), ("one by one", {"map_seeds": training.one_by_one})):
        training.train(algorithm, mixture, run, name=name, seeds=[0, 1], **sizes, **way)
    both = [np.load(results.samples_file(run, name)) for name in results.load_results(run)]
    np.testing.assert_allclose(*both, rtol=1e-3, atol=1e-4)
    assert not np.allclose(both[0][0], both[0][1])


def test_samples_come_in_blocks_that_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_BLOCK_SIZE", 8)
    mixture = targets.mixture("ring")
    algorithm = make("hinge", Settings(**TINY), mixture)
    sizes = {"steps": 2, "steps_per_call": 2, "batch_size": 4, "num_samples": 20, "name": "blocks"}
    run = RunDirectory(tmp_path)
    training.train(algorithm, mixture, run, seeds=[0], **sizes)
    (points,) = np.load(results.samples_file(run, "blocks"))
    assert points.shape == (20, 2) and len(np.unique(points, axis=0)) == 20


def test_stacked_images_hold_an_image_in_each_channel():
    """Three draws are independent, and the classes of real images are counted as 1000 even modes."""
    digits = load("digits")
    target = targets.stacked(digits)
    assert target.shape == (8, 8, 3) and target.num_modes == 1000 and target.centres is None
    x = targets.examples(target, 3000)
    assert x.dtype == np.uint8 and x.shape == (3000, 8, 8, 3)
    train = digits.train.gather(np.arange(len(digits.train)))
    flat = {
        image.tobytes(): int(label) for image, label in zip(train["x"], train["label"], strict=True)
    }
    labels = np.array(
        [
            [flat[np.ascontiguousarray(part[..., k : k + 1]).tobytes()] for k in range(3)]
            for part in x
        ]
    )
    assert abs(np.corrcoef(labels.T)[np.triu_indices(3, 1)]).max() < 0.07
    counts = target.score(x)
    exact = count_stacked_modes(labels)
    assert counts.good_share is None
    assert abs(counts.num_found - exact.num_found) <= 5 and abs(counts.kl - exact.kl) < 0.02
    assert f"{exact.num_modes} modes" in target.perfect(3000)
    assert target.score(x[:1].repeat(9, axis=0)) == (1, None, pytest.approx(np.log(1000)))


def test_unlabelled_images_cannot_be_stacked(call, tmp_path):
    for index in range(20):
        PIL.Image.fromarray(np.full((8, 8), index, np.uint8)).save(tmp_path / f"{index}.png")
    code, _, errors = call(*STACKED, "--dataset", f"folder:{tmp_path}")
    assert code == 2 and "has no labels" in errors


@pytest.mark.parametrize(
    "options", [("--num-samples", "8"), ("--model", "dcgan", "--width", "2")], ids=str
)
def test_stacked_images_from_end_to_end(call, tmp_path, options):
    run = tmp_path / "run"
    code, out, errors = call(*STACKED, *options)
    assert code == 0, errors
    assert "1000 modes and a KL" in out and "modes of 1000" in out and "good" not in out
    result = json.loads((run / "results.json").read_text())["nonsaturating"]
    assert result["good_share"] == [[], []] and np.shape(result["modes"]) == (2, 2)
    num = 8 if "8" in options else 40
    assert np.load(run / "final_samples" / "nonsaturating.npy").shape == (2, num, 8, 8, 3)
    with PIL.Image.open(run / "samples" / "samples.png") as picture:
        assert picture.size[0] > picture.size[1] > 100


def test_a_protocol_is_the_default_of_its_target(call):
    for name, protocol in PROTOCOLS.items():
        assert protocol.target == name
    code, out, _ = call("--target", "grid", "--help")
    words = re.sub(r"[\s│]+", " ", out)
    assert code == 0 and "(default: 20000)" in words and "(default: grid)" in words
    for bad in (("--target", "gird"), ("--target",)):
        code, _, errors = call(*bad)
        assert code == 2 and "target" in errors
    ring, grid, stacked = PROTOCOLS.values()
    # Of PacGAN: batches, latents, numbers of samples.
    assert (ring.batch_size, ring.latent_dim, ring.num_samples) == (100, 2, 2500)
    assert dataclasses.replace(ring, target="grid", steps=20_000, steps_per_call=1000) == grid
    assert (ring.generator_sizes, ring.critic_sizes) == ((128,) * 4, (128,) * 2)
    assert (ring.beta1, ring.beta2, ring.penalty_weight, ring.steps) == (0.5, 0.99, 1.0, 3000)
    assert (stacked.num_samples, stacked.penalty_weight) == (26_000, 10.0)


def test_the_mixtures_are_those_of_the_toy_densities():
    for name, density in (("ring", toy.ring(radius=1.0, std=0.01)), ("grid", toy.grid())):
        mixture = targets.mixture(name)
        expected = density.sample(jax.random.key(EVALUATION_SEED), 100)
        np.testing.assert_allclose(targets.examples(mixture, 100), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_steps(method):
    settings = Settings(**TINY, weight_clip=0.05)
    algorithm = make(method, settings, targets.mixture("ring"))
    num_critic_steps = methods.rows(settings)[method].num_critic_steps
    assert num_critic_steps == (2 if "wasserstein" in method else 1)
    batch = {"x": jnp.ones((4 * num_critic_steps, 2))}
    start = algorithm.init(jax.random.key(0), batch)
    state, metrics = jax.jit(algorithm.step)(start, batch, jax.random.key(1))
    assert int(state.critic.step) == num_critic_steps and int(state.generator.step) == 1
    leaves = jax.tree.leaves(state.critic.params)
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in leaves)
    assert (largest < 0.05001) == (method == "wasserstein_clipping")
    named = {"relativistic_r1": penalties.r1, "relativistic_r1_r2": penalties.r1_r2}
    assert method not in named or methods.rows(settings)[method].rules.penalty is named[method]
    assert ("critic_penalty" in metrics) == (
        method == "wasserstein_penalty" or method.startswith("relativistic")
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
    sizes = pictures.logit_gradients(logits)
    np.testing.assert_allclose(sizes["minimax"], special.expit(logits), rtol=1e-5)
    np.testing.assert_allclose(sizes["nonsaturating"], special.expit(-logits), rtol=1e-5)
    rows = methods.rows(Settings())
    assert rows["minimax"].objective is minimax
    assert rows["nonsaturating"].objective is nonsaturating
    assert tuple(rows) == METHODS


def test_a_diverged_seed_counts_as_no_mode_and_is_drawn(tmp_path):
    mixture = targets.mixture("ring")
    points = np.full((2, 10, 2), np.nan)
    assert mixture.score(points[0])[:2] == (0, 0.0)
    points[1] = mixture.centres[0]
    run = RunDirectory(tmp_path)
    counts = [mixture.score(each) for each in points]
    result = results.Result().extended(2, counts, [1.0, 1.0], 3.0)
    results.save_result(run, "hinge", result, points)
    assert results.load_results(run) == {"hinge": result}
    pictures.draw(run, mixture, {"hinge": result})
    table = pictures.make_table("title", {"hinge": result}, mixture, 10)
    cells = [list(column.cells)[-1] for column in table.columns]
    assert cells == ["hinge", "0.5 ± 0.7", "50.0 ± 70.7", "2.079 (1 of 2)", "3"]
    assert pictures._spread([None], 1) == "none"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_seeds": 0}, "num_seeds: 0, expected at least 1"),
        ({"methods": ("hinge", "hinge")}, "methods: hinge, hinge, expected one or more"),
        ({"methods": ()}, "methods: none"),
        ({"seed": 2**32}, "seed: 4294967296"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0"),
        ({"penalty_weight": 0.0}, "penalty_weight: 0.0"),
        ({"data": DataSettings("mnist")}, "dataset: mnist, expected none; only --target stacked"),
        ({"beta1": 1.0}, "beta1: 1.0"),
        ({"beta2": -0.1}, "beta2: -0.1"),
        ({"critic_sizes": ()}, "critic_sizes: ()"),
        ({"model": "dcgan"}, "model: dcgan, expected mlp for points in the plane"),
        ({"width": 0}, "width: 0"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError) as caught:
        Settings(**setting)
    assert message in str(caught.value)
