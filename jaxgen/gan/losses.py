"""Losses of generative adversarial networks: pure functions of logits `[B]`, to be minimised.

A critic (discriminator) gives each example one logit, high for real. In the formulas
``r = D(real)``, ``f = D(fake)`` and ``sp(t) = ln(1 + exp(t))``, the softplus: a logarithm of a
probability straight from its logit, so that no sure critic underflows to ``ln 0``.

| method | critic | generator |
|---|---|---|
| minimax (saturating) | `minimax_critic` | `minimax_generator` |
| non-saturating | `minimax_critic` | `nonsaturating_generator` |
| least squares | `least_squares_critic` | `least_squares_generator` |
| Wasserstein, weights clipped or penalty | `wasserstein_critic` | `wasserstein_generator` |
| hinge | `hinge_critic` | `wasserstein_generator` |
| relativistic pairing | `relativistic_critic` | `relativistic_generator` |
"""

import chex
import jax
import jax.numpy as jnp

from jaxgen.types import Array, jit_loss


@jit_loss(static_argnames=("positive_target",))
def minimax_critic(
    real_logits: Array, fake_logits: Array, *, positive_target: float = 1.0
) -> Array:
    """Critic of the minimax and the non-saturating GAN: ``t sp(-r) + (1 - t) sp(r) + sp(f)``.

    Mostly t = 1, which asks for the cross-entropy of telling reals from fakes.

    At ``t = 1`` the best critic of reals of density p and fakes of density q is ``ln p/q``, and its
    mean loss is ``2 ln 2 - 2 JSD(p, q)``.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`.
        positive_target: t, the probability asked for reals, in (0, 1]; below 1 it is one-sided
            label smoothing. Fakes keep the target 0, without which the optimum would move with q.

    Returns:
        `[B]` in nats.

    Raises:
        ValueError: if `positive_target` is outside (0, 1].

    Source:
        Goodfellow et al. 2014, "Generative adversarial nets", equation 1; the smoothing: Salimans
        et al. 2016, "Improved techniques for training GANs", section 3.4.
    """
    if not 0.0 < positive_target <= 1.0:
        raise ValueError(f"positive_target: {positive_target}, expected in (0, 1]")
    r, f = _pair(real_logits, fake_logits)
    smoothed = positive_target * jax.nn.softplus(-r) + (1.0 - positive_target) * jax.nn.softplus(r)
    return smoothed + jax.nn.softplus(f)


@jit_loss
def minimax_generator(fake_logits: Array) -> Array:
    """Generator of the minimax GAN: ``-sp(f)``, which saturates.

    Where the critic is sure of a fake the gradient all but vanishes: -4.5e-5 at a logit of -10,
    against -1 of `nonsaturating_generator`.

    Args:
        fake_logits: `[B]`.

    Returns:
        `[B]` in nats, at most 0.

    Source:
        Goodfellow et al. 2014, "Generative adversarial nets", equation 1.
    """
    return -jax.nn.softplus(_logits(fake_logits))


@jit_loss
def nonsaturating_generator(fake_logits: Array) -> Array:
    """Generator of the non-saturating GAN: ``sp(-f)``, cross-entropy of a fake with the target 1.

    Args:
        fake_logits: `[B]`.

    Returns:
        `[B]` in nats, at least 0.

    Source:
        Goodfellow et al. 2014, "Generative adversarial nets", section 3.
    """
    return jax.nn.softplus(-_logits(fake_logits))


@jit_loss
def least_squares_critic(real_logits: Array, fake_logits: Array) -> Array:
    """Critic of the least-squares GAN: ``(r - 1)^2 / 2 + f^2 / 2``.

    The logit is the estimate itself, without a sigmoid: the best critic is ``p / (p + q)``.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`.

    Returns:
        `[B]`, at least 0.

    Source:
        Mao et al. 2017, "Least squares generative adversarial networks", with a = 0 and b = c = 1.
    """
    r, f = _pair(real_logits, fake_logits)
    return 0.5 * jnp.square(r - 1.0) + 0.5 * jnp.square(f)


@jit_loss
def least_squares_generator(fake_logits: Array) -> Array:
    """Generator of the least-squares GAN: ``(f - 1)^2 / 2``.

    Args:
        fake_logits: `[B]`.

    Returns:
        `[B]`, at least 0.

    Source:
        Mao et al. 2017, "Least squares generative adversarial networks", with a = 0 and b = c = 1.
    """
    return 0.5 * jnp.square(_logits(fake_logits) - 1.0)


@jit_loss
def wasserstein_critic(real_logits: Array, fake_logits: Array) -> Array:
    """Critic of the Wasserstein GAN: ``f - r``, for a critic kept 1-Lipschitz by other means.

    It is unbounded alone: clip the weights after each update, or add
    `jaxgen.gan.penalties.gradient_penalty`. The best 1-Lipschitz critic reaches a mean of
    ``-W1(p, q)``.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`.

    Returns:
        `[B]`, of either sign, in units of the logit.

    Source:
        Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1.
    """
    r, f = _pair(real_logits, fake_logits)
    return f - r


@jit_loss
def wasserstein_generator(fake_logits: Array) -> Array:
    """Generator of the Wasserstein GAN, and of the hinge GAN: ``-f``.

    Args:
        fake_logits: `[B]`.

    Returns:
        `[B]`, of either sign, in units of the logit.

    Source:
        Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1; with the hinge: Lim & Ye 2017,
        "Geometric GAN".
    """
    return -_logits(fake_logits)


@jit_loss
def hinge_critic(real_logits: Array, fake_logits: Array) -> Array:
    """Critic of the hinge GAN: ``max(0, 1 - r) + max(0, 1 + f)``.

    Its generator is `wasserstein_generator`.

    The best critic is ``sign(p - q)``, at a mean of ``2 - 2 TV(p, q)``, TV the total variation
    distance.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`.

    Returns:
        `[B]`, at least 0.

    Source:
        Lim & Ye 2017, "Geometric GAN"; Miyato et al. 2018, "Spectral normalization for generative
        adversarial networks".
    """
    r, f = _pair(real_logits, fake_logits)
    return jax.nn.relu(1.0 - r) + jax.nn.relu(1.0 + f)


@jit_loss
def relativistic_critic(real_logits: Array, fake_logits: Array) -> Array:
    """Critic of the relativistic pairing GAN: ``sp(f - r)``, is this real above this fake.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`, paired with the reals row by row.

    Returns:
        `[B]` in nats, at least 0.

    Source:
        Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from
        standard GAN"; with penalties at reals and fakes: Huang et al. 2024, "The GAN is dead; long
        live the GAN!".
    """
    r, f = _pair(real_logits, fake_logits)
    return jax.nn.softplus(f - r)


@jit_loss
def relativistic_generator(real_logits: Array, fake_logits: Array) -> Array:
    """Generator of the relativistic pairing GAN: ``sp(r - f)``, the critic's with roles exchanged.

    Args:
        real_logits: `[B]`.
        fake_logits: `[B]`, paired with the reals row by row.

    Returns:
        `[B]` in nats, at least 0.

    Source:
        Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from
        standard GAN".
    """
    r, f = _pair(real_logits, fake_logits)
    return jax.nn.softplus(r - f)


def _logits(logits: Array) -> Array:
    chex.assert_rank(logits, 1)
    return logits.astype(jnp.float32)


def _pair(real_logits: Array, fake_logits: Array) -> tuple[Array, Array]:
    chex.assert_equal_shape([real_logits, fake_logits])
    return _logits(real_logits), _logits(fake_logits)
