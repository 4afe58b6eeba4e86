"""Three ways to write an image give the same one; completions are exact or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_autoregressive_models import KEY, all_images, build, random_variables

from jaxgen.autoregressive import MASKS, check_mask, known_mask, orders, samplers


def draw(method, model, variables, num, shape, **settings):
    return jax.jit(lambda v: method(model, v, KEY, num, shape, **settings))(variables)


@pytest.mark.parametrize(
    ("network", "shape", "levels", "head", "order"),
    [
        ("pixelcnn", (6, 4, 1), 3, "categorical", "columns"),
        ("gated", (5, 7, 3), 4, "logistic_mixture", "raster"),
        ("pixelcnn_plus_plus", (5, 7, 3), 4, "logistic_mixture", "raster"),
        ("transformer", (4, 3, 1), 3, "categorical", "snake"),
    ],
)
def test_one_key_gives_one_image_whatever_the_way(network, shape, levels, head, order):
    model = build(network, shape, levels, head, order)
    condition = jnp.eye(2)
    variables = random_variables(model, shape, condition[:1], scale=0.3)
    results = {
        name: draw(getattr(samplers, name), model, variables, 2, shape, condition=condition)
        for name in ("sequential", "cached", "jacobi")
    }
    x = np.asarray(results["sequential"].x)
    assert x.dtype == np.uint8 and x.shape == (2, *shape) and len(np.unique(x)) > 1
    for result in results.values():
        np.testing.assert_array_equal(result.x, x)
    num_pixels = shape[0] * shape[1]
    assert int(results["sequential"].num_passes) == num_pixels
    assert int(results["cached"].num_passes) == 1
    assert 2 <= int(results["jacobi"].num_passes) <= num_pixels


def test_draws_have_the_probabilities_of_the_model():
    model = build("gated", (2, 2, 1), 2, "bernoulli")
    variables = random_variables(model, (2, 2, 1))
    num = 4000
    x = np.asarray(draw(samplers.cached, model, variables, num, (2, 2, 1)).x)
    images = all_images((2, 2, 1), 2)
    masses = np.exp(np.asarray(model.apply(variables, images), float))
    counts = np.array([np.all(x == image, axis=(1, 2, 3)).sum() for image in images])
    assert np.all(np.abs(counts - num * masses) < 5 * np.sqrt(num * masses * (1 - masses)) + 1)


def test_an_image_depends_on_its_own_key_alone():
    model = build("gated", (4, 4, 1), 3)
    variables = random_variables(model, (4, 4, 1))
    keys = jax.random.split(KEY, 4)
    whole = samplers.jacobi(model, variables, keys, 4, (4, 4, 1)).x
    np.testing.assert_array_equal(
        samplers.jacobi(model, variables, keys[2:], 2, (4, 4, 1)).x, whole[2:]
    )


@pytest.mark.parametrize("name", ["sequential", "cached", "jacobi"])
def test_what_is_known_comes_back_and_the_rest_has_its_conditional(name):
    shape = (2, 2, 1)
    model = build("gated", shape, 2, "bernoulli")
    variables = random_variables(model, shape)
    mask = known_mask("lower_half", 2, 2)
    num = 2000 if name == "jacobi" else 500
    given = np.tile(np.array([1, 0, 0, 0], np.uint8).reshape(1, *shape), (num, 1, 1, 1))
    known = samplers.Known(jnp.asarray(given), jnp.asarray(mask))
    x = np.asarray(draw(getattr(samplers, name), model, variables, num, shape, known=known).x)
    np.testing.assert_array_equal(x[:, 0], given[:, 0])
    images = all_images(shape, 2)
    fitting = images[np.all(images[:, 0] == given[0, 0], axis=(1, 2))]
    masses = np.exp(np.asarray(model.apply(variables, fitting), float))
    masses /= masses.sum()
    counts = np.array([np.all(x == image, axis=(1, 2, 3)).sum() for image in fitting])
    assert np.all(np.abs(counts - num * masses) < 5 * np.sqrt(num * masses * (1 - masses)) + 1)


def test_nothing_known_is_a_plain_draw():
    model = build("gated", (3, 3, 1), 3)
    variables = random_variables(model, (3, 3, 1))
    nothing = samplers.Known(jnp.ones((2, 3, 3, 1), jnp.uint8), jnp.zeros((3, 3), bool))
    plain = draw(samplers.cached, model, variables, 2, (3, 3, 1))
    other = draw(samplers.cached, model, variables, 2, (3, 3, 1), known=nothing)
    np.testing.assert_array_equal(plain.x, other.x)


def test_masks_that_an_order_cannot_serve_are_refused_with_one_that_can():
    raster, columns = (orders.make_order(name, 5, 7) for name in ("raster", "columns"))
    check_mask(known_mask("lower_half", 5, 7), raster)
    check_mask(known_mask("right_half", 5, 7), columns)
    with pytest.raises(ValueError, match=r"order 'raster' writes before known .* --order columns"):
        check_mask(known_mask("right_half", 5, 7), raster)
    with pytest.raises(ValueError, match="--order bottom_up"):
        check_mask(known_mask("upper_half", 5, 7), raster)
    hole = np.ones((5, 7), bool)
    hole[2, 3] = False
    with pytest.raises(ValueError, match="expected one that an order can complete"):
        check_mask(hole, raster)
    with pytest.raises(ValueError, match="mask: hides no pixel"):
        check_mask(np.ones((5, 7), bool), raster)
    with pytest.raises(ValueError, match="mask: middle, expected one of lower_half"):
        known_mask("middle", 5, 7)
    for name in MASKS:
        mask = known_mask(name, 5, 7)
        assert mask.shape == (5, 7) and 0 < mask.sum() < 35


@pytest.mark.parametrize("network", ["gated", "transformer"])
def test_the_cache_holds_maps_and_no_images_of_every_pixel(network):
    shape = (8, 8, 1)
    model = build(network, shape, 3)
    variables = random_variables(model, shape)
    jaxpr = jax.make_jaxpr(lambda v: samplers.cached(model, v, KEY, 2, shape).x)(variables)
    sizes = [v.aval.size for e in jaxpr.eqns for v in e.outvars if hasattr(v.aval, "size")]
    assert max(sizes) < 64 * 2 * 64
