"""nflows' flows of vectors and its Glow, with the networks that the other contestants have."""

from typing import Any

import numpy as np
import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (
    ActNorm,
    AffineCouplingTransform,
    CompositeTransform,
    MultiscaleCompositeTransform,
    OneByOneConvolution,
    PiecewiseRationalQuadraticCouplingTransform,
    SqueezeTransform,
    Transform,
)
from torch import Tensor, nn

from benchmarks.peers import common, flow_sizes, torch_flow


def _coupling(workload: flow_sizes.Workload, layer: int) -> Transform:
    sizes = flow_sizes.SIZES[workload]
    settings: dict[str, Any] = {
        "mask": torch_flow.mask(sizes.num_dims, layer),
        "transform_net_create_fn": lambda num_inputs, num_outputs: torch_flow.mlp(
            num_inputs, num_outputs, sizes.hidden_sizes
        ),
    }
    if workload not in flow_sizes.SPLINES:
        return AffineCouplingTransform(**settings)
    return PiecewiseRationalQuadraticCouplingTransform(
        **settings,
        num_bins=flow_sizes.NUM_BINS,
        tails="linear",
        tail_bound=flow_sizes.LIMIT,
    )


def _glow_step(num_channels: int) -> list[Transform]:
    half = torch.arange(num_channels) >= num_channels // 2
    return [
        ActNorm(num_channels),
        OneByOneConvolution(num_channels),
        AffineCouplingTransform(half.long(), torch_flow.convolutions),
    ]


def _glow() -> Transform:
    height, width, channels = flow_sizes.SHAPE
    levels = MultiscaleCompositeTransform(flow_sizes.NUM_LEVELS)
    for _ in range(flow_sizes.NUM_LEVELS):
        height, width, channels = height // 2, width // 2, 4 * channels
        steps = [step for _ in range(flow_sizes.NUM_STEPS) for step in _glow_step(channels)]
        level = CompositeTransform([SqueezeTransform(), *steps])
        kept = levels.add_transform(level, (channels, height, width))
        channels = kept[0] if kept else channels
    return levels


def _flow(workload: flow_sizes.Workload) -> nn.Module:
    if workload == "glow_32":
        transform = _glow()
    else:
        layers = range(flow_sizes.NUM_COUPLINGS)
        transform = CompositeTransform([_coupling(workload, layer) for layer in layers])
    return Flow(transform, StandardNormal([flow_sizes.SIZES[workload].num_dims]))


def _log_prob(flow: Any, x: Tensor) -> Tensor:
    return flow.log_prob(x)


def _sample(flow: Any, num: int) -> Tensor:
    return flow.sample(num)


data = flow_sizes.data


def build(
    workload: flow_sizes.Workload, variant: str, data: np.ndarray, threads: int
) -> common.Program:
    """Builds the nflows contestant.

    Args:
        workload: which flow.
        variant: see `torch_flow.program`.
        data: float32 `[N, D]` or `[N, H, W, C]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    return torch_flow.program(_flow, _log_prob, _sample, workload, variant, data, threads)
