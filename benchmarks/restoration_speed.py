"""DPS of jaxgen beside that of deepinv: 100 steps on 64 images, with U-Nets of one size.

    pip install -e ".[bench]"
    python -m benchmarks.restoration_speed

Both restore images of 32x32x1 of which half the pixels are hidden, by networks that were not
trained: the work is the same. deepinv is given the U-Net of denoising-diffusion-pytorch, of as many
parameters within 4 %. They take turns; compilation is told apart.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxgen import inverse
from jaxgen.diffusion import UNet, grids
from jaxgen.diffusion.process import denoiser
from jaxgen.training.jax_setup import configure
from jaxgen.types import Array

_SHAPE = (32, 32, 1)
_CHANNELS = (16, 32, 56)
"""Of jaxgen's network, whose first level has 16 features as the peer's."""
_NOISE_STD = 0.05


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    num_images: Annotated[int, tyro.conf.arg(help="Images at once.")] = 64
    num_steps: Annotated[int, tyro.conf.arg(help="Steps of DPS.")] = 100
    turns: Annotated[int, tyro.conf.arg(help="Times that each is timed.")] = 3


def measured(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """What is known, `[H, W]`, and the measured images with zeros elsewhere, `[N, H, W, 1]`."""
    rng = np.random.default_rng(0)
    known = rng.random(_SHAPE[:2]) < 0.5
    x = rng.uniform(-1.0, 1.0, (settings.num_images, *_SHAPE)).astype(np.float32)
    return known, x * known[None, :, :, None]


def jaxgen_program(settings: Settings) -> tuple[int, Callable[[], Any]]:
    """Parameters and the call of jaxgen."""
    known, images = measured(settings)
    operator = inverse.operators.mask(known, _SHAPE)
    network = UNet(_CHANNELS, attention_levels=(len(_CHANNELS) - 1,))
    start = (jnp.zeros((1, *_SHAPE)), jnp.zeros(1), None)
    variables = network.init(jax.random.key(0), *start)
    grid = grids.grid_of_betas(grids.linear_betas(1000), settings.num_steps)
    y = operator(jnp.asarray(images))

    @jax.jit
    def solve(variables: Any, key: Array, y: Array) -> Array:
        def predict(x_t: Array, log_snr: Array, condition: Any) -> Any:
            return network.apply(variables, x_t, log_snr, condition)

        prior = inverse.DiffusionPrior(denoiser(predict, "noise"), grid)
        return inverse.solve(key, prior, operator, y, _NOISE_STD, "dps")

    num = sum(leaf.size for leaf in jax.tree.leaves(variables))
    return num, lambda: np.asarray(solve(variables, jax.random.key(0), y))


def deepinv_program(settings: Settings) -> tuple[int, Callable[[], Any]]:
    """Parameters and the call of deepinv."""
    import deepinv
    import torch
    from denoising_diffusion_pytorch import Unet

    known, images = measured(settings)
    torch.manual_seed(0)
    network = Unet(dim=16, dim_mults=(1, 2, 4), channels=1).eval()

    class Denoiser(deepinv.models.Denoiser):
        """Noise prediction as the denoiser of data with noise added to them."""

        def forward(self, x: Any, sigma: Any, *_: Any, **__: Any) -> Any:
            sigma = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1, 1)
            noise = network(x / torch.sqrt(1 + sigma**2), torch.full((len(x),), 500.0))
            return x - sigma * noise

    solver = deepinv.sampling.DPS(Denoiser(), num_steps=settings.num_steps + 1, dtype=torch.float32)
    physics = deepinv.physics.Inpainting(
        img_size=(1, *_SHAPE[:2]),
        mask=torch.from_numpy(known)[None].float(),
        noise_model=deepinv.physics.GaussianNoise(_NOISE_STD),
    )
    y = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    num = sum(p.numel() for p in network.parameters())
    return num, lambda: solver(y, physics).numpy()


def main() -> None:
    """Times both in turns and prints the table."""
    settings = tyro.cli(Settings, prog="benchmarks.restoration_speed", description=__doc__)
    configure()
    programs = {"jaxgen": jaxgen_program(settings), "deepinv": deepinv_program(settings)}
    firsts = {name: _timed(call) for name, (_, call) in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(settings.turns):
        print(f"turn {turn + 1} of {settings.turns}")
        for name, (_, call) in programs.items():
            seconds[name].append(_timed(call))
    print(f"{settings.num_steps} steps of DPS on {settings.num_images} images, seconds")
    for name, (num, _) in programs.items():
        median = statistics.median(seconds[name])
        first = firsts[name] - median
        print(f"{name:8} {num:>9,} parameters  {median:6.1f}  (first call {first:+.1f})")
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    low, high = min(ratios), max(ratios)
    print(f"jaxgen is {statistics.median(ratios):.2f} times as fast ({low:.2f} to {high:.2f})")


def _timed(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
