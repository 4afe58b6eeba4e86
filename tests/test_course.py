"""The course of a run from the command line to the report, for families, images, vectors and a method of one's own."""

import importlib
import json
import pathlib
import re
import sys

import numpy as np
import PIL.Image
import pytest
from test_readme import block_with

from experiments import evaluate, families, sample
from experiments.gan import __main__ as gan
from experiments.vae import __main__ as vae

TINY = ("--steps", 4, "--steps-per-call", 2, "--checkpoint-every", 2, "--draw-every", 2)
SMALL_VAE = (
    *(*TINY, "--batch-size", 16, "--hidden-sizes", 8, "--latent-dim", 3, "--dropout-rate", 0.1),
    *("--autoencoder-steps", 2, "--importance-samples", 4, "--mixture-components", 2),
)
SMALL_GAN = (*TINY, "--batch-size", 16, "--width", 4, "--latent-dim", 5)
SMALL_MLP_GAN = (
    *(*TINY, "--batch-size", 16, "--latent-dim", 5, "--hidden-sizes", 8),
    *("--generator", "mlp", "--critic", "mlp"),
)
# Fast enough for frames of the film to differ.
FAST = ("--ema-decay", 0, "--learning-rate", 0.05)

COMMON = {"samples", "nearest_training_images"}
OF_A_LIKELIHOOD = {"likelihoods"}
OF_A_VAE = {
    "arithmetic",
    "interpolations",
    "latent_health",
    "latents",
    "manifold_of_the_two_most_used_latents",
    "rate_distortion",
    "reconstructions",
    "means_of_mixture_samples",
    "traversals",
}
OF_A_GAN = {"critic_accuracy", "gradient_norms", "interpolations", "logits", "losses", "truncation"}


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


def colours(path: pathlib.Path) -> int:
    """Number of different colours of a picture: one that is blank has 1."""
    with PIL.Image.open(path) as picture:
        return len(picture.convert("RGB").getcolors(2**24) or ())


def check_run(run: pathlib.Path, family: str, pictures: set[str]) -> list[dict]:
    """What every run leaves; returns the rows of its metrics."""
    assert read(run / "config.json")["experiment"] == family
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 4]
    assert re.fullmatch("[0-9a-f]{64}", rows[-1]["params_sha256"])
    assert list(run.glob("events.*"))
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"2", "4"}
    assert read(run / "timing.json")["seconds"] > 0
    found = {path.stem: path for path in (run / "samples").glob("*.png")}
    assert set(found) == pictures
    for name, path in found.items():
        assert colours(path) > 1, name
    frames = sorted((run / "film").iterdir())
    assert [frame.name for frame in frames] == ["000000002.png", "000000004.png"]
    with PIL.Image.open(run / "samples/film.gif") as film:
        assert film.n_frames == 2
    evaluation, samples = read(run / "evaluation.json"), read(run / "sample_metrics.json")
    assert evaluation["step"] == samples["step"] == 4
    assert all(np.isfinite(value["mean"]) for value in evaluation["metrics"].values())
    assert set(samples["metrics"]) == {"samples", "train examples"}
    page = (run / "report.html").read_text()
    assert page.count("<img") >= len(pictures) + 1
    assert rows[-1]["params_sha256"] in page
    return rows


@pytest.fixture(scope="module")
def digits_vae(tmp_path_factory, shell) -> pathlib.Path:
    """A VAE of the digits, trained by a process of its own on one device."""
    run = tmp_path_factory.mktemp("vae") / "run"
    done = shell("vae", "--run-dir", run, *SMALL_VAE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "digits: 1,400 train and 397 test images 8x8x1, 17 levels, 10 classes" in done.stdout
    assert "397 test examples of digits" in done.stdout
    return run


def test_a_vae_of_the_digits(digits_vae):
    check_run(digits_vae, "vae", COMMON | OF_A_LIKELIHOOD | OF_A_VAE)
    measured = read(digits_vae / "sample_metrics.json")
    assert measured["num"] == 397
    assert re.match(r"classifier of test accuracy 0\.\d+", measured["features"])
    # Four steps teach nothing: the samples are further from the data than the data.
    for name in ("Frechet distance of features", "sliced Wasserstein distance of pixels"):
        assert measured["metrics"]["samples"][name] > measured["metrics"]["train examples"][name]


def test_evaluate_repeats_the_numbers_of_training(digits_vae, call):
    files = ("evaluation.json", "sample_metrics.json")
    before = [read(digits_vae / name) for name in files]
    for name in files:
        (digits_vae / name).unlink()
    (digits_vae / "report.html").unlink()
    code, _, errors = call(evaluate, digits_vae)
    assert code == 0, errors
    line = f"python -m experiments.vae --run-dir {digits_vae} --steps 4"
    assert line in (digits_vae / "report.html").read_text()
    after = [read(digits_vae / name) for name in files]
    # The training was on one device, this is on eight: blocks of other sizes round otherwise.
    for name, value in before[0]["metrics"].items():
        np.testing.assert_allclose(after[0]["metrics"][name]["mean"], value["mean"], rtol=1e-5)
    for name, value in before[1]["metrics"]["samples"].items():
        found = after[1]["metrics"]["samples"][name]
        np.testing.assert_allclose(found, value, rtol=0.02, atol=0.02)


def test_samples_follow_the_settings_of_the_family(digits_vae, call, tmp_path):
    sheets = []
    for options in ((), (), ("--seed", 1), ("--temperature", 0.1), ("--latents", "mixture")):
        out = tmp_path / "sheet.png"
        code, printed, errors = call(sample, digits_vae, "--num", 5, "--out", out, *options)
        assert code == 0, errors
        assert f"wrote 5 samples of step 4 to {out}" in printed
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1] and len(set(sheets)) == 4
    code, printed, _ = call(sample, digits_vae, "--help")
    assert code == 0 and "--temperature" in printed and "--truncation" not in printed


def test_a_gan_with_labels(call, tmp_path):
    run = tmp_path / "run"
    code, output, errors = call(gan, "--run-dir", run, *SMALL_GAN, "--conditional", *FAST)
    assert code == 0, errors
    assert "nonsaturating loss, penalty r1 of weight 0.3" in output
    rows = check_run(run, "gan", COMMON | OF_A_GAN)
    assert {"critic_loss", "generator_loss", "critic_accuracy"} <= set(rows[0])

    out = tmp_path / "all.npz"
    code, _, errors = call(sample, run, "--num", 13, "--out", out)
    assert code == 0, errors
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["label"], np.arange(13) % 10)
        every = arrays["x"]
    assert every.shape == (13, 8, 8, 1) and len(np.unique(every)) > 2
    for label, message in ((99, "label: 99, expected 0 to 9"), (-1, "label: -1, expected 0 to 9")):
        code, _, errors = call(sample, run, "--label", label)
        assert (code, errors) == (2, f"error: {message}\n")
    code, _, errors = call(sample, run, "--num", 2, "--label", 3, "--truncation", 0.5, "--out", out)
    assert code == 0, errors
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["label"], [3, 3])


@pytest.mark.slow
def test_vectors_are_drawn_as_points(call, tmp_path):
    run = tmp_path / "run"
    options = (*SMALL_MLP_GAN, "--dataset", "moons")
    code, output, errors = call(gan, "--run-dir", run, *options, *FAST)
    assert code == 0, errors
    assert "moons: 50,000 train and 10,000 test vectors of 2 values" in output
    curves = {"critic_accuracy", "gradient_norms", "logits", "losses"}
    check_run(run, "gan", {"samples"} | curves)
    assert read(run / "sample_metrics.json")["num"] == 2000
    out = tmp_path / "x.npz"
    assert call(sample, run, "--num", 3, "--out", out)[0] == 0
    with np.load(out) as arrays:
        assert arrays["x"].shape == (3, 2) and arrays["x"].dtype == np.float32


def test_a_folder_of_colour_images_without_labels(call, tmp_path):
    folder = tmp_path / "images [x]"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (9, 16, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number:02}.png")
    run = tmp_path / "run"
    options = ("--dataset", f"folder:{folder}/", "--likelihood", "gaussian_learned_variance")
    code, output, errors = call(vae, "--run-dir", run, *SMALL_VAE, *options)
    assert code == 0, errors
    assert f"folder:{folder}: " in output.replace("\n", "")
    check_run(run, "vae", (COMMON | OF_A_LIKELIHOOD | OF_A_VAE) - {"arithmetic"})
    config = read(run / "config.json")
    assert config["settings"]["data"]["dataset"] == f"folder:{folder}"
    assert config["data"]["shape"] == [9, 16, 3]
    assert read(run / "sample_metrics.json")["features"].startswith("untrained")

    moved = tmp_path / "moved"
    folder.rename(moved)
    code, _, errors = call(evaluate, run, "--dataset", f"folder:{moved}")
    assert code == 0, errors
    PIL.Image.fromarray(pixels).save(moved / "new.png")
    code, _, errors = call(evaluate, run, "--dataset", f"folder:{moved}")
    assert code == 2
    assert "expected the data that the run was trained on" in errors and "digest: " in errors
    code, _, errors = call(evaluate, run, "--dataset", "digits")
    assert code == 2 and "shape: (9, 16, 3) then, (8, 8, 1) now" in errors, errors
    code, _, errors = call(
        vae, "--run-dir", run, *SMALL_VAE, *options, "--dataset", f"folder:{moved}"
    )
    assert code == 2 and "data.digest: " in errors and " there, " in errors


def test_a_family_of_ones_own(call, tmp_path, monkeypatch):
    """The folder that the README shows: at most 60 lines."""
    blocks = [block_with("EXPERIMENT = Experiment("), block_with("main(EXPERIMENT, __doc__)")]
    assert sum(len(block.splitlines()) for block in blocks) <= 60
    package = tmp_path / "code" / "pixelwise"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(blocks[0])
    monkeypatch.syspath_prepend(tmp_path / "code")
    pixelwise = importlib.import_module("pixelwise")
    monkeypatch.setitem(families.FAMILIES, "pixelwise", pixelwise.EXPERIMENT)

    run = tmp_path / "run"
    code, _, errors = call(pixelwise, "--run-dir", run, *TINY, *FAST, "--batch-size", 16)
    assert code == 0, errors
    check_run(run, "pixelwise", COMMON | OF_A_LIKELIHOOD)
    out = tmp_path / "x.png"
    assert call(sample, run, "--num", 3, "--out", out)[0] == 0
    assert colours(out) > 1
    sys.modules.pop("pixelwise")


def test_what_is_not_finished_says_so(call, tmp_path):
    run, points = tmp_path / "run", ("--dataset", "moons")
    assert call(gan, "--run-dir", run, *SMALL_MLP_GAN, *points)[0] == 0
    config = read(run / "config.json")
    config["settings"]["plan"]["steps"] = 9
    (run / "config.json").write_text(json.dumps(config))
    code, printed, _ = call(sample, run, "--num", 2, "--out", tmp_path / "x.npz")
    assert code == 0 and f"{run} is not finished: step 4 of 9" in printed.replace("\n", " ")
