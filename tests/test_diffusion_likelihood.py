"""Exact densities of diffusion models by the differential equation, on data whose density is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_references import NUM, SCHEDULE, X, any_number, assert_mean, unit_normal
from jax.tree_util import Partial
from scipy import special, stats

from jaxgen.diffusion import grids, likelihood, schedules, variational


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# --- The density by the ordinary differential equation ---

C = np.array([0.05, 0.2, 0.5, 1.0, 2.0])
ODE_GRID = grids.bound_grid(schedules.LogSnrLinear(-15.0, 6.0), 128)
A, S = (float(np.exp(row[128])) for row in (ODE_GRID.log_a, ODE_GRID.log_s))


def normals(x_t, log_snr, condition):
    """Of data with a deviation c for each number."""
    a, s = (jnp.sqrt(jax.nn.sigmoid(sign * log_snr))[:, None] for sign in (1.0, -1.0))
    square = jnp.asarray(C, x_t.dtype)[None] ** 2
    return a * square / (a**2 * square + s**2) * x_t


def test_the_log_density_of_normals_is_exact():
    std = np.sqrt(A**2 * C**2 + S**2)
    z = std * np.random.default_rng(0).normal(size=(6, len(C)))
    found = likelihood.ode_log_prob(normals, jnp.asarray(z, jnp.float32), ODE_GRID)
    expected = stats.norm.logpdf(z, scale=std).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * len(C))


MEANS, STD = np.array([-0.7, 0.3]), 0.15
WEIGHTS = np.array([0.3, 0.7])  # The mean is 0, which is all that the noisy end can tell.


def two_modes(x_t, log_snr, condition):
    """Posterior mean of a mixture of two normals, for each number by itself."""
    a, s = (jnp.sqrt(jax.nn.sigmoid(sign * log_snr))[:, None] for sign in (1.0, -1.0))
    variance = a**2 * STD**2 + s**2
    logits = [
        jnp.log(weight) - 0.5 * (x_t - a * mean) ** 2 / variance
        for weight, mean in zip(WEIGHTS, MEANS, strict=True)
    ]
    shares = jax.nn.softmax(jnp.stack(logits), axis=0)
    means = [mean + a * STD**2 / variance * (x_t - a * mean) for mean in MEANS]
    return sum(share * mean for share, mean in zip(shares, means, strict=True))


def test_the_log_density_of_two_modes_is_exact():
    z = jnp.linspace(-1.5, 1.5, 25)[:, None]
    found = likelihood.ode_log_prob(two_modes, z, ODE_GRID)
    logs = stats.norm.logpdf(np.asarray(z), A * MEANS, np.sqrt(A**2 * STD**2 + S**2))
    expected = special.logsumexp(logs + np.log(WEIGHTS), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_order_of_the_density_is_four(float64):
    z = jnp.linspace(-1.0, 1.0, 9)[:, None]

    def density(num):
        grid = any_number(grids.bound_grid(schedules.LogSnrLinear(-4.0, 4.0), num))
        return likelihood.ode_log_prob(two_modes, z, grid)

    exact = density(640)
    errors = [np.linalg.norm(density(num) - exact) for num in (40, 80)]
    assert np.log2(errors[0] / errors[1]) > 3.5


# --- Traces ---


def mixing(x):
    """A function whose Jacobian is full, of each example by itself."""
    flat = x.reshape(len(x), -1)
    weights = jnp.cos(jnp.arange(36.0)).reshape(6, 6)
    return jnp.sin(flat @ weights).reshape(x.shape)


def jacobian_trace(x):
    jacobians = jax.vmap(jax.jacrev(lambda one: mixing(one[None])[0].ravel()))(x)
    return jnp.trace(jacobians.reshape(len(x), 6, 6), axis1=1, axis2=2)


def test_the_exact_trace_is_that_of_autodiff(float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 2)))
    y, trace = likelihood.exact_trace(mixing, x)
    np.testing.assert_allclose(y, mixing(x), rtol=1e-12)
    np.testing.assert_allclose(trace, jacobian_trace(x), rtol=1e-10)


def test_the_trace_along_signs_is_unbiased():
    x = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, 6).reshape(1, 3, 2), (NUM, 3, 2))
    estimate = likelihood.hutchinson_trace(jax.random.key(0), x)
    y, trace = jax.jit(lambda x: estimate(mixing, x))(x)
    np.testing.assert_allclose(y, mixing(x), rtol=1e-6)
    assert np.std(trace) > 0.1
    assert_mean(trace, jacobian_trace(x[:1])[0])
    # The signs are those of the key of each example.
    keys = jax.random.split(jax.random.key(0), NUM)
    own = likelihood.hutchinson_trace(keys[7:8], x[7:8])(mixing, x[7:8])[1]
    np.testing.assert_allclose(own[0], trace[7], rtol=1e-5)


def test_along_signs_the_density_of_independent_numbers_is_exact():
    """Their Jacobian is diagonal, so that signs have no variance."""
    z = jnp.asarray(np.random.default_rng(1).normal(size=(6, len(C))), jnp.float32) * 0.3
    exact = likelihood.ode_log_prob(normals, z, ODE_GRID)
    trace = likelihood.hutchinson_trace(jax.random.key(0), z)
    found = likelihood.ode_log_prob(normals, z, ODE_GRID, trace=trace)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)


def rotated(x_t, log_snr, condition):
    """Of correlated data: the five numbers of `normals`, turned."""
    turn = jnp.asarray(np.linalg.qr(np.vander(np.arange(1.0, 6.0)))[0], x_t.dtype)
    return normals(x_t @ turn, log_snr, condition) @ turn.T


def test_along_signs_the_density_is_unbiased():
    z = jnp.full((NUM, len(C)), jnp.array([0.1, -0.2, 0.3, 0.0, 0.2])[None])
    grid = grids.bound_grid(schedules.LogSnrLinear(-15.0, 2.0), 24)
    exact = likelihood.ode_log_prob(rotated, z[:1], grid)
    trace = likelihood.hutchinson_trace(jax.random.key(0), z)
    found = np.asarray(likelihood.ode_log_prob(rotated, z, grid, trace=trace))
    assert np.std(found) > 0.1
    assert_mean(found, exact[0])


# --- Gradients and programs ---


def test_densities_and_bounds_have_gradients_and_one_program_for_arrays():
    traces = []

    def scaled(scale, x_t, log_snr, condition):
        traces.append(1)
        return scale * unit_normal(x_t, log_snr, condition)

    x, grid = jnp.asarray(X, jnp.float32)[None], grids.bound_grid(SCHEDULE, 3)
    key = jax.random.key(0)

    def bound(scale):
        return jnp.sum(variational.discrete_terms(key, Partial(scaled, scale), x, grid))

    def density(scale):
        return likelihood.ode_log_prob(Partial(scaled, scale), x, grid)[0]

    for loss in (bound, density):
        (below, _), (_, slope), (above, _) = map(jax.value_and_grad(loss), (0.79, 0.8, 0.81))
        np.testing.assert_allclose(slope, (above - below) / 0.02, rtol=1e-2)
    traces.clear()
    for num in (2, 5, 9):
        grid = any_number(grids.bound_grid(SCHEDULE, num))
        likelihood.ode_log_prob(Partial(scaled, 0.8), x, grid, trace=likelihood.exact_trace)
        bound(0.8)
        if num == 2:
            after = len(traces)
    assert len(traces) == after
