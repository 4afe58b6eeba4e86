"""Settings of a VAE run."""

import dataclasses
from typing import Literal

from experiments.settings import DataSettings, TrainingSettings, require, require_at_least


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a VAE run."""

    run_dir: str = "runs/vae"
    """Directory of the run; the same line with the same directory goes on where it stopped."""
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    training: TrainingSettings = dataclasses.field(default_factory=TrainingSettings)
    objective: Literal["elbo", "importance_weighted", "autoencoder", "denoising", "sparse"] = "elbo"
    """What is minimised. The last three are plain autoencoders."""
    model: Literal["mlp", "conv"] = "mlp"
    """Fully connected or convolutional encoder and decoder."""
    latent_dim: int = 16
    """Number of latents; with 2 the whole latent plane is drawn."""
    hidden_sizes: tuple[int, ...] = (400,)
    """Widths of the fully connected encoder's layers; the decoder has them in reverse."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of the convolutional encoder's layers; the decoder has them in reverse."""
    dropout_rate: float = 0.2
    """Share of features dropped in training."""
    likelihood: Literal[
        "auto",
        "bernoulli",
        "categorical",
        "discretized_logistic",
        "gaussian",
        "gaussian_learned_variance",
    ] = "auto"
    """Distribution of a pixel; auto: bernoulli for 2 levels, categorical up to 32, else discretized_logistic."""
    num_pseudo_inputs: int = 0
    """Components of a VampPrior; 0 for a standard normal prior."""
    beta: float = 1.0
    """Weight of the rate (elbo)."""
    warm_up_steps: int = 0
    """Steps over which the weight of the rate rises from 0 to beta (elbo)."""
    free_bits: float = 0.0
    """Nats below which a latent's mean rate is not pressed further (elbo)."""
    num_samples: int = 8
    """Draws of the training bound (importance_weighted)."""
    masking_probability: float = 0.25
    """Share of input pixels set to 0 (denoising)."""
    activity_weight: float = 0.1
    """Nats per unit of the code's absolute sum (sparse)."""
    importance_samples: int = 100
    """Draws behind the reported estimate of log p(x)."""
    mixture_components: int = 20
    """Gaussians fitted to the codes after training; autoencoders sample from them."""
    autoencoder_steps: int = 1000
    """Training steps of an autoencoder of the same shape, for the comparison of the latents (elbo); 0 leaves it out."""

    def __post_init__(self) -> None:
        least = {
            "latent_dim": 1,
            "num_pseudo_inputs": 0,
            "warm_up_steps": 0,
            "num_samples": 1,
            "importance_samples": 0,
            "mixture_components": 1,
            "autoencoder_steps": 0,
            "beta": 0,
            "free_bits": 0,
            "activity_weight": 0,
        }
        require_at_least(self, least)
        for name in ("hidden_sizes", "channels"):
            sizes = getattr(self, name)
            require(min(sizes, default=1) >= 1, name, sizes, "numbers of at least 1")
        require(len(self.channels) > 0, "channels", self.channels, "one or more layers")
        for name in ("dropout_rate", "masking_probability"):
            share = getattr(self, name)
            require(0.0 <= share < 1.0, name, share, "in [0, 1)")


def is_autoencoder(settings: Settings) -> bool:
    """Tells whether the objective has no likelihood bound."""
    return settings.objective in ("autoencoder", "denoising", "sparse")
