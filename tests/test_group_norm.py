"""Group normalization: beside Flax's and a float64 reference, and the sums it is made of."""

import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nn import GroupNorm
from jaxgen.nn.sums import pixel_dot, pixel_sum, repeat_pixel


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def reference(x, scale, bias):
    """In float64, the mean and variance of each group of an example."""
    x = np.asarray(x, np.float64)
    groups = x.reshape(
        len(x), -1, math.gcd(x.shape[-1], 8), x.shape[-1] // math.gcd(x.shape[-1], 8)
    )
    centred = groups - groups.mean(axis=(1, 3), keepdims=True)
    y = centred / np.sqrt(np.square(centred).mean(axis=(1, 3), keepdims=True) + 1e-6)
    return y.reshape(x.shape) * np.asarray(scale, np.float64) + np.asarray(bias, np.float64)


@pytest.mark.parametrize(
    ("shape", "mean"),
    [((3, 4, 2, 8), 1e3), ((2, 5, 3), 0.0), ((2, 3, 3, 12), 0.0), ((4, 16), 0.0)],
)
def test_values_are_those_of_the_reference(shape, mean):
    """Also beside a large mean, where a mean of squares has lost the variance."""
    x = mean + np.random.default_rng(0).normal(size=shape).astype(np.float32)
    scale, bias = np.random.default_rng(1).normal(size=(2, shape[-1])).astype(np.float32)
    y = jax.jit(GroupNorm().apply)({"params": {"scale": scale, "bias": bias}}, x)
    tolerance = 1e-5 if mean == 0.0 else 2e-3
    np.testing.assert_allclose(y, reference(x, scale, bias), rtol=tolerance, atol=tolerance)


class Plain(nn.Module):
    """Flax's module, then rows of the examples and the activation one after another."""

    is_activated: bool

    @nn.compact
    def __call__(self, x, scale=None, shift=None):
        norm = nn.GroupNorm(4, use_fast_variance=False, name="norm")
        nn.share_scope(self, norm)
        y = norm(x)
        if scale is not None:
            y = y * (1.0 + scale[:, None, None]) + shift[:, None, None]
        return nn.silu(y) if self.is_activated else y


@pytest.mark.parametrize("is_activated", [False, True])
def test_parameters_results_and_derivatives_of_both_modes_are_those_of_flax(is_activated):
    """12 channels make 4 groups; activated ones have rows of each example, too."""
    x = 2.0 * draw(0, 3, 4, 2, 12) + 1.0
    inputs = (x, draw(1, 3, 12), draw(2, 3, 12)) if is_activated else (x,)
    weights, tangents = draw(3, *x.shape), tuple(draw(4, *array.shape) for array in inputs)

    def outcome(net, params):
        def loss(params, inputs):
            return jnp.sum(weights * jnp.sin(2.0 * net.apply(params, *inputs)))

        def slope(params, inputs):
            gradient = jax.grad(loss, argnums=(0, 1))(params, inputs)
            return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient)), gradient

        second, first = jax.grad(slope, argnums=(0, 1), has_aux=True)(params, inputs)
        forward = jax.jvp(loss, (params, inputs), (params, tangents))[1]
        return net.apply(params, *inputs), first, forward, second

    nets = GroupNorm(is_activated=is_activated), Plain(is_activated)

    @jax.jit
    def both():
        initial = [net.init(jax.random.key(0), *inputs) for net in nets]
        params = jax.tree.map(lambda leaf: leaf + 0.3 * draw(5, *leaf.shape), initial[0])
        return initial, [outcome(net, params) for net in nets]

    initial, ((*found, second), (*expected, expected_second)) = both()
    chex.assert_trees_all_equal(*initial)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(second, expected_second, rtol=2e-3, atol=2e-3)


def test_the_activation_is_finite_far_out():
    variables = {"params": {"scale": np.full(8, 1e4, np.float32), "bias": np.zeros(8, np.float32)}}
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(GroupNorm(None, True).apply(variables, x))))
    assert np.all(np.isfinite(gradient(x)))


def test_examples_are_normalized_each_by_itself():
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 8)).astype(np.float32)
    variables = {"params": {"scale": np.ones(8, np.float32), "bias": np.zeros(8, np.float32)}}
    norm = functools.partial(jax.jit(GroupNorm().apply), variables)
    y = np.asarray(norm(x))
    np.testing.assert_allclose(y.mean(axis=(1, 2)), np.zeros((3, 8)), atol=1e-5)
    np.testing.assert_allclose(norm(3.0 * x + 2.0), y, rtol=1e-3, atol=1e-4)
    others = np.concatenate([x[:1], 100.0 * x[1:]])
    np.testing.assert_allclose(norm(others)[0], y[0], rtol=1e-6)
    np.testing.assert_array_equal(norm(np.ones_like(x)), 0.0)


@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16])
def test_results_have_the_chosen_type_and_statistics_float32(dtype):
    x = 8.0 + 0.1 * np.random.default_rng(0).normal(size=(2, 16, 16, 8))
    x = x.astype(jnp.bfloat16)
    module = GroupNorm(dtype=dtype)
    variables = module.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    y = module.apply(variables, x)
    assert y.dtype == (dtype or jnp.bfloat16)
    expected = reference(x, np.ones(8), np.zeros(8))
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=1e-2, atol=1e-2)


def test_sums_and_repeats_of_pixels_are_adjoint():
    x, row = draw(0, 3, 5, 2), draw(1, 3, 2)

    @jax.jit
    def evaluate(x, row):
        def squares(x):
            return jnp.sum(jnp.square(pixel_sum(x)))

        return {
            "sum": pixel_sum(x),
            "repeat": repeat_pixel(row, 5),
            "pulled": jax.vjp(pixel_sum, x)[1](row)[0],
            "pushed": jax.vjp(lambda row: repeat_pixel(row, 5), row)[1](x)[0],
            "tangent": jax.jvp(pixel_sum, (x,), (x,))[1],
            "mapped": jax.vmap(pixel_sum, 2, 1)(jnp.stack([x, 2.0 * x], 2)),
            "mapped row": jax.vmap(lambda row: repeat_pixel(row, 5))(jnp.stack([row, -row])),
            "curvature": jax.grad(lambda x: jnp.sum(jax.grad(squares)(x)))(x),
        }

    found = evaluate(x, row)
    total = np.asarray(x, np.float64).sum(axis=1)
    repeated = np.repeat(np.asarray(row)[:, None], 5, axis=1)
    expected = {
        "sum": total,
        "repeat": repeated,
        "pulled": repeated,
        "pushed": total,
        "tangent": total,
        "mapped": np.stack([total, 2.0 * total], 1),
        "mapped row": np.stack([repeated, -repeated]),
        "curvature": np.full((3, 5, 2), 10.0),
    }
    chex.assert_trees_all_close(jax.device_get(found), expected, rtol=1e-5, atol=1e-5)
    for half in (pixel_sum(x.astype(jnp.bfloat16)), repeat_pixel(row.astype(jnp.bfloat16), 2)):
        assert half.dtype == jnp.bfloat16
    with pytest.raises(AssertionError):
        pixel_sum(x[0])
    with pytest.raises(AssertionError):
        repeat_pixel(x, 5)


@pytest.mark.parametrize("num_pixels", [5, 16])
def test_products_of_pixels_are_summed(num_pixels):
    x, y, row = draw(0, 3, num_pixels, 2), draw(1, 3, num_pixels, 2), draw(2, 3, 2)

    @jax.jit
    def evaluate(x, y, row):
        value, pull = jax.vjp(pixel_dot, x, y)
        return {
            "dot": value,
            "pulled": pull(row),
            "tangent": jax.jvp(pixel_dot, (x, y), (y, x))[1],
            "mapped": jax.vmap(pixel_dot, (3, None))(jnp.stack([x, -x], 3), y),
            "square": jax.grad(lambda x: jnp.sum(pixel_dot(x, x)))(x),
        }

    found = evaluate(x, y, row)
    dot = np.einsum("bnc,bnc->bc", *(np.asarray(array, np.float64) for array in (x, y)))
    squares = np.einsum("bnc->bc", np.square(x) + np.square(y))
    rows = np.asarray(row)[:, None]
    expected = {
        "dot": dot,
        "pulled": (rows * y, rows * x),
        "tangent": squares,
        "mapped": np.stack([dot, -dot]),
        "square": 2.0 * x,
    }
    chex.assert_trees_all_close(
        jax.device_get(found), jax.device_get(expected), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(AssertionError):
        pixel_dot(x, y[:2])
