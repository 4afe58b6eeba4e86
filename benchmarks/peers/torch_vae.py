"""A VAE in PyTorch, eager or compiled, as someone who knows PyTorch would write it."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.peers import common, vae_sizes


class ToRows(nn.Module):
    """`[B, C, H, W]` to `[B, H * W * C]`: a view, not a copy, if the memory is channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        """Moves the channels last and flattens."""
        return x.permute(0, 2, 3, 1).flatten(1)


class ToChannelsLast(nn.Module):
    """`[B, H * W * C]` to `[B, C, H, W]` whose memory is channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        """Unflattens and moves the channels to the front."""
        return x.unflatten(1, (vae_sizes.CONV_SPATIAL, vae_sizes.CONV_SPATIAL, -1)).permute(
            0, 3, 1, 2
        )


def mlp_networks() -> tuple[nn.Module, nn.Module]:
    """The encoder (mean and log-variance in one head) and decoder (logits) of the dense VAE."""
    size = common.IMAGE_SIZE**2
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(size, vae_sizes.MLP_HIDDEN),
        nn.ReLU(),
        nn.Linear(vae_sizes.MLP_HIDDEN, 2 * vae_sizes.MLP_LATENT),
    )
    decoder = nn.Sequential(
        nn.Linear(vae_sizes.MLP_LATENT, vae_sizes.MLP_HIDDEN),
        nn.ReLU(),
        nn.Linear(vae_sizes.MLP_HIDDEN, size),
        nn.Unflatten(1, (1, common.IMAGE_SIZE, common.IMAGE_SIZE)),
    )
    return encoder, decoder


def conv_networks(*, channels_last: bool) -> tuple[nn.Module, nn.Module]:
    """The encoder and decoder of the convolutional VAE, in one memory format or the other."""
    narrow, wide = vae_sizes.CONV_FEATURES
    settings: dict[str, Any] = {"kernel_size": vae_sizes.CONV_KERNEL, "stride": 2, "padding": 1}
    side = vae_sizes.CONV_SPATIAL
    encoder = nn.Sequential(
        nn.Conv2d(1, narrow, **settings),
        nn.ReLU(),
        nn.Conv2d(narrow, wide, **settings),
        nn.ReLU(),
        ToRows() if channels_last else nn.Flatten(),
        nn.Linear(vae_sizes.CONV_FLAT, 2 * vae_sizes.CONV_LATENT),
    )
    decoder = nn.Sequential(
        nn.Linear(vae_sizes.CONV_LATENT, vae_sizes.CONV_FLAT),
        nn.ReLU(),
        ToChannelsLast() if channels_last else nn.Unflatten(1, (wide, side, side)),
        nn.ConvTranspose2d(wide, narrow, **settings),
        nn.ReLU(),
        nn.ConvTranspose2d(narrow, 1, **settings),
    )
    # A mapping, since PyTorch's annotations do not know this argument.
    layout: dict[str, Any] = {"memory_format": torch.channels_last} if channels_last else {}
    return encoder.to(**layout), decoder.to(**layout)


def networks(workload: vae_sizes.Workload, *, channels_last: bool) -> tuple[nn.Module, nn.Module]:
    """The two networks of a workload."""
    if workload == "mlp":
        return mlp_networks()
    return conv_networks(channels_last=channels_last)


class NegativeElbo(nn.Module):
    """The loss as a module: mean over the batch of distortion plus rate, in nats per image."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Keeps the two networks."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Float pixels `[B, 1, 28, 28]` to a scalar."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        logits = self.decoder(z)
        distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        rate = -0.5 * torch.sum(1 + log_var - mean.square() - log_var.exp())
        return (distortion + rate) / x.shape[0]


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 `[N, H, W, 1]` to float32 `[N, 1, H, W]`: one channel is the same in both formats."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous()


def build(
    workload: vae_sizes.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the PyTorch contestant.

    Args:
        workload: which VAE.
        variant: "eager", "compile", "channels_last" or "compile_channels_last".
        images: uint8 `[N, 28, 28, 1]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(common.SEED)
    data = to_tensor(images)
    model = NegativeElbo(*networks(workload, channels_last="channels_last" in variant))
    optimizer = torch.optim.Adam(model.parameters(), lr=vae_sizes.LEARNING_RATE, fused=True)
    loss_of = torch.compile(model) if "compile" in variant else model
    rows = common.batch_rows(vae_sizes.BATCH_SIZE)

    def train(num_steps: int) -> float:
        for _ in range(num_steps):
            x = data[torch.from_numpy(next(rows))]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x)
            loss.backward()
            optimizer.step()
        return loss.item()

    return common.Program(sum(p.numel() for p in model.parameters()), 1, common.timed(train))
