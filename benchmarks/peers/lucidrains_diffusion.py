"""The U-Net and the diffusion of denoising-diffusion-pytorch."""

import importlib.machinery
import sys
import types
from typing import Any

import numpy as np
import torch

from benchmarks.peers import common, diffusion_sizes


def _import() -> Any:
    """The library, with an empty torchvision where there is none: only its data loader wants it."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        stand_in: Any = types.ModuleType("torchvision")
        stand_in.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
        stand_in.transforms = stand_in.utils = None
        sys.modules["torchvision"] = stand_in
    import denoising_diffusion_pytorch

    return denoising_diffusion_pytorch


data = diffusion_sizes.data


def build(workload: str, variant: str, images: np.ndarray, threads: int) -> common.Program:
    """Builds the contestant of denoising-diffusion-pytorch.

    Args:
        workload: unused: there is one.
        variant: "eager", "channels_last" or "compile".
        images: uint8 `[N, 32, 32, 3]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    del workload
    torch.set_num_threads(threads)
    torch.manual_seed(common.SEED)
    library = _import()
    network = library.Unet(dim=32, dim_mults=(1, 2, 4))
    diffusion = library.GaussianDiffusion(
        network,
        image_size=diffusion_sizes.SHAPE[0],
        timesteps=diffusion_sizes.NUM_TIMES,
        sampling_timesteps=diffusion_sizes.NUM_STEPS,
        objective="pred_noise",
        beta_schedule="linear",
    )

    def draw() -> np.ndarray:
        x = diffusion.sample(batch_size=diffusion_sizes.NUM_DRAWN)
        return x.permute(0, 2, 3, 1).numpy()

    return diffusion_sizes.torch_program(network, diffusion, draw, variant, images)
