"""Training speed of two GANs: jaxgen's training loop beside PyTorch and plain flax.

    pip install -e ".[bench]"
    python -m benchmarks.gan_speed                    # both workloads
    python -m benchmarks.gan_speed --only dcgan --windows 15 --seconds 5

An iteration of DCGAN is one critic step and one generator step of the non-saturating game, one of
WGAN-GP is five critic steps with the gradient penalty and one generator step. Every contestant
trains the same networks on the same binary images in memory: float32, batches of 64, Adam, fresh
latents for every step, as many cores. Each is a process of its own; they take turns, window by
window, so that whatever else the machine does falls on all alike.
"""

import dataclasses

import tyro

from benchmarks import contest
from benchmarks.contestants import Contestant
from benchmarks.peers.gan_sizes import BATCH_SIZE, Workload

CONTEST = contest.Contest(
    titles={"dcgan": "DCGAN", "wgan_gp": "WGAN-GP"},
    contestants={
        contest.JAXGEN: Contestant("jaxgen_gan"),
        "flax": Contestant("flax_gan"),
        "torch": Contestant("torch_gan", "eager"),
        "torch channels_last": Contestant("torch_gan", "channels_last"),
        "torch.compile": Contestant("torch_gan", "compile", ("dcgan",)),
        "torch.compile channels_last": Contestant("torch_gan", "compile_channels_last", ("dcgan",)),
    },
    batch_sizes={"dcgan": BATCH_SIZE, "wgan_gp": BATCH_SIZE},
    step="iteration",
    loss="of the critic",
    min_steps=5,
)


@dataclasses.dataclass(frozen=True)
class Settings(contest.Settings):
    """Settings of the benchmark."""

    only: Workload | None = None
    """One workload alone."""


if __name__ == "__main__":
    _settings = tyro.cli(Settings, description=__doc__)
    contest.run(CONTEST, _settings.only, _settings)
