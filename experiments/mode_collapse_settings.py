"""Settings of `experiments.mode_collapse`: the mixture, the methods, and what they are trained with."""

import dataclasses
import math
from typing import Literal, get_args

from experiments.settings import require, require_at_least

Method = Literal[
    "minimax",
    "nonsaturating",
    "nonsaturating_sgd",
    "least_squares",
    "hinge",
    "wasserstein_clipping",
    "wasserstein_penalty",
    "relativistic_r1_r2",
]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a comparison of adversarial methods on a mixture in the plane."""

    run_dir: str = "runs/mode_collapse"
    """Directory of the results; the same line skips the methods that are done."""
    data: Literal["ring", "grid"] = "ring"
    """8 Gaussians on a circle or 25 on a square grid."""
    methods: tuple[Method, ...] = get_args(Method)
    """The rows of the table."""
    seeds: int = 4
    """Runs of each method, trained at once."""
    seed: int = 0
    """The first of the seeds."""
    steps: int = 3000
    """Generator steps."""
    steps_per_call: int = 100
    """Steps in one dispatch to the device, behind each point of the curves; it divides the steps."""
    batch_size: int = 100
    """Real examples in a critic step."""
    learning_rate: float = 1e-3
    """Of Adam, at the start; it falls to 0."""
    beta1: float = 0.8
    """Of Adam."""
    sgd_learning_rate: float = 0.1
    """Of nonsaturating_sgd, at the start; it falls to 0."""
    ema_decay: float = 0.99
    """Decay of the averaged generator that is sampled; 0 samples the last one."""
    generator_sizes: tuple[int, ...] = (128, 128)
    """Widths of the generator's layers."""
    critic_sizes: tuple[int, ...] = (128, 128)
    """Widths of the critic's layers."""
    latent_dim: int = 2
    """Number of latents."""
    wasserstein_critic_steps: int = 5
    """Critic steps before each generator step of the Wasserstein methods; the others take 1."""
    weight_clip: float = 0.1
    """Bound on the critic's parameters (wasserstein_clipping)."""
    penalty_weight: float = 0.1
    """Of the gradient penalty (wasserstein_penalty)."""
    zero_centered_weight: float = 0.01
    """Of R1 and of R2 (relativistic_r1_r2)."""
    num_samples: int = 2500
    """Samples of each seed behind a count."""

    def __post_init__(self) -> None:
        counts = ("seeds", "steps", "steps_per_call", "batch_size", "latent_dim", "num_samples")
        least = dict.fromkeys((*counts, "wasserstein_critic_steps"), 1)
        require_at_least(self, least | {"penalty_weight": 0, "zero_centered_weight": 0})
        require(0 <= self.seed < 2**32 - self.seeds, "seed", self.seed, "0 to 2**32 less the seeds")
        per_call = self.steps_per_call
        require(self.steps % per_call == 0, "steps_per_call", per_call, "a divisor of the steps")
        names = ", ".join(self.methods)
        is_set = 0 < len(self.methods) == len(set(self.methods))
        require(is_set, "methods", names or "none", "one or more, each once")
        for name in ("learning_rate", "sgd_learning_rate", "weight_clip"):
            value = getattr(self, name)
            require(0.0 < value < math.inf, name, value, "a finite number above 0")
        for name in ("beta1", "ema_decay"):
            value = getattr(self, name)
            require(0.0 <= value < 1.0, name, value, "in [0, 1)")
        for name in ("generator_sizes", "critic_sizes"):
            sizes = getattr(self, name)
            require(min(sizes, default=0) >= 1, name, sizes, "one or more numbers of at least 1")
