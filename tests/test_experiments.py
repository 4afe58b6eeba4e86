"""The command lines: how bad settings are refused, what an interruption leaves, and processes of their own."""

import dataclasses
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from test_course import SMALL_GAN, SMALL_VAE

from experiments import course, evaluate, sample
from experiments.command_line import peek
from experiments.flow_2d import __main__ as flow_2d
from experiments.gan import __main__ as gan
from experiments.noisy_classifier import __main__ as noisy_classifier
from experiments.vae import __main__ as vae
from jaxgen.data import ArraySplit, Dataset

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shell) -> Path:
    """A run made by a process of its own."""
    run = tmp_path_factory.mktemp("finished") / "run"
    done = shell("vae", "--run-dir", run, *SMALL_VAE)
    assert done.returncode == 0, done.stderr
    return run


def test_ctrl_c_after_training_exits_with_one_line(call, tmp_path, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "complete", interrupt)
    monkeypatch.setattr(course, "train", lambda *_: None)
    code, _, errors = call(vae, "--run-dir", tmp_path / "run", *SMALL_VAE)
    assert code == 130
    assert errors.strip().endswith("interrupted; the same line goes on")


BAD_SETTINGS = {
    "unknown data set": (["--dataset", "no_such_set"], "no_such_set"),
    "unknown flag": (["--no-such-flag", "1"], "no-such-flag"),
    "wrong type": (["--steps", "many"], "many"),
    "unknown choice": (["--objective", "gan"], "gan"),
    "missing folder": (["--dataset", "folder:/no/such/place"], "/no/such/place"),
    "bernoulli on grey values": (
        ["--likelihood", "bernoulli"],
        "levels: 17, expected 2 for a Bernoulli",
    ),
    "ragged batch": (
        ["--batch-size", "12"],
        "batch_size: 12, expected a multiple of the 8 devices",
    ),
    "batch above data set": (
        ["--batch-size", "4000"],
        "batch_size: 4000, expected at most 1400 (1400 training examples, 8 devices)",
    ),
    "vectors": (["--dataset", "ring"], "dataset: vectors of shape (2,), expected images"),
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
    "hidden sizes": (["--hidden-sizes", "8", "0"], "hidden_sizes: (8, 0), expected at least 1"),
    "channels": (["--channels", "-4"], "channels: (-4,), expected"),
    "draws": (["--num-samples", "0"], "num_samples: 0, expected at least 1"),
    "pseudo-inputs": (
        ["--prior", "vamp", "--num-pseudo-inputs", "0"],
        "num_pseudo_inputs: 0, expected at least 1",
    ),
    "beta": (["--beta", "-1"], "beta: -1.0, expected"),
    "free bits": (["--free-bits", "-1"], "free_bits: -1.0, expected"),
    "free bits without closed form": (
        ["--free-bits", "1", "--prior", "vamp"],
        "free_bits: 1.0, expected",
    ),
    "falling rate": (
        ["--learning-rate-schedule", "cosine", "--steps", "9", "--warm-up-steps", "9"],
        "warm_up_steps: 9, expected fewer than the 9 steps",
    ),
    "decay": (["--weight-decay", "0.1"], "weight_decay: 0.1, expected 0.0 (the default)"),
    "clipping": (["--clip-norm", "-1"], "clip_norm: -1.0, expected at least 0"),
    "frames": (["--draw-every", "0"], "draw_every: 0, expected at least 1"),
    "beta of an autoencoder": (
        ["--objective", "sparse", "--beta", "2"],
        "beta: 2.0, expected 1.0 (the default), since it has an effect only with objective elbo",
    ),
    "widths of a convolutional model": (
        ["--model", "conv", "--hidden-sizes", "8"],
        "hidden_sizes: (8,), expected (400,) (the default)",
    ),
    "flow as an autoencoder's prior": (
        ["--objective", "denoising", "--prior", "flow"],
        "since it has an effect only with objective elbo/importance_weighted",
    ),
    "enormous images": (
        ["--dataset", "folder:.", "--image-size", "50000", "50000"],
        "image_size: (50000, 50000), expected a height and a width, at least 1 and of at most",
    ),
    "no path": (["--dataset", "folder:"], "folder:"),
    "path alone": (["--dataset", "/etc"], "did you mean folder:/etc"),
    "mixture": (["--mixture-components", "0"], "mixture_components: 0, expected at least 1"),
    "size of digits": (["--image-size", "9", "9"], "expected none for digits"),
    "levels": (["--dataset", "folder:.", "--levels", "1"], "levels: 1, expected 2 to 256"),
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


def test_a_gan_refuses_what_does_not_fit(call, tmp_path):
    for options, message in (
        (
            ("--dataset", "ring"),
            "generator, critic: dcgan, dcgan, expected mlp, mlp for vectors of shape (2,)",
        ),
        (
            ("--dataset", "ring", "--generator", "mlp"),
            "generator, critic: mlp, dcgan, expected mlp, mlp for vectors",
        ),
        (("--num-critic-steps", 100), "batch_size: 64, expected at most 8 (1400 training examples"),
    ):
        code, _, errors = call(gan, "--run-dir", tmp_path / "run", *options)
        assert code == 2 and message in errors, errors
        assert not (tmp_path / "run").exists()


def test_labels_are_asked_of_data_that_have_them(call, tmp_path):
    for number in range(20):
        PIL.Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    options = ("--dataset", f"folder:{tmp_path}", "--conditional", "--run-dir", tmp_path / "run")
    code, _, errors = call(gan, *options, *SMALL_GAN)
    assert code == 2
    assert f"conditional: folder:{tmp_path} has no labels, expected a class for each" in errors


def test_unlabelled_train_examples_are_refused_by_a_conditional_model():
    label = np.array([0, 1, -1, 1, -1, 0], np.int32)
    split = ArraySplit({"x": np.zeros((6, 2, 2, 1), np.uint8), "label": label})
    known = ArraySplit({**split.arrays, "label": np.abs(label)})
    course.check_labels(Dataset("x", (2, 2, 1), 2, ("a", "b"), train=known, test=split))
    with pytest.raises(ValueError, match="conditional: 2 of 6 train examples of x have no label"):
        course.check_labels(Dataset("x", (2, 2, 1), 2, ("a", "b"), train=split, test=known))


@pytest.mark.slow
def test_two_images_are_enough_for_a_report(tmp_path, shell):
    """One to train, one to test: what cannot be measured is said before, and the rest is made."""
    for number in range(2):
        pixels = np.full((5, 7, 3), 100 * number, np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    options = ("--dataset", f"folder:{tmp_path}", "--run-dir", tmp_path / "run")
    done = shell("vae", *SMALL_VAE, *options, "--batch-size", 1)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    before, _, after = done.stdout.partition("step 4/4")
    assert "left out: " in before and "report: " in after
    assert "posterior collapse" not in done.stdout
    assert (tmp_path / "run/samples/samples.png").is_file()


def test_bad_setting_in_a_process_of_its_own(tmp_path, shell):
    done = shell("vae", "--run-dir", tmp_path / "run", "--batch-size", 12, devices=8)
    assert done.returncode == 2
    assert done.stderr.startswith("error: batch_size: 12, expected a multiple of the 8 devices")
    assert not (tmp_path / "run").exists()


def test_hosts_without_a_cluster_are_told_what_to_give(tmp_path, shell):
    done = shell("vae", "--run-dir", tmp_path / "run", "--distributed")
    assert done.returncode == 2
    assert "--coordinator HOST:PORT --num-processes N --process-id I" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_run_with_other_settings_is_named(finished, call):
    before = (finished / "config.json").read_text()
    other = ("--latent-dim", 5, "--seed", 3, "--temperature", 0.5, "--draw-every", 3)
    code, _, errors = call(vae, "--run-dir", finished, *SMALL_VAE, *other)
    assert code == 2
    assert "settings.model.latent_dim: 3 there, 5 now" in errors
    assert "settings.training.seed: 0 there, 3 now" in errors
    assert "temperature" not in errors and "draw_every" not in errors
    assert (finished / "config.json").read_text() == before


def test_a_run_of_another_family_is_named_as_such(finished, call):
    for module, args in ((gan, ("--run-dir", finished)), (flow_2d, ("--run-dir", finished))):
        code, _, errors = call(module, *args)
        family = module.__name__.split(".")[1]
        assert code == 2
        assert errors == (
            f"error: {finished} is a run of vae, expected one of {family}; "
            "choose another directory: --run-dir NEW\n"
        )
    code, _, errors = call(noisy_classifier, finished)
    assert code == 2
    assert errors == f"error: run: {finished}, expected a diffusion run, and not one of vae\n"


def test_the_steps_of_a_falling_rate_are_part_of_a_run(call, tmp_path, monkeypatch):
    monkeypatch.setattr(course, "complete", lambda *_: None)
    monkeypatch.setattr(course, "train", lambda *_: None)
    monkeypatch.setattr("experiments.report.write_report", lambda *_, **__: "none")
    line = ("--run-dir", tmp_path / "run", *SMALL_VAE, "--learning-rate-schedule", "linear")
    assert call(vae, *line)[0] == 0
    code, _, errors = call(vae, *line, "--steps", 9)
    assert code == 2 and "settings.plan.steps: 4 there, 9 now" in errors


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
        code, _, errors = call(vae, "--run-dir", finished, *SMALL_VAE)
    finally:
        process.communicate("\n", timeout=60)
    assert code == 2
    assert f"the run directory {finished} is in use" in errors


def test_directory_of_something_else_is_left_alone(call, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    code, _, errors = call(vae, "--run-dir", tmp_path, *SMALL_VAE)
    assert code == 2
    assert "thesis.tex" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_home_in_a_run_directory_is_expanded(call, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").mkdir()
    (tmp_path / "r/thesis.tex").touch()
    code, _, errors = call(vae, "--run-dir", "~/r", *SMALL_VAE)
    assert code == 2
    assert f"{tmp_path}/r is not empty" in errors
    assert not (tmp_path / "~").exists()


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
        (["--label", 1], "label: 1, expected none, since this model is not conditional"),
        (["--out", tmp_path / "file/sheet.png"], str(tmp_path / "file")),
        (["--out", tmp_path / "sheet.tiff"], "expected FILE.png, FILE.npz or FOLDER/"),
        (["--temperature", 0], "temperature: 0.0, expected a finite number above 0"),
    ):
        code, printed, errors = call(sample, finished, *args)
        assert code == 2
        assert message in re.sub(r"[\s│]+", " ", printed + errors)


def test_numbers_of_a_run_that_cannot_be_written_are_shown(finished, call, monkeypatch):
    def refuse(path: Path, content: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("experiments.measurement.write_atomically", refuse)
    code, printed, errors = call(evaluate, finished)
    assert code == 1
    assert "elbo" in printed
    assert errors == f"error: [Errno 13] Permission denied: '{finished}/evaluation.json'\n"


def test_run_without_a_checkpoint(finished, call, tmp_path):
    (tmp_path / "config.json").write_text((finished / "config.json").read_text())
    code, _, errors = call(sample, tmp_path)
    assert code == 2
    assert f"{tmp_path} has no checkpoint yet" in errors


@pytest.mark.parametrize("module", [vae, gan])
def test_help_lists_every_setting(call, module):
    code, printed, _ = call(module, "--help")
    assert code == 0

    def flags(settings):
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            if dataclasses.is_dataclass(value):
                yield from flags(value)
            else:
                yield "--" + field.name.replace("_", "-"), value

    for flag, default in flags(module.EXPERIMENT.defaults()):
        if isinstance(default, bool):
            assert flag in printed
            continue
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        start = re.search(rf"{flag} (?=\S)", printed)
        assert start, flag
        words = re.sub(r"[\s│]+", " ", printed[start.start() : start.start() + 900])
        assert f"(default: {shown})" in words, flag


def test_a_closed_output_is_no_error():
    """As in ``--help | head``, and where a reader ends while a run goes on."""
    line = f"{sys.executable} -m experiments.vae --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env={**os.environ}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path):
    """By the command line alone, as on two hosts without a cluster."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    line = [sys.executable, "-m", "experiments.vae", "--run-dir", str(tmp_path / "run")]
    joint = ["--distributed", "--coordinator", address, "--num-processes", "2"]
    environ = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "NPROC": "32"}
    processes = [
        subprocess.Popen(
            [*line, *map(str, SMALL_VAE), *joint, "--process-id", str(number)],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "397 test examples of digits" in outputs[0] and "report: " in outputs[0]
    assert "397 test examples" not in outputs[1]
    assert (tmp_path / "run/report.html").is_file()


def test_one_setting_can_be_read_before_the_others(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--target", "grid", "--other", "1"])
    assert peek("target") == "grid"
    monkeypatch.setattr(sys, "argv", ["x", "--other", "1"])
    assert peek("target") is None
