"""Modules with the parameters of Flax's, sums over pixels, and changes of resolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import nn as jnn

MODULES = [
    (jnn.Conv, nn.Conv, {"kernel_size": (4, 3), "strides": (2, 2), "use_bias": False}),
    (jnn.Conv, nn.Conv, {"kernel_size": (1, 1)}),
    (jnn.Conv, nn.Conv, {"kernel_size": (1, 1), "padding": ((1, 0), (0, 1))}),
    (jnn.Conv, nn.Conv, {"kernel_size": (3, 3), "strides": 2, "dtype": jnp.bfloat16}),
    (jnn.ConvTranspose, nn.ConvTranspose, {"kernel_size": (4, 4), "strides": (2, 2)}),
    (jnn.ConvTranspose, nn.ConvTranspose, {"kernel_size": (3, 2), "strides": (2, 3)}),
    (
        jnn.ConvTranspose,
        nn.ConvTranspose,
        {"kernel_size": (3, 5), "strides": (2, 1), "padding": "VALID"},
    ),
    (
        jnn.ConvTranspose,
        nn.ConvTranspose,
        {"kernel_size": (3, 4), "strides": (2, 2), "padding": ((1, 2), (0, 2))},
    ),
]


@pytest.mark.parametrize("ours, theirs, settings", MODULES)
def test_values_and_both_modes_of_derivative_equal_flax(ours, theirs, settings, key):
    x = jax.random.normal(key, (2, 5, 6, 3))
    models = [module(4, **settings) for module in (ours, theirs)]

    @jax.jit
    def evaluate(x):
        initial = [model.init(key, x) for model in models]
        variables = jax.tree.map(lambda p: p + 0.1, initial[0])

        def results(model):
            def loss(variables, x):
                return jnp.sum(jnp.sin(model.apply(variables, x)))

            arguments = variables, x
            return (
                model.apply(*arguments),
                jax.grad(loss, argnums=(0, 1))(*arguments),
                jax.jvp(loss, arguments, arguments)[1],
            )

        return initial, [results(model) for model in models]

    initial, (found, expected) = evaluate(x)
    jax.tree.map(np.testing.assert_array_equal, *initial)
    tolerance = 0.1 if settings.get("dtype") == jnp.bfloat16 else 1e-4
    assert jax.tree.map(lambda a: a.dtype, found) == jax.tree.map(lambda a: a.dtype, expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_channel_sum_and_add_bias(dtype, key):
    x = jax.random.normal(key, (4, 6, 6, 3), dtype)
    bias = jnp.arange(3, dtype=dtype)

    @jax.jit
    def evaluate(x, bias):
        def squares(bias):
            return jnp.sum(jnn.add_bias(x, bias) ** 2)

        value, pull = jax.vjp(jnn.add_bias, x, bias)
        return {
            "sum": jnn.channel_sum(x),
            "sums": jax.vmap(jnn.channel_sum, 3)(jnp.stack([x, -x], 3)),
            "added": value,
            "added each": jax.vmap(jnn.add_bias, (None, 1))(x, jnp.stack([bias, -bias], 1)),
            "pulled": pull(x),
            "tangent": jax.jvp(squares, (bias,), (bias,))[1],
            "curvature": jax.grad(lambda b: jnp.sum(jax.grad(squares)(b)))(bias),
        }

    def close(found, expected, tolerance=1e-2):
        found = np.asarray(found, np.float64)
        np.testing.assert_allclose(found, np.asarray(expected, np.float64), tolerance, tolerance)

    found = evaluate(x, bias)
    exact = np.asarray(x, np.float64)
    sums = exact.sum((0, 1, 2))
    close(found["sum"], sums)
    close(found["sums"], [sums, -sums])
    np.testing.assert_array_equal(found["added"], x + jnp.broadcast_to(bias, x.shape))
    close(found["added each"], [exact + np.arange(3), exact - np.arange(3)], 2e-2)
    np.testing.assert_array_equal(found["pulled"][0], x)
    assert found["pulled"][1].dtype == dtype
    close(found["pulled"][1], sums)
    close(found["tangent"], 2 * np.sum((exact + np.arange(3)) * np.arange(3)), 2e-2)
    # Linear, so the second derivative of a square is constant.
    close(found["curvature"], [2.0 * 4 * 36] * 3)


def test_resampling(key):
    x = jax.random.normal(key, (2, 4, 6, 3))
    up = jnn.upsample_nearest(x, 3)
    np.testing.assert_array_equal(up, np.asarray(x).repeat(3, 1).repeat(3, 2))
    np.testing.assert_allclose(jnn.average_pool(up, 3), x, rtol=1e-6)
    # Pooling is the adjoint of upsampling up to the area.
    y = jax.random.normal(key, up.shape)
    np.testing.assert_allclose(jnp.vdot(up, y), 9 * jnp.vdot(x, jnn.average_pool(y, 3)), rtol=1e-4)
    deep = jnn.space_to_depth(x, 2)
    assert deep.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(deep[1, 1, 2, 3:6], x[1, 2, 5])
    np.testing.assert_array_equal(jnn.depth_to_space(deep, 2), x)


def test_average_pool_of_any_size(key):
    x = jax.random.normal(key, (2, 5, 7, 3))
    pooled = jnn.average_pool(x, 2)
    expected = [
        [np.asarray(x)[:, i : i + 2, j : j + 2].mean((1, 2)) for j in range(0, 7, 2)]
        for i in range(0, 5, 2)
    ]
    np.testing.assert_allclose(pooled, np.moveaxis(np.array(expected), 2, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnn.average_pool(jnp.ones((1, 5, 7, 1)), 3), 1.0, rtol=1e-6)
    # The derivative spreads evenly over each block, and a block of the corner is one pixel.
    gradient = jax.grad(lambda x: jnp.sum(jnn.average_pool(x, 2)))(x)
    np.testing.assert_allclose(gradient[:, :4, :6], 0.25)
    np.testing.assert_allclose(gradient[:, 4, 6], 1.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: jnn.space_to_depth(x, 3), r"factor: 3, expected a divisor of .* \(4, 4\)"),
        (lambda x: jnn.depth_to_space(x, 2), "factor: 2, expected its square to divide the 3"),
        (lambda x: jnn.upsample_nearest(x, 0), "factor: 0, expected a positive integer"),
    ],
)
def test_errors_name_the_factor(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((1, 4, 4, 3)))
