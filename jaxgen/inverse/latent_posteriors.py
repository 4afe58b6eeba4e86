"""Inverse problems under a decoder or a density: the most probable latents, and draws of them.

The posterior of latents u is ``exp(-E(u))`` with ``E(u) = |y - H decode(u)|^2 / (2 v) - ln p(u)``.
Of a density of images themselves the decoder is the identity. Each example has its own energy,
step size and key: none depends on its batch. Latents are `[C, B, ...]`, C chains for each example.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.arrays import example_keys, sum_event
from jaxgen.inverse.linear_operator import Operator
from jaxgen.types import Array, Key

_WANTED = 0.574  # Of Langevin proposals accepted, the best share in many dimensions.
_FIRST_STEP = 1e-3
_RATE = 0.1  # Of the adaption of ln step to whether a proposal was accepted.


class Chains(NamedTuple):
    """Draws of latents and how they were made.

    Attributes:
        latents: `[C, B, ...]`.
        acceptance: share of proposals accepted while draws were made, `[C, B]`.
    """

    latents: Array
    acceptance: Array


Energy = Callable[[Array], Array]
"""``u [B, ...] -> E [B]``."""


def posterior_energy(
    decode: Callable[[Array], Array],
    log_prior: Callable[[Array], Array],
    operator: Operator,
    y: Array,
    noise_std: Array | float,
) -> Energy:
    """Makes ``|y - H decode(u)|^2 / (2 v) - ln p(u)``.

    Args:
        decode: ``u [B, ...] -> x [B, *shape]``, that treats its examples apart.
        log_prior: ``u [B, ...] -> ln p(u) [B]``, up to a constant.
        operator: H.
        y: measurements `[B, *out_shape]`.
        noise_std: of the measurements, in the units of x, above 0.

    Returns:
        The energy, in nats.
    """

    def energy(u: Array) -> Array:
        rest = y - operator(decode(u))
        return 0.5 * sum_event(jnp.square(rest)) / jnp.square(noise_std) - log_prior(u)

    return energy


def standard_normal(u: Array) -> Array:
    """``-|u|^2 / 2``, the log-density of N(0, I) but for a constant.

    Args:
        u: `[B, ...]`.

    Returns:
        `[B]`.
    """
    return -0.5 * sum_event(jnp.square(u))


def descend(
    energy: Energy, start: Array, *, num_steps: int = 300, learning_rate: float = 0.05
) -> tuple[Array, Array]:
    """Goes down the energy by Adam, from each of the starts.

    Args:
        energy: of `posterior_energy`.
        start: latents `[C, B, ...]`.
        num_steps: at least 1; the rate falls to 0 along a cosine.
        learning_rate: of Adam, at the start.

    Returns:
        ``(latents [C, B, ...], energy [C, B])`` of the lowest place that each has seen.

    Raises:
        ValueError: if `num_steps` is below 1.

    Source:
        Bora et al. 2017, "Compressed sensing using generative models", section 3.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps: {num_steps}, expected at least 1")
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def value_and_gradient(u: Array) -> tuple[Array, Array]:
        values, pull = jax.vjp(energy, u)
        return values, pull(jnp.ones_like(values))[0]

    def one_chain(start: Array) -> tuple[Array, Array]:
        def step(carry: tuple[Any, ...], _: Any) -> tuple[tuple[Any, ...], None]:
            u, state, best, least = carry
            values, gradient = value_and_gradient(u)
            is_lower = values < least
            best = jnp.where(_like(is_lower, u), u, best)
            updates, state = optimizer.update(gradient, state)
            return (u + updates, state, best, jnp.where(is_lower, values, least)), None

        carry = (start, optimizer.init(start), start, energy(start))
        (u, _, best, least), _ = jax.lax.scan(step, carry, None, length=num_steps)
        values = energy(u)
        is_lower = values < least
        return jnp.where(_like(is_lower, u), u, best), jnp.where(is_lower, values, least)

    return jax.vmap(one_chain)(start)


def langevin(key: Key, energy: Energy, start: Array, *, num_steps: int = 1000) -> Chains:
    """Draws by Langevin steps that are accepted or refused so that the posterior is kept exactly.

    ``u' = u - h grad E(u) + sqrt(2 h) z``. In the first half of the steps each chain of each
    example tunes its own h to the share of .574 accepted; in the second h stands still, and the
    last state is the draw.

    Args:
        key: random key, or keys `[B]`.
        energy: of `posterior_energy`.
        start: latents `[C, B, ...]`, such as those of `descend`.
        num_steps: at least 2.

    Returns:
        The draws and the shares accepted.

    Source:
        Roberts & Rosenthal 1998, "Optimal scaling of discrete approximations to Langevin
        diffusions".
    """
    num_chains, num = start.shape[:2]
    keys = jax.vmap(lambda key: jax.random.split(key, num_chains), out_axes=1)(
        example_keys(key, num)
    )

    def value_and_gradient(u: Array) -> tuple[Array, Array]:
        values, pull = jax.vjp(energy, u)
        return values, pull(jnp.ones_like(values))[0]

    def one_chain(keys: Key, start: Array) -> Chains:
        def step(carry: tuple[Any, ...], i: Array) -> tuple[tuple[Any, ...], Array]:
            u, value, gradient, log_h = carry
            of_noise, of_choice = _two_keys(keys, i)
            h = _like(jnp.exp(log_h), u)
            z = jax.vmap(lambda key: jax.random.normal(key, u.shape[1:], u.dtype))(of_noise)
            proposal = u - h * gradient + jnp.sqrt(2.0 * h) * z
            new_value, new_gradient = value_and_gradient(proposal)
            back = u - proposal + h * new_gradient
            log_ratio = value - new_value + 0.5 * sum_event(jnp.square(z))
            log_ratio -= sum_event(jnp.square(back) / (4.0 * h))
            chance = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio), 0.0))
            taken = jax.vmap(jax.random.uniform)(of_choice) < chance
            log_h += jnp.where(i < num_steps // 2, _RATE * (chance - _WANTED), 0.0)
            u, gradient = (
                jnp.where(_like(taken, u), new, old)
                for new, old in ((proposal, u), (new_gradient, gradient))
            )
            return (u, jnp.where(taken, new_value, value), gradient, log_h), chance

        carry = (start, *value_and_gradient(start), jnp.full(num, jnp.log(_FIRST_STEP)))
        (u, *_), chances = jax.lax.scan(step, carry, jnp.arange(num_steps))
        return Chains(u, jnp.mean(chances[num_steps // 2 :], axis=0))

    return jax.vmap(one_chain)(keys, start)


def _two_keys(keys: Key, i: Array) -> tuple[Key, Key]:
    pairs = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, i)))(keys)
    return pairs[:, 0], pairs[:, 1]


def _like(values: Array, u: Array) -> Array:
    """`[B]` in the rank of u."""
    return values.reshape(-1, *(1,) * (u.ndim - 1))
