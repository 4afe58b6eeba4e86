"""Settings of a diffusion model."""

import dataclasses
from typing import Annotated, Literal

from experiments.ranges import AT_LEAST_0, AT_LEAST_1, SHARE, OnlyWith, Range, check_settings

_UNET = OnlyWith(backbone=("auto", "unet"))
_OF_TOKENS = OnlyWith(backbone=("auto", "dit", "mlp"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The diffusion model."""

    backbone: Literal["auto", "unet", "dit", "mlp"] = "auto"
    """The network; auto: unet for images, mlp for vectors. dit, a transformer, is for images."""
    schedule: Literal["linear", "cosine", "log_snr"] = "linear"
    """Noise over time: rate linear (log-SNR from 9.2 to -10), amplitudes cosine and sine (10 to
    -10), or log-SNR linear (13.3 to -5, for likelihoods of 256 levels)."""
    prediction: Literal["noise", "x0", "v", "velocity"] = "noise"
    """What the network predicts; v is a noise - s x, velocity is noise - x."""
    weighting: Literal["simple", "snr", "min_snr", "bound"] = "simple"
    """How errors count: as they are, times the SNR in the data, times the smaller of SNR and 5, or
    as in the variational bound."""
    channels: Annotated[tuple[int, ...], AT_LEAST_1, _UNET] = (32, 64)
    """Channels of each level, halved in size from one to the next (unet)."""
    num_blocks: Annotated[int, AT_LEAST_1, _UNET] = 1
    """Residual blocks of a level, on either side (unet)."""
    attention_levels: Annotated[tuple[int, ...], AT_LEAST_0, _UNET] = ()
    """Levels with attention, from 0 for the image's own size; the middle always has some (unet)."""
    num_heads: Annotated[int, AT_LEAST_1, OnlyWith(backbone=("auto", "unet", "dit"))] = 1
    """Parts of the channels that attend by themselves (unet, dit)."""
    features: Annotated[int, AT_LEAST_1, _OF_TOKENS] = 128
    """Features of a token or of a layer (dit, mlp)."""
    num_layers: Annotated[int, AT_LEAST_1, _OF_TOKENS] = 4
    """Blocks or layers (dit, mlp)."""
    patch_size: Annotated[int, AT_LEAST_1, OnlyWith(backbone=("dit",))] = 2
    """Side of a patch in pixels (dit)."""
    pixel_phases: bool = True
    """Show the network where noisy pixels lie between the pixel values, by sines; the bound of the
    likelihood gains much by it (images)."""
    dropout_rate: Annotated[float, SHARE] = 0.0
    """Share of features dropped in training."""
    conditional: bool = False
    """Learn the images of each class; the data need labels."""
    label_dropout: Annotated[float, SHARE, OnlyWith(conditional=(True,))] = 0.1
    """Share of examples trained without their label, which guidance needs."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How samples come from noise."""

    sampler: Literal["ancestral", "ddim", "plms", "dpm_solver", "heun"] = "ancestral"
    """The steps: with fresh noise (ancestral, and ddim with eta), or deterministic, of first (ddim)
    or higher order."""
    num_sampling_steps: Annotated[int, Range(1, 10_001)] = 250
    """Steps from noise to data; each calls the network once, heun twice."""
    spacing: Literal["time", "log_snr"] = "time"
    """Whether the steps are even in time or in log-SNR."""
    eta: Annotated[float, Range(0, 1, is_closed=True), OnlyWith(sampler=("ddim",))] = 0.0
    """Fresh noise, from none (0) to that of ancestral steps (1)."""
    guidance_scale: Annotated[float, AT_LEAST_0] = 1.0
    """How far past the class the samples are driven: 1 is the model of the class, 0 that of all."""
    classifier_scale: Annotated[float, AT_LEAST_0] = 0.0
    """Weight of the gradient of the run's classifier (`experiments.noisy_classifier`); 0 for none.
    A run without classes is guided to them by it."""
    clip: bool = True
    """Keep the estimates of pixels within their range."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How the likelihood of a trained model is bounded."""

    bound_samples: Annotated[int, AT_LEAST_1] = 16
    """Times drawn for each example, for the bound in continuous time."""
    bound_steps: Annotated[int, AT_LEAST_0] = 0
    """Steps of the discrete bound; 0 for none."""
    ode: bool = False
    """Also follow the probability-flow equation, which has an exact density."""
    ode_steps: Annotated[int, AT_LEAST_1, OnlyWith(ode=(True,))] = 50
    """Steps of the equation, each of four calls and their derivatives."""
    trace: Annotated[Literal["auto", "exact", "hutchinson"], OnlyWith(ode=(True,))] = "auto"
    """Divergence of the equation: exact, with a derivative for each number, or by random signs;
    auto: exact up to 16 numbers."""

    def __post_init__(self) -> None:
        check_settings(self)
