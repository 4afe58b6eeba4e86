"""Settings of a GAN run, and which of them make no sense together."""

import dataclasses
import math
from typing import Literal

from experiments.settings import DataSettings, TrainingSettings, require, require_at_least

Network = Literal["mlp", "dcgan", "resnet"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a GAN run."""

    run_dir: str = "runs/gan"
    """Directory of the run; the same line with the same directory goes on where it stopped."""
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    training: TrainingSettings = dataclasses.field(
        default_factory=lambda: TrainingSettings(steps=5000, batch_size=64, learning_rate=5e-4)
    )
    """The batch is that of a critic step; the learning rate and the average are the generator's."""
    loss: Literal[
        "minimax", "nonsaturating", "least_squares", "hinge", "wasserstein", "relativistic"
    ] = "nonsaturating"
    """What critic and generator minimise."""
    penalty: Literal["none", "wgan_gp", "r1", "r2", "r1_r2", "dragan"] = "r1"
    """Gradient penalty added to the critic's loss."""
    penalty_weight: float | None = None
    """Weight of the penalty, above 0; by default 10 for wgan_gp and dragan, and 0.3 for the others."""
    penalty_interval: int = 1
    """Critic steps from one penalty to the next, which then counts as many times (lazy regularization)."""
    weight_clip: float = 0.0
    """Bound on every critic weight (wasserstein without a penalty); 0 for none."""
    num_critic_steps: int = 1
    """Critic steps before each generator step, each with a batch of its own."""
    updates: Literal["alternating", "simultaneous"] = "alternating"
    """Whether the generator meets the critic's new parameters or its old ones."""
    generator: Network = "dcgan"
    """Architecture of the generator."""
    critic: Network = "dcgan"
    """Architecture of the critic."""
    width: int = 32
    """Channels of the largest feature maps (dcgan, resnet)."""
    num_plain_blocks: int = 0
    """Residual blocks after each that changes the size of the maps (resnet)."""
    activation: Literal["relu", "tanh"] = "relu"
    """Of both players (dcgan); the critic's relu is leaky."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Widths of the layers (mlp)."""
    generator_norm: Literal["batch", "layer", "none"] = "batch"
    """Normalization of the generator's layers."""
    critic_norm: Literal["batch", "layer", "none"] = "none"
    """Normalization of the critic's layers."""
    spectral: bool = False
    """Spectral normalization of the critic."""
    conditional: bool = False
    """Give both players the labels."""
    latent_dim: int = 64
    """Number of latents."""
    critic_learning_rate: float = 1e-3
    """Of the critic's Adam."""
    beta1: float = 0.0
    """First moment's decay of both Adams."""
    beta2: float = 0.999
    """Second moment's decay of both Adams."""
    instance_noise: float = 0.0
    """Standard deviation of normal noise on what the critic sees; it falls linearly to 0."""
    instance_noise_steps: int = 5000
    """Steps until the instance noise is 0."""
    draw_every: int = 200
    """Steps from one frame of the film to the next."""

    def __post_init__(self) -> None:
        least = {
            "penalty_interval": 1,
            "num_critic_steps": 1,
            "width": 1,
            "num_plain_blocks": 0,
            "latent_dim": 1,
            "draw_every": 1,
            "instance_noise_steps": 1,
            "weight_clip": 0.0,
            "instance_noise": 0.0,
        }
        require_at_least(self, least)
        rate = self.critic_learning_rate
        require(0.0 < rate < math.inf, "critic_learning_rate", rate, "a finite number above 0")
        for name in ("beta1", "beta2"):
            require(0.0 <= getattr(self, name) < 1.0, name, getattr(self, name), "in [0, 1)")
        sizes = self.hidden_sizes
        require(min(sizes, default=1) >= 1, "hidden_sizes", sizes, "numbers of at least 1")
        weight = self.penalty_weight
        is_good = weight is None or 0.0 < weight < math.inf
        require(is_good, "penalty_weight", weight, "a finite number above 0")
        check_combination(self)


def check_combination(settings: Settings) -> None:
    """Refuses settings that make no sense together.

    Raises:
        ValueError: with the reason.
    """
    has_penalty = settings.penalty != "none"
    networks = (settings.generator, settings.critic)
    refusals = {
        "activation: only dcgan has a choice": (
            settings.activation != "relu" and "dcgan" not in networks
        ),
        "num_plain_blocks: only resnet has blocks": settings.num_plain_blocks > 0
        and "resnet" not in networks,
        "loss: wasserstein needs a critic of bounded slope: add --penalty wgan_gp, --weight-clip 0.01 or --spectral": (
            settings.loss == "wasserstein"
            and not (has_penalty or settings.weight_clip or settings.spectral)
        ),
        "weight_clip: it bounds the slope of a Wasserstein critic; this loss does not ask for that": (
            settings.weight_clip > 0.0 and settings.loss != "wasserstein"
        ),
        "weight_clip: the penalty or the spectral norm bounds the slope already; choose one": (
            settings.weight_clip > 0.0 and (has_penalty or settings.spectral)
        ),
        "spectral: batch and layer norm scale the critic's features again, so its slope has no bound": (
            settings.loss == "wasserstein"
            and settings.spectral
            and not has_penalty
            and settings.critic_norm != "none"
        ),
        "penalty_weight: there is no penalty to weigh": (
            settings.penalty_weight is not None and not has_penalty
        ),
        "penalty: gradients of single examples do not exist under batch norm; use --critic-norm layer or none": (
            has_penalty and settings.critic_norm == "batch"
        ),
        "penalty_interval: there is no penalty to take": (
            settings.penalty_interval > 1 and not has_penalty
        ),
        "num_critic_steps: simultaneous updates are one step of each": (
            settings.updates == "simultaneous" and settings.num_critic_steps > 1
        ),
    }
    for message, is_bad in refusals.items():
        if is_bad:
            raise ValueError(message)
