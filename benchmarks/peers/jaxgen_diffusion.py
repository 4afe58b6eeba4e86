"""A diffusion model of jaxgen."""

from functools import partial

import numpy as np
import optax

from benchmarks.peers import common, diffusion_sizes, jaxgen_loop
from jaxgen.diffusion import UNet, grids, samplers, schedules
from jaxgen.diffusion.algorithm import diffusion_algorithm, sampler
from jaxgen.diffusion.models import Diffusion
from jaxgen.training.jax_setup import configure

CHANNELS = (32, 64, 104)
"""Of the levels: 4 % fewer parameters than the others have."""

data = diffusion_sizes.data


def build(workload: str, variant: str, images: np.ndarray, threads: int) -> common.Program:
    """Builds the jaxgen contestant.

    Args:
        workload: unused: there is one.
        variant: unused: there is one.
        images: uint8 `[N, 32, 32, 3]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del workload, variant, threads
    configure()
    network = UNet(channels=CHANNELS, attention_levels=(len(CHANNELS) - 1,))
    model = Diffusion(network, schedules.Linear(), levels=256)
    betas = grids.linear_betas(diffusion_sizes.NUM_TIMES)
    sample = partial(
        sampler(model, samplers.ddim, diffusion_sizes.SHAPE),
        grid=grids.grid_of_betas(betas, diffusion_sizes.NUM_STEPS),
        knobs={},
    )
    return jaxgen_loop.program(
        diffusion_algorithm(model, optax.adam(diffusion_sizes.LEARNING_RATE), sample),
        images,
        batch_size=diffusion_sizes.BATCH_SIZE,
        steps_per_call=diffusion_sizes.STEPS_PER_CALL,
        loss="loss",
        num_drawn=diffusion_sizes.NUM_DRAWN,
    )
