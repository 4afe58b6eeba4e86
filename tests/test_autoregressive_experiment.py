"""An autoregressive run from the command line: what it prints, writes and draws, and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import complete, evaluate, sample
from experiments.autoregressive import EXPERIMENT, __main__
from experiments.autoregressive.build import build, frames
from experiments.autoregressive.settings import Settings
from experiments.settings import DataInfo
from jaxgen.autoregressive import orders
from jaxgen.data import load

INFO, PLANE = DataInfo.of(load("digits")), DataInfo.of(load("moons"))
FLAGS = ("--num-features", 4, "--num-layers", 2, "--kernel-size", 3, "--steps-per-call", 2)


def settings(**own):
    return dataclasses.replace(EXPERIMENT.defaults(), model=Settings(**own))


@pytest.mark.parametrize(
    ("model", "likelihood"),
    [
        ("pixelcnn", "categorical"),
        ("gated", "logistic_mixture"),
        ("pixelcnn_plus_plus", "logistic_mixture"),
        ("transformer", "categorical"),
    ],
)
def test_every_model_makes_an_algorithm(model, likelihood):
    """Traced, not compiled: a step, samples and an evaluation have their shapes and types."""
    own = {"model": model, "likelihood": likelihood, "num_features": 8, "conditional": True}
    algorithm = build(settings(**own), INFO, None).algorithm
    extract = build(settings(**{**own, "conditional": False}), INFO, None).features.extract
    batch = {"x": jnp.ones((4, 8, 8, 1), jnp.uint8), "label": jnp.zeros(4, jnp.int32)}

    def features(key):
        plain = build(settings(**{**own, "conditional": False}), INFO, None).algorithm
        return extract(plain.init(key, batch), batch["x"])

    assert jax.eval_shape(features, jax.random.key(0)).shape[0] == 4

    def run(key):
        state = algorithm.init(key, batch)
        state, metrics = algorithm.step(state, batch, key)
        x = algorithm.sample(state, key, 3, jnp.zeros(3, jnp.int32))
        return metrics, x, algorithm.evaluate(state, batch, key)

    metrics, x, values = jax.eval_shape(run, jax.random.key(0))
    assert set(metrics) == {"loss", "bits_per_dim", "gradient_norm"}
    assert (x.shape, x.dtype) == ((3, 8, 8, 1), jnp.dtype("uint8"))
    assert {name: (v.shape, v.dtype) for name, v in values.items()} == {
        name: ((4,), jnp.dtype("float32"))
        for name in ("log_likelihood", "log_likelihood_bits_per_dim")
    }


REFUSED = {
    "order: snake, expected a raster order for gated": (INFO, {"order": "snake"}),
    "likelihood: bernoulli, expected another for 17 levels": (INFO, {"likelihood": "bernoulli"}),
    "kernel_size: 4, expected an odd number": (INFO, {"kernel_size": 4}),
    "num_components: 3, expected 10": (INFO, {"num_components": 3}),
    "num_heads: 3, expected a divisor of 64": (INFO, {"model": "transformer", "num_heads": 3}),
    "dataset: vectors": (PLANE, {}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_settings_that_do_not_fit_the_data_are_refused(message):
    info, own = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        build(settings(**own), info, None)


def digest(run_dir):
    """Of the parameters at the last step."""
    return json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["params_sha256"]


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_bits(call, tmp_path):
    for run_dir, starts in ((tmp_path / "once", (4,)), (tmp_path / "twice", (2, 4))):
        for steps in starts:
            code, _, err = call(__main__, *FLAGS, "--run-dir", run_dir, "--steps", steps)
            assert code == 0, err
    assert digest(tmp_path / "once") == digest(tmp_path / "twice")


def test_a_run_is_measured_drawn_and_completed(call, tmp_path):
    run_dir = tmp_path / "run"
    code, out, err = call(__main__, *FLAGS, "--run-dir", run_dir, "--steps", 4)
    assert code == 0, err
    assert "gated, categorical likelihood, raster order" in out
    assert "log_likelihood_bits_per_dim" in out
    assert "of the 36 before it and 0 of those from it on" in out
    names = {path.name for path in (run_dir / "samples").iterdir()}
    assert {"writing.gif", "reach.png", "completions.png", "likelihoods.png"} <= names
    found = []
    for method in ("cached", "jacobi"):
        out_file = tmp_path / f"{method}.npz"
        code, _, err = call(sample, run_dir, "--method", method, "--num", 4, "--out", out_file)
        assert code == 0, err
        with np.load(out_file) as arrays:
            found.append(arrays["x"])
    np.testing.assert_array_equal(*found)
    picture = tmp_path / "completed.png"
    code, out, err = call(complete, run_dir, "--num", 3, "--num-draws", 2, "--out", picture)
    assert code == 0 and picture.is_file(), err
    code, out, err = call(complete, run_dir, "--mask", "right_half", "--out", tmp_path / "no.png")
    assert code == 2 and "--order columns" in " ".join((out + err).split())
    assert not (tmp_path / "no.png").exists()
    code, out, err = call(evaluate, run_dir)
    assert code == 0, err


def test_frames_show_what_has_been_written():
    x = np.full((2, 3, 4, 1), 7, np.uint8)
    shown = np.asarray(frames(x, orders.make_order("columns", 3, 4), num_frames=13))
    assert shown.shape == (13, 2, 3, 4, 1)
    assert np.all(shown[0] == 0) and np.all(shown[-1] == 7)
    np.testing.assert_array_equal(shown[3, 0, :, :, 0], 7 * np.eye(4)[:1].repeat(3, 0))
