"""Runs of M2 from the command line: what they leave, resuming, hidden labels, refusals."""

import dataclasses
import json

import numpy as np
import PIL.Image
import pytest

from experiments import evaluate, sample
from experiments.semi_supervised import EXPERIMENT
from experiments.semi_supervised import __main__ as semi_supervised
from experiments.semi_supervised.build import build_model, few_labels
from experiments.semi_supervised.settings import Settings
from experiments.settings import DataInfo
from jaxgen import data
from jaxgen.vae import likelihoods

SMALL = (
    *("--steps-per-call", 2, "--checkpoint-every", 2, "--draw-every", 2, "--batch-size", 16),
    *("--hidden-sizes", 8, "--latent-dim", 3, "--supervised-steps", 2, "--num-labels", 20),
)


def digests(run_dir, folder="."):
    """Of the parameters at the last step."""
    rows = (run_dir / folder / "metrics.jsonl").read_text().splitlines()
    return json.loads(rows[-1])["params_sha256"]


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_the_networks_and_the_likelihood_are_those_of_the_settings(model):
    own = Settings(model=model, likelihood="gaussian", latent_dim=3, dropout_rate=0.5)
    settings = dataclasses.replace(EXPERIMENT.defaults(), model=own)
    built = build_model(settings, DataInfo.of(data.load("digits")))
    expected = likelihoods.gaussian(levels=17)
    assert built.likelihood.is_density and built.likelihood.num_outputs == expected.num_outputs
    assert built.latent_dim == 3 and built.decoder.dropout_rate == 0.5


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_bits(call, tmp_path):
    for run_dir, starts in ((tmp_path / "once", (4,)), (tmp_path / "twice", (2, 4))):
        for steps in starts:
            line = (*SMALL, "--run-dir", run_dir, "--steps", steps)
            code, _, err = call(semi_supervised, *line)
            assert code == 0, err
    for folder in (".", "supervised"):
        assert digests(tmp_path / "once", folder) == digests(tmp_path / "twice", folder)


def test_a_run_leaves_errors_and_pictures(call, tmp_path):
    run_dir = tmp_path / "run"
    code, out, err = call(semi_supervised, *SMALL, "--run-dir", run_dir, "--steps", 4)
    assert code == 0, err
    assert "20 of 1,400 train examples keep their label" in out and "supervised - M2" in out
    record = json.loads((run_dir / "classification.json").read_text())
    assert record["num_labels"] == 20 and record["num_examples"] == 397
    errors = {name: value["mean"] for name, value in record["errors"].items()}
    difference = errors["supervised"] - errors["M2"]
    assert errors["supervised - M2"] == pytest.approx(difference, abs=1e-9)
    evaluation = json.loads((run_dir / "evaluation.json").read_text())["metrics"]
    assert evaluation["error"]["mean"] == pytest.approx(errors["M2"])
    assert {"elbo", "elbo_bits_per_dim"} <= set(evaluation)
    pictures = {path.stem for path in (run_dir / "samples").glob("*.png")}
    assert {"classes", "analogies", "styles", "samples"} <= pictures
    code, out, err = call(evaluate, run_dir)
    assert code == 0 and "class_rate" in out, err
    code, _, err = call(sample, run_dir, "--num", 4, "--label", 3, "--out", tmp_path / "x.npz")
    assert code == 0, err
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["label"].tolist() == [3] * 4 and arrays["x"].max() <= 16


def test_training_sees_the_drawn_labels_alone(monkeypatch, call, tmp_path):
    """Whatever the hidden labels are, the run is the same."""
    digits = data.load("digits")
    kept = few_labels(digits.train, num=20, seed=0).labels() >= 0
    assert kept.sum() == 20

    def load(name, **_):
        arrays = dict(digits.train.arrays)
        arrays["label"] = np.where(kept, arrays["label"], -1).astype(np.int32)
        unknown = data.ArraySplit(arrays)
        return data.Dataset(name, (8, 8, 1), 17, digits.class_names, unknown, digits.test)

    line = (*SMALL, "--steps", 2, "--supervised-steps", 0)
    code, _, err = call(semi_supervised, *line, "--run-dir", tmp_path / "all")
    assert code == 0, err
    monkeypatch.setattr("experiments.settings.load", load)
    code, _, err = call(semi_supervised, *line, "--run-dir", tmp_path / "few")
    assert code == 0, err
    assert digests(tmp_path / "all") == digests(tmp_path / "few")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num-labels", 5), "num_labels: 5, expected 10 (the classes) to 1400 (the labelled"),
        (("--num-labels", 1401), "num_labels: 1401, expected at most the 1400 train examples"),
        (("--num-labels", 0), "num_labels: 0, expected at least 1"),
        (("--dataset", "stacked_digits"), "num_labels: 100, expected data that have labels"),
        (("--dataset", "ring"), "expected images (H, W, C) for this model"),
        (("--classification-weight", -1), "classification_weight: -1.0, expected at least 0"),
        (("--model", "conv", "--hidden-sizes", 8), "hidden_sizes: (8,), expected (200,)"),
    ],
)
def test_bad_settings_leave_no_trace(call, tmp_path, flags, message):
    run_dir = tmp_path / "run"
    code, out, err = call(semi_supervised, "--run-dir", run_dir, *flags)
    words = " ".join((out + err).replace("│", " ").split())
    assert code == 2 and message in words and not run_dir.exists()


@pytest.mark.slow
def test_images_without_labels_may_be_among_those_with(call, tmp_path):
    """Odd colour images of two classes, of which some lie beside the folders of classes."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "x" / name).mkdir(parents=True)
        for i in range(24):
            x = rng.integers(0, 256, (7, 5, 3)).astype(np.uint8)
            PIL.Image.fromarray(x).save(tmp_path / "x" / name / f"{i}.png")
    line = ("--dataset", f"folder:{tmp_path / 'x'}", "--num-labels", 4, "--model", "conv")
    small = (*SMALL[:8], "--channels", 4, "--steps", 2, "--supervised-steps", 0)
    code, out, err = call(semi_supervised, *small, *line, "--run-dir", tmp_path / "run")
    assert code == 0 and "conv networks" in out, err
