"""EM of mixtures: steps that climb, scikit-learn, closed forms, missing numbers, noise, devices."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture_runs import NUM_FACTORS, blobs, covariances, em_step, expect, run, start
from sklearn.mixture import GaussianMixture

from jaxgen.classical import gaussian, mixture
from jaxgen.classical.mixture import KINDS

SKLEARN = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}


def test_one_step_has_the_numbers_worked_out_by_hand():
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    with jax.enable_x64(True):
        parts = gaussian.FactorGaussian(
            jnp.array([[-1.0], [1.0]]), jnp.zeros((2, 1, 0)), jnp.ones((2, 1))
        )
        begin = mixture.Mixture(jnp.zeros(2), parts, "diagonal")
        step = em_step(begin, x, min_variance=1e-9)
        after = step.mixture.log_prob(x)
        parts = step.mixture.components
        np.testing.assert_allclose(parts.mean[:, 0], [-1.344825, 1.344825], atol=5e-7)
        np.testing.assert_allclose(parts.noise[:, 0], 0.691447, atol=5e-7)
        assert float(np.mean(step.log_prob)) == pytest.approx(-1.789547, abs=5e-7)
        assert float(np.mean(after)) == pytest.approx(-1.615464, abs=5e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_em_climbs_from_every_start(kind):
    floor = 1e-3
    x = np.stack([blobs(num=40, seed=seed) for seed in range(20)])
    x[:, :, 3] = 1.0  # A constant number: only the floor keeps its variance from 0.
    settings = {"kind": kind, "num_components": 4, "num_factors": NUM_FACTORS[kind]}

    def climb(key, x):
        begin = mixture.start(key, x, min_variance=floor, **settings)
        params, (means, moved) = run(begin, x, num_steps=25, min_variance=floor)
        return params.over_components(lambda g: g.covariance()), means, moved

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 20)
        matrices, means, moved = jax.jit(jax.vmap(climb))(keys, x)
        steps = np.diff(means, axis=1)
        assert np.all(steps[np.asarray(moved)[:, :-1] == 0] > -1e-11), steps.min()
        assert np.all(np.asarray(means[:, -1]) > np.asarray(means[:, 0]) + 0.1)
        assert np.linalg.eigvalsh(np.asarray(matrices)).min() > floor * (1 - 1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_em_climbs_with_missing_numbers_weights_and_noise(kind, noise):
    rng = np.random.default_rng(0)
    x = blobs(num=30)
    observed = rng.random(x.shape) < 0.7
    hidden = np.where(observed, x, np.nan)
    with jax.enable_x64(True):
        means = run(
            start(x, kind, min_variance=1e-3),
            hidden,
            num_steps=15,
            min_variance=1e-3,
            weight=jnp.asarray(rng.uniform(0.5, 2.0, 30)),
            observed=observed,
            noise_variance=noise,
        )[1][0]
        assert np.all(np.diff(means) > -1e-11) and means[-1] > means[0] + 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_missing_is_the_plain_step(kind):
    x = blobs()
    with jax.enable_x64(True):
        begin = run(start(x, kind), x, num_steps=3)[0]
        # The scores' regression of a step with missing numbers has its own intercept.
        observed = np.ones(x.shape, bool)
        plain, _ = expect(begin, x, noise_variance=0.2)
        masked, _ = expect(begin, x, observed=observed, noise_variance=0.2)
        for name in ("count", "x", "xx", "z", "xz", "zz"):
            a, b = getattr(plain, name), getattr(masked, name)
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_integrated_out_is_that_of_many_draws(kind):
    x = blobs()
    with jax.enable_x64(True):
        begin = run(start(x, kind), x, num_steps=2)[0]
        one = mixture.Mixture(
            begin.logits[:1], jax.tree.map(lambda a: a[:1], begin.components), begin.kind
        )
        sums, log_prob = expect(one, x, noise_variance=0.25)
        signs = np.array(
            list(itertools.product([-0.5, 0.5], repeat=4))
        )  # All moments up to the second.
        many, log_probs = jax.vmap(lambda sign: expect(one, x + sign[None]))(signs)
        np.testing.assert_allclose(log_prob, np.mean(log_probs, axis=0), rtol=1e-9)
        for name in ("count", "x", "xx", "z", "xz", "zz"):
            average = np.mean(getattr(many, name), axis=0)
            np.testing.assert_allclose(
                getattr(sums, name), average, rtol=1e-8, atol=1e-8, err_msg=name
            )


@pytest.mark.parametrize("kind", SKLEARN)
def test_em_is_that_of_scikit_learn_from_equal_starts(kind):
    x = blobs()
    with jax.enable_x64(True):
        begin = start(x, kind)
        matrices = covariances(begin)
        precisions = {
            "full": np.linalg.inv(matrices),
            "tied": np.linalg.inv(matrices[0]),
            "diagonal": 1.0 / np.einsum("kii->ki", matrices),
            "spherical": 1.0 / matrices[:, 0, 0],
        }[kind]
        theirs = GaussianMixture(
            3,
            covariance_type=SKLEARN[kind],
            reg_covar=0.0,
            tol=0.0,
            max_iter=8,
            weights_init=np.full(3, 1 / 3),
            means_init=np.asarray(begin.components.mean),
            precisions_init=precisions,
        )
        with pytest.warns(Warning, match="converge"):
            theirs.fit(x)
        ours = run(begin, x, num_steps=8, min_variance=1e-12)[0]
        np.testing.assert_allclose(ours.components.mean, theirs.means_, rtol=1e-7)
        np.testing.assert_allclose(
            np.exp(jax.nn.log_softmax(ours.logits)), theirs.weights_, rtol=1e-7
        )
        np.testing.assert_allclose(ours.log_prob(x), theirs.score_samples(x), rtol=1e-7)
        assert float(mixture.bic(ours, ours.log_prob(x))) == pytest.approx(theirs.bic(x), rel=1e-8)


def test_the_closing_density_is_of_the_last_parameters():
    x = blobs()
    with jax.enable_x64(True):
        begin = start(x, "full")
        first = em_step(begin, x, min_variance=1e-9)
        second = em_step(first.mixture, x, min_variance=1e-9)
        np.testing.assert_allclose(second.log_prob, first.mixture.log_prob(x), rtol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diagonal", "spherical"])
def test_one_component_is_the_closed_form(kind):
    x = blobs()
    with jax.enable_x64(True):
        params = run(start(x, kind, num_components=1), x, num_steps=1)[0]
        covariance = covariances(params)[0]
    sample = np.cov(x.T, bias=True)
    expected = {
        "full": sample,
        "tied": sample,
        "diagonal": np.diag(np.diag(sample)),
        "spherical": np.trace(sample) / 4 * np.eye(4),
    }[kind]
    np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-12)


def test_one_component_with_factors_comes_to_ppca():
    x = blobs()
    with jax.enable_x64(True):
        params = run(start(x, "ppca", num_components=1), x, num_steps=500)[0]
        expected = gaussian.fit_ppca(jnp.asarray(x), 2).covariance()
        np.testing.assert_allclose(covariances(params)[0], expected, rtol=1e-4, atol=1e-4)


def test_all_factors_but_one_are_the_full_gaussian():
    x = blobs()
    with jax.enable_x64(True):
        begin = mixture.start(jax.random.key(0), x, kind="ppca", num_components=1, num_factors=3)
        covariance = covariances(run(begin, x, num_steps=300)[0])[0]
    np.testing.assert_allclose(covariance, np.cov(x.T, bias=True), atol=1e-4)


def test_factor_analysis_takes_the_step_of_its_formula():
    x = blobs()
    sample = np.cov(x.T, bias=True)
    with jax.enable_x64(True):
        begin = start(x, "factor_analysis", num_components=1)
        begin = begin.replace(components=begin.components.replace(mean=x.mean(0)[None]))
        w, psi = (np.asarray(v[0]) for v in (begin.components.factors, begin.components.noise))
        after = em_step(begin, x, min_variance=1e-12).mixture.components
    b = w.T @ np.linalg.inv(w @ w.T + np.diag(psi))
    expected = sample @ b.T @ np.linalg.inv(np.eye(2) - b @ w + b @ sample @ b.T)
    np.testing.assert_allclose(after.factors[0], expected, rtol=1e-8)
    np.testing.assert_allclose(after.noise[0], np.diag(sample - expected @ b @ sample), rtol=1e-8)


def test_in_one_dimension_all_kinds_of_covariance_agree():
    x = blobs(num=50, size=1)
    with jax.enable_x64(True):
        results = [
            run(start(x, kind), x, num_steps=4)[0] for kind in ("full", "diagonal", "spherical")
        ]
        for other in results[1:]:
            np.testing.assert_allclose(covariances(other), covariances(results[0]), rtol=1e-9)
        values = {float(mixture.bic(params, params.log_prob(x))) for params in results}
    assert max(values) - min(values) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_scale_and_offset_of_the_data_change_no_responsibility(kind):
    x = blobs()
    with jax.enable_x64(True):
        plain = run(start(x, kind), x, num_steps=6, min_variance=1e-6)[0]
        moved = run(
            start(255 * x + 1e4, kind), 255 * x + 1e4, num_steps=6, min_variance=255**2 * 1e-6
        )[0]
        np.testing.assert_allclose(
            plain.responsibilities(x), moved.responsibilities(255 * x + 1e4), atol=1e-5
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_mean_leaves_variances_positive_in_float32(kind):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + 9.0]) + 9999.0
    x = x.astype(np.float32)
    begin = start(x, kind, num_components=2)
    params = run(begin, x, num_steps=20, min_variance=1e-4)[0]
    variances = np.einsum("kii->ki", covariances(params))
    np.testing.assert_allclose(variances, 1.0, atol=0.35)


def test_order_of_components_and_of_blocks_changes_nothing():
    x = blobs(num=1100)
    with jax.enable_x64(True):
        begin = start(x, "full")
        order = np.array([2, 0, 1])
        turned = jax.tree.map(lambda a: a[order], begin)
        a, b = (em_step(each, x, min_variance=1e-9).mixture for each in (begin, turned))
        np.testing.assert_allclose(a.components.mean[order], b.components.mean, rtol=1e-12)
        shuffled = np.random.default_rng(0).permutation(x)
        c = em_step(begin, shuffled, min_variance=1e-9).mixture
        np.testing.assert_allclose(a.components.mean, c.components.mean, rtol=1e-10)


def test_weights_are_repetitions():
    x = blobs(num=30)
    repeats = np.random.default_rng(0).integers(0, 4, 30)
    with jax.enable_x64(True):
        for kind in KINDS:
            begin = start(x, kind)
            weighted = em_step(begin, x, weight=jnp.asarray(repeats), min_variance=1e-9)
            repeated = em_step(begin, np.repeat(x, repeats, axis=0), min_variance=1e-9)
            np.testing.assert_allclose(
                covariances(weighted.mixture), covariances(repeated.mixture), rtol=1e-8
            )


def test_an_image_for_each_component_and_an_empty_component():
    x = blobs(num=6).astype(np.float32)
    for kind in KINDS:
        begin = start(x, kind, num_components=6)
        params, (means, _) = run(begin, x, num_steps=10, min_variance=1e-2)
        assert np.all(np.isfinite(means)) and np.all(np.isfinite(params.log_prob(x))), kind
    far = np.concatenate([x, [[90.0, 0, 0, 0]]]).astype(np.float32)
    begin = start(x, "diagonal", num_components=3)
    lost = begin.components.replace(mean=begin.components.mean.at[1].set(1e4))
    step = em_step(begin.replace(components=lost), far, min_variance=1e-2)
    assert int(step.num_reseeded) == 1
    np.testing.assert_allclose(step.mixture.components.mean[1], far[-1])
    assert np.exp(jax.nn.log_softmax(step.mixture.logits))[1] == pytest.approx(1 / 8, rel=1e-3)


def test_parts_of_the_data_merge_to_the_whole():
    x = blobs()
    with jax.enable_x64(True):
        for kind in KINDS:
            begin = run(start(x, kind), x, num_steps=2)[0]
            parts = [
                mixture.average(begin, expect(begin, part)[0], is_complete=False)
                for part in (x[:20], x[20:])
            ]
            whole = mixture.average(begin, expect(begin, x)[0], is_complete=False)
            merged = mixture.merge(parts[0], parts[1], 0.5)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), merged, whole)


@pytest.mark.parametrize("kind", ["full", "diagonal", "factor_analysis"])
def test_stepwise_em_on_batches_is_no_slower_than_that_of_all(kind):
    x = blobs(num=1200)
    with jax.enable_x64(True):
        begin = start(x, kind)
        whole = run(begin, x, num_steps=4, min_variance=1e-4)[0]
        params, old = begin, None
        for t in range(48):
            batch = x[100 * (t % 12) : 100 * (t % 12) + 100]
            size = 1.0 if old is None else (t + 2.0) ** -0.6
            result = em_step(params, batch, old=old, step_size=size, min_variance=1e-4)
            params, old = result.mixture, result.statistics
        gap = float(np.mean(whole.log_prob(x)) - np.mean(params.log_prob(x)))
    assert gap < 0.05  # Four passes of batches do no worse than four of all.


def test_devices_share_the_data():
    x = blobs(num=64)
    with jax.enable_x64(True):
        for kind in ("full", "ppca"):
            begin = start(x, kind, num_components=5)
            lost = begin.components.replace(mean=begin.components.mean.at[1].set(1e4))
            begin = begin.replace(components=lost)
            step = functools.partial(mixture.em_step, min_variance=1e-3)
            alone = jax.jit(step)(begin, x)
            apart = jax.pmap(
                functools.partial(step, axis_name="d"), axis_name="d", in_axes=(None, 0)
            )(begin, x.reshape(4, 16, -1))
            assert int(alone.num_reseeded) == 1 and np.all(np.asarray(apart.num_reseeded) == 1)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b[0], rtol=1e-9, atol=1e-9),
                alone.mixture,
                apart.mixture,
            )
