"""The U-Net, the schedulers and the pipeline of diffusers."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from torch import Tensor

from benchmarks.peers import common, diffusion_sizes

CHANNELS = (32, 64, 96)
"""Of the levels: as many parameters as the others have."""

NUM_GROUPS = 8
"""Of its norms; the default, 32, does not divide the channels."""

data = diffusion_sizes.data


def build(workload: str, variant: str, images: np.ndarray, threads: int) -> common.Program:
    """Builds the contestant of diffusers.

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
    # diffusers loads its classes when they are used, which mypy cannot follow.
    network: Any = UNet2DModel(
        sample_size=diffusion_sizes.SHAPE[0],
        block_out_channels=CHANNELS,
        layers_per_block=2,
        norm_num_groups=NUM_GROUPS,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    scheduler: Any = DDPMScheduler(diffusion_sizes.NUM_TIMES)
    pipeline: Any = DDIMPipeline(network, DDIMScheduler(diffusion_sizes.NUM_TIMES))
    pipeline.set_progress_bar_config(disable=True)

    def loss_of(x: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        t = torch.randint(diffusion_sizes.NUM_TIMES, (len(x),))
        return F.mse_loss(network(scheduler.add_noise(2 * x - 1, noise, t), t).sample, noise)

    def draw() -> np.ndarray:
        num, steps = diffusion_sizes.NUM_DRAWN, diffusion_sizes.NUM_STEPS
        return pipeline(num, num_inference_steps=steps, output_type="np").images

    return diffusion_sizes.torch_program(network, loss_of, draw, variant, images)
