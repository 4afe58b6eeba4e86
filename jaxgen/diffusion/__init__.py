"""Diffusion models: schedules, the process, losses, bounds, samplers, guidance and networks."""

from jaxgen.diffusion import (
    grids,
    guidance,
    likelihood,
    losses,
    process,
    samplers,
    schedules,
    variational,
    weighting,
)
from jaxgen.diffusion.algorithm import diffusion_algorithm, sampler
from jaxgen.diffusion.dit import DiT
from jaxgen.diffusion.likelihood_bounds import Bounds
from jaxgen.diffusion.mlp import MLP
from jaxgen.diffusion.models import Diffusion
from jaxgen.diffusion.pixel_phases import PixelPhases
from jaxgen.diffusion.unet import UNet

__all__ = [
    "MLP",
    "Bounds",
    "DiT",
    "Diffusion",
    "PixelPhases",
    "UNet",
    "diffusion_algorithm",
    "grids",
    "guidance",
    "likelihood",
    "losses",
    "process",
    "sampler",
    "samplers",
    "schedules",
    "variational",
    "weighting",
]
