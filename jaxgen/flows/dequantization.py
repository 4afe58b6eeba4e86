"""From pixels to numbers without gaps: noise whose density is known, uniform or learned."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.arrays import sample_by_example, sum_event
from jaxgen.flows.bases import StandardNormal
from jaxgen.flows.bijectors import Affine, CheckerboardCoupling, chain
from jaxgen.flows.conditioners import ConvConditioner
from jaxgen.pixels import dequantize, dequantized_to_model_range, pixel_values
from jaxgen.types import Array


class UniformDequantizer(nn.Module):
    """Noise that is uniform in [0, 1), whose log-density is 0.

    Attributes:
        levels: number of pixel values.

    Source:
        Theis et al. 2016, "A note on the evaluation of generative models", section 3.1.
    """

    levels: int

    def __call__(self, key: Array, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x + u, ln q(u|x) [B])` of integer pixels by a key or keys `[B]`."""
        return dequantize(key, x, self.levels), jnp.zeros(len(x))


class VariationalDequantizer(nn.Module):
    """Noise by a small flow that sees the pixels: ``u = sigmoid(v)``, v by couplings of normals.

    A density that is smooth over a pixel's bin need not fill it evenly then. It starts as the
    logistic of a standard normal.

    Attributes:
        levels: number of pixel values.
        num_couplings: of the flow, even.
        num_features: of the couplings' networks.
        dtype: of the networks' computation.

    Source:
        Ho et al. 2019, "Flow++: improving flow-based generative models with variational
        dequantization and architecture design", section 3.1.
    """

    levels: int
    num_couplings: int = 4
    num_features: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, key: Array, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x + u, ln q(u|x) [B])` of integer images by a key or keys `[B]`."""
        values = pixel_values(x, self.levels)
        couplings = [
            CheckerboardCoupling(
                Affine(), ConvConditioner(self.num_features, self.dtype), bool(i % 2)
            )
            for i in range(self.num_couplings)
        ]
        flow = chain(*couplings)
        noise = sample_by_example(jax.random.normal, key, x.shape)
        v, log_det = flow.decode(noise, dequantized_to_model_range(values, self.levels))
        normal = StandardNormal(noise[0].size, parent=None)
        log_q = normal.log_prob(noise.reshape(len(x), -1)) - log_det
        log_slope = sum_event(jax.nn.log_sigmoid(v) + jax.nn.log_sigmoid(-v))
        return values + jax.nn.sigmoid(v), log_q - log_slope
