"""The command lines from end to end: what a run leaves, what is made of it, and how bad settings are refused."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from experiments import evaluate, sample
from experiments.vae import __main__ as vae

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--steps", "20", "--steps-per-call", "10", "--batch-size", "16", "--hidden-sizes", "8"),
    *("--latent-dim", "3", "--autoencoder-steps", "10", "--importance-samples", "4"),
    *("--mixture-components", "2"),
]


@pytest.fixture
def train(call, tmp_path):
    """Trains a small run in this process, checks that it is complete, and returns its directory."""

    def run(*args: object) -> Path:
        run_dir = tmp_path / "run"
        code, _, errors = call(vae, "--run-dir", run_dir, *SMALL, *args)
        assert code == 0, errors
        check_files(run_dir)
        return run_dir

    return run


def check_files(run_dir: Path) -> None:
    config = json.loads((run_dir / "config.json").read_text())
    assert config["experiment"] == "vae"
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 20]
    assert re.fullmatch("[0-9a-f]{64}", rows[-1]["params_sha256"])
    assert list(run_dir.glob("events.*"))
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["20"]
    pictures = sorted(path.name for path in (run_dir / "samples").glob("*.png"))
    assert {"samples_of_prior.png", "reconstructions.png", "latents.png"} <= set(pictures)
    for name in pictures:
        with PIL.Image.open(run_dir / "samples" / name) as picture:
            assert picture.getextrema() != ((0, 0),) * 3, name
    page = (run_dir / "report.html").read_text()
    assert page.count("<img") >= len(pictures)
    assert rows[-1]["params_sha256"] in page
    evaluation = json.loads((run_dir / "evaluation.json").read_text())
    assert evaluation["step"] == 20
    assert all(np.isfinite(value["mean"]) for value in evaluation["metrics"].values())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shell) -> Path:
    """A run made by the command line."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    done = shell("vae", "--run-dir", run_dir, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "test examples of digits" in done.stdout
    return run_dir


def test_ctrl_c_after_training_exits_with_one_line(call, tmp_path, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(vae.training, "measure", interrupt)
    code, _, errors = call(vae, "--run-dir", tmp_path / "run", *SMALL)
    assert code == 130
    assert errors.strip().endswith("interrupted; the same line goes on from the last checkpoint")
    monkeypatch.undo()
    assert not (tmp_path / "run/evaluation.json").exists()


def test_run_is_complete(finished):
    check_files(finished)


def test_sample_needs_the_run_directory_alone(finished, call, tmp_path):
    sheets = []
    for seed in (0, 0, 1):
        out = tmp_path / "sheet.png"
        code, printed, errors = call(sample, finished, "--num", 5, "--out", out, "--seed", seed)
        assert code == 0, errors
        assert f"wrote 5 samples of step 20 to {out}" in printed
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_evaluate_repeats_the_numbers_of_training(finished, call):
    before = json.loads((finished / "evaluation.json").read_text())
    (finished / "evaluation.json").unlink()
    code, _, errors = call(evaluate, finished)
    assert code == 0, errors
    after = json.loads((finished / "evaluation.json").read_text())
    assert after.keys() == before.keys()
    # The training was on one device, this is on eight: blocks of other sizes round otherwise.
    for name, value in before["metrics"].items():
        np.testing.assert_allclose(after["metrics"][name]["mean"], value["mean"], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["sample", "evaluate"])
def test_other_programs_in_processes_of_their_own(finished, tmp_path, module, shell):
    out = ["--out", tmp_path / "sheet.png"] if module == "sample" else []
    done = shell(module, finished, *out)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("objective", ["importance_weighted", "autoencoder", "denoising", "sparse"])
def test_objectives(train, call, objective, tmp_path):
    run_dir = train(
        *("--objective", objective, "--num-samples", 2, "--dropout-rate", 0.1),
        *("--autoencoder-steps", 0),
    )
    code, _, errors = call(sample, run_dir, "--num", 3, "--out", tmp_path / "sheet.png")
    assert code == 0, errors


def test_convolutional_vamp_prior_with_warm_up(train):
    train(
        *("--model", "conv", "--channels", 4, 8, "--num-pseudo-inputs", 5, "--warm-up-steps", 10),
        *("--autoencoder-steps", 0, "--ema-decay", 0),
    )


def test_folder_of_rgb_images_without_labels(train, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (9, 16, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number:02}.png")
    run_dir = train(
        *("--dataset", f"folder:{folder}", "--free-bits", 0.1, "--beta", 0.5),
        *("--autoencoder-steps", 0),
        *("--likelihood", "gaussian_learned_variance"),
    )
    data = json.loads((run_dir / "config.json").read_text())["data"]
    assert data == {"shape": [9, 16, 3], "levels": 256, "class_names": None}


BAD_SETTINGS = {
    "unknown data set": (["--dataset", "no_such_set"], "no_such_set"),
    "unknown flag": (["--no-such-flag", "1"], "no-such-flag"),
    "wrong type": (["--steps", "many"], "many"),
    "unknown choice": (["--objective", "gan"], "gan"),
    "missing folder": (["--dataset", "folder:/no/such/place"], "/no/such/place"),
    "bernoulli on grey values": (["--likelihood", "bernoulli"], "2 levels"),
    "ragged batch": (["--batch-size", "12"], "batch_size: 12 does not divide by the 8 devices"),
    "batch above data set": (["--batch-size", "4000"], "batch_size: 4000, but there are only 1400"),
    "vectors": (["--dataset", "ring"], "ring has examples of shape (2,)"),
    "no steps": (["--steps", "0"], "steps: 0, expected at least 1"),
    "steps per call": (["--steps-per-call", "0"], "steps_per_call: 0, expected at least 1"),
    "checkpoints": (["--checkpoint-every", "-1"], "checkpoint_every: -1, expected at least 1"),
    "learning rate": (["--learning-rate", "-0.1"], "learning_rate: -0.1, expected"),
    "no learning rate": (["--learning-rate", "nan"], "learning_rate: nan, expected"),
    "seed": (["--seed", "-1"], "seed: -1, expected"),
    "ema": (["--ema-decay", "1.5"], "ema_decay: 1.5, expected in [0, 1)"),
    "dropout": (["--dropout-rate", "1"], "dropout_rate: 1.0, expected in [0, 1)"),
    "masking": (["--masking-probability", "1"], "masking_probability: 1.0, expected in [0, 1)"),
    "latents": (["--latent-dim", "0"], "latent_dim: 0, expected at least 1"),
    "hidden sizes": (["--hidden-sizes", "8", "0"], "hidden_sizes: (8, 0), expected"),
    "channels": (["--channels", "-4"], "channels: (-4,), expected"),
    "draws": (["--num-samples", "0"], "num_samples: 0, expected at least 1"),
    "pseudo-inputs": (["--num-pseudo-inputs", "-1"], "num_pseudo_inputs: -1, expected at least 0"),
    "beta": (["--beta", "-1"], "beta: -1.0, expected"),
    "free bits": (["--free-bits", "-1"], "free_bits: -1.0, expected"),
    "free bits without closed form": (
        ["--free-bits", "1", "--num-pseudo-inputs", "5"],
        "free_bits: 1.0, expected",
    ),
    "mixture": (["--mixture-components", "0"], "mixture_components: 0, expected at least 1"),
    "size of digits": (["--image-size", "9", "9"], "image_size cannot be set for digits"),
    "levels": (["--dataset", "folder:.", "--levels", "1"], "levels must be between 2 and 256"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_leave_no_trace(call, tmp_path, case):
    args, message = BAD_SETTINGS[case]
    run_dir = tmp_path / "run"
    code, printed, errors = call(vae, "--run-dir", run_dir, *args)
    assert code == 2
    # The message may stand in a box and be folded there.
    words = re.sub(r"[\s│]+", " ", printed + errors)
    assert message in words
    assert "Traceback" not in words
    assert not run_dir.exists()


def test_empty_folder(call, tmp_path):
    (tmp_path / "images").mkdir()
    code, printed, errors = call(
        vae, "--run-dir", tmp_path / "run", "--dataset", f"folder:{tmp_path}/images"
    )
    assert (code, printed) == (2, "")
    assert errors.startswith("error: ")
    assert str(tmp_path / "images") in errors
    assert not (tmp_path / "run").exists()


def test_bad_setting_in_a_process_of_its_own(tmp_path, shell):
    done = shell("vae", "--run-dir", tmp_path / "run", "--batch-size", 12, devices=8)
    assert done.returncode == 2
    assert done.stderr == (
        "error: batch_size: 12 does not divide by the 8 devices; choose a multiple of 8\n"
    )
    assert not (tmp_path / "run").exists()


def test_run_with_other_settings_is_named(finished, call):
    before = (finished / "config.json").read_text()
    code, _, errors = call(vae, "--run-dir", finished, *SMALL, "--latent-dim", 5, "--seed", 3)
    assert code == 2
    assert "settings.latent_dim: 3 there, 5 now" in errors
    assert "settings.training.seed: 0 there, 3 now" in errors
    assert (finished / "config.json").read_text() == before


def test_run_in_use_is_refused(finished, call):
    holder = "with open(sys.argv[1], 'r+') as f: fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, sys\n{holder}", str(finished / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        process.stdout.readline()
        code, _, errors = call(vae, "--run-dir", finished, *SMALL)
    finally:
        process.communicate("\n", timeout=60)
    assert code == 2
    assert f"the run directory {finished} is in use" in errors


def test_directory_of_something_else_is_left_alone(call, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    code, _, errors = call(vae, "--run-dir", tmp_path, *SMALL)
    assert code == 2
    assert "thesis.tex" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("module", [sample, evaluate])
def test_what_is_no_run_is_refused(call, tmp_path, module):
    code, printed, errors = call(module, tmp_path / "none")
    assert (code, printed) == (2, "")
    assert errors == f"error: there is no run directory {tmp_path / 'none'}\n"
    code, printed, errors = call(module, tmp_path)
    assert (code, printed) == (2, "")
    assert errors == f"error: {tmp_path} is not a run directory: it has no config.json\n"


def test_sample_refuses_bad_settings(finished, call, tmp_path):
    (tmp_path / "file").touch()
    for args, message in (
        (["--num", 0], "num: 0, expected at least 1"),
        (["--label", 1], "label: this model is not conditional"),
        (["--out", tmp_path / "file/sheet.png"], str(tmp_path / "file")),
    ):
        code, _, errors = call(sample, finished, *args)
        assert code == 2
        assert errors.startswith("error: ")
        assert message in errors


def test_run_without_a_checkpoint(finished, call, tmp_path):
    (tmp_path / "config.json").write_text((finished / "config.json").read_text())
    code, _, errors = call(sample, tmp_path)
    assert code == 2
    assert f"{tmp_path} has no checkpoint yet" in errors


def test_help_lists_every_setting(call):
    code, printed, _ = call(vae, "--help")
    assert code == 0

    def flags(settings_class):
        for field in dataclasses.fields(settings_class):
            if field.default is dataclasses.MISSING:
                yield from flags(field.default_factory)
            else:
                yield "--" + field.name.replace("_", "-"), field.default

    for flag, default in flags(vae.Settings):
        if isinstance(default, bool):
            assert flag in printed
            continue
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        start = re.search(rf"{flag} (?=\S)", printed)
        assert start, flag
        words = re.sub(r"[\s│]+", " ", printed[start.start() : start.start() + 900])
        assert f"(default: {shown})" in words, flag
