"""Conditional textures against dense matrices, by factors and by conjugate gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import texture_references as reference

from jaxgen.classical import texture

SHAPES = ((6, 5, 1), (6, 5, 3))
KNOWN = np.random.default_rng(3).random((6, 5)) > 0.4
NOISE = 0.2


def model_of(shape):
    return texture.fit_periodic(jnp.asarray(reference.exemplar(shape)), noise_variance=NOISE)


def dense(shape, covariance_of):
    """Mean, covariance and the data of the conditional."""
    u = reference.exemplar(shape)
    mean = np.broadcast_to(u.mean(axis=(0, 1)), shape).ravel()
    covariance = covariance_of(reference.spot(u)) + NOISE * np.eye(u.size)
    return mean, covariance, reference.exemplar(shape, seed=5)


def prepare(shape, way, x, known=KNOWN, **settings):
    """The conditional distribution on the torus or on the plane."""
    model = model_of(shape)
    size = (6, 5)
    canvas = model if way == "torus" else model.padded((12, 10))
    return texture.make_conditional(canvas, jnp.asarray(x), known, size=size, **settings)


def innovation(conditional):
    """The covariance of draws: the field is an affine function of the plain draw."""
    model = conditional.model

    def krige(z):
        return conditional.krige(z).x.ravel()

    matrix = np.asarray(jax.jacobian(krige)(jnp.zeros_like(model.spot))).reshape(
        -1, model.spot.size
    )
    covariance = reference.shifts_covariance(np.asarray(model.spot))
    return matrix @ (covariance + NOISE * np.eye(model.spot.size)) @ matrix.T


WAYS = {"torus": reference.shifts_covariance, "plane": reference.plane_covariance}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", WAYS)
def test_kriging_is_the_dense_conditional(shape, way):
    """Given all known sites; on the plane opposite borders do not meet."""
    mean, covariance, x = dense(shape, WAYS[way])
    known = np.repeat(KNOWN.ravel(), shape[2])
    expected, spread = reference.conditional(x.ravel(), mean, covariance, known)
    with jax.enable_x64(True):
        conditional = prepare(shape, way, np.where(KNOWN[..., None], x, np.nan))
        kriged = conditional.krige_mean()
        np.testing.assert_allclose(np.asarray(kriged.x).ravel(), expected, atol=1e-12)
        assert float(kriged.relative_residual) < 1e-12
        np.testing.assert_allclose(innovation(conditional), spread, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_conjugate_gradients_come_to_the_same(way):
    mean, covariance, x = dense((6, 5, 3), WAYS[way])
    known = np.repeat(KNOWN.ravel(), 3)
    expected, _ = reference.conditional(x.ravel(), mean, covariance, known)
    with jax.enable_x64(True):
        conditional = prepare((6, 5, 3), way, x, most_by_cholesky=0, tolerance=1e-13)
        assert conditional.cholesky is None
        kriged = jax.jit(texture.Conditional.krige_mean)(conditional)
        np.testing.assert_allclose(np.asarray(kriged.x).ravel(), expected, atol=1e-11)
        assert float(kriged.relative_residual) < 1e-12
        stopped = prepare((6, 5, 3), way, x, most_by_cholesky=0, tolerance=1e-13, max_steps=2)
        assert float(stopped.krige_mean().relative_residual) > 1e-6


def test_the_methods_of_the_model_are_both_ways(key):
    _, _, x = dense((6, 5, 1), WAYS["torus"])
    with jax.enable_x64(True):
        model, values = model_of((6, 5, 1)), jnp.asarray(x)
        for found, way in (
            (model.condition(values, KNOWN), "torus"),
            (model.condition_on_plane(values, KNOWN), "plane"),
        ):
            expected = prepare((6, 5, 1), way, x)
            np.testing.assert_array_equal(found.mean(), expected.mean())
            np.testing.assert_array_equal(found.sample(key, 2), expected.sample(key, 2))


@pytest.mark.parametrize("settings", [{}, {"most_by_cholesky": 0}])
@pytest.mark.parametrize("way", WAYS)
def test_known_sites_are_returned_exactly_and_hidden_ones_vary(way, settings, key):
    _, _, x = dense((6, 5, 3), WAYS[way])
    x = x.astype(np.float32)
    conditional = prepare((6, 5, 3), way, np.where(KNOWN[..., None], x, np.nan), **settings)
    draws = np.asarray(conditional.sample(jax.random.split(key, 3), 3))
    assert draws.shape == (3, 6, 5, 3) and np.all(np.isfinite(draws))
    for draw in (*draws, np.asarray(conditional.mean())):
        np.testing.assert_array_equal(draw[KNOWN], x[KNOWN])
    assert np.all(draws[0][~KNOWN] != draws[1][~KNOWN])


def test_without_a_known_site_it_is_a_plain_draw(key):
    model = texture.fit(jnp.asarray(reference.exemplar((6, 5, 2)), jnp.float32))
    conditional = model.condition(jnp.full((6, 5, 2), jnp.nan), np.zeros((6, 5), bool))
    np.testing.assert_allclose(conditional.sample(key, 3), model.sample(key, 3), atol=1e-5)
    kriged = conditional.krige_mean()
    np.testing.assert_array_equal(kriged.x, np.broadcast_to(model.mean, (6, 5, 2)))
    assert float(kriged.relative_residual) == 0.0


def test_with_all_sites_known_nothing_is_left(key):
    x = jnp.asarray(reference.exemplar((6, 5, 2), seed=4), jnp.float32)
    model = texture.fit(x)
    conditional = model.condition(x, np.ones((6, 5), bool))
    np.testing.assert_array_equal(conditional.sample(key, 1)[0], x)


@pytest.mark.parametrize(
    ("noise_variance", "settings"), [(1e-6, {}), (1 / 12, {"most_by_cholesky": 0})]
)
def test_colours_of_rank_1_stay_finite_in_float32(noise_variance, settings, key):
    """One exemplar gives its colours rank 1, so that their covariance is singular but for noise."""
    grey = np.random.default_rng(0).normal(size=(6, 5, 1)) * 60.0 + 128.0
    u = jnp.asarray(np.repeat(grey, 3, axis=-1), jnp.float32)
    model = texture.fit_periodic(u, noise_variance=noise_variance)
    conditional = texture.make_conditional(model, u, KNOWN, size=(6, 5), **settings)
    kriged = conditional.krige_draw(key)
    assert np.all(np.isfinite(kriged.x)) and float(kriged.relative_residual) < 0.05
    hidden = np.asarray(kriged.x)[~KNOWN]
    np.testing.assert_allclose(hidden, hidden[:, :1] + 0 * hidden, atol=2.0)
    flat = texture.fit(jnp.full((6, 5, 3), 9.0)).condition(jnp.full((6, 5, 3), 9.0), KNOWN)
    np.testing.assert_allclose(flat.mean(), 9.0, rtol=1e-5)


def test_images_and_masks_of_another_size_are_refused():
    model = texture.fit(jnp.ones((6, 5, 1)))
    with pytest.raises(
        ValueError, match=r"observed: shape \(5, 6\), expected that of the model, \(6, 5\)"
    ):
        model.condition(jnp.ones((6, 5, 1)), np.ones((5, 6), bool))
    with pytest.raises(
        ValueError, match=r"x: shape \(5, 6\), expected that of the model, \(6, 5\)"
    ):
        model.condition_on_plane(jnp.ones((5, 6, 1)), np.ones((6, 5), bool))
    for mask in (np.full((6, 5), 0.4), np.ones((6, 5), int)):
        with pytest.raises(ValueError, match=f"observed: {mask.dtype}, expected booleans"):
            model.condition(jnp.ones((6, 5, 1)), mask)
        with pytest.raises(ValueError, match=f"known: {mask.dtype}, expected booleans"):
            texture.fit_masked(jnp.ones((6, 5, 1)), mask)
