"""Runs of a Gaussian and a mixture from the command line: images, vectors, odd data, resuming, refusals."""

import dataclasses
import json
import re

import jax
import numpy as np
import PIL.Image
import pytest

from experiments import evaluate, latent_mixtures, sample
from experiments.gaussian import EXPERIMENT as GAUSSIAN_EXPERIMENT
from experiments.gaussian import __main__ as gaussian
from experiments.mixture import EXPERIMENT as MIXTURE_EXPERIMENT
from experiments.mixture import __main__ as mixture
from experiments.settings import DataInfo
from jaxgen.data import load


def images(folder, shape=(7, 5, 3), num=24, classes=("a", "b")):
    """A folder of classes of noise about two colours, one file of each a constant image."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(num):
            x = rng.integers(0, 80, shape) + 100 * k
            x = np.full(shape, 9) if i == 0 else x
            mode = "L" if shape[-1] == 1 else "RGB"
            PIL.Image.fromarray(x.squeeze().astype(np.uint8), mode).save(folder / name / f"{i}.png")
    return f"folder:{folder}"


def digest(run_dir):
    """Of the parameters at the last step."""
    return json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["params_sha256"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--shrinkage", "oas"), "full covariance, oas shrinkage"),
        pytest.param(
            ("--covariance", "ppca", "--num-factors", 3),
            "probabilistic PCA, 3 factors",
            marks=pytest.mark.slow,
        ),
        (("--covariance", "factor_analysis", "--num-factors", 3, "--em-steps", 5), "3 factors"),
    ],
)
def test_a_gaussian_of_fewer_colour_images_than_numbers(call, tmp_path, flags, words):
    run_dir = tmp_path / "run"
    line = ("--dataset", images(tmp_path / "x"), "--run-dir", run_dir, *flags)
    code, out, err = call(gaussian, *line)
    assert code == 0, err
    assert words in out and "squared distance over numbers" in out and "iw10_bits_per_dim" in out
    pattern = r"left out of each step: (\d+) of (\d+) train examples, since .* multiple of (\d+)"
    match = re.search(pattern, out)
    assert match
    num_left, num, num_devices = map(int, match.groups())
    assert num_devices == jax.device_count() and num_left == num % num_devices
    values = json.loads((run_dir / "calibration.json").read_text())
    assert all(np.isfinite(value["seen"]) for name, value in values.items() if name != "num")
    pictures = {path.stem for path in (run_dir / "samples").glob("*.png")}
    assert {"eigen_images", "reconstructions", "spectrum", "strangest", "samples"} <= pictures


def test_a_gaussian_run_is_sampled_evaluated_and_rerun(call, tmp_path):
    run_dir, out_file = tmp_path / "run", tmp_path / "x.npz"
    data = images(tmp_path / "x", (5, 4, 1))
    line = ("--dataset", data, "--run-dir", run_dir, "--batch-size", 32)
    code, out, err = call(gaussian, *line)
    assert code == 0 and "of 32 random train examples" in out, err
    first = digest(run_dir)
    code, out, err = call(sample, run_dir, "--num", 8, "--out", out_file)
    assert code == 0, err
    with np.load(out_file) as arrays:
        assert arrays["x"].shape == (8, 5, 4, 1) and arrays["x"].max() > 100
    code, out, err = call(evaluate, run_dir)
    assert code == 0 and "draws of the Gaussian" in out, err
    code, out, err = call(gaussian, *line)
    assert code == 0 and digest(run_dir) == first, err


MIXTURE = ("--steps-per-call", 2, "--num-components", 4, "--importance-samples", 2)


def test_a_mixture_run_shows_its_clusters(call, tmp_path):
    run_dir = tmp_path / "run"
    data = images(tmp_path / "x", (5, 4, 1))
    line = ("--dataset", data, *MIXTURE, "--num-factors", 3, "--run-dir", run_dir, "--steps", 4)
    code, out, err = call(mixture, *line)
    assert code == 0, err
    assert "EM of 4 Gaussians, factor-analysis covariances of 3 factors" in out
    assert "normalised mutual information" in out and "BIC" in out
    rows = [json.loads(row) for row in (run_dir / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.all(np.diff(losses) < 0)
    pictures = {path.stem for path in (run_dir / "samples").glob("*.png")}
    assert {"components", "labels", "completions", "strangest", "samples"} <= pictures
    code, _, err = call(sample, run_dir, "--num", 8, "--out", tmp_path / "x.png")
    assert code == 0, err


@pytest.mark.slow
def test_a_mixture_run_goes_on_with_the_same_bits(call, tmp_path):
    for run_dir, starts in ((tmp_path / "once", (4,)), (tmp_path / "twice", (2, 4))):
        for steps in starts:
            code, _, err = call(mixture, *MIXTURE, "--run-dir", run_dir, "--steps", steps)
            assert code == 0, err
    assert digest(tmp_path / "once") == digest(tmp_path / "twice")


@pytest.mark.parametrize(
    "covariance",
    [
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in ("full", "tied", "diagonal", "spherical", "ppca")
    ],
)
def test_mixtures_of_odd_colour_images_of_every_kind(call, tmp_path, covariance):
    factors = ("--num-factors", 2) if covariance == "ppca" else ()
    line = ("--covariance", covariance, "--num-components", 3, "--steps", 3, "--steps-per-call", 3)
    data = images(tmp_path / "x")
    code, out, err = call(
        mixture, "--dataset", data, "--run-dir", tmp_path / "run", *line, *factors
    )
    assert code == 0, err
    assert "nan" not in out


@pytest.mark.slow
def test_vectors_and_batches(call, tmp_path):
    line = ("--dataset", "moons", "--covariance", "full", "--num-components", 5, "--steps", 4)
    batches = ("--batch-size", 496, "--steps-per-call", 2)
    code, out, err = call(mixture, *line, *batches, "--run-dir", tmp_path / "run")
    assert code == 0, err
    assert "stepwise on batches of 496" in out and "log_likelihood_bits_per_dim" in out
    code, out, err = call(gaussian, "--dataset", "moons", "--run-dir", tmp_path / "gaussian")
    assert code == 0 and "log_likelihood" in out, err


def test_descriptions_say_what_was_chosen_for_the_data():
    moons = DataInfo.of(load("moons"))
    settings = MIXTURE_EXPERIMENT.defaults()
    assert "covariances of 1 factors" in MIXTURE_EXPERIMENT.build(settings, moons, None).description
    settings = GAUSSIAN_EXPERIMENT.defaults()
    few = dataclasses.replace(DataInfo.of(load("digits")), num_train=64)
    hint = "which 64 examples of 64 numbers do not determine; --shrinkage ledoit_wolf"
    for info, is_hinted in ((few, True), (dataclasses.replace(few, num_train=65), False)):
        assert (hint in GAUSSIAN_EXPERIMENT.build(settings, info, None).description) == is_hinted


@pytest.mark.parametrize(
    ("program", "flags", "message"),
    [
        (gaussian, ("--steps", 2), "steps: 2, expected 1, since the fit has a closed form"),
        (
            gaussian,
            ("--num-factors", 3),
            "expected None (the default), since it has an effect only",
        ),
        (
            gaussian,
            ("--covariance", "ppca", "--num-factors", 64),
            "num_factors: 64, expected 1 to 63 (1400 examples of 64 numbers)",
        ),
        (mixture, ("--num-components", 1401), "num_components: 1401, expected 1 to 1400"),
        (mixture, ("--num-factors", 64), "num_factors: 64, expected 1 to 63 for 64 numbers"),
        (mixture, ("--covariance", "full", "--num-factors", 3), "num_factors: 3, expected None"),
        (
            mixture,
            ("--forgetting", 0.7),
            "forgetting: 0.7, expected 0.6 (the default), since every",
        ),
        (mixture, ("--min-variance", 0), "min_variance: 0.0, expected a finite number above 0"),
        (mixture, ("--learning-rate", 0.1), "Unrecognized options: --learning-rate"),
    ],
)
def test_what_cannot_be_leaves_no_trace(call, tmp_path, program, flags, message):
    run_dir = tmp_path / "run"
    code, out, err = call(program, "--run-dir", run_dir, *flags)
    assert code == 2 and not run_dir.exists()
    assert message in " ".join((out + err).replace("│", " ").split())


def test_a_mixture_of_codes_finds_its_clusters(tmp_path, capsys):
    def fit_mixture(codes, num):
        latent_mixtures.fit(tmp_path, codes, num)
        return latent_mixtures.load(tmp_path)

    rng = np.random.default_rng(0)
    centres = np.array([[-4.0, 0.0], [3.0, 1.0]])
    codes = np.concatenate([rng.normal(c, 0.5, (300, 2)) for c in centres]).astype(np.float32)
    fitted = fit_mixture(codes, 2)
    order = np.argsort(fitted.mean[:, 0])
    np.testing.assert_allclose(np.asarray(fitted.mean)[order], centres, atol=0.15)
    np.testing.assert_allclose(np.exp(fitted.log_var), 0.25, rtol=0.2)
    # A latent that never moves keeps a finite density.
    constant = np.column_stack([codes[:50, 0], np.full(50, 7.0)]).astype(np.float32)
    assert np.all(np.isfinite(fit_mixture(constant, 1).log_prob(constant)))
    assert capsys.readouterr().out == ""
    assert np.all(np.isfinite(fit_mixture(constant[:1], 20).log_prob(constant[:1])))
    assert capsys.readouterr().out == "mixture_components: 1, as many as there are codes\n"
