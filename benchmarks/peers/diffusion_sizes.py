"""What the contestants of diffusion share: data, sizes, optimizer and the loop of PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import common, flow_sizes

BATCH_SIZE = 32
NUM_IMAGES = 1_280
LEARNING_RATE = 2e-4
"""Of Adam."""

NUM_TIMES = 1_000
"""Times of PyTorch's libraries; jaxgen's are continuous."""

NUM_STEPS = 50
"""Of DDIM."""

NUM_DRAWN = 16
STEPS_PER_CALL = 5
"""Steps that jaxgen takes in one dispatch."""

SHAPE = flow_sizes.SHAPE


def data(workload: str) -> np.ndarray:
    """Synthetic images of one disk each.

    Args:
        workload: unused: there is one.

    Returns:
        uint8 `[N, 32, 32, 3]`, the same in every process.
    """
    del workload
    x = flow_sizes.data("glow_32")[:NUM_IMAGES]
    return np.clip(127.5 + 50.0 * x, 0.0, 255.0).astype(np.uint8)


def torch_program(
    network: Any,
    loss_of: Callable[[Any], Any],
    draw: Callable[[], np.ndarray],
    variant: str,
    images: np.ndarray,
) -> common.Program:
    """Trains a network of PyTorch.

    Args:
        network: the module.
        loss_of: of images `[B, 3, 32, 32]` in [0, 1]; a mean over all numbers.
        draw: returns images `[N, 32, 32, 3]` in [0, 1].
        variant: "eager", "channels_last" or "compile".
        images: uint8 `[N, 32, 32, 3]`.

    Returns:
        the program.
    """
    import torch

    examples = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    if variant == "channels_last":
        network.to(memory_format=torch.channels_last)
        examples = examples.contiguous(memory_format=torch.channels_last)
    else:
        examples = examples.contiguous()
    if variant == "compile":
        network.compile()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    rows = common.batch_rows(BATCH_SIZE, len(examples))

    def train(num_steps: int) -> float:
        network.train()
        for _ in range(num_steps):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(examples[torch.from_numpy(next(rows))])
            loss.backward()
            optimizer.step()
        return loss.item()

    def draw_pixels() -> np.ndarray:
        network.eval()
        return np.round(255 * draw())

    num_parameters = sum(p.numel() for p in network.parameters())
    return common.Program(num_parameters, 1, common.timed(train), draw_pixels)
