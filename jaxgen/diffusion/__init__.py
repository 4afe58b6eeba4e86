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
from jaxgen.diffusion.dit import DiT
from jaxgen.diffusion.mlp import MLP
from jaxgen.diffusion.unet import UNet

__all__ = [
    "MLP",
    "DiT",
    "UNet",
    "grids",
    "guidance",
    "likelihood",
    "losses",
    "process",
    "samplers",
    "schedules",
    "variational",
    "weighting",
]
