"""One optimizer step against formulas in float64, and across devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references import exponential_moving_average, least_squares_momentum_descent

from jaxgen.training.state import create_train_state
from jaxgen.training.step import gradient_step, mean_over_devices, own_keys

RATE, MOMENTUM, B, D = 0.1, 0.9, 16, 3
OPTIMIZER = optax.sgd(RATE, momentum=MOMENTUM)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(B, D)), RNG.normal(size=B)
START = RNG.normal(size=D)


def _no_model():
    raise NotImplementedError


def start(*, ema_decay=0.0):
    variables = {
        "params": {"w": jnp.asarray(START, jnp.float32)},
        "batch_stats": {"mean": jnp.zeros(D)},
    }
    return create_train_state(_no_model, variables, OPTIMIZER, ema_decay=ema_decay)


def step(state, x, y, *, axis_name=None):
    def loss_fn(params, batch_stats):
        del batch_stats
        residual = x @ params["w"] - y
        metrics = {"residual": residual, "scalar": jnp.float32(2.0)}
        return residual**2, (metrics, {"mean": jnp.mean(x, axis=0)})

    return gradient_step(state, loss_fn, axis_name=axis_name)


run = jax.jit(step)


def arrays():
    return jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32)


def test_steps_equal_momentum_descent_in_float64():
    state, expected = start(), least_squares_momentum_descent(X, Y, START, RATE, MOMENTUM, 5)
    for number, (weights, loss, norm) in enumerate(expected, 1):
        state, metrics = run(state, *arrays())
        np.testing.assert_allclose(state.params["w"], weights, rtol=1e-5)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)
        assert int(state.step) == number


def test_metrics_are_averaged_and_batch_statistics_replaced():
    state, metrics = run(start(), *arrays())
    assert set(metrics) == {"loss", "residual", "scalar", "gradient_norm"}
    chex.assert_shape(list(metrics.values()), ())
    np.testing.assert_allclose(metrics["residual"], np.mean(X @ START - Y), rtol=1e-5)
    assert float(metrics["scalar"]) == 2.0
    np.testing.assert_allclose(state.batch_stats["mean"], X.mean(0), rtol=1e-4)


@pytest.mark.parametrize("ema_decay", [0.15, 0.999])
def test_average_follows_its_formula(ema_decay):
    """At 0.15 the cap holds from the first step on, at 0.999 the start-up does."""
    state = start(ema_decay=ema_decay)
    expected = exponential_moving_average(
        [w for w, _, _ in least_squares_momentum_descent(X, Y, START, RATE, MOMENTUM, 5)],
        START,
        ema_decay,
    )
    for average in expected:
        state, _ = run(state, *arrays())
        np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-5)
    assert state.eval_variables["params"] is state.ema_params


def test_without_an_average_the_parameters_are_evaluated():
    state, _ = run(start(), *arrays())
    assert state.ema_params is None
    assert state.eval_variables["params"] is state.params


def test_the_average_starts_as_a_copy():
    state = start(ema_decay=0.5)
    chex.assert_trees_all_equal(state.ema_params, state.params)
    assert state.ema_params["w"] is not state.params["w"]


def test_devices_take_the_step_of_the_whole_batch():
    state, metrics = run(start(ema_decay=0.999), *arrays())
    spread = jax.pmap(
        functools.partial(step, axis_name="devices"),
        axis_name="devices",
        in_axes=(None, 0, 0),
    )
    x, y = (a.reshape(8, B // 8, *a.shape[1:]) for a in arrays())
    states, all_metrics = jax.device_get(spread(start(ema_decay=0.999), x, y))
    for device in range(8):
        one = jax.tree.map(lambda a, i=device: a[i], (states, all_metrics))
        chex.assert_trees_all_close(one, jax.device_get((state, metrics)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ema_decay", [-0.1, 1.0])
def test_decay_is_checked(ema_decay):
    with pytest.raises(ValueError, match=rf"ema_decay: {ema_decay}, expected in \[0, 1\)"):
        start(ema_decay=ema_decay)


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("parts", [None, 3])
def test_keys_of_examples_do_not_depend_on_the_number_of_devices(num_devices, parts):
    """The examples of all devices together have the keys of one device alone."""
    key = jax.random.key(3)

    def examples(_):
        return jax.random.key_data(own_keys(key, 16 // num_devices, "devices", parts=parts))

    found = jax.vmap(examples, axis_name="devices", out_axes=-3)(jnp.arange(num_devices))
    alone = jax.random.key_data(own_keys(key, 16, None, parts=parts))
    assert alone.shape == (*([] if parts is None else [parts]), 16, 2)
    np.testing.assert_array_equal(found.reshape(alone.shape), alone)
    assert len(np.unique(alone.reshape(-1, 2), axis=0)) == 16 * (parts or 1)


def test_mean_over_devices_is_that_of_each_array():
    rng = np.random.default_rng(0)
    tree = {"a": rng.normal(size=(8, 3, 2)), "b": [rng.normal(size=8), rng.normal(size=(8, 0))]}
    tree = jax.tree.map(np.float32, tree) | {"half": jnp.asarray(rng.normal(size=8), jnp.bfloat16)}
    found = jax.pmap(lambda x: mean_over_devices(x, "devices"), axis_name="devices")(tree)
    for leaf, x in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert leaf.dtype == x.dtype
        mean = np.mean(np.asarray(x, np.float64), axis=0, keepdims=True)
        tolerance = 1e-2 if x.dtype == jnp.bfloat16 else 1e-6
        np.testing.assert_allclose(
            np.float32(leaf), np.broadcast_to(mean, x.shape), rtol=0, atol=tolerance
        )


def test_devices_of_a_cpu_meet_once():
    """One by one the arrays would take a meeting each."""
    tree = {"a": np.ones((8, 3), np.float32), "b": np.ones((8, 2), np.float32)}
    run = jax.pmap(lambda x: mean_over_devices(x, "devices"), axis_name="devices")
    assert run.lower(tree).compile().as_text().count(" all-reduce(") == 1
