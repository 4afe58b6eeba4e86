"""The cells of the comparison: what they are trained with, and what became of them."""

import dataclasses
import pathlib
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from experiments import training
from experiments.gan.build import all_critic_steps, build, build_game
from experiments.gan.settings import Settings as GANSettings
from experiments.sample_metrics import Yardstick, measure_samples
from experiments.settings import (
    DataInfo,
    DataSettings,
    TrainingSettings,
    errors_exit,
    require,
    require_at_least,
)
from jaxgen.data.dataset import Dataset
from jaxgen.files import write_atomically
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.loop import NonFiniteError

Architecture = Literal[
    "dcgan", "no_batch_norm", "no_norm", "mlp_generator", "tanh", "deep_residual"
]
Loss = Literal["nonsaturating", "least_squares", "wasserstein_clipping", "wasserstein_penalty"]

_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "no_batch_norm": {"generator_norm": "none"},
    "no_norm": {"generator_norm": "none", "critic_norm": "none"},
    "mlp_generator": {"generator": "mlp", "generator_norm": "none", "hidden_sizes": (512,) * 4},
    "tanh": {"activation": "tanh"},
    "deep_residual": {"generator": "resnet", "critic": "resnet", "num_plain_blocks": 3},
}
_LOSSES: dict[str, dict[str, Any]] = {
    "nonsaturating": {"loss": "nonsaturating"},
    "least_squares": {"loss": "least_squares"},
    "wasserstein_clipping": {"loss": "wasserstein", "weight_clip": 0.01, "num_critic_steps": 5},
    "wasserstein_penalty": {
        "loss": "wasserstein",
        "penalty": "wgan_gp",
        "num_critic_steps": 5,
    },
}
NUM_SHOWN = 16
"""Samples that are kept of a cell."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a comparison of architectures."""

    run_dir: str = "runs/gan_architectures"
    """Directory of all cells; the same line goes on where it stopped."""
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    architectures: tuple[Architecture, ...] = get_args(Architecture)
    """The rows."""
    losses: tuple[Loss, ...] = get_args(Loss)
    """The columns."""
    steps: int = 600
    """Generator steps of every cell."""
    batch_size: int = 64
    """Real examples in a critic step."""
    learning_rate: float = 1e-3
    """Of both players' Adam."""
    beta1: float = 0.0
    """First moment's decay of both Adams."""
    width: int = 32
    """Channels of the largest feature maps."""
    seed: int = 0
    """Of every cell."""

    def __post_init__(self) -> None:
        require_at_least(self, {"steps": 1, "batch_size": 1, "width": 1})
        for name in ("architectures", "losses"):
            values = getattr(self, name)
            is_set = 0 < len(values) == len(set(values))
            require(is_set, name, ", ".join(values) or "none", "one or more, each once")


class Cell(NamedTuple):
    """What became of a pair of networks under a loss.

    Attributes:
        samples: uint8 images `[16, H, W, C]`; None if the training diverged.
        coverage: share of test images with a sample among their nearest neighbours; None if it diverged.
        frechet: distance of features from the test images; None if it diverged.
    """

    samples: np.ndarray | None = None
    coverage: float | None = None
    frechet: float | None = None

    def __str__(self) -> str:
        return "diverged" if self.samples is None else f"{self.coverage:.2f} ({self.frechet:.1f})"


def cell_settings(settings: Settings, architecture: str, loss: str) -> GANSettings:
    """The settings with which `experiments.gan` would train a cell.

    A critic has batch norm, and layer norm under a penalty, as in the paper, where the architecture does not say
    otherwise.
    """
    method = {"penalty": "none", "num_critic_steps": 1, **_LOSSES[loss]}
    norm = "batch" if method["penalty"] == "none" else "layer"
    return GANSettings(
        run_dir=str(pathlib.Path(settings.run_dir) / f"{architecture}-{loss}"),
        data=settings.data,
        training=TrainingSettings(
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            ema_decay=0.99,
            seed=settings.seed,
            checkpoint_every=settings.steps,
        ),
        critic_learning_rate=settings.learning_rate,
        beta1=settings.beta1,
        width=settings.width,
        **{"critic_norm": norm, **method, **_ARCHITECTURES[architecture]},
    )


def train_cell(settings: GANSettings, dataset: Dataset, yardstick: Yardstick) -> Cell:
    """Trains a cell, or finds what became of it, and measures its samples."""
    from experiments.gan.latent_pictures import make_draw
    from experiments.gan.pictures import measured_samples

    info = DataInfo.of(dataset)
    game = build_game(settings, info)
    with training.open_experiment("gan", settings, info, free_settings=("draw_every",)) as run:
        diverged = run.path / "diverged.txt"
        if diverged.is_file():
            return Cell()
        try:
            with errors_exit(1, CheckpointError), errors_exit(2, ValueError):
                state = training.try_to_train(
                    build(settings, game), dataset, run, all_critic_steps(settings)
                )
        except NonFiniteError as error:
            write_atomically(diverged, f"{error}\n")
            return Cell()
        generate = make_draw(game)(state)
        _, samples = measured_samples(dataset, info, game, generate)
        record = measure_samples(run, dataset, yardstick, samples)
    values = record["metrics"]["samples"]
    return Cell(samples[:NUM_SHOWN], values["coverage"], values["Frechet distance of features"])
