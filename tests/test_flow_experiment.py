"""A flow run from the command line: what it prints, writes and draws, and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import evaluate, sample
from experiments.flow import EXPERIMENT, __main__
from experiments.flow.build import build
from experiments.flow.settings import Sampling, Settings
from experiments.settings import DataInfo, ImportanceSampling
from jaxgen.data import load

INFO, PLANE = DataInfo.of(load("digits")), DataInfo.of(load("moons"))
SMALL = {"num_layers": 2, "num_levels": 1, "num_features": 4}
CONNECTED = {"num_layers": 2, "hidden_sizes": (6,)}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
FLAGS += ["--steps=4", "--steps-per-call=2"]


def settings(*, importance_samples=10, **own):
    evaluation = ImportanceSampling(importance_samples)
    return dataclasses.replace(EXPERIMENT.defaults(), model=Settings(**own), evaluation=evaluation)


def small(kind, model):
    """Small networks: the settings that have an effect on a model of such data."""
    if model in ("planar", "radial"):
        return {"num_layers": 2}
    is_convolutional = kind == "images" and model not in ("nice", "maf", "iaf")
    return SMALL if is_convolutional else CONNECTED


MODELS = {
    "images": (INFO, ["auto", "nice", "real_nvp", "glow", "spline", "maf", "iaf"]),
    "vectors": (PLANE, ["auto", "planar", "radial", "nice", "real_nvp", "spline", "maf", "iaf"]),
}


@pytest.mark.parametrize(
    ("kind", "model"), [(kind, model) for kind, (_, names) in MODELS.items() for model in names]
)
def test_every_model_makes_an_algorithm(kind, model):
    """Traced, not compiled: a step, samples and an evaluation have their shapes and types."""
    info = MODELS[kind][0]
    own = {"model": model, "base": "mixture", "num_components": 2, **small(kind, model)}
    if kind == "images":
        own["importance_samples"] = 2
    algorithm = build(settings(**own), info, None).algorithm
    dtype = jnp.float32 if info.levels is None else jnp.uint8
    batch = {"x": jnp.ones((4, *info.shape), dtype)}

    def run(key):
        state = algorithm.init(key, batch)
        state, metrics = algorithm.step(state, batch, key)
        return metrics, algorithm.sample(state, key, 3), algorithm.evaluate(state, batch, key)

    metrics, x, values = jax.eval_shape(run, jax.random.key(0))
    assert {(m.shape, m.dtype) for m in metrics.values()} == {((), jnp.dtype("float32"))}
    assert (x.shape, x.dtype) == ((3, *info.shape), dtype)
    assert {(v.shape, v.dtype) for v in values.values()} == {((4,), jnp.dtype("float32"))}


REFUSED = {
    "model: glow, expected another for vectors": (PLANE, {"model": "glow"}),
    "model: planar, expected another for images": (INFO, {"model": "planar"}),
    "dequantization: variational, expected uniform": (PLANE, {"dequantization": "variational"}),
    "num_levels: 4, expected at least 1 and at most 3": (INFO, {"num_levels": 4}),
    "num_layers: 3, expected an even number": (INFO, {"num_layers": 3, "model": "maf"}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_settings_that_do_not_fit_the_data_are_refused(message):
    info, own = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        build(settings(**own), info, None)


def test_a_run_is_measured_drawn_sampled_and_goes_on(call, tmp_path):
    run_dir = tmp_path / "run"
    line = (*FLAGS, "--run-dir", run_dir, "--importance-samples", 2)
    code, out, err = call(__main__, *line)
    assert code == 0, err
    assert "maximum likelihood, glow, 2 layers, uniform dequantization" in out
    assert "dequantized_bits_per_dim" in out and "worst layer" in out
    report = json.loads((run_dir / "inversion.json").read_text())
    assert set(report) == {f"{x}, {t}" for x in ("test", "far") for t in ("float32", "float64")}
    assert report["test, float32"][-1]["round_trip"] < 1e-4
    assert report["test, float32"][-1]["outside"] is None
    assert report["test, float64"][-1]["round_trip"] < 1e-10
    assert report["test, float64"][-1]["log_det_error"] < 1e-10
    pictures = {path.stem for path in (run_dir / "samples").glob("*.png")}
    assert {"temperatures", "interpolations", "inversion", "likelihoods"} <= pictures
    found = []
    for temperature in (1.0, 0.5):
        out_file = tmp_path / f"{temperature}.npz"
        arguments = (run_dir, "--temperature", temperature, "--num", 8, "--out", out_file)
        code, _, err = call(sample, *arguments)
        assert code == 0, err
        with np.load(out_file) as arrays:
            found.append(arrays["x"])
    assert found[0].shape == (8, 8, 8, 1) and np.any(found[0] != found[1])
    code, out, err = call(evaluate, run_dir)
    assert code == 0 and "worst layer" in out, err


def digest(run_dir):
    """Of the parameters at the last step."""
    return json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["params_sha256"]


@pytest.mark.slow
def test_a_run_that_stopped_ends_with_the_same_bits(call, tmp_path):
    """Actnorm starts with the first batch alone, and learned noise follows the step's key."""
    line = (*FLAGS, "--dequantization", "variational", "--importance-samples", 1)
    for run_dir, starts in ((tmp_path / "once", (4,)), (tmp_path / "twice", (2, 4))):
        for steps in starts:
            code, _, err = call(__main__, *line, "--run-dir", run_dir, "--steps", steps)
            assert code == 0, err
    assert digest(tmp_path / "once") == digest(tmp_path / "twice")


@pytest.mark.slow
def test_a_maf_is_sampled_both_ways(call, tmp_path):
    run_dir, found = tmp_path / "run", []
    line = ("--model", "maf", "--dataset", "moons", "--num-layers", 2, "--hidden-sizes", 8)
    code, _, err = call(__main__, *line, "--steps", 2, "--steps-per-call", 2, "--run-dir", run_dir)
    assert code == 0, err
    for inverse in ("sequential", "jacobi"):
        out = tmp_path / f"{inverse}.npz"
        code, _, err = call(sample, run_dir, "--inverse", inverse, "--num", 20, "--out", out)
        assert code == 0, err
        with np.load(out) as arrays:
            found.append(arrays["x"])
    np.testing.assert_allclose(*found, atol=1e-5)
    sampling = Sampling(inverse="jacobi")
    other = dataclasses.replace(settings(model="spline"), sampling=sampling)
    with pytest.raises(ValueError, match="inverse: jacobi, .* only a maf has a choice"):
        build(other, PLANE, None)
