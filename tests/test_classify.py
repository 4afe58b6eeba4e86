"""Classification of a run's test examples from the command line, and the likelihoods behind it."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick_runs
from scipy import special

from experiments import densities
from experiments.bounds import Bound
from experiments.classify import __main__ as classify
from experiments.classify.answers import Examples, bayes_answers
from experiments.classify.settings import Settings
from experiments.experiment import NoSettings
from experiments.gan import EXPERIMENT as GAN
from experiments.runs import Restored, Run
from experiments.settings import DataInfo, ImportanceSampling
from jaxgen.data import ArraySplit, Dataset, load
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm

M = np.array([0.8, -0.6, 0.5])


def density(*, noise=0.0):
    """Two classes N(-m, I) and N(m, I), whose likelihood may have noise of the key."""

    def evaluate(state, batch, key):
        sign = jnp.where(batch["label"] == 1, 1.0, -1.0)
        centre = sign[:, None] * jnp.asarray(M, jnp.float32)[None]
        log_prob = jax.scipy.stats.norm.logpdf(batch["x"] - centre).sum(axis=1)
        log_prob = log_prob + noise * jax.random.normal(key)
        return {"log_likelihood_bits_per_dim": -log_prob / (3 * np.log(2.0))}

    algorithm = Algorithm(None, None, None, evaluate)
    method = types.SimpleNamespace(algorithm=algorithm, is_conditional=True)
    restored = types.SimpleNamespace(method=method, state={"params": np.zeros(1)}, step=0)
    return densities.Density(None, restored, Bound("log_likelihood_bits_per_dim", "exact"))


def examples(num):
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=num)
    x = rng.normal(size=(num, 3)) + np.where(label[:, None] == 1, M, -M)
    return Examples(x.astype(np.float32), label)


PRIOR = densities.ClassPrior(np.array([0, 1]), ("a", "b"), np.array([0.5, 0.5]))


def test_posterior_of_two_gaussians_in_closed_form():
    given = examples(2000)
    answers = bayes_answers(density(), PRIOR, given, 1)
    expected = special.log_expit(2 * given.x.astype(float) @ M)
    np.testing.assert_allclose(answers.log_posterior[:, 1], expected, atol=1e-5)
    found = answers.summaries["correct"]
    assert abs(found.mean - special.ndtr(np.linalg.norm(M))) < 4 * found.standard_error


def test_all_classes_have_the_same_noise():
    """It moves the likelihoods of an example, and neither its posterior nor its lead."""
    given = examples(50)
    clean, noisy = (
        densities.class_log_likelihoods(density(noise=n), given.x, PRIOR.classes) for n in (0, 30)
    )
    gap = noisy - clean
    assert gap[:, 0].std() > 20
    np.testing.assert_allclose(gap[:, 0], gap[:, 1], atol=1e-4)
    answers = bayes_answers(density(noise=30), PRIOR, given, 3)
    expected = bayes_answers(density(), PRIOR, given, 1)
    np.testing.assert_allclose(answers.log_posterior, expected.log_posterior, atol=1e-4)
    assert answers.numbers["lead_standard_error"] < 1e-4


def test_density_of_all_is_the_sum_over_classes():
    given = examples(20)
    by_class = densities.class_log_likelihoods(density(), given.x, PRIOR.classes)
    found = densities.log_likelihoods(density(), given.x, PRIOR)
    np.testing.assert_allclose(found, special.logsumexp(by_class + np.log(0.5), axis=1))


def test_prior_counts_train_examples_and_leaves_out_empty_classes():
    def split(labels):
        x = np.zeros((len(labels), 1), np.float32)
        return ArraySplit({"x": x, "label": np.array(labels, np.int32)})

    names = ("a", "none", "c")
    dataset = Dataset("d", (1,), None, names, split([0, 2, 2, 2, -1]), split([1, 2, -1, 0, 2]))
    prior = densities.train_prior(dataset)
    assert prior.names == ("a", "c") and prior.frequency.tolist() == [0.25, 0.75]
    assert sorted(classify.test_examples(dataset, prior, 10).label) == [0, 1, 1]
    with pytest.raises(ValueError, match="dataset: 1 classes with train examples, expected 2"):
        densities.train_prior(Dataset("d", (1,), None, names, split([0]), split([0])))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_conditional_flow_is_classified(call, tmp_path, cache):
    run_dir = tmp_path / "run"
    quick_runs.train_flow(run_dir)
    code, out, err = call(classify, run_dir, "--num-test", 40, "--num-draws", 2)
    assert code == 0, err
    assert "Bayes' rule on 40 random test examples under each of 10 classes" in out
    assert "bounds, and not exact likelihoods, are compared" in out
    assert "prior: 0 0.09" in out and "noise of 2 draws" in out and "plain classifier" in out
    record = json.loads((run_dir / "classification.json").read_text())
    assert record["num_examples"] == 40 and not record["is_exact"]
    assert record["kind"] == "importance-weighted bound, 1 draws"
    assert sum(record["prior"].values()) == pytest.approx(1)
    bayes = record["classifiers"]["Bayes' rule"]
    assert 0 <= bayes["accuracy"]["mean"] <= 1 and sum(bayes["reliability"]["num"]) == 40
    assert record["classifiers"]["plain classifier"]["accuracy"]["mean"] > 0.8
    pictures = {path.name for path in (run_dir / "samples").glob("*.png")}
    assert {"confusion.png", "reliability.png", "surest_errors.png"} <= pictures


def test_a_run_without_likelihood_is_refused_before_compilation(monkeypatch, tmp_path):
    info = DataInfo.of(load("digits"))

    def untrained(run, *, sampling, evaluation):
        batch = {"x": jax.ShapeDtypeStruct((4, *info.shape), jnp.uint8)}
        method = GAN.build(run.settings, info, None)
        state = jax.eval_shape(method.algorithm.init, jax.random.key(0), batch)
        return Restored(run.settings, method, 0, state)

    monkeypatch.setattr(densities, "restore_run", untrained)
    run = Run(RunDirectory(tmp_path), GAN, GAN.defaults(), info)
    words = "whose evaluation gives critic_.*, expected a likelihood or .* gan does not have"
    with pytest.raises(ValueError, match=words):
        densities.density_of(run, NoSettings())
    with pytest.raises(ValueError, match="of gan, while another run stands before it"):
        densities.density_of(run, ImportanceSampling())


def test_settings_without_effect_are_refused():
    plain = density()
    plain.restored.method.is_conditional = False
    settings = Settings("runs/a", NoSettings())
    with pytest.raises(ValueError, match="run: runs/a, which knows no classes, expected a class-c"):
        classify.check(plain, settings)
    with pytest.raises(ValueError, match="num_draws: 2, expected 1, since the likelihood is exact"):
        classify.check(density(), Settings("runs/a", NoSettings(), num_draws=2))
    with pytest.raises(ValueError, match="num_test: 0, expected at least 1"):
        Settings("runs/a", NoSettings(), num_test=0)
