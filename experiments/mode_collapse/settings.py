"""Settings of the comparison, and the protocols: those that are pinned for each target."""

import dataclasses
from typing import Annotated, Literal, get_args

from experiments.ranges import AT_LEAST_1, POSITIVE, SHARE, check_settings, require
from experiments.settings import DataSettings

Method = Literal[
    "minimax",
    "nonsaturating",
    "nonsaturating_sgd",
    "least_squares",
    "hinge",
    "wasserstein_clipping",
    "wasserstein_penalty",
    "relativistic_r1",
    "relativistic_r1_r2",
]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a comparison of adversarial methods; the defaults are the ring's, the others
    stand in `PROTOCOLS`.
    """

    run_dir: str = "runs/mode_collapse"
    """Directory of the results; the same line skips the methods that are done."""
    target: Literal["ring", "grid", "stacked"] = "ring"
    """8 Gaussians on a circle, 25 on a square grid, or images with one image in each channel."""
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    methods: tuple[Method, ...] = get_args(Method)
    """The rows of the table."""
    num_seeds: Annotated[int, AT_LEAST_1] = 4
    """Runs of each method, trained at once."""
    seed: int = 0
    """The first of the seeds."""
    steps: Annotated[int, AT_LEAST_1] = 3000
    """Generator steps."""
    steps_per_call: Annotated[int, AT_LEAST_1] = 100
    """Steps in one dispatch, behind each point of the curves; the last takes what is left."""
    batch_size: Annotated[int, AT_LEAST_1] = 100
    """Real examples in a critic step."""
    learning_rate: Annotated[float, POSITIVE] = 2e-3
    """Of Adam, at the start; it falls to 0 along a cosine."""
    beta1: Annotated[float, SHARE] = 0.5
    """First moment's decay of Adam."""
    beta2: Annotated[float, SHARE] = 0.99
    """Second moment's decay of Adam; at 0.999 single seeds lost modes for good."""
    sgd_learning_rate: Annotated[float, POSITIVE] = 0.1
    """Of nonsaturating_sgd, at the start; it falls to 0 along a cosine."""
    ema_decay: Annotated[float, SHARE] = 0.99
    """Decay of the averaged generator that is sampled; 0 samples the last one."""
    model: Literal["mlp", "dcgan"] = "mlp"
    """Networks of both players; dcgan for images alone."""
    generator_sizes: Annotated[tuple[int, ...], AT_LEAST_1] = (128, 128, 128, 128)
    """Widths of the generator's layers (mlp)."""
    critic_sizes: Annotated[tuple[int, ...], AT_LEAST_1] = (128, 128)
    """Widths of the critic's layers (mlp)."""
    width: Annotated[int, AT_LEAST_1] = 32
    """Channels of the largest feature maps (dcgan)."""
    latent_dim: Annotated[int, AT_LEAST_1] = 2
    """Number of latents."""
    wasserstein_critic_steps: Annotated[int, AT_LEAST_1] = 3
    """Critic steps before each generator step of the Wasserstein methods; the others take 1."""
    weight_clip: Annotated[float, POSITIVE] = 0.1
    """Bound on the critic's parameters (wasserstein_clipping)."""
    penalty_weight: Annotated[float, POSITIVE] = 1.0
    """Of the gradient penalty (wasserstein_penalty)."""
    zero_centered_weight: Annotated[float, POSITIVE] = 1.0
    """Of R1 and of R2 (relativistic_r1 and relativistic_r1_r2)."""
    num_samples: Annotated[int, AT_LEAST_1] = 2500
    """Samples of each seed behind a count."""

    def __post_init__(self) -> None:
        check_settings(self)
        last = 2**32 - self.num_seeds
        require(0 <= self.seed < last, "seed", self.seed, f"0 to {last - 1}")
        names = ", ".join(self.methods)
        is_set = 0 < len(self.methods) == len(set(self.methods))
        require(is_set, "methods", names or "none", "one or more, each once")
        for name in ("generator_sizes", "critic_sizes"):
            sizes = getattr(self, name)
            require(len(sizes) > 0, name, sizes, "one or more numbers of at least 1")
        is_image = self.target == "stacked"
        require(is_image or self.model == "mlp", "model", self.model, "mlp for points in the plane")
        name = self.data.dataset
        is_asked = self.data == DataSettings()
        require(is_image or is_asked, "dataset", name, "none; only --target stacked stacks images")


PROTOCOLS = {
    "ring": Settings(),
    "grid": Settings(target="grid", steps=20_000, steps_per_call=1000),
    "stacked": Settings(
        target="stacked",
        num_seeds=2,
        steps=3000,
        steps_per_call=500,
        batch_size=64,
        generator_sizes=(256, 256, 256),
        critic_sizes=(256, 256),
        learning_rate=1e-3,
        latent_dim=64,
        penalty_weight=10.0,
        zero_centered_weight=100.0,
        num_samples=26_000,
    ),
}
"""Of PacGAN (Lin et al. 2018) are the mixtures, batches of 100, two latents and the numbers of
samples. Its networks (generator 400 x 2, critic of 200 maxout units) learn from 40 million points
at a rate of 1e-4 with b1 0.8; these are narrower and deeper, and the rate is higher and falls to 0,
so that ten seeds of the grid take minutes on a CPU. Penalty weights grow with the square of the
data's scale, so stacked images have others."""
