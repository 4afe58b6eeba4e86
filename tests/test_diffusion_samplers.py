"""Samplers, fed with exact denoisers, beside closed forms and the same methods in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from sampler_runs import (
    BETAS,
    DETERMINISTIC,
    START,
    TRACES,
    C,
    constant,
    each_sampler,
    factor_and_added,
    gaussian,
    golden_levels,
    levels,
    program,
    rows,
    second_row,
    states_of_rows,
    two_points,
    two_points_numpy,
)

from jaxgen.diffusion import grids, samplers, schedules
from jaxgen.diffusion.samplers import ancestral, ancestral_learned, ddim, dpm_solver

# Deviation of what is sampled over that of the data, for each c: eta, number of steps.
GOLDEN = {
    (0, 5): (0.069268, 0.263244, 0.525085, 0.679759),
    (0, 10): (0.145464, 0.486397, 0.739910, 0.829369),
    (0, 50): (0.528722, 0.869040, 0.942805, 0.963551),
    (0, 250): (0.864130, 0.971570, 0.988171, 0.992568),
    (0, 1000): (0.959294, 0.992518, 0.996991, 0.998124),
    (1, 10): (0.145007, 0.467310, 0.666950, 0.740492),
    (1, 50): (0.506818, 0.795159, 0.888200, 0.925966),
    (1, 1000): (0.925854, 0.981492, 0.992220, 0.995524),
}

each_golden = pytest.mark.parametrize("eta, num_steps", GOLDEN)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def noise_in_second_row(monkeypatch):
    monkeypatch.setattr(samplers.stochastic, "draw_noise", second_row)


# --- The recursion of mean and variance ---


@each_golden
def test_the_closed_form_has_the_golden_numbers(eta, num_steps):
    steps = references.gaussian_steps(*golden_levels(num_steps), C, eta)
    std = references.std_after(*steps, np.ones(len(C)))
    np.testing.assert_allclose(std / C, GOLDEN[eta, num_steps], atol=1e-6)


@each_golden
def test_every_step_multiplies_and_adds_as_in_the_closed_form(
    eta, num_steps, float64, noise_in_second_row
):
    grid = grids.grid_of_betas(BETAS, num_steps)
    factor, added = factor_and_added(ddim, gaussian, grid, eta=float(eta))
    expected = references.gaussian_steps(*golden_levels(num_steps), C, eta)
    np.testing.assert_allclose(factor, expected[0], rtol=1e-10)
    np.testing.assert_allclose(added, expected[1], rtol=1e-10, atol=1e-12)
    std = references.std_after(factor, added, np.ones(len(C)))
    np.testing.assert_allclose(std / C, GOLDEN[eta, num_steps], atol=1e-6)


@each_golden
def test_float32_keeps_five_digits(eta, num_steps, noise_in_second_row):
    found = rows(ddim, gaussian, grids.grid_of_betas(BETAS, num_steps), eta=float(eta))
    factor, added = references.gaussian_steps(*golden_levels(num_steps), C, eta)
    summed = np.zeros(len(C))
    for k, deviation in zip(factor.T, added.T, strict=True):
        summed = k * summed + deviation
    np.testing.assert_allclose(found, [factor.prod(axis=1), summed], rtol=1e-5, atol=1e-7)


def test_both_ends_in_the_grid(float64, noise_in_second_row):
    grid = grids.grid_of_betas(BETAS, 10, spacing="linspace")
    steps = factor_and_added(ddim, gaussian, grid, eta=0.0)
    np.testing.assert_allclose(
        references.std_after(*steps, np.ones(len(C))) / C, (0.315, 0.489, 0.723, 0.815), atol=5e-4
    )


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@each_sampler
def test_the_mean_has_no_bias(name, spacing, float64):
    """From where the mean of the data is at the first level the path ends at the mean."""
    grid = grids.grid_of_betas(BETAS, 10, spacing=spacing)
    mean = jnp.array([[3.0, -1.0, 0.5, 2.0]])
    start = levels(grid)[0][0] * mean
    x = program(DETERMINISTIC[name], gaussian)(jax.random.key(0), start, grid, mean)
    np.testing.assert_allclose(x, mean, rtol=1e-12)


def test_noise_of_the_first_level_is_less_than_1_where_signal_is_left(float64):
    """Data of little variance have the deviation `sqrt(a^2 c^2 + s^2)` there."""
    grid = grids.sampling_grid(schedules.LogSnrLinear(-2.0, 16.0), 1000)
    a, s = levels(grid)
    start = np.sqrt(a[0] ** 2 * C**2 + s[0] ** 2)
    x = program(ddim, gaussian)(jax.random.key(0), start[None], grid)
    np.testing.assert_allclose(x[0] / C, np.ones(len(C)), atol=0.02)
    assert start[0] < 0.95


@pytest.mark.parametrize("spacing", ["time", "log_snr"])
def test_ancestral_steps_draw_from_the_posterior(spacing, float64, noise_in_second_row):
    """Mean and deviation of x_s given x_t and x, by the joint covariance of x_s and x_t."""
    grid = grids.sampling_grid(schedules.Cosine(), 6, spacing=spacing)
    a, s = levels(grid)
    x0, frames = 0.4, states_of_rows(ancestral, constant, grid, 0.4)[:, :, 0]
    for i in range(6):
        covariance = a[i] / a[i + 1] * s[i + 1] ** 2
        mean = a[i + 1] * x0 + covariance / s[i] ** 2 * (frames[i] - a[i] * x0)
        variance = s[i + 1] ** 2 - covariance**2 / s[i] ** 2
        expected = mean + np.sqrt(max(variance, 0.0)) * np.arange(2.0)
        np.testing.assert_allclose(frames[i + 1], expected, rtol=1e-7)


def test_the_fresh_noise_is_standard_normal_and_new_in_each_step():
    num, grid = 4000, grids.sampling_grid(schedules.Cosine(), 5)
    a, s = levels(grid)
    _, frames = program(ancestral, constant, 6)(jax.random.key(1), jnp.ones((num, 1)), grid, 0.0)
    frames = np.asarray(frames)[:, :, 0]
    added = s[1:5] * np.sqrt(1.0 - (a[:4] / a[1:5]) ** 2) / s[:4]
    factor = np.sqrt(s[1:5] ** 2 - added**2) / s[:4]
    z = (frames[1:5] - factor[:, None] * frames[:4]) / added[:, None]
    assert np.all(np.abs(z.mean(axis=1)) * np.sqrt(num) < 5.0)
    products = z @ z.T / num
    # The square of a normal has the variance 2, the product of two 1.
    error = np.abs(products - np.eye(4)) * np.sqrt(num / (1.0 + np.eye(4)))
    assert np.all(error < 5.0)
    np.testing.assert_array_equal(frames[5], np.zeros(num))


# --- Methods beside NumPy ---


@each_sampler
def test_one_program_gives_the_numbers_of_numpy_for_every_number_of_steps(name, float64):
    sampler, reference = DETERMINISTIC[name], getattr(references, name)
    TRACES.clear()
    for num_steps in (1, 2, 3, 4, 10, 50, 250, 1000):
        grid = grids.grid_of_betas(BETAS, num_steps)
        found = program(sampler, two_points)(jax.random.key(0), START, grid)
        expected = reference(two_points_numpy, START, *golden_levels(num_steps))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
    grid = grids.bound_grid(schedules.Cosine(), 12)  # It ends with noise.
    found = program(sampler, two_points)(jax.random.key(0), START, grid)
    expected = reference(two_points_numpy, START, *levels(grid))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert list(TRACES.values()) == [1]


@each_sampler
def test_float32_is_as_good_among_nonlinear_estimates(name):
    for num_steps in (3, 20, 300):
        grid = grids.grid_of_betas(BETAS, num_steps)
        x = jnp.asarray(START, jnp.float32)
        found = program(DETERMINISTIC[name], two_points)(jax.random.key(0), x, grid)
        expected = getattr(references, name)(two_points_numpy, START, *golden_levels(num_steps))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "order"), [("ddim", 1.0), ("plms", 2.0), ("dpm_solver", 2.0), ("heun", 2.0)]
)
def test_the_order_of_convergence(name, order, float64):
    """Towards the exact path of the equation, along which x keeps its quantile."""

    def error(schedule, num):
        grid = grids.bound_grid(schedule, num)
        a, s = (row[[0, -1]][:, None] for row in levels(grid))
        start, end = np.sqrt(a**2 * C**2 + s**2)
        run = program(DETERMINISTIC[name], gaussian)
        return np.linalg.norm(run(jax.random.key(0), start[None], grid)[0] - end)

    for schedule, num in (
        (schedules.LogSnrLinear(-6.0, 6.0), 80),
        (schedules.LogSnrLinear(-6.0, 6.0), 160),
        (schedules.Cosine(-6.0, 6.0), 320),
    ):
        found = np.log2(error(schedule, num) / error(schedule, 2 * num))
        assert found > order - 0.1
        assert name != "ddim" or found < 1.1


# --- Variances ---


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 1.2, 3.0, 100.0])
def test_the_variance_is_clamped_beyond_that_of_the_level(eta, noise_in_second_row):
    grid = grids.grid_of_betas(BETAS, 8)
    factor, added = factor_and_added(ddim, gaussian, grid, eta=float(eta))
    expected = references.gaussian_steps(*golden_levels(8), C, eta)
    np.testing.assert_allclose(added, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(factor, expected[0], rtol=1e-3)


def learned(x, log_snr, fraction):
    return gaussian(x, log_snr), jnp.full_like(x, fraction)


SPACINGS = {
    "to clean data": grids.sampling_grid(schedules.Cosine(), 5),
    "to some noise": grids.bound_grid(schedules.Cosine(), 5),
    "in one leap": grids.sampling_grid(schedules.LogSnrLinear(), 2, spacing="log_snr"),
    "a single step": grids.sampling_grid(schedules.LogSnrLinear(), 1),
    "a single step to some noise": grids.bound_grid(schedules.LogSnrLinear(), 1),
}


@pytest.mark.parametrize("grid", SPACINGS.values(), ids=SPACINGS)
def test_the_learned_variance_begins_as_that_of_the_posterior(grid, key):
    x = jax.random.normal(key, (3, len(C)))
    run = program(ancestral_learned, learned)
    expected = program(ancestral, gaussian)(key, x, grid)
    np.testing.assert_allclose(run(key, x, grid, 0.0), expected, rtol=2e-5, atol=1e-6)
    for fraction in (-2.0, 0.5, 1.0, 3.0):
        assert np.all(np.isfinite(run(key, x, grid, fraction)))


@pytest.mark.parametrize("fraction", [-0.5, 0.25, 1.0, 1.5])
def test_the_learned_variance_is_between_two_in_logarithms(fraction, float64, noise_in_second_row):
    grid = grids.bound_grid(schedules.Cosine(), 5)
    a, s = levels(grid)
    factor, added = factor_and_added(ancestral_learned, learned, grid, fraction)
    whole = 1.0 - (a[:-1] / a[1:]) ** 2
    expected = np.sqrt(whole**fraction * (whole * (s[1:] / s[:-1]) ** 2) ** (1.0 - fraction))
    np.testing.assert_allclose(added, np.tile(expected, (len(C), 1)), rtol=1e-8)
    np.testing.assert_allclose(factor, references.gaussian_steps(a, s, C, 1.0)[0], rtol=1e-8)


@pytest.mark.parametrize("sampler", [ddim, ancestral, dpm_solver])
def test_steps_may_begin_where_no_signal_is_left(sampler):
    betas = np.append(grids.linear_betas(9, last=0.5), 1.0)
    grid = grids.grid_of_betas(betas, 5)
    assert levels(grid)[0][0] == 0.0
    x = jnp.asarray(START, jnp.float32)
    found = program(sampler, two_points)(jax.random.key(0), x, grid)
    assert np.all(np.isfinite(found))
    if sampler is ddim:
        np.testing.assert_allclose(
            found, references.ddim(two_points_numpy, START, *levels(grid)), atol=1e-5
        )


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_noise_of_ddim_has_a_gradient(eta):
    grid = grids.sampling_grid(schedules.Cosine(), 4)
    x = jnp.ones((1, 2))

    @jax.jit
    def total(eta):
        denoise = lambda x, log_snr, _: 0.5 * x  # noqa: E731
        return jnp.sum(samplers.ddim(jax.random.key(0), denoise, x, grid, eta=eta))

    slope = jax.grad(total)(eta)
    assert jnp.isfinite(slope)
    if eta < 1.0:
        difference = (total(eta + 1e-2) - total(eta)) / 1e-2
        np.testing.assert_allclose(slope, difference, atol=0.1)
