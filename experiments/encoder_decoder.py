"""The settings of an encoder and a decoder, as the families of VAEs share them."""

import dataclasses
from typing import Annotated, Any, Literal

import jax.numpy as jnp

from experiments.ranges import AT_LEAST_1, SHARE, OnlyWith
from jaxgen.vae import likelihoods


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """An encoder and a decoder, and the latents between them."""

    model: Literal["mlp", "conv"] = "mlp"
    """Fully connected or convolutional networks."""
    latent_dim: Annotated[int, AT_LEAST_1] = 16
    """Number of latents; of a VAE with 2 the whole latent plane is drawn."""
    hidden_sizes: Annotated[tuple[int, ...], AT_LEAST_1, OnlyWith(model=("mlp",))] = (400,)
    """Widths of the fully connected encoder's layers; the decoder has them in reverse."""
    channels: Annotated[tuple[int, ...], AT_LEAST_1, OnlyWith(model=("conv",))] = (32, 64)
    """Channels of the convolutional encoder's layers; the decoder has them in reverse."""
    dropout_rate: Annotated[float, SHARE] = 0.2
    """Share of features dropped in training."""
    likelihood: Literal[
        "auto",
        "bernoulli",
        "categorical",
        "discretized_logistic",
        "gaussian",
        "gaussian_learned_variance",
    ] = "auto"
    """Of a pixel; auto: bernoulli for 2 levels, categorical up to 32, else discretized_logistic."""

    def make_likelihood(self, levels: int) -> likelihoods.Likelihood:
        """The likelihood of pixels; raises ValueError if it has not that many levels."""
        is_usual = self.likelihood == "auto"
        make = likelihoods.usual if is_usual else likelihoods.BY_NAME[self.likelihood]
        return make(levels=levels)

    def options(self, dtype: str) -> dict[str, Any]:
        """What the constructors of the library take, those of the chosen kind of networks."""
        widths = "hidden_sizes" if self.model == "mlp" else "channels"
        return {
            "latent_dim": self.latent_dim,
            "dropout_rate": self.dropout_rate,
            "dtype": jnp.dtype(dtype),
            widths: getattr(self, widths),
        }
