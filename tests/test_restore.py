"""Restoration by trained runs: the priors of families, tasks, scores, the command and what it refuses."""

import dataclasses
import functools
import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick_runs
from image_files import random_pixels, save

from experiments.autoregressive import EXPERIMENT as AUTOREGRESSIVE
from experiments.diffusion import EXPERIMENT as DIFFUSION
from experiments.flow import EXPERIMENT as FLOW
from experiments.gan import EXPERIMENT as GAN
from experiments.gaussian import EXPERIMENT as GAUSSIAN
from experiments.mixture import EXPERIMENT as MIXTURE
from experiments.restore import __main__ as restore
from experiments.restore import solvers, solving, tasks
from experiments.restore.quality import score
from experiments.restore.settings import Task
from experiments.settings import DataInfo, ImportanceSampling
from experiments.vae import EXPERIMENT as VAE
from jaxgen import data, inverse
from jaxgen.pixels import from_model_range, to_model_range

DIGITS = data.load("digits")
INFO = DataInfo.of(DIGITS)
X = DIGITS.test.gather(np.arange(4))["x"]
KEY = jax.random.key(0)
UNET = {"channels": (4, 8), "num_blocks": 1}
FAMILIES = {
    "vae": (VAE, {"latent_dim": 3, "hidden_sizes": (8,)}),
    "convolutional vae": (VAE, {"model": "conv", "latent_dim": 3, "channels": (4, 4)}),
    "autoencoder": (VAE, {"objective": "denoising", "latent_dim": 3, "hidden_sizes": (8,)}),
    "gan": (GAN, {"width": 4}),
    "flow": (FLOW, {"num_layers": 1, "num_levels": 1, "num_features": 4}),
    "diffusion": (DIFFUSION, UNET),
    "conditional diffusion": (DIFFUSION, {**UNET, "conditional": True, "label_dropout": 0.1}),
    "gaussian": (GAUSSIAN, {}),
    "mixture": (MIXTURE, {"num_components": 2}),
    "autoregressive": (AUTOREGRESSIVE, {"num_features": 4, "num_layers": 2}),
}


def built(name):
    experiment, own = FAMILIES[name]
    settings = experiment.defaults()
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, **own))
    return experiment.build(settings, INFO, None)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_a_prior_of_its_images(name):
    method = built(name)
    state = jax.jit(method.algorithm.init)(KEY, {"x": X, "label": np.arange(4)})
    prior = method.prior(state)
    if isinstance(prior, inverse.DiffusionPrior):
        condition = jax.tree.map(lambda c: c[None], prior.condition)
        x = jax.jit(prior.denoise)(np.zeros((1, 8, 8, 1)), np.zeros(1), condition)
        assert x.shape == (1, 8, 8, 1)
    if isinstance(prior, inverse.LatentPrior):
        u = np.random.default_rng(0).normal(size=(3, *prior.latent_shape)).astype(np.float32)
        x = jax.jit(prior.decode)(u)
        assert x.shape == (3, 8, 8, 1) and jax.eval_shape(prior.log_prior, u).shape == (3,)
        assert x.min() > -1.3 and x.max() < 1.3
        slope = jax.jit(jax.grad(lambda u: jnp.sum(jnp.square(prior.decode(u)))))(u)
        assert np.all(np.isfinite(slope)) and np.any(slope)
    if isinstance(prior, inverse.GaussianPrior):
        low, high = prior.scale * np.array([0.5, 16.5]) + prior.offset
        np.testing.assert_allclose([low, high], [-1.0, 1.0], rtol=1e-6)
    if isinstance(prior, inverse.CompletionPrior):
        known = np.arange(8)[:, None] * np.ones(8) < 4
        x = np.asarray(to_model_range(jnp.asarray(X), 17))
        drawn = jax.jit(prior.complete)(jax.random.split(KEY, 4), x, known)
        np.testing.assert_allclose(drawn[:, :4], x[:, :4], atol=1e-6)
        with pytest.raises(ValueError, match="mask"):
            prior.check(~known)


def test_a_flow_decodes_to_the_middle_of_its_samples():
    method = built("flow")
    state = jax.jit(method.algorithm.init)(KEY, {"x": X})
    prior = method.prior(state)
    z = jax.random.normal(KEY, (5, *prior.latent_shape))
    settings = dataclasses.replace(
        FLOW.defaults(), model=dataclasses.replace(FLOW.defaults().model, **FAMILIES["flow"][1])
    )
    from experiments.flow.build import build_model

    model = build_model(settings, INFO)
    decode = jax.jit(functools.partial(model.apply, method="decode"))
    decoded = from_model_range(jax.jit(prior.decode)(z), 17)
    np.testing.assert_array_equal(decoded, decode(state.eval_variables, z))


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 15, 3), (1, 4, 2)])
def test_tasks_are_measurements_of_any_size(shape):
    made, refused = {}, set()
    for task in typing.get_args(Task):
        try:
            made[task], words = tasks.make_operator(task, KEY, shape)
        except ValueError as error:
            assert str(error).startswith("task: "), error
            refused.add(task)
            continue
        inverse.check_operator(KEY, made[task])
        assert words
    expected = {"colorization"} if shape[2] == 1 else set()
    if shape == (1, 4, 2):
        assert refused == {"super_resolution", "deblurring", "motion"}
    else:
        assert refused == expected


def problem(noise=0.1, num=3):
    x = np.asarray(to_model_range(jnp.asarray(X[:num]), 17))
    operator, _ = tasks.make_operator("random", KEY, (8, 8, 1))
    return solving.measure(KEY, x, operator, noise)


def test_scores_of_known_draws():
    given = problem()
    rng = np.random.default_rng(0)
    # Draws and truth alike: calibrated, whatever the task.
    given = given._replace(x=rng.normal(size=given.x.shape).astype(np.float32) * 0.3)
    given = given._replace(y=np.asarray(given.operator(jnp.asarray(given.x))) + 0.1)
    draws = rng.normal(size=(7, *given.x.shape)) * 0.3
    found = score(given, draws, 256)
    assert abs(found.spread - 1.0) < 0.2 and abs(found.coverage - 0.75) < 0.1
    assert found.expected_coverage == 0.75
    mean = np.clip(draws.mean(axis=0) / 2 + 0.5, 0, 1)
    error = np.square(mean - np.clip(given.x / 2 + 0.5, 0, 1)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.psnr, -10 * np.log10(error), rtol=1e-4)
    exact = score(given, given.x[None], 256)
    np.testing.assert_allclose(exact.misfit, 1.0, rtol=1e-3)
    np.testing.assert_allclose(exact.ssim, 1.0, rtol=1e-4)
    assert np.all(exact.psnr == 60.0) and np.isnan(exact.spread)
    timid = score(given, draws * 3, 256)
    assert timid.spread < 0.6
    assert score(given._replace(x=given.x * 4), draws, 256).spread > 2


def test_an_image_is_measured_alike_in_any_company():
    few, many = problem(num=2), problem(num=4)
    np.testing.assert_array_equal(few.y, many.y[:2])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    plan = dataclasses.replace(DIFFUSION.plan, steps=2, steps_per_call=2)
    names = {"diffusion": (DIFFUSION, UNET), "autoregressive": FAMILIES["autoregressive"]}
    for name, (experiment, own) in names.items():
        model = experiment.model(**own)
        quick_runs.train(experiment, folder / name, plan=plan, model=model)
    quick_runs.train(
        FLOW,
        folder / "flow",
        plan=plan,
        model=FLOW.model(**FAMILIES["flow"][1]),
        evaluation=ImportanceSampling(1),
    )
    plan = dataclasses.replace(GAUSSIAN.plan, batch_size=0)
    for name, dataset in (
        ("gaussian", "digits"),
        ("moons", "moons"),
        ("redrawn", "redrawn:1:digits"),
    ):
        quick_runs.train(GAUSSIAN, folder / name, plan=plan, dataset=dataset)
    return folder


def test_runs_of_all_families_are_compared(call, runs, tmp_path):
    names = ("diffusion", "flow", "gaussian", "autoregressive")
    code, out, errors = call(
        restore,
        *(runs / name for name in names),
        *("--task", "inpainting", "--noise", 0, "--num", 4, "--num-draws", 2),
        *("--num-sampling-steps", 3, "--out", tmp_path / "out"),
    )
    assert code == 0, errors
    rows = json.loads((tmp_path / "out/restored.json").read_text())["rows"]
    assert [row["run"] for row in rows] == ["total variation", *names]
    assert (tmp_path / "out/inpainting.png").exists()
    gaussian = next(row for row in rows if row["run"] == "gaussian")
    assert gaussian["psnr"] > rows[0]["psnr"] and "exact" in out


def test_other_images_are_restored(call, runs, tmp_path):
    for i in range(3):
        save(tmp_path / f"images/{i}.png", random_pixels(8, 8, 3))
    line = (runs / "gaussian", "--out", tmp_path / "out", "--images")
    code, out, errors = call(restore, *line, tmp_path / "images")
    assert code == 0, errors
    assert "3 images" in out and "its colours are made grey" in out
    assert "its pixels 0 to 255 are scaled and rounded to 0 to 16" in out
    code, out, errors = call(restore, *line, tmp_path / "images/1.png")
    assert code == 0 and "noise 0.05, 1 image\n" in out, errors


def test_a_task_that_is_refused_leaves_the_others(call, runs, tmp_path):
    line = (runs / "autoregressive", "--task", "deblurring", "inpainting", "--noise", 0, "--num", 1)
    code, out, errors = call(restore, *line, "--num-draws", 2, "--out", tmp_path / "out")
    assert code == 0, errors
    assert "deblurring, autoregressive, completion: operator: expected a mask" in out
    record = json.loads((tmp_path / "out/restored.json").read_text())
    assert [row["task"] for row in record["rows"]] == ["inpainting"] * 2
    assert record["settings"]["task"] == ["deblurring", "inpainting"]
    assert record["rows"][0]["expected_coverage"] is None
    assert "nan" not in out


def test_runs_that_cannot_serve_are_left_out(call, runs, tmp_path, monkeypatch):
    names = ("moons", "gaussian", "redrawn", "flow")
    paths = [runs / name for name in names]
    has_prior = solvers.has_prior
    monkeypatch.setattr(
        solvers, "has_prior", lambda run: run.experiment.name != "flow" and has_prior(run)
    )
    code, out, errors = call(restore, *paths, "--num", 1, "--out", tmp_path / "out")
    assert code == 0, errors
    for path in (paths[0], paths[3]):
        assert f"left out: {path}, without a prior" in out
    assert f"left out: {paths[2]}, since its data are not those of {paths[1]}" in out
    rows = json.loads((tmp_path / "out/restored.json").read_text())["rows"]
    assert [row["run"] for row in rows] == ["total variation", "gaussian"]


def test_an_interruption_is_one_line(call, runs, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(restore, "restore_task", interrupt)
    code, _, errors = call(restore, runs / "gaussian", "--out", tmp_path / "out")
    assert code == 130 and errors.strip() == "interrupted; the pictures of finished tasks are kept"


def test_runs_that_share_a_name_are_told_apart():
    assert solvers.names_of(("a/x", "b/x", "c/y")) == ["a/x", "b/x", "y"]


@pytest.mark.slow
def test_all_methods_of_a_run(call, runs, tmp_path):
    code, _, errors = call(
        restore,
        runs / "diffusion",
        *("--task", "super_resolution", "--method", "all", "--num", 3, "--num-draws", 2),
        *("--num-sampling-steps", 3, "--out", tmp_path / "out"),
    )
    assert code == 0, errors
    rows = json.loads((tmp_path / "out/restored.json").read_text())["rows"]
    assert len(rows) == 8


def refused_lines(runs, tmp_path):
    for name in "ab":
        save(tmp_path / f"images/{name}.png", np.zeros((9, 9), np.uint8))
    return {
        "noise: -0.1": (runs / "gaussian", "--noise", -0.1),
        "method: ddrm, expected auto, all, exact": (runs / "gaussian", "--method", "ddrm"),
        "task: colorization, expected another for images of one channel": (
            *(runs / "gaussian", "--task", "colorization"),
        ),
        "noise: 0.05, expected 0, as completions keep what is known": (runs / "autoregressive",),
        "expected one that an order can complete": (
            *(runs / "autoregressive", "--task", "box", "--noise", 0),
        ),
        "runs: none with a prior, expected one at least": (runs / "moons",),
        "operator: expected a mask of whole pixels": (
            *(runs / "autoregressive", "--task", "deblurring", "--noise", 0),
        ),
        "gaussian, twice, expected each once": (runs / "gaussian", runs / "gaussian"),
        "expected a folder, not a file": (
            *(runs / "gaussian", "--out", tmp_path / "images/a.png"),
        ),
        "zeta: 0.5, expected none": (runs / "gaussian", "--zeta", 0.5),
        "images 9x9x1 of 2 levels, expected images 8x8x1 of 17 levels": (
            *(runs / "gaussian", "--images", tmp_path / "images"),
        ),
        "/nowhere does not exist": (runs / "gaussian", "--images", "nowhere"),
        "there is no run directory": (tmp_path / "nothing",),
    }


def test_bad_lines_are_refused(call, runs, tmp_path):
    for message, line in refused_lines(runs, tmp_path).items():
        code, _, errors = call(restore, "--out", tmp_path / "out", "--num", 2, *line)
        assert code == 2 and message in errors, (message, errors)
        assert not list((tmp_path).glob("out/*"))
