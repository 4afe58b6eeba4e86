"""The cells of the comparison: what they are trained with, and what became of them."""

import dataclasses
import pathlib
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np

from experiments import course, measurement
from experiments.command_line import errors_exit
from experiments.course import Course
from experiments.experiment import NoSettings, RunSettings, Trained
from experiments.gan import EXPERIMENT
from experiments.gan.settings import Sampling
from experiments.gan.settings import Settings as GANSettings
from experiments.ranges import AT_LEAST_1, POSITIVE, SHARE, check_settings, require
from experiments.settings import DataSettings, OptimizerSettings, Plan, TrainingSettings
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
    steps: Annotated[int, AT_LEAST_1] = 600
    """Generator steps of every cell."""
    batch_size: Annotated[int, AT_LEAST_1] = 64
    """Real examples in a critic step."""
    learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Of Adam, for both networks."""
    beta1: Annotated[float, SHARE] = 0.0
    """First moment's decay of Adam."""
    width: Annotated[int, AT_LEAST_1] = 32
    """Channels of the largest feature maps."""
    seed: int = 0
    """Of every cell."""

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("architectures", "losses"):
            values = getattr(self, name)
            is_set = 0 < len(values) == len(set(values))
            require(is_set, name, ", ".join(values) or "none", "one or more, each once")


class Cell(NamedTuple):
    """What became of a pair of networks under a loss.

    Attributes:
        samples: uint8 images `[16, H, W, C]`; None if the training diverged.
        coverage: share of test images with a sample among their nearest neighbours; None if it
            diverged.
        frechet: distance of features from the test images; None if it diverged.
    """

    samples: np.ndarray | None = None
    coverage: float | None = None
    frechet: float | None = None

    def __str__(self) -> str:
        return "diverged" if self.samples is None else f"{self.coverage:.2f} ({self.frechet:.1f})"


def cell_settings(
    settings: Settings, architecture: str, loss: str
) -> RunSettings[GANSettings, Sampling, NoSettings]:
    """The settings with which `experiments.gan` would train a cell.

    A critic has batch norm, and layer norm under a penalty, as in the paper, where the architecture
    does not say otherwise.
    """
    method = {"penalty": "none", "num_critic_steps": 1, **_LOSSES[loss]}
    norm = "batch" if method["penalty"] == "none" else "layer"
    rate = settings.learning_rate
    own = {"critic_norm": norm, **method, **_ARCHITECTURES[architecture]}
    return dataclasses.replace(
        EXPERIMENT.defaults(),
        run_dir=str(pathlib.Path(settings.run_dir) / f"{architecture}-{loss}"),
        data=settings.data,
        plan=Plan(settings.steps, settings.batch_size, checkpoint_every=settings.steps),
        optimizer=OptimizerSettings(learning_rate=rate, beta1=settings.beta1),
        training=TrainingSettings(ema_decay=0.99, seed=settings.seed),
        model=GANSettings(critic_learning_rate=rate, width=settings.width, **own),
    )


def train_cell(cell: Course) -> Cell:
    """Trains a cell, or finds what became of it, and measures its samples."""
    with course.opened(cell) as run:
        diverged = run.path / "diverged.txt"
        if diverged.is_file():
            return Cell()
        try:
            with errors_exit(1, CheckpointError), errors_exit(2, ValueError):
                state = course.try_to_train(cell, run)
        except NonFiniteError as error:
            write_atomically(diverged, f"{error}\n")
            return Cell()
        steps = cell.settings.plan.steps
        trained = Trained(run, cell.settings, cell.dataset, cell.info, cell.method, state, steps)
        record, samples = measurement.measure_samples(trained, NUM_SHOWN)
        measurement.write_sample_metrics(trained, record)
    values = record["metrics"]["samples"]
    return Cell(samples[:NUM_SHOWN], values["coverage"], values["Frechet distance of features"])
