"""Gradient penalties against critics of known slope; derivatives are compared in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from jax.tree_util import Partial
from scipy import stats

from jaxgen.gan import losses, penalties

B, N, H = 5, 4, 3


def linear(weights, x):
    return x.reshape(len(x), -1) @ weights.reshape(-1)


def tanh_critic(parameters, x):
    hidden, bias, readout = parameters
    return jnp.tanh(x @ hidden.T + bias[None]) @ readout


def bowl(x):
    """``|x|^2 / 2``, whose gradient is x: with the target 0 a penalty shows where it was taken."""
    return 0.5 * jnp.sum(x**2, axis=tuple(range(1, x.ndim)))


def every_penalty(key, critic, x, target=1.0):
    """All penalties at x itself: equal reals and fakes, no noise, R1."""
    return {
        "gradient_penalty": penalties.gradient_penalty(key, critic, x, x, target=target),
        "noisy_gradient_penalty": penalties.noisy_gradient_penalty(
            key, critic, x, target=target, noise_scale=0.0
        ),
        "zero_centered": penalties.zero_centered(critic, x),
    }


def reference_penalties(x, parameters, target):
    norm = np.linalg.norm(references.tanh_critic_gradient(x, *parameters), axis=1)
    slope = (norm - target) ** 2
    return {
        "gradient_penalty": slope,
        "noisy_gradient_penalty": slope,
        "zero_centered": 0.5 * norm**2,
    }


@pytest.fixture(scope="module")
def tanh_case():
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(H, N)), rng.normal(size=H), rng.normal(size=H)
    return rng.normal(size=(B, N)), parameters


# --- Values ---


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("norm", [0.125, 1.0, 3.0])
def test_linear_critic_pays_for_its_norm_whatever_the_batch(batch, norm, key):
    """Images: the norm goes over all their axes and not over the batch."""
    weights = jax.random.normal(key, (4, 3, 2))
    critic = Partial(linear, norm * weights / jnp.linalg.norm(weights))
    real, fake = jax.random.normal(key, (2, batch, 4, 3, 2))
    for value in (
        penalties.gradient_penalty(key, critic, real, fake),
        penalties.noisy_gradient_penalty(key, critic, real),
    ):
        np.testing.assert_allclose(value, np.full(batch, (norm - 1.0) ** 2), rtol=1e-4, atol=1e-11)
    for x in (real, fake):
        value = penalties.zero_centered(critic, x)
        np.testing.assert_allclose(value, np.full(batch, norm**2 / 2.0), rtol=1e-5)


def test_a_lipschitz_critic_is_free_and_its_wasserstein_value_is_the_shift(key):
    direction = jnp.array([0.6, 0.0, -0.8, 0.0])
    fake = jax.random.normal(key, (B, N))
    real = fake + 1.7 * direction[None]
    critic = Partial(linear, direction)
    value = losses.wasserstein_critic(critic(real), critic(fake))
    np.testing.assert_allclose(value, np.full(B, -1.7), rtol=1e-5)
    penalty = penalties.gradient_penalty(key, critic, real, fake)
    np.testing.assert_allclose(penalty, np.zeros(B), atol=1e-12)


@pytest.mark.parametrize("target", [0.0, 1.0, 2.5])
def test_tanh_critic_equals_the_chain_rule(target, tanh_case, key):
    x, parameters = tanh_case
    critic = Partial(tanh_critic, jax.tree.map(jnp.float32, parameters))
    values = every_penalty(key, critic, jnp.float32(x), target)
    for name, expected in reference_penalties(x, parameters, target).items():
        assert values[name].dtype == jnp.float32
        np.testing.assert_allclose(values[name], expected, rtol=2e-5, atol=1e-6, err_msg=name)


def test_data_scale_moves_target_and_weight(tanh_case, key):
    """Data times k with the target over k and the weight by k^2 is the same penalty."""
    parameters = jax.tree.map(jnp.float32, tanh_case[1])
    real, fake = jax.random.normal(key, (2, B, N))
    k = 4.0
    narrow, wide = (Partial(tanh_critic, (parameters[0] / s, *parameters[1:])) for s in (1.0, k))
    expected = penalties.gradient_penalty(key, narrow, real, fake)
    value = penalties.gradient_penalty(key, wide, k * real, k * fake, target=1.0 / k)
    np.testing.assert_allclose(k**2 * value, expected, rtol=1e-4)
    assert not np.allclose(
        k**2 * penalties.gradient_penalty(key, wide, k * real, k * fake), expected
    )
    expected = penalties.noisy_gradient_penalty(key, narrow, real)
    value = penalties.noisy_gradient_penalty(
        key, wide, k * real, target=1.0 / k, noise_scale=0.5 * k
    )
    np.testing.assert_allclose(k**2 * value, expected, rtol=1e-4)
    value = k**2 * penalties.zero_centered(wide, k * real)
    np.testing.assert_allclose(value, penalties.zero_centered(narrow, real), rtol=1e-4)


# --- Derivatives ---


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_gradients_in_the_parameters_equal_finite_differences(target, tanh_case):
    x, parameters = tanh_case
    with jax.enable_x64(True):

        def total(parameters):
            critic = Partial(tanh_critic, parameters)
            values = every_penalty(jax.random.key(0), critic, jnp.asarray(x), target)
            return jax.tree.map(jnp.sum, values)

        got = jax.device_get(jax.jacrev(total)(jax.tree.map(jnp.asarray, parameters)))
    for name, gradients in got.items():
        for place, gradient in enumerate(gradients):

            def value(changed, name=name, place=place):
                changed = *parameters[:place], changed, *parameters[place + 1 :]
                return np.sum(reference_penalties(x, changed, target)[name])

            expected = references.finite_difference(value, parameters[place])
            assert gradient.dtype == np.float64
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7, err_msg=name)


def test_second_derivatives_in_the_parameters_are_those_of_the_gradient(tanh_case):
    """The penalty is differentiable once more than training needs."""
    x, parameters = tanh_case
    with jax.enable_x64(True):

        @jax.jit
        def gradient(readout):
            def total(readout):
                critic = Partial(tanh_critic, (*map(jnp.asarray, parameters[:2]), readout))
                values = every_penalty(jax.random.key(0), critic, jnp.asarray(x))
                return sum(jnp.sum(value) for value in values.values())

            return jax.grad(total)(readout)

        hessian = np.asarray(jax.jacrev(gradient)(jnp.asarray(parameters[2])))
        columns = [
            references.finite_difference(lambda r, i=i: float(gradient(r)[i]), parameters[2])
            for i in range(H)
        ]
    np.testing.assert_allclose(hessian, columns, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-9, atol=1e-12)


def test_a_dead_example_poisons_nothing(key):
    """A bare root has a finite value and NaN gradients for an example with no active unit."""
    x = jnp.array([[1.0, 2.0], [-50.0, -50.0], [3.0, 0.5]])
    weights = jnp.array([[1.0, 0.5], [0.2, 1.5]])

    def critic(weights, x):
        return jnp.sum(jax.nn.relu(x @ weights.T), axis=-1)

    def bare(weights):
        slopes = jax.grad(lambda x: jnp.sum(critic(weights, x)))(x)
        return jnp.sum((jnp.sqrt(jnp.sum(slopes**2, axis=-1)) - 1.0) ** 2)

    value, gradient = jax.value_and_grad(bare)(weights)
    assert np.isfinite(value)
    assert np.all(np.isnan(gradient))

    def total(weights):
        return jax.tree.map(jnp.sum, every_penalty(key, Partial(critic, weights), x))

    values, gradients = jax.jit(lambda w: (total(w), jax.jacrev(total)(w)))(weights)
    np.testing.assert_allclose(values["gradient_penalty"], value, rtol=1e-5)
    for name, gradient in gradients.items():
        assert np.all(np.isfinite(gradient)), name
        assert np.any(gradient != 0.0), name


def test_safe_norm_is_a_norm_smooth_at_zero(key):
    x = jax.random.normal(key, (B, 3, 2))
    expected = np.linalg.norm(np.asarray(x, np.float64).reshape(B, -1), axis=1)
    np.testing.assert_allclose(penalties.safe_norm(x), expected, rtol=1e-6)
    np.testing.assert_allclose(penalties.safe_norm(-2.0 * x), 2.0 * expected, rtol=1e-6)
    unit = jnp.array([[1.0, 0.0], [0.0, -1.0]])
    np.testing.assert_array_equal(penalties.safe_norm(unit), np.ones(2))
    np.testing.assert_allclose(penalties.safe_norm(jnp.full((1, 1), 0.01)), 0.01, rtol=1e-6)

    def norm(x):
        return penalties.safe_norm(x[None])[0]

    zero = jnp.zeros(2)
    np.testing.assert_allclose(norm(zero), 1e-6, rtol=1e-6)
    slope, curvature = jax.jit(lambda x: (jax.grad(norm)(x), jax.hessian(norm)(x)))(zero)
    np.testing.assert_array_equal(slope, zero)
    np.testing.assert_allclose(curvature, 1e6 * np.eye(2), rtol=1e-5)


def test_an_example_moves_its_own_penalty_alone(tanh_case, key):
    critic = Partial(tanh_critic, jax.tree.map(jnp.float32, tanh_case[1]))
    real, fake = jax.random.normal(key, (2, B, N))

    def values(x):
        return jnp.stack(
            [
                penalties.gradient_penalty(key, critic, x, fake),
                penalties.gradient_penalty(key, critic, real, x),
                penalties.noisy_gradient_penalty(key, critic, x),
                penalties.zero_centered(critic, x),
            ]
        )

    for slope in jax.jit(jax.jacrev(values))(real):
        moved = np.abs(slope).sum(axis=-1)
        assert np.all(np.diag(moved) > 1e-4)
        np.testing.assert_array_equal(moved - np.diag(np.diag(moved)), np.zeros((B, B)))


# --- Where the penalty is taken ---


def points(num, seed=0):
    """The interpolation points between 0 and 1, as a critic whose slope is x shows them."""
    real, fake = jnp.ones((num, 1)), jnp.zeros((num, 1))
    value = penalties.gradient_penalty(jax.random.key(seed), bowl, real, fake, target=0.0)
    return np.sqrt(np.asarray(value, np.float64))


def test_points_are_uniform_and_each_example_has_its_own():
    """Equal pairs, distinct points."""
    u = points(4000)
    assert len(np.unique(u)) > 0.99 * len(u)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert stats.kstest(u, "uniform").pvalue > 1e-6
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(len(u))
    assert not np.any(u == points(4000, seed=1))
    np.testing.assert_array_equal(u, points(4000))


def test_points_lie_on_the_segment_of_their_pair(key):
    """One weight for a whole image: ``x = fake + u (real - fake)`` in every pixel."""
    real, fake = jax.random.normal(key, (2, 3, 4, 5, 2))
    seen = []

    def spy(x):
        jax.debug.callback(lambda x: seen.append(np.array(x)), x)
        return bowl(x)

    penalties.gradient_penalty(key, spy, real, fake)[0].block_until_ready()
    jax.effects_barrier()
    weights = np.asarray((seen[0] - fake) / (real - fake)).reshape(3, -1)
    u = np.median(weights, axis=1, keepdims=True)
    np.testing.assert_allclose(weights, np.broadcast_to(u, weights.shape), atol=1e-2)
    assert len(np.unique(u.round(3))) == 3


def test_noise_is_normal_on_both_sides_and_never_clipped():
    """Reals at the end of [-1, 1]: half of the points lie beyond it."""
    num, scale = 4000, 0.1
    real = jnp.ones((num, 1))
    value = penalties.noisy_gradient_penalty(
        jax.random.key(0), bowl, real, target=0.0, noise_scale=scale
    )
    noise = (np.sqrt(np.asarray(value, np.float64)) - 1.0) / scale
    assert stats.kstest(noise, "norm").pvalue > 1e-6
    assert abs(np.mean(noise > 0.0) - 0.5) < 5 * 0.5 / np.sqrt(num)
    again = penalties.noisy_gradient_penalty(
        jax.random.key(1), bowl, real, target=0.0, noise_scale=scale
    )
    assert not np.any(value == again)


def test_noise_differs_between_values_of_an_example():
    value = penalties.noisy_gradient_penalty(
        jax.random.key(0), bowl, jnp.zeros((4, 1000)), target=0.0, noise_scale=0.5
    )
    # A sum of 1000 squares, and a single draw for all would spread a hundred times as far.
    np.testing.assert_allclose(value, 1000 * 0.25, rtol=5 * np.sqrt(2 / 1000))


# --- Games ---


def test_dirac_game_converges_with_a_zero_centered_penalty_alone():
    """The linearised game of one real point and one fake has the known eigenvalues.

    ``D(x) = psi x``, a real at 0, a fake at theta: at rest, with the penalty at reals or at fakes,
    the eigenvalues are ``(-gamma +- sqrt(gamma^2 - 1)) / 2``, on the imaginary axis without one
    (Mescheder et al. 2018, "Which training methods for GANs do actually converge?").
    """
    real = jnp.zeros((1, 1))

    def field(state, at_reals, gamma):
        def critic_loss(psi, theta):
            critic = Partial(linear, psi[None])
            fake = theta.reshape(1, 1)
            penalty = penalties.zero_centered(critic, real if at_reals else fake)
            return (losses.minimax_critic(critic(real), critic(fake)) + gamma * penalty)[0]

        def generator_loss(psi, theta):
            return losses.nonsaturating_generator(linear(psi[None], theta.reshape(1, 1)))[0]

        theta, psi = state
        return jnp.stack(
            [-jax.grad(generator_loss, 1)(psi, theta), -jax.grad(critic_loss, 0)(psi, theta)]
        )

    @jax.jit
    def jacobians(gamma):
        return [jax.jacrev(field)(jnp.zeros(2), at_reals, gamma) for at_reals in (True, False)]

    for gamma in (0.0, 0.5, 3.0):
        expected = (-gamma + np.array([-1.0, 1.0]) * np.sqrt(complex(gamma**2 - 1.0))) / 2.0
        for jacobian in jacobians(gamma):
            found = np.sort_complex(np.linalg.eigvals(np.asarray(jacobian, np.float64)))
            np.testing.assert_allclose(found, np.sort_complex(expected), atol=1e-6)
            assert (found.real.max() < -1e-2) == (gamma > 0.0)


# --- Types and settings ---


def test_half_precision_critics_have_float32_penalties(tanh_case, key):
    parameters = jax.tree.map(jnp.float32, tanh_case[1])
    x = jnp.float32(tanh_case[0])

    def low(parameters, x):
        to_low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (parameters, x))
        return tanh_critic(*to_low)

    exact = every_penalty(key, Partial(tanh_critic, parameters), x)
    for inputs in (x, x.astype(jnp.bfloat16)):
        for name, value in every_penalty(key, Partial(low, parameters), inputs).items():
            assert value.dtype == jnp.float32
            np.testing.assert_allclose(value, exact[name], rtol=0.1, atol=0.05, err_msg=name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, x: penalties.gradient_penalty(k, bowl, x, x, target=-1.0), "target: -1.0"),
        (lambda k, x: penalties.noisy_gradient_penalty(k, bowl, x, target=-1.0), "target: -1.0"),
        (
            lambda k, x: penalties.noisy_gradient_penalty(k, bowl, x, noise_scale=-0.5),
            "noise_scale: -0.5",
        ),
    ],
)
def test_settings_are_not_negative(call, message, key):
    with pytest.raises(ValueError, match=f"{message}, expected at least 0"):
        call(key, jnp.ones((B, N)))


def test_pixels_mismatched_pairs_and_critics_of_patches_are_refused(key):
    x, pixels = jnp.ones((B, N)), jnp.ones((B, N), jnp.uint8)
    calls = (
        lambda: penalties.zero_centered(bowl, pixels),
        lambda: penalties.noisy_gradient_penalty(key, bowl, pixels),
        lambda: penalties.gradient_penalty(key, bowl, x, pixels),
        lambda: penalties.gradient_penalty(key, bowl, x, x[:1]),
        lambda: penalties.zero_centered(lambda x: x**2, x),
        lambda: penalties.zero_centered(lambda x: jnp.sum(x), x),
    )
    for call in calls:
        with pytest.raises(AssertionError):
            call()


def test_named_penalties_are_called_alike_and_have_the_settings_of_their_papers(tanh_case, key):
    critic = Partial(tanh_critic, jax.tree.map(jnp.float32, tanh_case[1]))
    real, fake = jax.random.normal(key, (2, B, N))
    keys = jax.random.split(key, B)
    at_reals, at_fakes = (penalties.zero_centered(critic, x) for x in (real, fake))
    expected = {
        penalties.wgan_gp: penalties.gradient_penalty(key, critic, real, fake, target=1.0),
        penalties.dragan: penalties.noisy_gradient_penalty(
            key, critic, real, target=1.0, noise_scale=0.5
        ),
        penalties.r1: at_reals,
        penalties.r2: at_fakes,
        penalties.r1_r2: at_reals + at_fakes,
    }
    for penalty, value in expected.items():
        np.testing.assert_array_equal(penalty(keys, critic, real, fake), value)


def test_one_key_for_each_example_is_the_split_of_one(key):
    """An example's own key decides its draw, whoever shares its batch."""
    real, fake = jax.random.normal(key, (2, 5, 3))
    keys = jax.random.split(key, len(real))
    for penalty in (
        penalties.gradient_penalty,
        lambda k, c, x, y: penalties.noisy_gradient_penalty(k, c, x),
    ):
        whole = penalty(key, bowl, real, fake)
        np.testing.assert_array_equal(penalty(keys, bowl, real, fake), whole)
        last = penalty(keys[3:], bowl, real[3:], fake[3:])
        np.testing.assert_allclose(last, whole[3:], rtol=1e-6)
    with pytest.raises(ValueError, match=r"key: shape \(2,\), expected one key or keys \[5\]"):
        penalties.gradient_penalty(keys[:2], bowl, real, fake)
