"""Training speed of two VAEs: jaxgen's training loop beside PyTorch, pythae and plain flax.

    pip install -e ".[bench]"
    python -m benchmarks.vae_speed                    # both workloads
    python -m benchmarks.vae_speed --only conv --windows 15 --seconds 5

Every contestant trains the same networks on the same binary images in memory: float32, batches of
128, Adam, as many cores. Each is a process of its own; they take turns, window by window, so that
whatever else the machine does falls on all alike.
"""

import dataclasses

import tyro

from benchmarks import contest
from benchmarks.contestants import Contestant
from benchmarks.peers.vae_sizes import BATCH_SIZE, Workload

CONTEST = contest.Contest(
    titles={"mlp": "mlp VAE", "conv": "conv VAE"},
    contestants={
        contest.JAXGEN: Contestant("jaxgen_vae"),
        "flax": Contestant("flax_vae"),
        "torch": Contestant("torch_vae", "eager"),
        "torch channels_last": Contestant("torch_vae", "channels_last", ("conv",)),
        "torch.compile": Contestant("torch_vae", "compile"),
        "torch.compile channels_last": Contestant("torch_vae", "compile_channels_last", ("conv",)),
        "pythae": Contestant("pythae_vae", "step"),
        "pythae trainer": Contestant("pythae_vae", "trainer"),
    },
    batch_sizes={"mlp": BATCH_SIZE, "conv": BATCH_SIZE},
    step="step",
    loss="nats per image",
    min_steps=10,
)


@dataclasses.dataclass(frozen=True)
class Settings(contest.Settings):
    """Settings of the benchmark."""

    only: Workload | None = None
    """One workload alone."""


if __name__ == "__main__":
    _settings = tyro.cli(Settings, description=__doc__)
    contest.run(CONTEST, _settings.only, _settings)
