"""A diffusion run from the command line: what it prints, writes and draws, and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, sample
from experiments.diffusion import EXPERIMENT, __main__
from experiments.diffusion.build import build
from experiments.diffusion.settings import Evaluation, Sampling, Settings
from experiments.noisy_classifier import __main__ as classifier
from experiments.settings import DataInfo
from jaxgen.data import load

INFO, PLANE = DataInfo.of(load("digits")), DataInfo.of(load("moons"))
FLAGS = ("--channels", 4, "--steps", 4, "--steps-per-call", 2, "--bound-samples", 1)
FEW = ("--num-sampling-steps", 2)


def settings(*, sampling=None, evaluation=None, **own):
    return dataclasses.replace(
        EXPERIMENT.defaults(),
        model=Settings(**own),
        sampling=sampling or Sampling(num_sampling_steps=3),
        evaluation=evaluation or Evaluation(bound_samples=1),
    )


MODELS = {
    "unet": (INFO, {"channels": (4, 8), "attention_levels": (0,), "num_heads": 2}),
    "dit": (INFO, {"backbone": "dit", "features": 8, "num_layers": 1, "dropout_rate": 0.1}),
    "mlp": (PLANE, {"features": 8, "num_layers": 1}),
    "cosine": (INFO, {"channels": (4,), "schedule": "cosine", "prediction": "v"}),
    "log_snr": (INFO, {"channels": (4,), "schedule": "log_snr", "prediction": "x0"}),
    "velocity": (INFO, {"channels": (4,), "prediction": "velocity", "weighting": "min_snr"}),
    "bound": (INFO, {"channels": (4,), "weighting": "bound", "conditional": True}),
}
SAMPLERS = ("ancestral", "ddim", "plms", "dpm_solver", "heun")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_makes_an_algorithm(name):
    """Traced, not compiled: a step, samples and an evaluation have their shapes and types."""
    info, own = MODELS[name]
    evaluation = Evaluation(bound_samples=1, bound_steps=2, ode=True, ode_steps=1)
    sampler = SAMPLERS[list(MODELS).index(name) % len(SAMPLERS)]
    sampling = Sampling(sampler, num_sampling_steps=3, spacing="log_snr")
    method = build(settings(**own, sampling=sampling, evaluation=evaluation), info, None)
    algorithm, dtype = method.algorithm, jnp.float32 if info.levels is None else jnp.uint8
    label = jnp.zeros(4, jnp.int32)
    batch = {"x": jnp.ones((4, *info.shape), dtype), "label": label}

    def run(key):
        state = algorithm.init(key, batch)
        state, metrics = algorithm.step(state, batch, key)
        label = jnp.zeros(3, jnp.int32) if method.is_conditional else None
        x = algorithm.sample(state, key, 3, label)
        return metrics, x, method.film(state, key, 3, label), algorithm.evaluate(state, batch, key)

    metrics, x, film, values = jax.eval_shape(run, jax.random.key(0))
    assert {(m.shape, m.dtype) for m in metrics.values()} == {((), jnp.dtype("float32"))}
    assert (x.shape, x.dtype) == ((3, *info.shape), dtype)
    assert film.shape[1:] == x.shape and film.dtype == dtype
    assert {(v.shape, v.dtype) for v in values.values()} == {((4,), jnp.dtype("float32"))}
    assert {"elbo", "elbo2", "ode", "prior", "diffusion", "reconstruction"} <= set(values)


REFUSED = {
    "backbone: mlp, expected unet or dit for images": (INFO, {"backbone": "mlp"}),
    "backbone: dit, expected mlp for vectors": (PLANE, {"backbone": "dit"}),
    "channels: .*, expected .*, since the network of these data is mlp": (
        PLANE,
        {"channels": (4,)},
    ),
    "features: 8, expected 128 .*, since the network of these data is unet": (
        INFO,
        {"features": 8},
    ),
    "attention_levels: .*, expected 0 to 1": (INFO, {"attention_levels": (2,)}),
    "num_heads: 3, expected a divisor": (INFO, {"num_heads": 3}),
    "features: 100, expected a multiple of 4 times 3 heads": (
        INFO,
        {"backbone": "dit", "features": 100, "num_heads": 3},
    ),
    "conditional: True, expected a model without classes": (
        PLANE,
        {"features": 8, "conditional": True},
    ),
    "guidance_scale: 2.0, expected 1": (INFO, {"sampling": Sampling(guidance_scale=2.0)}),
    "classifier_scale: 2.0, expected 0 for a run without a classifier": (
        INFO,
        {"sampling": Sampling(classifier_scale=2.0)},
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_settings_that_do_not_fit_are_refused(message):
    info, own = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        build(settings(**own), info, None)


@pytest.mark.parametrize(
    "own", [{"sampler": "ddim", "eta": 1.5}, {"num_sampling_steps": 20_000}, {"eta": 0.5}]
)
def test_samplers_without_sense_are_refused(own):
    with pytest.raises(ValueError, match="expected"):
        Sampling(**own)
    assert Sampling("ddim", eta=1.0).eta == 1.0


def samples_of(call, run_dir, out, *arguments):
    code, _, err = call(sample, run_dir, "--num", 6, "--out", out, *arguments)
    assert code == 0, err
    with np.load(out) as arrays:
        return arrays["x"]


def test_a_run_is_measured_drawn_sampled_guided_and_goes_on(call, tmp_path):
    run_dir = tmp_path / "run"
    line = (*FLAGS, *FEW, "--conditional", "--run-dir", run_dir)
    code, out, err = call(__main__, *line)
    assert code == 0, err
    assert "noise prediction, UNet, linear schedule" in out
    assert "reconstruction_bits_per_dim" in out
    pictures = {path.name for path in (run_dir / "samples").iterdir()}
    kinds = ("process.png", "film.gif")
    expected = {f"{way}_{kind}" for way in ("forward", "reverse") for kind in kinds}
    assert {*expected, "noise_levels.png", "likelihoods.png"} <= pictures

    out_file = tmp_path / "x.npz"
    changes = ((), ("--sampler", "ddim", "--eta", 0.5), ("--guidance-scale", 3, "--seed", 1))
    found = [samples_of(call, run_dir, out_file, *FEW, *change).tobytes() for change in changes]
    assert len(set(found)) == len(changes)

    film = ("--film", "--label", 7, "--out", tmp_path / "x.png")
    code, out, err = call(sample, run_dir, *FEW, *film)
    assert code == 0 and "x.gif" in out, err
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames > 1

    code, out, err = call(evaluate, run_dir, "--ode", "--ode-steps", 1, "--bound-steps", 2)
    assert code == 0, err
    assert "ode_bits_per_dim" in out and "elbo2_bits_per_dim" in out
    measured = json.loads((run_dir / "evaluation.json").read_text())["metrics"]
    assert {"elbo", "elbo2", "ode", "prior"} <= set(measured)


@pytest.mark.slow
def test_a_classifier_guides_a_run_without_classes(call, tmp_path):
    run_dir, out_file = tmp_path / "run", tmp_path / "x.npz"
    code, _, err = call(__main__, *FLAGS, *FEW, "--run-dir", run_dir)
    assert code == 0, err
    code, _, err = call(sample, run_dir, "--classifier-scale", 2)
    assert code == 2 and f"experiments.noisy_classifier {run_dir}" in err
    line = (run_dir, "--steps", 2, "--channels", 4, 4)
    code, out, err = call(classifier, *line)
    assert code == 0 and "test clean accuracy" in out, err
    code, _, err = call(classifier, run_dir, "--steps", 2, "--channels", 8)
    assert code == 2 and "expected [4, 4] as of the classifier" in err
    free = samples_of(call, run_dir, out_file)
    guided = samples_of(call, run_dir, out_file, "--classifier-scale", 50, "--label", 3)
    assert np.any(free != guided)


def digest(run_dir):
    """Of the parameters at the last step."""
    return json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["params_sha256"]


@pytest.mark.slow
def test_vectors_are_drawn_and_a_run_that_stopped_ends_with_the_same_bits(call, tmp_path):
    line = ("--dataset", "moons", "--features", 4, "--num-layers", 1, "--dropout-rate", 0.1, *FEW)
    line = (*line, "--steps-per-call", 2, "--warm-up-steps", 0, "--bound-samples", 1)
    for run_dir, starts in ((tmp_path / "once", (4,)), (tmp_path / "twice", (2, 4))):
        for steps in starts:
            code, _, err = call(__main__, *line, "--run-dir", run_dir, "--steps", steps)
            assert code == 0, err
    assert digest(tmp_path / "once") == digest(tmp_path / "twice")
    pictures = {path.name for path in (tmp_path / "once" / "samples").iterdir()}
    assert {"forward_process.png", "reverse_process.png", "noise_levels.png"} <= pictures
