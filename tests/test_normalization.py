"""Batch normalization: against Flax's and a float64 reference, derivatives, several devices."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nn import BatchNorm, Conv, batch_norm


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


X = 2.0 * draw(0, 6, 3, 2, 4) + jnp.arange(4.0).reshape(1, 1, 1, 4)
SCALE, BIAS = 1.0 + 0.3 * draw(1, 4), draw(2, 4)


def reference(x, scale, bias):
    """In float64, the mean and the variance of each channel over everything else."""
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    y = (x - mean) / np.sqrt(variance + 1e-5) * np.asarray(scale, np.float64) + np.asarray(bias)
    return y, mean, variance


@pytest.mark.parametrize("shape", [(6, 3, 2, 4), (36, 4)])
def test_values_are_those_of_the_reference(shape):
    x = X.reshape(shape)
    for result, expected in zip(batch_norm(x, SCALE, BIAS), reference(x, SCALE, BIAS), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_the_finite_difference_of_the_reference():
    """Central differences in float64 of a weighted sum, along one direction in all arguments."""
    weights = np.asarray(draw(3, *X.shape), np.float64)
    directions = draw(4, *X.shape), draw(5, 4), draw(6, 4)

    def value(step):
        moved = [
            np.asarray(a, np.float64) + step * np.asarray(d)
            for a, d in zip((X, SCALE, BIAS), directions, strict=True)
        ]
        return np.sum(weights * reference(*moved)[0])

    @jax.jit
    def gradient(*arguments):
        return jax.grad(
            lambda *arguments: jnp.sum(weights * batch_norm(*arguments)[0]), argnums=(0, 1, 2)
        )(*arguments)

    gradients = gradient(X, SCALE, BIAS)
    slope = sum(jnp.sum(g * d) for g, d in zip(gradients, directions, strict=True))
    np.testing.assert_allclose(slope, (value(1e-6) - value(-1e-6)) / 2e-6, rtol=1e-4)


class Net(nn.Module):
    """A convolution, a normalization of either library under one name, and a tanh."""

    is_ours: bool

    @nn.compact
    def __call__(self, x, train):
        x = Conv(3, 3, kernel_init=nn.initializers.normal(0.5))(x)
        if self.is_ours:
            return jnp.tanh(BatchNorm(name="norm")(x, train=train))
        module = nn.BatchNorm(momentum=0.9, use_fast_variance=False, name="norm")
        return jnp.tanh(module(x, use_running_average=not train))


def test_parameters_results_and_derivatives_of_both_modes_are_those_of_flax():
    def outcome(net, variables):
        def loss(params):
            everything = {**variables, "params": params}
            y, new = net.apply(everything, X, True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(3.0 * y)), new

        def slope(params):
            gradient, new = jax.grad(loss, has_aux=True)(params)
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)), (gradient, new)

        params = variables["params"]
        second, (first, new) = jax.grad(slope, has_aux=True)(params)
        tangent = jax.jvp(lambda params: loss(params)[0], (params,), (params,))[1]
        return second, first, new, tangent, net.apply({**variables, **new}, X, False)

    @jax.jit
    def both():
        nets = Net(True), Net(False)
        initial = [net.init(jax.random.key(0), X, True) for net in nets]
        return initial, [outcome(net, initial[0]) for net in nets]

    initial, ((second, *found), (expected_second, *expected)) = both()
    chex.assert_trees_all_equal(*initial)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(second, expected_second, rtol=2e-3, atol=2e-3)


def test_devices_that_share_an_axis_have_one_batch():
    """Values, statistics and the gradient of the summed loss are those of the whole batch."""
    weights = draw(3, *X.shape)

    def loss(x, weights, axis_name):
        y, *statistics = batch_norm(x, SCALE, BIAS, axis_name=axis_name)
        return jnp.sum(weights * y), (y, statistics)

    gradient = jax.grad(loss, has_aux=True)
    whole = jax.jit(lambda x, w: gradient(x, w, None))(X, weights)
    shards = (X.reshape(3, 2, *X.shape[1:]), weights.reshape(3, 2, *X.shape[1:]))
    slope, (y, statistics) = jax.jit(
        jax.vmap(lambda x, w: gradient(x, w, "shards"), axis_name="shards")
    )(*shards)
    each = [leaf[2] for leaf in statistics]
    chex.assert_trees_all_close(
        (slope.reshape(X.shape), (y.reshape(X.shape), each)), whole, rtol=1e-4, atol=1e-5
    )


def test_results_have_the_chosen_type_and_statistics_float32():
    module = BatchNorm(dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), X, train=True)
    y, new = module.apply(variables, X.astype(jnp.bfloat16), train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, new))} == {jnp.dtype("float32")}


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        batch_norm(X, SCALE[:3], BIAS)
    with pytest.raises(AssertionError):
        batch_norm(X.astype(jnp.bfloat16), SCALE, BIAS)
