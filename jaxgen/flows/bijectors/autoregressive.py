"""Masked autoregressive layers: fast from data to latents, number by number on the way back."""

from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.arrays import sum_event
from jaxgen.flows.bijectors.composition import no_log_det
from jaxgen.flows.bijectors.elementwise import Elementwise
from jaxgen.flows.conditioners import MADE
from jaxgen.types import Array


class MaskedAutoregressive(nn.Module):
    """``z_i = f(x_i)`` with parameters from ``x_1 .. x_(i-1)``; an IAF is its `Inverse`.

    Attributes:
        elementwise: f, what each number undergoes.
        made: the masked network, whose degrees give the order.
        inverse: how `decode` goes. "sequential": one pass of the network for each number, which
            has gradients in both modes. "jacobi": all numbers at once again and again until none
            moves, which comes to the same after as many sweeps as there are numbers at most, and
            often far fewer; it has no reverse-mode gradient.

    Source:
        Papamakarios et al. 2017, "Masked autoregressive flow for density estimation", section 3.1;
        Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow",
        section 3; Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear
        equation solving", section 4.
    """

    elementwise: Elementwise
    made: MADE
    inverse: Literal["sequential", "jacobi"] = "sequential"

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, D]`."""
        chex.assert_rank(x, 2)
        z, log_slope = self.elementwise.encode(x, self._raw(x, condition))
        return z, sum_event(log_slope)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, D]`."""
        chex.assert_rank(z, 2)
        if self.inverse == "jacobi":
            return self.decode_by_jacobi(z, condition)[:2]
        place = jnp.asarray(self.made.degrees(z.shape[-1]))[None]

        def step(self: Any, carry: tuple[Array, Array], i: Array) -> tuple[Any, None]:
            x, log_slope = carry
            found, slope = self._sweep(x, z, condition)
            return (jnp.where(place == i, found, x), jnp.where(place == i, slope, log_slope)), None

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        zeros = jnp.zeros_like(z)
        (x, log_slope), _ = scan(self, (zeros, zeros), jnp.arange(z.shape[-1]))
        return x, sum_event(log_slope)

    def decode_by_jacobi(
        self, z: Array, condition: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Returns `(x, log_det [B], num_sweeps)`, each sweep one pass of the network."""
        num = z.shape[-1]

        def go_on(self: Any, carry: tuple[Array, Array, Array, Array]) -> Array:
            _, _, moved, sweeps = carry
            return moved & (sweeps < num)

        def sweep(self: Any, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
            x, _, _, sweeps = carry
            found, log_slope = self._sweep(x, z, condition)
            # A sweep more than it takes changes nothing, not even a bit; NaN stays as it is.
            moved = jnp.any((found != x) & ~(jnp.isnan(found) & jnp.isnan(x)))
            return found, sum_event(log_slope), moved, sweeps + 1

        if self.is_initializing():
            self._sweep(z, z, condition)
        # From z itself, which the fresh layer does not move.
        start = (z, no_log_det(z), jnp.asarray(True), jnp.asarray(0))
        loop: Any = nn.while_loop
        x, log_det, _, num_sweeps = loop(go_on, sweep, self, start, broadcast_variables="params")
        return x, log_det, num_sweeps

    def _sweep(self, x: Array, z: Array, condition: Array | None) -> tuple[Array, Array]:
        return self.elementwise.decode(z, self._raw(x, condition))

    def _raw(self, x: Array, condition: Array | None) -> Array:
        # In full precision: what a GPU's products round away comes back amplified.
        with jax.default_matmul_precision("highest"):
            return self.made(x, condition, self.elementwise.num_params)
