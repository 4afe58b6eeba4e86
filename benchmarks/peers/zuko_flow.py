"""zuko's flows of vectors, of couplings with its own networks."""

from typing import Any

import numpy as np
from torch import Tensor, nn
from zuko.flows import NICE
from zuko.transforms import MonotonicRQSTransform

from benchmarks.peers import common, flow_sizes, torch_flow


def _flow(workload: flow_sizes.Workload) -> nn.Module:
    sizes = flow_sizes.SIZES[workload]
    spline: dict[str, Any] = {}
    if workload in flow_sizes.SPLINES:
        bins = flow_sizes.NUM_BINS
        # Their box is that of the other contestants, -5 to 5.
        spline = {"univariate": MonotonicRQSTransform, "shapes": [(bins,), (bins,), (bins - 1,)]}
    return NICE(
        sizes.num_dims,
        transforms=flow_sizes.NUM_COUPLINGS,
        hidden_features=sizes.hidden_sizes,
        **spline,
    )


def _log_prob(flow: Any, x: Tensor) -> Tensor:
    return flow().log_prob(x)


def _sample(flow: Any, num: int) -> Tensor:
    return flow().sample((num,))


data = flow_sizes.data


def build(
    workload: flow_sizes.Workload, variant: str, data: np.ndarray, threads: int
) -> common.Program:
    """Builds the zuko contestant.

    Args:
        workload: which flow.
        variant: see `torch_flow.program`.
        data: float32 `[N, D]` or `[N, H, W, C]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    return torch_flow.program(_flow, _log_prob, _sample, workload, variant, data, threads)
