"""The probe: features of every family, its regression, its draws, and its command."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.linear_model

from experiments.diffusion import EXPERIMENT as DIFFUSION
from experiments.flow import EXPERIMENT as FLOW
from experiments.gan import EXPERIMENT as GAN
from experiments.gan.build import build_game
from experiments.gaussian import EXPERIMENT as GAUSSIAN
from experiments.mixture import EXPERIMENT as MIXTURE
from experiments.probe import __main__ as probe
from experiments.probe.examples import Part, read_parts
from experiments.probe.regression import PENALTIES, UNVALIDATED, fit
from experiments.probe.regression import probe as measure
from experiments.runs import Run
from experiments.settings import DataInfo
from experiments.vae import EXPERIMENT as VAE
from experiments.vae import __main__ as vae
from jaxgen import data
from jaxgen.gan.game import to_critic_range
from jaxgen.training.run_directory import RunDirectory

DIGITS = data.load("digits")
INFO = DataInfo.of(DIGITS)
X = jnp.asarray(DIGITS.test.gather(np.arange(4))["x"])
BATCH = {"x": X, "label": jnp.arange(4)}
SMALL_VAE = (
    *("--steps", 4, "--steps-per-call", 2, "--batch-size", 16, "--hidden-sizes", 8),
    *("--latent-dim", 3, "--autoencoder-steps", 0, "--importance-samples", 2),
    *("--mixture-components", 2),
)


def built(experiment, **own):
    """The settings and the method of a family on digits."""
    settings = experiment.defaults()
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, **own))
    return settings, experiment.build(settings, INFO, None)


# --- Features ---

UNET = {"channels": (4, 8), "num_blocks": 1}
DIT = {"backbone": "dit", "features": 16, "num_layers": 3, "num_heads": 2}
CASES = {
    "vae": (VAE, {"latent_dim": 3, "hidden_sizes": (8,)}, 3, "posterior means"),
    "flow posterior": (VAE, {"latent_dim": 4, "hidden_sizes": (8,), "posterior": "iaf"}, 4, "post"),
    "autoencoder": (VAE, {"objective": "denoising", "latent_dim": 3}, 3, "posterior means"),
    "dcgan": (GAN, {"width": 4}, 32, "critic's last layer"),
    "conditional gan": (GAN, {"width": 4, "conditional": True}, 32, "critic's last layer"),
    "resnet": (GAN, {"critic": "resnet", "width": 4}, 4, "critic's last layer"),
    "mlp gan": (
        GAN,
        {"critic": "mlp", "generator": "mlp", "hidden_sizes": (8, 6)},
        6,
        "critic's last layer",
    ),
    "unet": (DIFFUSION, UNET, 8, "middle of the U-Net"),
    "conditional unet": (DIFFUSION, {**UNET, "conditional": True}, 8, "middle of the U-Net"),
    "dit": (DIFFUSION, DIT, 16, "middle transformer block"),
    "flow": (FLOW, {"num_layers": 1, "num_levels": 1, "num_features": 4}, 64, "latents"),
    "mixture": (MIXTURE, {"num_components": 4, "num_factors": 2}, 4, "responsibilities"),
}


@pytest.mark.parametrize("name", CASES)
def test_features_are_a_row_for_each_example_and_named(name):
    experiment, own, num, words = CASES[name]
    _, method = built(experiment, **own)
    assert words in method.features.layer
    state = jax.eval_shape(method.algorithm.init, jax.random.key(0), BATCH)
    found = jax.eval_shape(method.features.extract, state, X)
    assert found.shape == (4, num) and found.dtype == jnp.float32


def test_a_model_that_must_know_the_class_has_none():
    for experiment, own in (
        (FLOW, {"conditional": True}),
        (DIFFUSION, {**UNET, "conditional": True, "label_dropout": 0.0}),
    ):
        assert built(experiment, **own)[1].features is None


def test_the_last_layer_of_a_critic_makes_its_logits_of_the_features():
    settings, method = built(GAN, width=4)
    state = jax.jit(method.algorithm.init)(jax.random.key(0), BATCH)
    game = build_game(settings, INFO)

    @jax.jit
    def run(state):
        seen = to_critic_range(game, X)
        variables = state.critic.eval_variables
        logits = game.critic.apply(variables, seen, None, train=False)
        return method.features.extract(state, X), logits

    features, logits = run(state)
    layer = state.critic.params["ProjectionHead_0"]["Dense_0"]
    expected = features @ layer["kernel"][:, 0] + layer["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("own", [UNET, DIT], ids=["unet", "dit"])
def test_what_is_sown_changes_no_prediction_and_no_parameter(own):
    _, method = built(DIFFUSION, **own)
    state = jax.eval_shape(method.algorithm.init, jax.random.key(0), BATCH)
    assert "intermediates" not in str(jax.tree_util.tree_structure(state.params))
    zeros = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), state.params)
    state = state.replace(params=zeros, ema_params=zeros)
    extract = jax.jit(method.features.extract)
    features = extract(state, X)
    assert np.all(np.isfinite(features)) and np.ptp(features, axis=0).max() > 0.0
    # An example has its features whatever else is in the batch.
    np.testing.assert_allclose(extract(state, X[::-1]), features[::-1], rtol=1e-4, atol=1e-6)


# --- The regression ---


def parts(num=400, noise=0.5):
    """Three classes about centres in the plane, as they are and behind a useless number."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, num).astype(np.int32)
    centre = np.array([[0, 2], [2, -1], [-2, -1]])[label]
    x = (centre + noise * rng.normal(size=centre.shape)).astype(np.float32)
    nothing = rng.normal(size=(num, 2)).astype(np.float32)
    forms = {"good": x, "nothing": nothing}
    half = num // 2
    return tuple(
        Part({name: form[place] for name, form in forms.items()}, label[place])
        for place in (slice(0, half), slice(half, num))
    )


def test_good_features_are_found_and_useless_ones_are_chance():
    train, test = parts()
    results = measure(train, test, (3, 30), num_draws=4, seed=0)
    few, many = results["good"]
    assert many.mean > 0.9 and few.num_labels == 3 and len(few.values) == 4
    assert abs(results["nothing"][1].mean - 1 / 3) < 0.15
    assert few.penalties == [UNVALIDATED] * 4
    assert all(any(np.isclose(p, PENALTIES)) for p in many.penalties)
    for row in (few, many):
        assert row.spread == pytest.approx(np.std(row.values, ddof=1))
        assert row.standard_error == pytest.approx(row.spread / 2)
    again = measure(train, test, (30,), num_draws=4, seed=0)
    assert again["good"][0] == many
    assert measure(train, test, (30,), num_draws=4, seed=9)["good"][0].values != many.values


def test_the_penalty_has_the_fewest_nats_on_what_is_held_out():
    """Chosen by hand, with scikit-learn's splitter and regression, in another order."""
    train, _ = parts(120, noise=2.0)
    x, label = train.forms["good"], train.label
    splitter = sklearn.model_selection.StratifiedKFold(3, shuffle=True, random_state=0)
    nats = []
    for penalty in PENALTIES:
        model = sklearn.linear_model.LogisticRegression(C=1 / penalty, max_iter=1000)
        scores = sklearn.model_selection.cross_val_score(
            model, x, label, cv=splitter, scoring="neg_log_loss"
        )
        nats.append(-scores.mean())
    np.testing.assert_allclose(1.0 / fit(x, label).C, PENALTIES[int(np.argmin(nats))])


def test_every_form_has_one_scale_and_labels_of_its_rows():
    def extract(x):
        return jnp.asarray(x).reshape(len(x), -1)[:, :7] * 100.0

    train, test = read_parts(DIGITS, extract)
    assert list(train.forms) == ["pixels", "PCA of 7", "features"]
    assert len(train.label) == 1400 and len(test.label) == 397
    for form in train.forms.values():
        np.testing.assert_allclose(form.mean(axis=0), 0.0, atol=1e-5)
        assert np.sqrt(np.mean(form**2)) == pytest.approx(1.0, abs=1e-5)
    split = DIGITS.test
    order = data.subset_indices(len(split), len(split))
    np.testing.assert_array_equal(test.label, split.labels()[order])
    whole = DIGITS.train.gather(np.arange(1400))["x"].reshape(1400, -1).astype(float)
    expected = split.gather(order)["x"].reshape(397, -1) - whole.mean(axis=0)
    scale = np.sqrt(np.mean((whole - whole.mean(axis=0)) ** 2))
    np.testing.assert_allclose(test.forms["pixels"], expected / scale, atol=1e-5)


# --- The command ---


@pytest.fixture
def finished(call, tmp_path):
    code, _, err = call(vae, *SMALL_VAE, "--run-dir", tmp_path / "run")
    assert code == 0, err
    return tmp_path / "run"


def test_a_run_is_probed(call, finished):
    line = (finished, "--num-labels", 20, 10, "--num-draws", 2)
    code, out, err = call(probe, *line)
    assert code == 0, err
    assert "features: posterior means" in out and "PCA of 3" in out and "±" in out
    record = json.loads((finished / "probe.json").read_text())
    assert record["num_examples"] == 397 and record["num_features"] == [64, 3, 3]
    rows = record["accuracy"]["pixels"]
    assert [row["num_labels"] for row in rows] == [10, 20] and rows[1]["mean"] > 0.4
    assert (finished / "samples/probe.png").stat().st_size > 5000
    before = (finished / "probe.json").read_bytes()
    code, _, err = call(probe, *line)
    assert code == 0 and (finished / "probe.json").read_bytes() == before, err
    for flags, message in (
        (("--num-labels", 5), "num_labels: 5, expected 10 (the classes) to 1400 (the labelled"),
        (("--num-labels", 2000), "num_labels: 2000, expected 10 (the classes) to 1400"),
        (("--num-draws", 1), "num_draws: 1, expected at least 2"),
    ):
        code, out, err = call(probe, finished, *flags)
        words = " ".join((out + err).replace("│", " ").split())
        assert code == 2 and message in words, words


def test_runs_without_features_or_labels_are_refused(tmp_path):
    run = Run(RunDirectory(tmp_path), GAUSSIAN, GAUSSIAN.defaults(), INFO)
    with pytest.raises(ValueError, match="a Gaussian, full covariance, expected a model with feat"):
        probe.check_features(run)
    settings = probe.Settings(run=str(tmp_path))
    stacked = data.load("stacked_digits")
    with pytest.raises(ValueError, match="dataset: stacked_digits without test labels, expected"):
        probe.numbers_of_labels(settings, stacked)
    assert probe.numbers_of_labels(settings, DIGITS) == (10, 100, 1000)
