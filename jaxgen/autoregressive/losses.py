"""Losses of autoregressive models: `[B]` in nats."""

from collections.abc import Callable

import chex

from jaxgen.types import Array, jit_loss


@jit_loss
def negative_log_likelihood(log_prob: Callable[[Array], Array], x: Array) -> Array:
    """Negative log-probability of integer data, ``-sum_i ln p(x_i | x_<i)``: exact, no bound.

    Args:
        log_prob: ``x -> ln p(x)``, `[B]`.
        x: pixels, `[B, H, W, C]`.

    Returns:
        `[B]` in nats.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", equation 1.
    """
    loss = -log_prob(x)
    chex.assert_shape(loss, (len(x),))
    return loss
