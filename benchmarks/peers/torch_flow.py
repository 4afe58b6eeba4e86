"""What the flows of PyTorch's libraries share: networks, data and the loop of training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers import common, flow_sizes


class Conditioner(nn.Module):
    """A network of the part that passes, called as nflows and its descendants call one.

    Attributes:
        hidden_features: by which these libraries scale the raw sizes of a spline's bins.
    """

    def __init__(self, network: nn.Module, hidden_features: int) -> None:
        """Keeps the network."""
        super().__init__()
        self.network = network
        self.hidden_features = hidden_features

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        """Applies the network; there is no context."""
        del context
        return self.network(x)


def mlp(num_inputs: int, num_outputs: int, hidden_sizes: tuple[int, ...]) -> Conditioner:
    """A fully connected network whose last layer starts at zero."""
    layers: list[nn.Module] = []
    sizes = (num_inputs, *hidden_sizes)
    for before, after in zip(sizes, hidden_sizes, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    last = _zeros(nn.Linear(hidden_sizes[-1], num_outputs))
    return Conditioner(nn.Sequential(*layers, last), hidden_sizes[-1])


def convolutions(num_inputs: int, num_outputs: int) -> Conditioner:
    """Glow's network, 3x3, 1x1, 3x3, whose last layer starts at zero."""
    num = flow_sizes.NUM_FEATURES
    network = nn.Sequential(
        nn.Conv2d(num_inputs, num, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(num, num, 1),
        nn.ReLU(inplace=True),
        _zeros(nn.Conv2d(num, num_outputs, 3, padding=1)),
    )
    return Conditioner(network, num)


def _zeros(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def mask(num_dims: int, layer: int) -> Tensor:
    """Which numbers a coupling transforms, `[D]` of 0 and 1: every other one."""
    return (torch.arange(num_dims) + layer) % 2


def program(
    make: Callable[[flow_sizes.Workload], nn.Module],
    log_prob: Callable[[nn.Module, Tensor], Tensor],
    sample: Callable[[nn.Module, int], Tensor],
    workload: flow_sizes.Workload,
    variant: str,
    data: np.ndarray,
    threads: int,
) -> common.Program:
    """Trains a flow by maximum likelihood.

    Args:
        make: builds the flow.
        log_prob: of the flow, of `[B, D]` or `[B, C, H, W]`: `[B]` in nats.
        sample: draws a number of examples from the flow.
        workload: which flow.
        variant: "eager"; "compile", which compiles `log_prob`; or "one_thread", since threads that
            wait for one another can cost more than small networks gain.
        data: float32 `[N, D]` or `[N, H, W, C]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    torch.set_num_threads(1 if variant == "one_thread" else threads)
    torch.manual_seed(common.SEED)
    sizes = flow_sizes.SIZES[workload]
    examples = torch.from_numpy(data)
    if examples.ndim == 4:
        examples = examples.permute(0, 3, 1, 2).contiguous()
    flow = make(workload)
    optimizer = torch.optim.Adam(flow.parameters(), lr=flow_sizes.LEARNING_RATE, fused=True)
    log_prob_of = torch.compile(log_prob) if variant == "compile" else log_prob
    rows = common.batch_rows(sizes.batch_size, sizes.num_examples)

    def train(num_steps: int) -> float:
        flow.train()
        for _ in range(num_steps):
            x = examples[torch.from_numpy(next(rows))]
            optimizer.zero_grad(set_to_none=True)
            loss = -log_prob_of(flow, x).mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    def draw() -> np.ndarray:
        flow.eval()
        with torch.inference_mode():
            return sample(flow, sizes.num_drawn).numpy()

    num_parameters = sum(p.numel() for p in flow.parameters())
    return common.Program(num_parameters, 1, common.timed(train), draw)
