"""Autoregressive models: masses that sum to one, what each network sees, labels, orders and heads."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxgen.autoregressive import causality, heads, losses, networks, orders
from jaxgen.autoregressive.models import PixelModel

NETWORKS = ("pixelcnn", "gated", "pixelcnn_plus_plus", "transformer")
HEADS = ("categorical", "logistic_mixture", "bernoulli")
KEY = jax.random.key(0)


def build(network, shape, levels=3, head="categorical", order="raster", **settings):
    order = orders.make_order(order, *shape[:2])
    made = {
        "pixelcnn": lambda: networks.PixelCNN(6, 2, **settings),
        "gated": lambda: networks.GatedPixelCNN(6, 3, **settings),
        "pixelcnn_plus_plus": lambda: networks.PixelCNNPlusPlus(4, 1, 3, **settings),
        "transformer": lambda: networks.PixelTransformer(order.places(), 8, 2, 2, **settings),
    }[network]()
    heads_by_name = {
        "categorical": lambda: heads.Categorical(levels, shape[2]),
        "logistic_mixture": lambda: heads.LogisticMixture(levels, shape[2], 3),
        "bernoulli": lambda: heads.Bernoulli(shape[2]),
    }
    return PixelModel(made, heads_by_name[head](), levels, order)


def random_variables(model, shape, condition=None, scale=0.5):
    """Parameters far from those of the start, where everything matters."""
    x = np.zeros((1, *shape), np.uint8)
    return draw_like(jax.eval_shape(model.init, KEY, x, condition), 0, scale)


def draw_like(shapes, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda v: np.float32(scale) * rng.normal(size=v.shape).astype(np.float32), shapes
    )


def call(module, variables, *args, method):
    return jax.jit(functools.partial(module.apply, method=method))(variables, *args)


def all_images(shape, levels):
    size = int(np.prod(shape))
    return np.array(list(itertools.product(range(levels), repeat=size)), np.uint8).reshape(
        -1, *shape
    )


@pytest.mark.parametrize(
    ("network", "shape", "levels", "head"),
    [
        ("gated", (2, 2, 1), 2, "bernoulli"),
        ("transformer", (2, 2, 1), 2, "categorical"),
        ("pixelcnn", (1, 2, 3), 3, "categorical"),
        ("pixelcnn_plus_plus", (1, 2, 3), 3, "logistic_mixture"),
        ("gated", (1, 2, 4), 2, "logistic_mixture"),
        ("transformer", (1, 3, 2), 2, "bernoulli"),
    ],
)
def test_the_masses_of_all_images_sum_to_one(network, shape, levels, head):
    model = build(network, shape, levels, head)
    variables = random_variables(model, shape)
    log_prob = jax.jit(model.apply)(variables, all_images(shape, levels))
    assert special.logsumexp(np.asarray(log_prob, float)) == pytest.approx(0.0, abs=1e-5)


def test_the_masses_of_all_binary_images_of_sixteen_pixels_sum_to_one():
    model = build("gated", (4, 4, 1), 2, "bernoulli")
    variables = random_variables(model, (4, 4, 1))
    images = all_images((4, 4, 1), 2).reshape(16, 4096, 4, 4, 1)
    log_prob = jax.jit(lambda x: jax.lax.map(lambda part: model.apply(variables, part), x))(images)
    assert special.logsumexp(np.asarray(log_prob, float)) == pytest.approx(0.0, abs=1e-5)


def jacobian_support(model, variables, x, condition=None):
    """Whether input number j moves the log-masses of pixel number i: booleans `[H W, H W]`."""
    height, width = x.shape[1:3]

    def parts(values):
        bound = model.bind(variables)
        inputs = jnp.concatenate([values, jnp.ones((*values.shape[:-1], 1))], axis=-1)
        rows = bound.network.row(inputs, None, condition)
        h = bound.network.pixel(inputs, rows, None, condition)
        return jnp.sum(h * jax.random.normal(KEY, h.shape), axis=-1).reshape(-1)

    values = np.asarray(x, np.float32) - 1.0
    moved = jax.jit(jax.jacrev(parts))(values)
    return np.abs(np.asarray(moved)).reshape(height * width, height * width, -1).max(axis=-1) > 0


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("pixelcnn", (5, 7, 1)),
        ("gated", (6, 4, 3)),
        ("gated", (5, 7, 1)),
        ("pixelcnn_plus_plus", (5, 7, 3)),
        ("transformer", (6, 4, 3)),
    ],
)
def test_a_pixel_sees_what_comes_before_it_and_nothing_else(network, shape):
    model = build(network, shape, 3)
    variables = random_variables(model, shape)
    x = np.random.default_rng(0).integers(0, 3, (1, *shape)).astype(np.uint8)
    seen = jacobian_support(model, variables, x)
    assert not np.any(np.triu(seen)), "a pixel sees itself or what comes after"
    wanted = np.tril(np.ones_like(seen), -1)
    if network == "transformer":
        np.testing.assert_array_equal(seen, wanted)
    if network == "gated":
        # Three layers of windows of three: rows above to three columns beside for each, no blind spot.
        row, column = np.divmod(np.arange(seen.shape[0]), shape[1])
        above = row[:, None] - row[None]
        beside = column[None] - column[:, None]
        near = (above >= 1) & (above <= 2) & (np.abs(beside) <= 3)
        assert np.all(seen[near])


def test_the_gated_network_has_no_blind_spot_and_the_plain_one_has():
    shape = (6, 9, 1)
    x = np.ones((1, *shape), np.uint8)
    place = 3 * 9 + 4
    target = 2 * 9 + 7  # One row above, three columns to the right.
    for network, settings, expected in (("pixelcnn", {}, False), ("gated", {}, True)):
        model = build(network, shape, 3, **settings)
        seen = jacobian_support(model, random_variables(model, shape), x)
        assert bool(seen[place, target]) is expected


def test_later_pixels_change_nothing_however_large():
    model = build("gated", (5, 5, 1), 256)
    variables = random_variables(model, (5, 5, 1))
    context = jax.jit(lambda x: model.apply(variables, x, method="context"))
    x = np.random.default_rng(0).integers(0, 256, (1, 5, 5, 1)).astype(np.int32)
    far = x.copy()
    far[0, 2, 3:] = 10**6
    far[0, 3:] = 10**6
    np.testing.assert_array_equal(context(x)[0, :2], context(far)[0, :2])
    np.testing.assert_array_equal(context(x)[0, 2, :4], context(far)[0, 2, :4])


def test_the_report_counts_what_is_seen():
    model = build("transformer", (4, 5, 1))
    variables = random_variables(model, (4, 5, 1))
    found = causality(model, variables, (4, 5, 1), KEY)
    assert (found.pixel, found.num_before, found.num_seen, found.num_leaks) == (12, 12, 12, 0)
    first = causality(model, variables, (4, 5, 1), KEY, pixel=0)
    assert (first.num_seen, first.num_leaks) == (0, 0)


@pytest.mark.parametrize("network", NETWORKS)
def test_labels_enter_every_model_and_exchange_with_their_embeddings(network):
    shape = (3, 4, 1)
    condition = jnp.eye(5)[:2]  # No other parameter has five rows.
    model = build(network, shape, 3)
    variables = random_variables(model, shape, condition[:1])
    x = np.random.default_rng(0).integers(0, 3, (2, *shape)).astype(np.uint8)
    apply = jax.jit(model.apply)
    a, b = apply(variables, x, condition), apply(variables, x, condition[::-1])
    assert np.all(np.abs(np.asarray(a - b)) > 1e-4)
    swapped = jax.tree.map(lambda v: v[[1, 0, 2, 3, 4]] if len(v) == 5 else v, variables)
    np.testing.assert_allclose(apply(swapped, x, condition[::-1]), a, rtol=1e-5)


def test_a_fresh_model_gives_every_level_the_same_mass():
    for levels, head in ((17, "categorical"), (2, "bernoulli")):
        model = build("gated", (4, 3, 1), levels, head)
        x = np.random.default_rng(0).integers(0, levels, (2, 4, 3, 1)).astype(np.uint8)
        variables = jax.jit(model.init)(KEY, x)
        np.testing.assert_allclose(
            jax.jit(model.apply)(variables, x), -12 * np.log(levels), rtol=1e-6
        )


def test_images_on_another_scale_are_no_number():
    model = build("gated", (4, 3, 1), 3)
    x = np.full((2, 4, 3, 1), 3, np.uint8)
    assert np.all(np.isnan(jax.jit(model.apply)(jax.jit(model.init)(KEY, x * 0), x)))


def test_losses_are_of_each_example_and_differentiable():
    model = build("gated", (4, 3, 1), 3)
    x = np.random.default_rng(0).integers(0, 3, (5, 4, 3, 1)).astype(np.uint8)
    variables = random_variables(model, (4, 3, 1))
    log_prob = jax.tree_util.Partial(jax.jit(model.apply), variables)
    loss = losses.negative_log_likelihood(log_prob, x)
    assert loss.shape == (5,) and loss.dtype == jnp.float32
    gradient = jax.jit(jax.grad(lambda v: model.apply(v, x).sum()))(variables)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def mixture_masses(weights, means, log_scales, links, levels):
    """Mass of every image of one pixel with channels, by SciPy in float64, in order of `all_images`."""
    num_channels = means.shape[1]
    totals = []
    for x in all_images((num_channels,), levels):
        masses = np.log(weights)
        for c in range(num_channels):
            mean = means[:, c].copy()
            for d in range(c):
                mean = mean + links[:, c * (c - 1) // 2 + d] * (2.0 * x[d] / (levels - 1) - 1.0)
            mean = (mean + 1.0) * (levels - 1) / 2.0
            scale = np.exp(log_scales[:, c])
            upper = special.expit((x[c] + 0.5 - mean) / scale) if x[c] < levels - 1 else 1.0
            lower = special.expit((x[c] - 0.5 - mean) / scale) if x[c] > 0 else 0.0
            masses = masses + np.log(upper - lower)
        totals.append(special.logsumexp(masses))
    return np.array(totals)


def test_the_mixture_of_logistics_is_that_of_its_formula():
    levels, num_channels, k, f = 5, 3, 2, 4
    head = heads.LogisticMixture(levels, num_channels, k)
    h = np.random.default_rng(1).normal(size=(1, f)).astype(np.float32)
    images = all_images((num_channels,), levels)
    init = functools.partial(head.init, method="log_prob")
    variables = draw_like(jax.eval_shape(init, KEY, h, images[:1]), 2)
    log_weights, means, log_scales, links = (
        np.asarray(v, float)[0] for v in call(head, variables, h, method="_parameters")
    )
    expected = mixture_masses(np.exp(log_weights), means, log_scales, links, levels)
    repeated = np.repeat(h, len(images), axis=0)
    found = call(head, variables, repeated, images, method="log_prob")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_draws_have_the_masses_of_their_head(head):
    levels = 2 if head == "bernoulli" else 3
    made = {
        "categorical": heads.Categorical(levels, 2),
        "logistic_mixture": heads.LogisticMixture(levels, 2, 2),
        "bernoulli": heads.Bernoulli(2),
    }[head]
    h = np.random.default_rng(1).normal(size=(1, 4)).astype(np.float32)
    images = all_images((2,), levels)
    init = functools.partial(made.init, method="log_prob")
    variables = draw_like(jax.eval_shape(init, KEY, h, images[:1]), 3)
    repeated = np.repeat(h, len(images), axis=0)
    masses = np.exp(np.asarray(call(made, variables, repeated, images, method="log_prob"), float))
    num = 20_000
    keys = jax.random.split(KEY, num)
    drawn = np.asarray(call(made, variables, keys, np.repeat(h, num, 0), method="draw"))
    counts = np.array([np.all(drawn == image, axis=1).sum() for image in images])
    assert np.all(np.abs(counts - num * masses) < 5 * np.sqrt(num * masses * (1 - masses)) + 1)


@pytest.mark.parametrize("name", orders.NAMES)
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
def test_an_order_is_a_permutation_that_comes_back(name, size):
    order = orders.make_order(name, *size)
    assert sorted(order.indices) == list(range(size[0] * size[1]))
    x = np.arange(2 * size[0] * size[1] * 3).reshape(2, *size, 3)
    np.testing.assert_array_equal(order.restore(order.arrange(x)), x)
    assert order.arrange(x).shape == (2, *order.shape, 3)
    flat = order.arrange(x)[0].reshape(-1, 3)[:, 0]
    np.testing.assert_array_equal(flat, x[0].reshape(-1, 3)[list(order.indices), 0])


def test_a_hilbert_curve_goes_from_neighbour_to_neighbour():
    places = np.array(orders.make_order("hilbert", 8, 8).places())
    assert np.all(np.abs(np.diff(places, axis=0)).sum(axis=1) == 1)


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="order: spiral, expected one of raster"):
        orders.make_order("spiral", 2, 2)
