"""Trains a generative adversarial network, draws what it generates and measures it.

python -m experiments.gan                                                        # digits, no download
python -m experiments.gan --loss hinge --spectral --penalty none --run-dir runs/sngan
python -m experiments.gan --loss wasserstein --penalty wgan_gp --penalty-weight 10 --num-critic-steps 5 --batch-size 320
"""

import dataclasses
import math
import pathlib
import shlex
import sys
from typing import Any, Literal

import flax.linen as nn
import jax
import optax
import rich.console

from experiments import training
from experiments.settings import (
    DataInfo,
    DataSettings,
    TrainingSettings,
    errors_exit,
    parse,
    require,
    require_at_least,
)
from jaxgen import gan
from jaxgen.training.platform import configure
from jaxgen.types import Algorithm

_PENALTIES: dict[str, gan.updates.Penalty] = {
    "wgan_gp": gan.penalties.gradient_penalty,
    "dragan": lambda key, critic, real, fake: gan.penalties.dragan(key, critic, real),
    "r1": lambda key, critic, real, fake: gan.penalties.zero_centered(critic, real),
    "r2": lambda key, critic, real, fake: gan.penalties.zero_centered(critic, fake),
    "r1_r2": lambda key, critic, real, fake: (
        gan.penalties.zero_centered(critic, real) + gan.penalties.zero_centered(critic, fake)
    ),
}
_OBJECTIVES = {
    "minimax": gan.objectives.minimax,
    "nonsaturating": gan.objectives.nonsaturating,
    "least_squares": gan.objectives.least_squares,
    "hinge": gan.objectives.hinge,
    "wasserstein": gan.objectives.wasserstein,
    "relativistic": gan.objectives.relativistic,
}
_NETWORKS: dict[str, tuple[Any, Any]] = {
    "mlp": (gan.models.MLPGenerator, gan.models.MLPCritic),
    "dcgan": (gan.models.DCGANGenerator, gan.models.DCGANCritic),
    "resnet": (gan.resnet.ResNetGenerator, gan.resnet.ResNetCritic),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a GAN run."""

    run_dir: str = "runs/gan"
    """Directory of the run; the same line with the same directory goes on where it stopped."""
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    training: TrainingSettings = dataclasses.field(
        default_factory=lambda: TrainingSettings(steps=5000, batch_size=64, learning_rate=5e-4)
    )
    loss: Literal[
        "minimax", "nonsaturating", "least_squares", "hinge", "wasserstein", "relativistic"
    ] = "nonsaturating"
    """What critic and generator minimise."""
    penalty: Literal["none", "wgan_gp", "r1", "r2", "r1_r2", "dragan"] = "r1"
    """Gradient penalty added to the critic's loss."""
    penalty_weight: float = 0.3
    """Weight of the penalty; for wgan_gp and dragan 10 is usual."""
    penalty_interval: int = 1
    """Critic steps from one penalty to the next, which then counts as many times (lazy regularization)."""
    weight_clip: float = 0.0
    """Bound on every critic weight (wasserstein without a penalty); 0 for none."""
    num_critic_steps: int = 1
    """Critic steps before each generator step; a batch is shared out among them."""
    updates: Literal["alternating", "simultaneous"] = "alternating"
    """Whether the generator meets the critic's new parameters or its old ones."""
    model: Literal["mlp", "dcgan", "resnet"] = "dcgan"
    """Networks of both players."""
    width: int = 32
    """Channels of the largest feature maps (dcgan, resnet)."""
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
    """Standard deviation of normal noise on what the critic sees; it falls linearly to 0 at the last step."""
    draw_every: int = 200
    """Steps from one frame of the film to the next."""

    def __post_init__(self) -> None:
        least = {
            "penalty_interval": 1,
            "num_critic_steps": 1,
            "width": 1,
            "latent_dim": 1,
            "draw_every": 1,
            "penalty_weight": 0.0,
            "weight_clip": 0.0,
            "instance_noise": 0.0,
        }
        require_at_least(self, least)
        rate = self.critic_learning_rate
        require(0.0 < rate < math.inf, "critic_learning_rate", rate, "a finite number above 0")
        for name in ("beta1", "beta2"):
            require(0.0 <= getattr(self, name) < 1.0, name, getattr(self, name), "in [0, 1)")
        require(min(self.hidden_sizes, default=1) >= 1, "hidden_sizes", self.hidden_sizes, "1 up")
        check_combination(self)


def check_combination(settings: Settings) -> None:
    """Refuses settings that make no sense together.

    Raises:
        ValueError: with the reason.
    """
    has_penalty = settings.penalty != "none"
    refusals = {
        "loss: wasserstein needs a critic of bounded slope: add --penalty wgan_gp, --weight-clip 0.01 or --spectral": (
            settings.loss == "wasserstein"
            and not (has_penalty or settings.weight_clip or settings.spectral)
        ),
        "weight_clip: it bounds the slope of a Wasserstein critic; this loss does not ask for that": (
            settings.weight_clip > 0.0 and settings.loss != "wasserstein"
        ),
        "weight_clip: the penalty bounds the slope already; choose one": (
            settings.weight_clip > 0.0 and has_penalty
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
        "num_critic_steps: it must divide batch_size, which is shared out among the critic's steps": (
            settings.training.batch_size % settings.num_critic_steps > 0
        ),
    }
    for message, is_bad in refusals.items():
        if is_bad:
            raise ValueError(message)


def build_game(settings: Settings, info: DataInfo) -> gan.Game:
    """Builds the networks, the objective and the rules of a run.

    Raises:
        ValueError: if labels are asked for and the data have none.
    """
    if settings.conditional and info.class_names is None:
        raise ValueError("conditional: this data set has no labels")
    num_classes = len(info.class_names or ()) if settings.conditional else None
    generator_class, critic_class = _NETWORKS[settings.model]
    size: dict[str, Any] = {"width": settings.width}
    if settings.model == "mlp":
        size = {"hidden_sizes": settings.hidden_sizes}
    generator: nn.Module = generator_class(
        info.shape, num_classes=num_classes, norm=settings.generator_norm, **size
    )
    critic: nn.Module = critic_class(
        num_classes=num_classes, norm=settings.critic_norm, spectral=settings.spectral, **size
    )
    noise = optax.linear_schedule(settings.instance_noise, 0.0, settings.training.steps)
    has_penalty = settings.penalty != "none"
    rules = gan.Rules(
        penalty=_PENALTIES[settings.penalty] if has_penalty else None,
        penalty_weight=settings.penalty_weight if has_penalty else 0.0,
        penalty_interval=settings.penalty_interval,
        weight_clip=settings.weight_clip or None,
        instance_noise=noise if settings.instance_noise else 0.0,
    )
    return gan.Game(
        generator,
        critic,
        _OBJECTIVES[settings.loss],
        rules,
        latent_dim=settings.latent_dim,
        levels=info.levels,
        ema_decay=settings.training.ema_decay,
    )


def build(settings: Settings, game: gan.Game) -> Algorithm:
    """Builds the algorithm of a run."""
    betas = settings.beta1, settings.beta2
    optimizers = (
        optax.adam(settings.training.learning_rate, *betas),
        optax.adam(settings.critic_learning_rate, *betas),
    )
    if settings.updates == "simultaneous":
        return gan.simultaneous_algorithm(game, *optimizers)
    return gan.alternating_algorithm(game, *optimizers, num_critic_steps=settings.num_critic_steps)


def build_for_sampling(settings: Settings, info: DataInfo, path: pathlib.Path) -> Algorithm:
    """Builds the algorithm of a trained run."""
    del path
    return build(settings, build_game(settings, info))


def main() -> None:
    """Trains, measures and draws; the same line goes on where it stopped."""
    settings = parse(Settings, "experiments.gan", __doc__)
    configure(distributed=settings.training.distributed)
    with errors_exit(2, ValueError):
        dataset = settings.data.load()
        info = DataInfo.of(dataset)
        game = build_game(settings, info)
        algorithm = build(settings, game)
        training.check(dataset, settings.training)
    with training.open_experiment("gan", settings, info, free_settings=("draw_every",)) as run:
        from experiments import gan_pictures
        from experiments.report import write_report

        film = gan_pictures.film(run, game, info)
        state = training.train(
            algorithm,
            dataset,
            run,
            settings.training,
            draw=film,
            draw_every=settings.draw_every,
        )
        training.measure(algorithm, state, dataset, run, step=settings.training.steps)
        if jax.process_index() == 0:
            rich.console.Console().print(gan_pictures.draw(run, dataset, info, game, state))
            command = shlex.join(["python", "-m", "experiments.gan", *sys.argv[1:]])
            print(f"report: {write_report(run.path, command=command)}")


if __name__ == "__main__":
    main()
