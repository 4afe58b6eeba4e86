"""Gradient penalties of critics: pure functions, `[B]` in float32, to be weighed and added.

A critic is a callable ``x [B, ...] -> logits [B]`` that treats examples one by one. Batch
normalization, minibatch statistics and the like couple them, and then no gradient belongs to one
example: penalised critics go without. A weight and a target fit the scale of the data they were
found with: data times k need the target over k and the weight times k^2.

The penalties that the field has names for stand at the end, all called alike.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, example_keys, sum_event
from jaxgen.types import Array, Key, jit_loss

Critic = Callable[[Array], Array]
Penalty = Callable[[Array, Critic, Array, Array], Array]
"""``(key, critic, real, fake) -> [B]``; the key is one, or one for each example `[B]`."""


@jit_loss
def safe_norm(x: Array) -> Array:
    """Euclidean norm of each example, ``sqrt(sum x^2 + 1e-12)``, differentiable to any order at 0.

    The derivative of a bare root is infinite at 0, and one dead example makes all the parameters
    NaN while the loss stays finite. A norm of 1 is exact in float32; a norm of 0 reads 1e-6.

    Args:
        x: `[B, ...]`.

    Returns:
        `[B]`, at least 1e-6.
    """
    return jnp.sqrt(sum_event(jnp.square(at_least_float32(x))) + 1e-12)


@jit_loss(static_argnames=("target",))
def gradient_penalty(
    key: Key, critic: Critic, real: Array, fake: Array, *, target: float = 1.0
) -> Array:
    """Gradient penalty of WGAN-GP: ``(|grad D(x)| - target)^2`` at ``x = u real + (1 - u) fake``.

    One u, uniform in [0, 1), for each example; the norm goes over all axes but the first. The
    gradient in the critic's parameters is a second derivative.

    Args:
        key: random key of u, or one for each example, `[B]`.
        critic: ``x -> logits [B]``, each of its own example alone.
        real: `[B, ...]`, floating point, in the critic's range.
        fake: same shape and type.
        target: the slope asked for, at least 0, in logits per unit of `real`.

    Returns:
        `[B]`, at least 0.

    Raises:
        ValueError: if `target` is negative or the key has no key type.

    Source:
        Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3.
    """
    chex.assert_equal_shape([real, fake])
    chex.assert_type([real, fake], float)
    real, fake = at_least_float32(real), at_least_float32(fake)
    u = jax.vmap(lambda key: jax.random.uniform(key, (), real.dtype))(example_keys(key, len(real)))
    u = u.reshape(-1, *[1] * (real.ndim - 1))
    return _slope_penalty(critic, u * real + (1.0 - u) * fake, target)


@jit_loss
def zero_centered(critic: Critic, x: Array) -> Array:
    """Zero-centred gradient penalty ``|grad D(x)|^2 / 2``: R1 where x is real, R2 where x is fake.

    On Stacked MNIST training with R1 alone diverged and with R1 + R2 it converged (Huang et al.
    2024). Papers call the weight gamma.

    Args:
        critic: ``x -> logits [B]``, each of its own example alone.
        x: `[B, ...]`, floating point, in the critic's range.

    Returns:
        `[B]`, at least 0.

    Source:
        Mescheder et al. 2018, "Which training methods for GANs do actually converge?", section 4.1;
        both together: Huang et al. 2024, "The GAN is dead; long live the GAN!", section 2.2.
    """
    chex.assert_type(x, float)
    return 0.5 * sum_event(jnp.square(_input_gradient(critic, at_least_float32(x))))


@jit_loss(static_argnames=("target", "noise_scale"))
def noisy_gradient_penalty(
    key: Key, critic: Critic, real: Array, *, target: float = 1.0, noise_scale: float = 0.5
) -> Array:
    """Gradient penalty of DRAGAN: ``(|grad D(x)| - target)^2`` at ``x = real + noise``.

    The noise is that of the paper's formula, normal and symmetric, another for every value, and x
    is not clipped to the range of the data. (Published programs add one-sided uniform noise of half
    the standard deviation of the batch.)

    Args:
        key: random key of the noise, or one for each example, `[B]`.
        critic: ``x -> logits [B]``, each of its own example alone.
        real: `[B, ...]`, floating point, in the critic's range.
        target: the slope asked for, at least 0, in logits per unit of `real`.
        noise_scale: standard deviation of the noise in the units of `real`, at least 0.

    Returns:
        `[B]`, at least 0.

    Raises:
        ValueError: if `target` or `noise_scale` is negative or the key has no key type.

    Source:
        Kodali et al. 2017, "On convergence and stability of GANs", algorithm 1, with noise of
        variance ``c = noise_scale^2``.
    """
    if noise_scale < 0.0:
        raise ValueError(f"noise_scale: {noise_scale}, expected at least 0")
    chex.assert_type(real, float)
    real = at_least_float32(real)
    keys = example_keys(key, len(real))
    noise = jax.vmap(lambda key: jax.random.normal(key, real.shape[1:], real.dtype))(keys)
    return _slope_penalty(critic, real + noise_scale * noise, target)


def _slope_penalty(critic: Critic, x: Array, target: float) -> Array:
    if target < 0.0:
        raise ValueError(f"target: {target}, expected at least 0")
    return jnp.square(safe_norm(_input_gradient(critic, x)) - target)


def _input_gradient(critic: Critic, x: Array) -> Array:
    """The gradient of each logit in its own example, as that of their sum."""

    def total(x: Array) -> Array:
        logits = critic(x)
        chex.assert_shape(logits, x.shape[:1])
        return jnp.sum(logits.astype(x.dtype))

    return jax.grad(total)(x)


def _of_reals(key: Key, critic: Critic, real: Array, fake: Array, **settings: Any) -> Array:
    del fake
    return noisy_gradient_penalty(key, critic, real, **settings)


def _zero_centered_at(
    places: tuple[str, ...], key: Key, critic: Critic, real: Array, fake: Array
) -> Array:
    del key
    x = {"real": real, "fake": fake}
    first, *others = (zero_centered(critic, x[place]) for place in places)
    return sum(others, start=first)


wgan_gp: Penalty = functools.partial(gradient_penalty, target=1.0)
"""A slope of 1 between reals and fakes (Gulrajani et al. 2017)."""
dragan: Penalty = functools.partial(_of_reals, target=1.0, noise_scale=0.5)
"""A slope of 1 about the reals (Kodali et al. 2017)."""
r1: Penalty = functools.partial(_zero_centered_at, ("real",))
"""No slope at the reals (Mescheder et al. 2018)."""
r2: Penalty = functools.partial(_zero_centered_at, ("fake",))
"""No slope at the fakes (Mescheder et al. 2018)."""
r1_r2: Penalty = functools.partial(_zero_centered_at, ("real", "fake"))
"""No slope at either (Huang et al. 2024)."""

BY_NAME = {"wgan_gp": wgan_gp, "dragan": dragan, "r1": r1, "r2": r2, "r1_r2": r1_r2}
"""Every penalty, for those who choose one by a word."""
