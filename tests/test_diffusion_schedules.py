"""Schedules and the grids that are cut from them, beside float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_references import amplitudes
from scipy import integrate

from jaxgen.diffusion import grids, process, schedules

SCHEDULES = {
    "linear": schedules.Linear(),
    "cosine": schedules.Cosine(),
    "log_snr": schedules.LogSnrLinear(),
}
TIMES = np.linspace(0.0, 1.0, 21)

each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def linear_log_snr(t):
    """Of the integral of the rate from 0.1 to 20, by quadrature."""
    noise = 1e-4 + integrate.quad(lambda u: 0.1 + 19.9 * u, 0.0, t)[0]
    return np.log(np.exp(-noise) / (1.0 - np.exp(-noise)))


def cosine_log_snr(t):
    """Of an angle that goes evenly between those of the ends, -10 and 10."""
    first, last = (np.arctan2(np.exp(-end / 4), np.exp(end / 4)) for end in (10.0, -10.0))
    angle = (1.0 - t) * first + t * last
    return np.log(np.cos(angle) ** 2 / np.sin(angle) ** 2)


REFERENCES = {
    "linear": np.vectorize(linear_log_snr),
    "cosine": cosine_log_snr,
    "log_snr": lambda t: 13.3 - 18.3 * t,
}


# --- Schedules ---


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_the_reference(name, float64):
    found = SCHEDULES[name](TIMES)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, REFERENCES[name](TIMES), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_float32_keeps_the_digits_of_little_noise(name):
    """`1 - a^2` would have a relative error of 2e-4 here."""
    a, s = process.amplitudes(SCHEDULES[name](jnp.asarray(TIMES, jnp.float32)))
    expected = amplitudes(REFERENCES[name](TIMES))
    np.testing.assert_allclose(a[:-1], expected[0][:-1], rtol=1e-5)
    np.testing.assert_allclose(s, expected[1], rtol=1e-5)


@each_schedule
def test_schedules_fall_between_finite_ends(schedule):
    t = jnp.linspace(0.0, 1.0, 1001).reshape(7, 143)
    log_snr, slope = jax.jvp(schedule, (t,), (jnp.ones_like(t),))
    assert log_snr.shape == t.shape
    assert np.all(np.isfinite(log_snr))
    assert np.all(np.diff(log_snr.ravel()) < 0.0)
    assert np.all(slope < 0.0)


@pytest.mark.parametrize("make", [schedules.Cosine, schedules.LogSnrLinear])
def test_ends_are_pinned(make):
    ends = jnp.array([0.0, 1.0])
    np.testing.assert_allclose(make(-4.0, 7.5)(ends), [7.5, -4.0], rtol=1e-5)
    for low, high in ((1.0, 1.0), (2.0, 1.0), (-np.inf, 1.0), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match=r"^low, high: .*, the lower first$"):
            make(low, high)


def test_rates_are_positive():
    for rates in ((0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, np.inf)):
        with pytest.raises(ValueError, match=r"^beta_min, beta_max, first: "):
            schedules.Linear(*rates)


def test_the_linear_schedule_is_the_limit_of_the_betas(float64):
    grid = grids.grid_of_betas(grids.linear_betas(1000), 1000)
    found = schedules.Linear()(grid.t[:1000] - 1e-3)
    np.testing.assert_allclose(found, grid.log_snr(np.arange(1000)), rtol=0.02, atol=0.02)


# --- Betas and grids ---


def test_constants_of_the_betas():
    linear, cosine = grids.linear_betas(1000), grids.cosine_betas(1000)
    assert (linear[0], linear[-1]) == (1e-4, 0.02)
    np.testing.assert_allclose(np.prod(1.0 - grids.linear_betas(100)), 0.364, atol=5e-4)
    assert np.flatnonzero(cosine >= 0.999).tolist() == [999]
    np.testing.assert_allclose(np.prod(1.0 - cosine), 2.4e-9, rtol=0.02)
    for betas, amplified in ((linear, 157.0), (cosine, 2.0e4)):
        signal = np.prod(1.0 - betas)
        np.testing.assert_allclose(np.sqrt((1.0 - signal) / signal), amplified, rtol=0.02)


def test_cosine_betas_are_ratios_of_squared_cosines():
    def signal(t):
        return np.cos((t / 50 + 0.008) / 1.008 * np.pi / 2) ** 2

    expected = [min(1.0 - signal(t + 1) / signal(t), 0.999) for t in range(50)]
    np.testing.assert_allclose(grids.cosine_betas(50), expected, rtol=1e-12)


@pytest.mark.parametrize("betas", [grids.linear_betas(1000), grids.cosine_betas(1000)])
@pytest.mark.parametrize("num_steps", [1, 7, 1000])
def test_tables_of_betas_are_those_of_the_plain_product(betas, num_steps):
    grid = grids.grid_of_betas(betas, num_steps)
    chosen = [round(1000 - i * 1000 / num_steps) - 1 for i in range(num_steps)]
    signal = np.append(np.cumprod(1.0 - betas)[chosen], 1.0)
    last = num_steps + 1
    np.testing.assert_allclose(np.exp(grid.log_a[:last]), np.sqrt(signal), rtol=1e-10)
    np.testing.assert_allclose(np.exp(grid.log_s[:last]), np.sqrt(1.0 - signal), rtol=1e-10)
    np.testing.assert_allclose(grid.t[:last], np.append(np.add(chosen, 1) / 1000, 0.0), rtol=1e-12)


@pytest.mark.parametrize("total", [1, 2, 37, 100])
@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_any_number_of_steps_is_chosen_exactly(total, spacing):
    betas = grids.linear_betas(total)
    for num_steps in range(1, total + 1):
        grid = grids.grid_of_betas(betas, num_steps, spacing=spacing)
        steps = np.round(grid.t[:num_steps] * total).astype(int)
        assert grid.num_steps == num_steps
        assert steps[0] == total
        assert np.all(np.diff(steps) < 0)
        assert steps[-1] >= 1
        if spacing == "linspace" and num_steps > 1:
            assert steps[-1] == 1
        assert (grid.log_a[num_steps], grid.log_s[num_steps]) == (0.0, -np.inf)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 9])
def test_tables_of_schedules(name, num_steps):
    schedule, reference = SCHEDULES[name], REFERENCES[name]
    even = 1.0 - np.arange(num_steps + 1) / num_steps
    sampling = grids.sampling_grid(schedule, num_steps)
    bound = grids.bound_grid(schedule, num_steps)
    by_level = grids.sampling_grid(schedule, num_steps, spacing="log_snr")
    log_snr = np.linspace(*reference(np.array([1.0, 0.0])), num_steps)
    for grid, expected in (
        (sampling, np.append(reference(even[:-1]), np.inf)),
        (bound, reference(even)),
        (by_level, np.append(log_snr, np.inf)),
    ):
        last = num_steps + 1
        a, s = amplitudes(expected)
        np.testing.assert_allclose(np.exp(grid.log_a[:last]), a, rtol=1e-8)
        np.testing.assert_allclose(np.exp(grid.log_s[:last]), s, rtol=1e-8)
        np.testing.assert_allclose(grid.log_snr(0), expected[0], rtol=1e-8)
    np.testing.assert_allclose(sampling.t[:last], even, atol=1e-12)
    np.testing.assert_allclose(bound.t[:last], even, atol=1e-12)
    np.testing.assert_allclose(reference(by_level.t[:num_steps]), log_snr, atol=1e-4)
    assert by_level.t[num_steps] == 0.0


@pytest.mark.parametrize(("num_steps", "length"), [(1, 1025), (1024, 1025), (1025, 2049)])
def test_tables_have_room_that_repeats_the_last_level(num_steps, length):
    grid = grids.bound_grid(schedules.Cosine(), num_steps)
    for row in (grid.t, grid.log_a, grid.log_s):
        assert row.shape == (length,)
        assert row.dtype == np.float64
        assert np.all(row[num_steps:] == row[num_steps])


def test_float32_of_the_tables_keeps_the_digits(float64):
    grid = grids.grid_of_betas(grids.cosine_betas(1000), 1000)
    for row in (grid.log_a, grid.log_s):
        wide = np.exp(row[:1000])
        np.testing.assert_allclose(np.exp(np.float32(row[:1000]), dtype=float), wide, rtol=2e-6)


def test_an_end_without_signal():
    grid = grids.grid_of_betas(np.array([0.1, 0.5, 1.0]), 3)
    assert (grid.log_a[0], grid.log_s[0], grid.log_snr(0)) == (-np.inf, 0.0, -np.inf)
    assert grid.log_snr(3) == np.inf


def test_grids_refuse_what_they_cannot_cut():
    for make in (grids.sampling_grid, grids.bound_grid):
        with pytest.raises(ValueError, match="^num_steps: 0, expected an integer, at least 1$"):
            make(schedules.Cosine(), 0)
    for make in (grids.linear_betas, grids.cosine_betas):
        with pytest.raises(ValueError, match="^num_steps: 0, expected an integer, at least 1$"):
            make(0)
    for num_steps in (0, 11):
        with pytest.raises(ValueError, match=f"^num_steps: {num_steps}, expected 1 to 10$"):
            grids.grid_of_betas(grids.linear_betas(10), num_steps)
    for betas in ([0.0, 0.1], [0.5, 1.1], [[0.1]], [np.nan]):
        with pytest.raises(ValueError, match="^betas: .*, expected a row of numbers above 0"):
            grids.grid_of_betas(np.array(betas), 1)


def test_grids_may_be_made_within_a_program():
    @jax.jit
    def first(x):
        return x + grids.sampling_grid(schedules.Cosine(), 3, spacing="log_snr").log_snr(0)

    np.testing.assert_allclose(first(0.0), -10.0, rtol=1e-6)


def test_the_number_of_steps_is_known_unless_it_is_an_array():
    grid = grids.bound_grid(schedules.Cosine(), 3)
    assert grids.static_steps(grid) == 3
    assert grids.static_steps(grid._replace(num_steps=np.int64(4))) == 4
    assert grids.static_steps(grid._replace(num_steps=jnp.int32(4))) is None
