"""normflows' flows of vectors and its Glow."""

from typing import Any

import normflows as nf
import numpy as np
from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling
from torch import Tensor, nn

from benchmarks.peers import common, flow_sizes, torch_flow


def _affine(num_dims: int, hidden_sizes: tuple[int, ...]) -> list[nn.Module]:
    """A coupling of two halves, which then change places."""
    half = num_dims // 2
    network = nf.nets.MLP([num_dims - half, *hidden_sizes, 2 * half], init_zeros=True)
    return [nf.flows.AffineCouplingBlock(network), nf.flows.Permute(num_dims, mode="swap")]


def _spline(num_dims: int, hidden_sizes: tuple[int, ...], layer: int) -> nn.Module:
    """As `CoupledRationalQuadraticSpline`, without its residual network and second spline."""
    coupling = PiecewiseRationalQuadraticCoupling(
        torch_flow.mask(num_dims, layer),
        lambda num_inputs, num_outputs: torch_flow.mlp(num_inputs, num_outputs, hidden_sizes),
        num_bins=flow_sizes.NUM_BINS,
        tails="linear",
        tail_bound=flow_sizes.LIMIT,
    )
    return nf.flows.Reverse(coupling)


def _glow() -> nn.Module:
    """From the innermost level, of which both halves are latents, to the image."""
    height, width, channels = flow_sizes.SHAPE
    bases: list[nn.Module] = []
    levels: list[list[nn.Module]] = []
    merges = [nf.flows.Merge() for _ in range(flow_sizes.NUM_LEVELS - 1)]
    for level in range(flow_sizes.NUM_LEVELS):
        height, width, channels = height // 2, width // 2, 4 * channels
        steps = range(flow_sizes.NUM_STEPS)
        blocks = [nf.flows.GlowBlock(channels, flow_sizes.NUM_FEATURES) for _ in steps]
        levels.insert(0, [*blocks, nf.flows.Squeeze()])
        if level < flow_sizes.NUM_LEVELS - 1:
            channels //= 2
        bases.insert(0, nf.distributions.DiagGaussian((channels, height, width), trainable=False))
    return nf.MultiscaleFlow(bases, levels, merges, class_cond=False)


def _flow(workload: flow_sizes.Workload) -> nn.Module:
    if workload == "glow_32":
        return _glow()
    sizes = flow_sizes.SIZES[workload]
    flows: list[nn.Module] = []
    for layer in range(flow_sizes.NUM_COUPLINGS):
        if workload in flow_sizes.SPLINES:
            flows.append(_spline(sizes.num_dims, sizes.hidden_sizes, layer))
        else:
            flows += _affine(sizes.num_dims, sizes.hidden_sizes)
    base = nf.distributions.DiagGaussian(sizes.num_dims, trainable=False)
    return nf.NormalizingFlow(base, flows)


def _log_prob(flow: Any, x: Tensor) -> Tensor:
    return -flow(x) if isinstance(flow, nf.MultiscaleFlow) else flow.log_prob(x)


def _sample(flow: Any, num: int) -> Tensor:
    return flow.sample(num)[0]


data = flow_sizes.data


def build(
    workload: flow_sizes.Workload, variant: str, data: np.ndarray, threads: int
) -> common.Program:
    """Builds the normflows contestant.

    Args:
        workload: which flow.
        variant: see `torch_flow.program`.
        data: float32 `[N, D]` or `[N, H, W, C]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    return torch_flow.program(_flow, _log_prob, _sample, workload, variant, data, threads)
