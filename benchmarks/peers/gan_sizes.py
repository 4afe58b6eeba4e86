"""What the GAN contestants share: the two workloads, their sizes and their optimizers."""

from typing import Literal, NamedTuple

from benchmarks.peers.common import IMAGE_SIZE

Workload = Literal["dcgan", "wgan_gp"]

BATCH_SIZE = 64
"""Examples of one step of either player."""

LATENT = 100
FEATURES = (64, 128)
KERNEL = 4
SPATIAL = IMAGE_SIZE // 4
FLAT = SPATIAL * SPATIAL * FEATURES[-1]
SLOPE = 0.2
INIT_STD = 0.02
PENALTY_WEIGHT = 10.0


class Play(NamedTuple):
    """How a workload is trained.

    Attributes:
        num_critic_steps: critic steps of an iteration, each with real images of its own.
        learning_rate: of Adam, for both players.
        betas: of Adam.
    """

    num_critic_steps: int
    learning_rate: float
    betas: tuple[float, float]


PLAYS: dict[Workload, Play] = {
    "dcgan": Play(1, 2e-4, (0.5, 0.999)),
    "wgan_gp": Play(5, 1e-4, (0.0, 0.9)),
}
