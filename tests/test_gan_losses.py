"""GAN losses against float64 formulas, the divergences of their best critics, and constants."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from scipy import special, stats

from jaxgen.gan import losses

REAL = np.array([-30.0, -3.0, -0.5, 0.0, 0.7, 4.0, 50.0])
FAKE = np.array([2.0, -40.0, 0.0, 1.5, -1.0, 60.0, -0.2])
TARGET = {"positive_target": 0.75}

FORMULAS = {
    "minimax_critic": lambda r, f: references.cross_entropy(r, 1) + references.cross_entropy(f, 0),
    "minimax_generator": lambda r, f: special.log_expit(-f),
    "nonsaturating_generator": lambda r, f: -special.log_expit(f),
    "least_squares_critic": lambda r, f: ((r - 1) ** 2 + f**2) / 2,
    "least_squares_generator": lambda r, f: (f - 1) ** 2 / 2,
    "wasserstein_critic": lambda r, f: f - r,
    "wasserstein_generator": lambda r, f: -f,
    "hinge_critic": lambda r, f: np.clip(1 - r, 0, None) + np.clip(1 + f, 0, None),
    "relativistic_critic": lambda r, f: -special.log_expit(r - f),
    "relativistic_generator": lambda r, f: -special.log_expit(f - r),
}
CRITICS = [name for name in FORMULAS if name.endswith("_critic")]


def evaluate(name, real, fake, **settings):
    """Any loss by name, on float32 logits."""
    loss = getattr(losses, name)
    logits = {"real_logits": jnp.asarray(real, jnp.float32)} if takes_reals(name) else {}
    return loss(**logits, fake_logits=jnp.asarray(fake, jnp.float32), **settings)


def takes_reals(name):
    return "real_logits" in inspect.signature(getattr(losses, name)).parameters


def slope(loss, logit):
    return float(jax.grad(lambda value: loss(value[None])[0])(jnp.float32(logit)))


# --- Formulas ---


@pytest.mark.parametrize("name", FORMULAS)
def test_values_equal_formulas(name):
    np.testing.assert_allclose(
        evaluate(name, REAL, FAKE), FORMULAS[name](REAL, FAKE), rtol=2e-6, atol=1e-7
    )


@pytest.mark.parametrize("target", [1.0, 0.75, 0.1])
def test_smoothed_critic_equals_its_cross_entropies(target):
    value = evaluate("minimax_critic", REAL, FAKE, positive_target=target)
    expected = references.cross_entropy(REAL, target) + references.cross_entropy(FAKE, 0)
    np.testing.assert_allclose(value, expected, rtol=2e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_slopes_equal_finite_differences_of_the_formulas(name):
    real, fake = np.array([-3.0, 0.3, 4.0]), np.array([2.0, -4.0, 0.6])
    gradients = jax.grad(lambda r, f: jnp.sum(evaluate(name, r, f)), argnums=(0, 1))(
        jnp.float32(real), jnp.float32(fake)
    )
    expected = (
        references.finite_difference(lambda r: np.sum(FORMULAS[name](r, fake)), real),
        references.finite_difference(lambda f: np.sum(FORMULAS[name](real, f)), fake),
    )
    for gradient, reference in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_logits_have_float32_losses(name):
    low, high = (
        [jnp.asarray(logits, jnp.bfloat16).astype(dtype) for logits in (REAL, FAKE)]
        for dtype in (jnp.bfloat16, jnp.float32)
    )
    loss = getattr(losses, name)
    value, expected = (loss(*(pair if takes_reals(name) else pair[1:])) for pair in (low, high))
    assert value.dtype == jnp.float32
    np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(), (7, 1)])
def test_logits_have_one_axis(name, shape):
    logits = jnp.zeros(shape)
    with pytest.raises(AssertionError):
        getattr(losses, name)(*(logits for _ in range(1 + takes_reals(name))))


@pytest.mark.parametrize("name", [name for name in FORMULAS if takes_reals(name)])
def test_reals_and_fakes_are_as_many(name):
    with pytest.raises(AssertionError):
        evaluate(name, REAL, FAKE[:1])


# --- What the best critic reaches ---

P, Q = stats.norm(0.7, 1.0), stats.norm(-0.6, 1.5)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / math.sqrt(2.0 * math.pi)


def expectation(name, critic):
    """The mean loss of a critic under P and Q: Gauss-Hermite nodes of each, at the same weights."""
    real, fake = (critic(d.mean() + d.std() * NODES) for d in (P, Q))
    return float(WEIGHTS @ np.asarray(evaluate(name, real, fake), np.float64))


def log_ratio(x):
    return P.logpdf(x) - Q.logpdf(x)


def test_minimax_at_the_best_critic_is_the_jensen_shannon_divergence():
    expected = 2.0 * math.log(2.0) - 2.0 * references.jensen_shannon(P, Q)
    assert expectation("minimax_critic", log_ratio) == pytest.approx(expected, rel=1e-5)
    assert references.jensen_shannon(P, P) == pytest.approx(0.0, abs=1e-12)


def test_least_squares_at_the_best_critic_is_half_the_overlap():
    """``1/2 E_q[p / (p + q)]``, the integral of the harmonic mean over 4."""
    estimate = expectation("least_squares_critic", lambda x: special.expit(log_ratio(x)))
    nodes = references.quantile_nodes(Q, 200_000)
    expected = 0.5 * np.mean(special.expit(log_ratio(nodes)))
    assert estimate == pytest.approx(expected, rel=1e-5)


def test_hinge_at_the_best_critic_is_two_minus_twice_the_total_variation():
    """Equal widths, where the densities cross once and ``TV = 2 F(m / 2) - 1``."""
    p, q = stats.norm(1.3, 1.0), stats.norm(0.0, 1.0)
    real, fake = (np.sign(references.quantile_nodes(d, 20_000) - 0.65) for d in (p, q))
    total_variation = 2.0 * stats.norm.cdf(0.65) - 1.0
    value = float(np.mean(evaluate("hinge_critic", real, fake)))
    assert value == pytest.approx(2.0 - 2.0 * total_variation, abs=3e-4)


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("minimax_critic", log_ratio),
        ("least_squares_critic", lambda x: special.expit(log_ratio(x))),
    ],
)
@pytest.mark.parametrize("bump", [np.ones_like, np.tanh, np.cos])
def test_the_best_critic_is_a_minimum(name, best, bump):
    low = expectation(name, best)
    for size in (-0.3, 0.3):
        assert expectation(name, lambda x, size=size: best(x) + size * bump(x)) > low + 1e-4


def test_wasserstein_of_a_linear_critic_is_the_shift():
    """The best 1-Lipschitz critic between shifted copies of one law, in one dimension."""
    real, fake = (references.quantile_nodes(stats.norm(m, 1.0), 1000) for m in (1.3, -0.5))
    value = float(np.mean(evaluate("wasserstein_critic", real, fake)))
    assert value == pytest.approx(-1.8, rel=1e-5)
    assert value == pytest.approx(-stats.wasserstein_distance(real, fake), rel=1e-5)


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_gains_by_telling_them_apart_and_a_generator_by_fooling_it(name):
    high, middle, low = (np.full(1, logit) for logit in (0.8, 0.4, -0.1))
    apart, alike, wrong = (
        evaluate(name, *pair)[0] for pair in ((high, low), (middle, middle), (low, high))
    )
    assert apart < alike < wrong
    generators = [n for n in FORMULAS if n.endswith("_generator")]
    for generator in generators:
        fooled, caught = (evaluate(generator, middle, fake)[0] for fake in (high, low))
        assert fooled < caught, generator


# --- Relativistic pairs ---


def test_a_relativistic_loss_sees_differences_alone_and_exchanges_roles():
    critic, generator = "relativistic_critic", "relativistic_generator"
    value = evaluate(critic, REAL, FAKE)
    np.testing.assert_allclose(evaluate(critic, REAL + 8, FAKE + 8), value, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(evaluate(generator, FAKE, REAL), value)
    order = np.roll(np.arange(len(REAL)), 1)
    assert not np.allclose(np.mean(evaluate(critic, REAL, FAKE[order])), np.mean(value))


# --- Constants, by which losses of one name differ ---


def test_a_sure_critic_gives_the_nonsaturating_generator_its_full_slope():
    """``log(sigmoid(f) + 1e-8)`` gives -0.0014 at -25."""
    for logit in (-25.0, -88.0, -1e30):
        assert slope(losses.nonsaturating_generator, logit) == pytest.approx(-1.0, abs=1e-6)


def test_the_minimax_generator_saturates():
    assert slope(losses.minimax_generator, -10.0) == pytest.approx(-4.5398e-5, rel=1e-4)
    assert slope(losses.minimax_generator, -25.0) == pytest.approx(-1.3888e-11, rel=1e-4)


def test_generators_tell_their_names_apart_by_the_slope_at_minus_ten():
    expected = {
        "minimax_generator": -4.5398e-5,
        "nonsaturating_generator": -0.9999546,
        "least_squares_generator": -11.0,
        "wasserstein_generator": -1.0,
    }
    for name, value in expected.items():
        assert slope(getattr(losses, name), -10.0) == pytest.approx(
            value, rel=1e-6 if value < -0.1 else 1e-4
        )
    relativistic = slope(lambda f: losses.relativistic_generator(jnp.full(1, 5.0), f), -10.0)
    assert relativistic == pytest.approx(-special.expit(15.0), rel=1e-6)


def test_values_at_zero_pin_the_factors():
    zero = np.zeros(1)
    expected = {
        "minimax_critic": 2 * math.log(2),
        "minimax_generator": -math.log(2),
        "nonsaturating_generator": math.log(2),
        "least_squares_critic": 0.5,
        "least_squares_generator": 0.5,
        "wasserstein_critic": 0.0,
        "wasserstein_generator": 0.0,
        "hinge_critic": 2.0,
        "relativistic_critic": math.log(2),
        "relativistic_generator": math.log(2),
    }
    assert expected.keys() == FORMULAS.keys()
    for name, value in expected.items():
        assert float(evaluate(name, zero, zero)[0]) == pytest.approx(value, rel=1e-6), name


# --- Smoothing ---


def test_smoothing_is_of_reals_alone():
    takers = [
        name
        for name in FORMULAS
        if "positive_target" in inspect.signature(getattr(losses, name)).parameters
    ]
    assert takers == ["minimax_critic"]

    def of_fakes(settings):
        return jax.grad(lambda f: jnp.sum(evaluate("minimax_critic", REAL, f, **settings)))

    fake = jnp.asarray(FAKE, jnp.float32)
    np.testing.assert_array_equal(of_fakes(TARGET)(fake), of_fakes({})(fake))


def test_smoothing_scales_the_best_probability():
    """The best critic has ``sigmoid(D) = t p / (p + q)``: a slope of 0 there where p = q."""
    best = jnp.full((1,), special.logit(0.75 / 2.0), jnp.float32)
    loss = jax.grad(lambda logit: losses.minimax_critic(logit, logit, **TARGET)[0])
    np.testing.assert_allclose(loss(best), 0.0, atol=1e-6)


@pytest.mark.parametrize("target", [0.0, -0.5, 1.5, math.nan])
def test_a_target_is_a_probability(target):
    with pytest.raises(ValueError, match=r"positive_target: .*, expected in \(0, 1\]"):
        evaluate("minimax_critic", REAL, FAKE, positive_target=target)
