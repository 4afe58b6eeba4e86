"""Schedules, grids, conversions between predictions, weights and losses, beside float64 NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jaxgen.diffusion import grids, losses, process, schedules, trees, weighting

SCHEDULES = {
    "linear": schedules.Linear(),
    "cosine": schedules.Cosine(),
    "log_snr": schedules.LogSnrLinear(),
}
KINDS = ("noise", "x0", "v", "velocity")
WEIGHTINGS = ("simple", "snr", "min_snr", "bound")
TIMES = np.linspace(0.0, 1.0, 21)

each_kind = pytest.mark.parametrize("kind", KINDS)
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


def amplitudes(log_snr):
    return np.sqrt(special.expit(log_snr)), np.sqrt(special.expit(-log_snr))


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


# --- The process ---


LOG_SNR = np.array([-8.0, -1.0, 0.5, 10.0])


@pytest.fixture
def mixed():
    """Data, noise and their mixture by plain formulas."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 4, 3, 2))
    a, s = (row[:, None, None] for row in amplitudes(LOG_SNR))
    return x, noise, a * x + s * noise, a, s


def test_amplitudes_at_all_levels(float64):
    log_snr = np.array([-np.inf, -40.0, -1.0, 0.0, 13.3, 40.0, np.inf])
    for found, expected in zip(process.amplitudes(log_snr), amplitudes(log_snr), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    a, s = process.amplitudes(jnp.bfloat16(2.0))
    assert (a.dtype, s.dtype) == (jnp.float32, jnp.float32)


def plain_target(x, noise, a, s, kind):
    return {"noise": noise, "x0": x, "v": a * noise - s * x, "velocity": noise - x}[kind]


@each_kind
def test_all_predictions_mean_the_same_data_and_noise(kind, mixed, float64):
    x, noise, x_t, a, s = mixed
    np.testing.assert_allclose(process.diffuse(x, noise, LOG_SNR), x_t, rtol=1e-10)
    prediction = process.target(x, noise, LOG_SNR, kind)
    np.testing.assert_allclose(prediction, plain_target(x, noise, a, s, kind), rtol=1e-10)
    found = process.x0_of(prediction, x_t, LOG_SNR, kind)
    np.testing.assert_allclose(found, x, rtol=1e-8)
    np.testing.assert_allclose(process.noise_of(found, x_t, LOG_SNR), noise, rtol=1e-5)


@each_kind
def test_a_wrong_prediction_is_converted_as_the_formulas_have_it(kind, mixed, float64):
    x, noise, x_t, a, s = mixed
    wrong = np.cos(x + noise)
    expected = {
        "noise": (x_t - s * wrong) / a,
        "x0": wrong,
        "v": a * x_t - s * wrong,
        "velocity": (x_t - s * wrong) / (a + s),
    }[kind]
    denoise = process.denoiser(lambda x_t, log_snr, shift: wrong + shift, kind)
    np.testing.assert_allclose(denoise(x_t, LOG_SNR, 0.0), expected, rtol=1e-10)
    assert np.all(denoise(x_t, LOG_SNR, 1.0) != expected)
    tree = {"a": x_t, "b": [x_t[:, 0]]}
    found = process.x0_of({"a": wrong, "b": [wrong[:, 0]]}, tree, LOG_SNR, kind)
    np.testing.assert_allclose(found["a"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["b"][0], expected[:, 0], rtol=1e-10)


@each_kind
def test_one_level_serves_all_examples(kind, mixed):
    x, noise, *_ = (jnp.asarray(array, jnp.float32) for array in mixed)
    one, rows = jnp.float32(0.7), jnp.full(4, 0.7)
    for convert in (process.target, process.x0_of):
        found = convert(x, noise, one, kind)
        np.testing.assert_allclose(found, convert(x, noise, rows, kind), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "end"),
    [*itertools.product(KINDS[1:], (-np.inf, np.inf)), ("noise", np.inf)],
)
def test_ends_of_the_process_are_finite(kind, end, mixed):
    x, noise, *_ = (jnp.asarray(array, jnp.float32) for array in mixed)
    x_t = process.diffuse(x, noise, jnp.float32(end))
    np.testing.assert_array_equal(x_t, x if end > 0.0 else noise)
    prediction = process.target(x, noise, jnp.float32(end), kind)
    found = process.x0_of(prediction, x_t, jnp.float32(end), kind)
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-6)


def test_noise_is_that_of_the_example_in_every_leaf():
    keys = jax.random.split(jax.random.key(0), 5)
    x = jnp.zeros((5, 3))
    noise = process.draw_noise(jax.random.key(0), x)
    np.testing.assert_array_equal(process.draw_noise(keys, x), noise)
    np.testing.assert_array_equal(process.draw_noise(keys[3:4], x[3:4])[0], noise[3])
    np.testing.assert_array_equal(process.draw_noise(keys, {"a": x})["a"], noise)
    two = process.draw_noise(keys, [x, x])
    assert np.all(two[0] != two[1])
    np.testing.assert_array_equal(process.draw_noise(keys[3:4], [x[3:4]] * 2)[1][0], two[1][3])
    with pytest.raises(ValueError, match="^key: "):
        process.draw_noise(keys[:2], x)


def test_noise_is_standard_normal():
    noise = np.asarray(process.draw_noise(jax.random.key(0), [jnp.zeros((2000, 5))] * 2))
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-6
    error = np.corrcoef(noise.transpose(0, 2, 1).reshape(10, -1)) - np.eye(10)
    assert np.all(np.abs(error) * np.sqrt(2000) < 5.0)


def test_sums_of_trees(mixed):
    x, y, *_ = mixed
    found = trees.combine((2.0, [x, x[:, 0]]), (LOG_SNR, [y, y[:, 0]]))
    expected = 2.0 * x + LOG_SNR[:, None, None] * y
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[:, 0], rtol=1e-5)
    distance = trees.squared_distance([jnp.asarray(x), x[:, 0]], [jnp.asarray(y), y[:, 0]])
    error = (x - y) ** 2
    np.testing.assert_allclose(distance, error.sum((1, 2)) + error[:, 0].sum(1), rtol=1e-5)
    assert trees.squared_distance(jnp.bfloat16(x), jnp.bfloat16(y)).dtype == jnp.float32
    np.testing.assert_allclose(trees.add_leaves({"a": x, "b": (y, y)}), x + 2.0 * y)


@each_kind
def test_grids_must_leave_a_prediction_something_to_say(kind):
    cosine = grids.grid_of_betas(grids.cosine_betas(1000), 10)
    without = grids.grid_of_betas(np.array([0.1, 1.0]), 2)
    process.check_grid(grids.grid_of_betas(grids.linear_betas(1000), 10), kind)
    for grid in (cosine, without):
        if kind == "noise":
            with pytest.raises(ValueError, match=r"^grid: begins .* predicted noise is (2.*|inf)"):
                process.check_grid(grid, kind)
        else:
            process.check_grid(grid, kind)


# --- Weights ---


def plain_weight(snr, slope, kind, name):
    """Of the error of the data by definition, and from it that of each prediction."""
    if name == "simple":
        return np.ones_like(snr)
    of_x = {"snr": snr, "min_snr": np.minimum(snr, 5.0), "bound": -0.5 * slope * snr}[name]
    a, s = np.sqrt(snr / (1.0 + snr)), np.sqrt(1.0 / (1.0 + snr))
    return of_x * {"noise": 1.0 / snr, "x0": 1.0, "v": s**2, "velocity": (s / (a + s)) ** 2}[kind]


@each_kind
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_those_of_the_error_of_the_data(kind, name, float64):
    log_snr, slope = np.linspace(-12.0, 14.0, 50), -np.linspace(1.0, 9.0, 50)
    found = weighting.weight(log_snr, slope, kind, name)
    np.testing.assert_allclose(found, plain_weight(np.exp(log_snr), slope, kind, name), rtol=1e-8)


@each_kind
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_finite_without_noise_and_without_signal(kind, name):
    log_snr = jnp.array([-np.inf, -200.0, 200.0, np.inf])
    found = weighting.weight(log_snr, jnp.full(4, -2.0), kind, name)
    is_infinite = kind == "x0" and name in ("snr", "bound")
    assert np.isfinite(found).tolist() == [True, True, not is_infinite, not is_infinite]
    assert np.all(found >= 0.0)


# --- Losses ---

LOSSES = {
    "noise": losses.noise_prediction,
    "x0": losses.x0_prediction,
    "v": losses.v_prediction,
    "velocity": losses.velocity_prediction,
}
LINEAR = schedules.LogSnrLinear(-4.0, 6.0)


def plain(loss):
    """The function without its jit, which shows its denoiser numbers."""
    return loss.__wrapped__


@pytest.mark.parametrize("name", WEIGHTINGS)
@each_kind
def test_a_loss_is_the_weighted_error_at_the_levels_that_the_network_saw(kind, name, mixed):
    x, seen = jnp.asarray(mixed[0], jnp.float32), []

    def predict(x_t, log_snr, condition):
        seen.extend((x_t, log_snr))
        return condition * jnp.sin(x_t)

    found = plain(LOSSES[kind])(
        jax.random.key(0), predict, x, LINEAR, condition=2.0, weighting=name
    )
    x_t, log_snr = (np.asarray(array, np.float64) for array in seen)
    a, s = (row[:, None, None] for row in amplitudes(log_snr))
    noise = (x_t - a * mixed[0]) / s
    error = (plain_target(mixed[0], noise, a, s, kind) - 2.0 * np.sin(x_t)) ** 2
    weight = plain_weight(np.exp(log_snr), -10.0, kind, name)
    np.testing.assert_allclose(found, weight * error.sum((1, 2)), rtol=1e-4)


def test_times_are_uniform_and_noise_is_normal():
    x, seen = jnp.ones((4000, 1)), []

    def predict(x_t, log_snr, condition):
        seen.extend((x_t, log_snr))
        return x_t

    plain(losses.noise_prediction)(jax.random.key(0), predict, x, LINEAR)
    x_t, log_snr = (np.asarray(array, np.float64) for array in seen)
    a, s = amplitudes(log_snr)
    noise, t = (x_t[:, 0] - a) / s, (6.0 - log_snr) / 10.0
    assert stats.kstest(t, "uniform").pvalue > 1e-6
    assert stats.kstest(noise, "norm").pvalue > 1e-6
    assert np.abs(np.corrcoef(t, noise)[0, 1]) * np.sqrt(4000) < 5.0


@pytest.fixture(scope="module")
def equal_errors():
    """Every loss of networks of every kind that mean one estimate of the data."""

    def predict(kind, x_t, log_snr, condition):
        x0 = jnp.tanh(x_t)
        return process.target(x0, process.noise_of(x0, x_t, log_snr), log_snr, kind)

    @jax.jit
    def every(x):
        return {
            (kind, name): loss(
                jax.random.key(0), functools.partial(predict, kind), x, LINEAR, weighting=name
            )
            for (kind, loss), name in itertools.product(LOSSES.items(), WEIGHTINGS)
        }

    with jax.enable_x64(True):
        return jax.device_get(every(np.random.default_rng(0).normal(size=(6, 3))))


@pytest.mark.parametrize("name", WEIGHTINGS[1:])
def test_an_equal_error_of_the_data_is_an_equal_loss_for_all_kinds(name, equal_errors):
    for kind in KINDS:
        np.testing.assert_allclose(
            equal_errors[kind, name], equal_errors["x0", name], rtol=1e-8, err_msg=kind
        )


def test_the_loss_of_the_noise_is_weighted_by_the_snr(equal_errors):
    np.testing.assert_array_equal(equal_errors["noise", "simple"], equal_errors["noise", "snr"])
    ratio = equal_errors["v", "simple"] / equal_errors["x0", "simple"]
    snr = equal_errors["x0", "snr"] / equal_errors["x0", "simple"]
    np.testing.assert_allclose(ratio, snr + 1.0, rtol=1e-8)


def sines(x_t, log_snr, condition):
    return jax.tree.map(jnp.sin, x_t)


def two_sines(*args):
    return sines(*args), sines(*args)


def test_data_of_losses_may_be_trees(mixed):
    x, key = jnp.asarray(mixed[0], jnp.float32), jax.random.key(0)
    for loss, predict, levels in (
        (losses.v_prediction, sines, LINEAR),
        (losses.hybrid, two_sines, grids.bound_grid(LINEAR, 3)),
    ):
        one, same = (loss(key, predict, tree, levels) for tree in (x, {"a": x}))
        np.testing.assert_allclose(same, one, rtol=1e-6)
    two = losses.v_prediction(key, sines, {"a": x, "b": x[:, 0]}, LINEAR)
    assert two.shape == (4,)
    assert np.all(two > 0.0)


# --- The hybrid loss ---


def test_the_hybrid_loss_has_the_divergence_of_two_normals_at_a_random_step():
    x, seen = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32), []
    grid = grids.bound_grid(LINEAR, 5)

    def predict(x_t, log_snr, condition):
        seen.extend((x_t, log_snr))
        return jnp.sin(x_t), 0.3 + jnp.cos(x_t)

    found = plain(losses.hybrid)(jax.random.key(2), predict, x, grid, bound_weight=0.1)
    x_t, log_snr = (np.asarray(array, np.float64) for array in seen)
    levels, counts = np.unique(np.round(log_snr, 4), return_counts=True)
    np.testing.assert_allclose(levels, [-4.0, -2.0, 0.0, 2.0, 4.0])
    assert stats.chisquare(counts).pvalue > 1e-6
    # The next level of each example is 2 less noisy.
    (a_t, s_t), (a_s, s_s) = (
        [row[:, None] for row in amplitudes(level)] for level in (log_snr, log_snr + 2.0)
    )
    noise = (x_t - a_t * x) / s_t

    def posterior(x0):
        """By the joint covariance of x_s and x_t."""
        covariance = a_t / a_s * s_s**2
        mean = a_s * x0 + covariance / s_t**2 * (x_t - a_t * x0)
        return mean, s_s**2 - covariance**2 / s_t**2

    mean, variance = posterior(x)
    guess, _ = posterior((x_t - s_t * np.sin(x_t)) / a_t)
    fraction, step = 0.3 + np.cos(x_t), 1.0 - (a_t / a_s) ** 2
    log_var = fraction * np.log(step) + (1.0 - fraction) * np.log(variance)
    ratio = variance / np.exp(log_var)
    kl = 0.5 * (ratio - 1.0 - np.log(ratio) + (mean - guess) ** 2 / np.exp(log_var))
    expected = (noise - np.sin(x_t)) ** 2 + 0.1 * 5 * kl
    np.testing.assert_allclose(found, expected.sum(axis=1), rtol=1e-3)


def test_the_second_term_of_the_hybrid_loss_teaches_the_variance_alone(mixed, float64):
    x, grid = mixed[0], grids.bound_grid(LINEAR, 5)

    def loss(scale, fraction, bound_weight):
        def predict(x_t, log_snr, condition):
            return scale * x_t, jnp.full_like(x_t, fraction)

        return losses.hybrid(jax.random.key(0), predict, x, grid, bound_weight=bound_weight)

    slopes = jax.jit(jax.jacfwd(loss, argnums=(0, 1)))
    (with_bound, of_fraction), (without, none) = slopes(0.4, 0.2, 1e3), slopes(0.4, 0.2, 0.0)
    np.testing.assert_allclose(with_bound, without, rtol=1e-10)
    assert np.all(np.abs(of_fraction) > 1e-3)
    np.testing.assert_array_equal(none, np.zeros(4))
    for fraction in (-3.0, 4.0):
        assert np.all(np.isfinite(slopes(0.4, fraction, 1.0)))


def test_words_without_meaning_are_refused():
    with pytest.raises(ValueError, match="spacing: 'even', expected time or log_snr"):
        grids.sampling_grid(schedules.Cosine(), 2, spacing="even")
    with pytest.raises(ValueError, match="spacing: 'time', expected trailing or linspace"):
        grids.grid_of_betas(grids.linear_betas(4), 2, spacing="time")
    with pytest.raises(ValueError, match="num_steps: 2.5, expected an integer"):
        grids.sampling_grid(schedules.Cosine(), 2.5)
    with pytest.raises(ValueError, match="kind: 'nois', expected noise, x0, v, velocity"):
        process.denoiser(lambda x, log_snr, condition: x, "nois")
    with pytest.raises(AssertionError, match="shape"):
        losses.noise_prediction(
            jax.random.key(0), lambda x, *_: x[:, :1], jnp.ones((3, 2)), schedules.Cosine()
        )
