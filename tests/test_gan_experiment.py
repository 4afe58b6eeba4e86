"""The GAN's command line from end to end, and which settings it refuses together."""

import json

import jax
import numpy as np
import PIL.Image
import pytest

from experiments import evaluate, sample
from experiments.gan import __main__ as gan
from experiments.gan import latent_pictures
from experiments.gan.build import all_critic_steps, build_game, describe
from experiments.gan.settings import Settings
from experiments.sample_metrics import Yardstick, make_yardstick
from experiments.settings import DataInfo, TrainingSettings
from jaxgen import metrics
from jaxgen.data import load
from jaxgen.metrics.features import predict
from jaxgen.training.run_directory import RunDirectory

SMALL = [
    *("--steps", "4", "--steps-per-call", "2", "--batch-size", "16", "--draw-every", "2"),
    *("--checkpoint-every", "2", "--width", "4", "--latent-dim", "5", "--hidden-sizes", "8"),
]
PICTURES = {
    "critic_accuracy",
    "gradient_norms",
    "interpolations",
    "logits",
    "losses",
    "nearest_training_images",
    "samples",
    "truncation",
}


def test_run_is_complete_and_other_programs_read_it(call, tmp_path):
    run = tmp_path / "run"
    # Fast enough for the two frames of the film to differ.
    fast = ("--ema-decay", "0", "--learning-rate", "0.05")
    code, output, errors = call(gan, "--run-dir", run, *SMALL, "--conditional", *fast)
    assert code == 0, errors
    assert "sliced Wasserstein distance" in output
    measured = json.loads((run / "sample_metrics.json").read_text())
    assert measured["num"] == 397
    assert set(measured["metrics"]) == {"samples", "train images"}
    # Four steps teach nothing: the samples are further from the data than the data.
    for name in ("Frechet distance of features", "sliced Wasserstein distance of pixels"):
        assert measured["metrics"]["samples"][name] > measured["metrics"]["train images"][name]
    assert {path.stem for path in (run / "samples").glob("*.png")} == PICTURES
    assert [path.name for path in sorted((run / "film").iterdir())] == [
        "000000002.png",
        "000000004.png",
    ]
    with PIL.Image.open(run / "samples/film.gif") as film:
        assert film.n_frames == 2
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"critic_loss", "generator_loss", "critic_accuracy"} <= set(rows[0])
    assert len(rows[-1]["params_sha256"]) == 64
    assert (run / "report.html").is_file()

    out = tmp_path / "seven.png"
    code, _, errors = call(sample, run, "--num", "7", "--label", "3", "--out", out)
    assert code == 0, errors
    assert np.asarray(PIL.Image.open(out)).any()
    code, _, errors = call(sample, run, "--num", "7", "--out", out)
    assert code == 2
    assert "label" in errors
    code, output, errors = call(evaluate, run)
    assert code == 0, errors
    assert "generator_loss" in output


@pytest.mark.parametrize(
    "options",
    [
        (
            "--generator",
            "mlp",
            "--critic",
            "mlp",
            "--loss",
            "wasserstein",
            "--penalty",
            "none",
            "--weight-clip",
            "0.01",
        ),
        ("--generator", "mlp", "--critic", "mlp", "--loss", "wasserstein", "--penalty", "wgan_gp"),
        (
            "--generator",
            "mlp",
            "--loss",
            "relativistic",
            "--penalty",
            "r1_r2",
            "--instance-noise",
            "0.1",
        ),
        (
            "--generator",
            "mlp",
            "--critic",
            "mlp",
            "--penalty",
            "dragan",
            "--updates",
            "simultaneous",
        ),
        (
            "--generator",
            "resnet",
            "--critic",
            "resnet",
            "--num-plain-blocks",
            "1",
            "--loss",
            "hinge",
            "--penalty",
            "none",
            "--spectral",
            "--num-critic-steps",
            "2",
        ),
    ],
    ids=" ".join,
)
def test_every_rule_trains(call, tmp_path, options):
    code, _, errors = call(gan, "--run-dir", tmp_path / "run", *SMALL, *options)
    assert code == 0, errors
    assert {path.stem for path in (tmp_path / "run/samples").glob("*.png")} - {
        "arithmetic"
    } == PICTURES


def test_latents_are_added_for_the_concepts_that_samples_show(tmp_path):
    """Pairs of classes with three exemplars or more; where no classifier was trained, dark and bright."""
    digits = load("digits")
    info, yardstick = DataInfo.of(digits), make_yardstick(digits)
    x = digits.test.gather(np.arange(60))["x"]
    label = predict(yardstick.net, x)
    pairs = latent_pictures._concept_pairs(info, yardstick, x)
    counts = np.bincount(label, minlength=10)
    names = [name for pair in pairs for name, _ in pair]
    known = [str(digit) for digit in range(10) if counts[digit] >= 3]
    assert names == known[: len(known) // 2 * 2] and len(names) >= 4
    for pair in pairs:
        for name, shows in pair:
            np.testing.assert_array_equal(shows, label == int(name))
    random = Yardstick(metrics.random_features(digits), False, "random")
    ((dark, is_dark), (bright, is_bright)), *more = latent_pictures._concept_pairs(info, random, x)
    assert (dark, bright, more) == ("dark", "bright", [])
    np.testing.assert_array_equal(is_dark, ~is_bright)
    assert x[is_bright].mean() > x[is_dark].mean()

    drawn = []

    def generate(z, label):
        drawn.append(np.asarray(z))
        return np.repeat(x[:1], len(z), axis=0)

    z = jax.random.normal(jax.random.key(0), (60, 5))
    run = RunDirectory(tmp_path)
    latent_pictures.draw_arithmetic(run, info, yardstick, generate, z, x)
    assert (run.samples / "arithmetic.png").is_file()
    (rows,) = drawn
    assert rows.shape == (8 * min(len(pairs), 5), 5)
    (_, had), (_, has) = pairs[0]
    np.testing.assert_allclose(rows[0], z[had][0], rtol=1e-6)
    end = z[had][0] + np.mean(z[has], axis=0) - np.mean(z[had], axis=0)
    end *= np.linalg.norm(z[had][0]) / np.linalg.norm(end)
    np.testing.assert_allclose(rows[7], end, rtol=1e-4, atol=1e-5)


def test_a_game_is_described_and_a_penalty_has_its_usual_weight():
    info = DataInfo.of(load("digits"))
    for penalty, weight in (("wgan_gp", 10.0), ("dragan", 10.0), ("r1", 0.3), ("none", 0.0)):
        settings = Settings(loss="hinge", penalty=penalty, num_critic_steps=3)
        game = build_game(settings, info)
        assert game.rules.penalty_weight == weight
        line = describe(settings, game)
        assert line.startswith("hinge loss, ") and "3 of the critic" in line
        assert (f"penalty {penalty} of weight {weight:g}" in line) == (penalty != "none")
    assert build_game(Settings(penalty_weight=2.0), info).rules.penalty_weight == 2.0


REFUSED = {
    "wasserstein needs a critic of bounded slope": {"loss": "wasserstein", "penalty": "none"},
    "this loss does not ask for that": {"weight_clip": 0.01, "penalty": "none"},
    "penalty or the spectral norm bounds the slope": {
        "loss": "wasserstein",
        "weight_clip": 0.01,
        "penalty": "wgan_gp",
    },
    "do not exist under batch norm": {"penalty": "r1", "critic_norm": "batch"},
    "there is no penalty to take": {"penalty_interval": 2, "penalty": "none"},
    "only dcgan has a choice": {"activation": "tanh", "generator": "mlp", "critic": "resnet"},
    "only resnet has blocks": {"num_plain_blocks": 1},
    "num_plain_blocks: -1": {"num_plain_blocks": -1},
    "one step of each": {"updates": "simultaneous", "num_critic_steps": 2},
    "spectral norm bounds the slope already": {
        "loss": "wasserstein",
        "weight_clip": 0.01,
        "penalty": "none",
        "spectral": True,
    },
    "its slope has no bound": {
        "loss": "wasserstein",
        "penalty": "none",
        "spectral": True,
        "critic_norm": "layer",
    },
    "there is no penalty to weigh": {"penalty": "none", "penalty_weight": 1.0},
    "penalty_weight: 0": {"penalty_weight": 0.0},
    "instance_noise_steps: 0": {"instance_noise_steps": 0},
    "instance_noise: -1": {"instance_noise": -1.0},
    "critic_learning_rate: 0": {"critic_learning_rate": 0.0},
    "beta1: 1": {"beta1": 1.0},
}


@pytest.mark.parametrize("message", REFUSED)
def test_settings_that_make_no_sense_are_refused(message):
    with pytest.raises(ValueError, match=message):
        Settings(**REFUSED[message])


def test_labels_are_asked_of_data_that_have_them(call, tmp_path):
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    for name in "bcdefghijklmnopqrstu":
        (tmp_path / f"{name}.png").write_bytes((tmp_path / "a.png").read_bytes())
    options = ("--dataset", f"folder:{tmp_path}", "--conditional", "--run-dir", tmp_path / "run")
    code, _, errors = call(gan, *options, *SMALL)
    assert code == 2
    assert "this data set has no labels" in errors


def test_a_batch_is_that_of_a_critic_step():
    settings = Settings(training=TrainingSettings(batch_size=64), num_critic_steps=5)
    assert all_critic_steps(settings).batch_size == 320
    with pytest.raises(ValueError, match="batch_size: 12 does not divide by the 8 devices"):
        all_critic_steps(Settings(training=TrainingSettings(batch_size=12), num_critic_steps=2))


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
