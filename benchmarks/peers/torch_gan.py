"""A GAN in PyTorch, eager or compiled, as someone who knows PyTorch would write it."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from benchmarks.peers import common, gan_sizes
from benchmarks.peers.torch_vae import ToRows, to_tensor


class Fold(nn.Module):
    """`[B, H * W * C]` to `[B, C, H, W]` whose memory is channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        """Unflattens and moves the channels to the front."""
        return x.unflatten(1, (gan_sizes.SPATIAL, gan_sizes.SPATIAL, -1)).permute(0, 3, 1, 2)


def networks(*, channels_last: bool) -> tuple[nn.Module, nn.Module]:
    """The generator and the critic, in one memory format or the other."""
    narrow, wide = gan_sizes.FEATURES
    settings: dict[str, Any] = {"kernel_size": gan_sizes.KERNEL, "stride": 2, "padding": 1}
    side = gan_sizes.SPATIAL
    generator = nn.Sequential(
        nn.Linear(gan_sizes.LATENT, gan_sizes.FLAT, bias=False),
        Fold() if channels_last else nn.Unflatten(1, (wide, side, side)),
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(wide, narrow, bias=False, **settings),
        nn.BatchNorm2d(narrow),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(narrow, 1, **settings),
        nn.Tanh(),
    )
    critic = nn.Sequential(
        nn.Conv2d(1, narrow, **settings),
        nn.LeakyReLU(gan_sizes.SLOPE, inplace=True),
        nn.Conv2d(narrow, wide, **settings),
        nn.LeakyReLU(gan_sizes.SLOPE, inplace=True),
        ToRows() if channels_last else nn.Flatten(),
        nn.Linear(gan_sizes.FLAT, 1),
        nn.Flatten(0),
    )
    for parameter in (*generator.parameters(), *critic.parameters()):
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=gan_sizes.INIT_STD)
    # A mapping, since PyTorch's annotations do not know this argument.
    layout: dict[str, Any] = {"memory_format": torch.channels_last} if channels_last else {}
    return generator.to(**layout), critic.to(**layout)


class Losses:
    """The losses of both players, each the mean over a batch."""

    def __init__(self, workload: gan_sizes.Workload, generator: nn.Module, critic: nn.Module):
        """Keeps the networks."""
        self.is_wasserstein = workload == "wgan_gp"
        self.networks = generator, critic

    def critic(self, real: Tensor, z: Tensor) -> Tensor:
        """Real images `[B, 1, 28, 28]` and latents `[B, D]` to a scalar."""
        generator, critic = self.networks
        with torch.no_grad():
            fake = generator(z)
        real_logits, fake_logits = critic(torch.cat([real, fake])).chunk(2)
        if self.is_wasserstein:
            penalty = self._penalty(real, fake)
            return fake_logits.mean() - real_logits.mean() + gan_sizes.PENALTY_WEIGHT * penalty
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()

    def generator(self, z: Tensor) -> Tensor:
        """Latents `[B, D]` to a scalar."""
        generator, critic = self.networks
        logits = critic(generator(z))
        return -logits.mean() if self.is_wasserstein else F.softplus(-logits).mean()

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        x = torch.lerp(fake, real, torch.rand(len(real), 1, 1, 1)).requires_grad_()
        logits = self.networks[1](x)
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def build(
    workload: gan_sizes.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the PyTorch contestant.

    Args:
        workload: which GAN.
        variant: "eager", "compile", "channels_last" or "compile_channels_last"; the two that
            compile cannot train "wgan_gp", since `torch.compile` has no second derivatives.
        images: uint8 `[N, 28, 28, 1]`.
        threads: cores that PyTorch may use.

    Returns:
        the program.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(common.SEED)
    play = gan_sizes.PLAYS[workload]
    data = 2 * to_tensor(images) - 1
    generator, critic = networks(channels_last="channels_last" in variant)
    generator_optimizer, critic_optimizer = (
        torch.optim.Adam(network.parameters(), play.learning_rate, play.betas, fused=True)
        for network in (generator, critic)
    )
    losses = Losses(workload, generator, critic)
    is_compiled = "compile" in variant
    critic_loss_of = torch.compile(losses.critic) if is_compiled else losses.critic
    generator_loss_of = torch.compile(losses.generator) if is_compiled else losses.generator
    rows = common.batch_rows(gan_sizes.BATCH_SIZE)

    def latents() -> Tensor:
        return torch.randn(gan_sizes.BATCH_SIZE, gan_sizes.LATENT)

    def train(num_steps: int) -> float:
        for _ in range(num_steps):
            for _ in range(play.num_critic_steps):
                critic_optimizer.zero_grad(set_to_none=True)
                critic_loss = critic_loss_of(data[torch.from_numpy(next(rows))], latents())
                critic_loss.backward()
                critic_optimizer.step()
            # The generator's step wants no gradients in the critic's parameters.
            critic.requires_grad_(False)
            generator_optimizer.zero_grad(set_to_none=True)
            generator_loss_of(latents()).backward()
            generator_optimizer.step()
            critic.requires_grad_(True)
        return critic_loss.item()

    parameters = (*generator.parameters(), *critic.parameters())
    return common.Program(sum(p.numel() for p in parameters), 1, common.timed(train))
