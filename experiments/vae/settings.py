"""Settings of a VAE."""

import dataclasses
from typing import Annotated, Literal

from experiments.encoder_decoder import EncoderDecoder
from experiments.ranges import AT_LEAST_0, AT_LEAST_1, POSITIVE, SHARE, OnlyWith, check_settings

_OF_A_BOUND = OnlyWith(objective=("elbo", "importance_weighted"))


@dataclasses.dataclass(frozen=True)
class Settings(EncoderDecoder):
    """The autoencoder or VAE."""

    objective: Literal["elbo", "importance_weighted", "autoencoder", "denoising", "sparse"] = "elbo"
    """What is minimised. The last three are plain autoencoders."""
    prior: Annotated[Literal["normal", "vamp", "flow"], _OF_A_BOUND] = "normal"
    """Standard normal, a VampPrior (the mean posterior of pseudo-inputs), or a flow of affine
    couplings; the last two are trained along."""
    num_pseudo_inputs: Annotated[int, AT_LEAST_1, OnlyWith(prior=("vamp",))] = 100
    """Components of the VampPrior."""
    posterior: Annotated[
        Literal["normal", "iaf"], _OF_A_BOUND, OnlyWith(prior=("normal", "flow"))
    ] = "normal"
    """Diagonal normal, or one that an inverse autoregressive flow bends."""
    beta: Annotated[float, AT_LEAST_0, OnlyWith(objective=("elbo",))] = 1.0
    """Weight of the rate (elbo)."""
    kl_warm_up_steps: Annotated[int, AT_LEAST_0, OnlyWith(objective=("elbo",))] = 0
    """Steps over which the weight of the rate rises from 0 to beta (elbo)."""
    free_bits: Annotated[float, AT_LEAST_0, OnlyWith(objective=("elbo",))] = 0.0
    """Nats below which a latent's mean rate is not pressed further (elbo)."""
    num_samples: Annotated[int, AT_LEAST_1, OnlyWith(objective=("importance_weighted",))] = 8
    """Draws of the training bound (importance_weighted)."""
    masking_probability: Annotated[float, SHARE, OnlyWith(objective=("denoising",))] = 0.25
    """Share of input pixels set to 0 (denoising)."""
    activity_weight: Annotated[float, AT_LEAST_0, OnlyWith(objective=("sparse",))] = 0.1
    """Nats per unit of the code's absolute sum (sparse)."""
    mixture_components: Annotated[int, AT_LEAST_1] = 20
    """Gaussians fitted to the codes after training; autoencoders sample from them."""
    autoencoder_steps: Annotated[int, AT_LEAST_0] = 1000
    """Training steps of an autoencoder of the same shape, whose latents are shown; 0 for none."""

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def has_closed_form(self) -> bool:
        """Whether each latent's KL of the posterior from the prior has a closed form."""
        return self.prior == self.posterior == "normal"

    @property
    def is_autoencoder(self) -> bool:
        """Whether the objective has no likelihood bound."""
        return self.objective in ("autoencoder", "denoising", "sparse")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the latents of samples are drawn."""

    latents: Literal["auto", "prior", "mixture"] = "auto"
    """From the model's prior, or from the mixture fitted to the codes; auto: the latter for
    autoencoders."""
    temperature: Annotated[float, POSITIVE] = 1.0
    """Factor of the standard deviations of the prior. Far below 1 the latents are nearer to the
    origin than any the decoder was trained on, and the images show nothing."""

    def __post_init__(self) -> None:
        check_settings(self)
