"""Trains an autoencoder or a variational autoencoder, measures it on the test images and draws what it has learned.

python -m experiments.vae                                                        # digits, no download
python -m experiments.vae --dataset mnist --data-dir DIR --model conv --run-dir runs/mnist
"""

import dataclasses
import pathlib
import shlex
import sys
from typing import Any, Literal

import jax
import optax

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
from jaxgen import vae
from jaxgen.data.dataset import Dataset
from jaxgen.distributions import NormalMixture
from jaxgen.training.platform import configure
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm, PyTree

MIXTURE_FILE = "mixture.npz"
"""The mixture fitted to the codes of a run, in its directory."""

_FREE_SETTINGS = ("importance_samples", "mixture_components", "autoencoder_steps")

_LIKELIHOODS = {
    "bernoulli": vae.likelihoods.bernoulli,
    "categorical": vae.likelihoods.categorical,
    "discretized_logistic": vae.likelihoods.discretized_logistic,
    "gaussian": vae.likelihoods.gaussian,
    "gaussian_learned_variance": vae.likelihoods.gaussian_learned_variance,
}


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


def build_model(settings: Settings, info: DataInfo) -> vae.VAE:
    """Builds the module of a run.

    Raises:
        ValueError: if a setting does not fit the data.
    """
    likelihood = _likelihood(settings, info.levels)
    common: dict[str, Any] = {
        "latent_dim": settings.latent_dim,
        "dropout_rate": settings.dropout_rate,
        "num_pseudo_inputs": settings.num_pseudo_inputs,
    }
    if settings.model == "mlp":
        return vae.mlp_vae(info.shape, likelihood, hidden_sizes=settings.hidden_sizes, **common)
    return vae.conv_vae(info.shape, likelihood, channels=settings.channels, **common)


def _likelihood(settings: Settings, levels: int) -> vae.likelihoods.Likelihood:
    name: str = settings.likelihood
    if name == "auto":
        by_levels = "categorical" if levels <= 32 else "discretized_logistic"
        name = "bernoulli" if levels == 2 else by_levels
    return _LIKELIHOODS[name](levels=levels)


def build(settings: Settings, info: DataInfo, *, prior: NormalMixture | None = None) -> Algorithm:
    """Builds the algorithm of a run.

    Args:
        settings: of the run.
        info: about the data.
        prior: a mixture to install in place of the model's prior.

    Returns:
        The algorithm.

    Raises:
        ValueError: if a setting does not fit the data or another setting.
    """
    model = build_model(settings, info)
    common: dict[str, Any] = {
        "levels": info.levels,
        "prior": prior,
        "ema_decay": settings.training.ema_decay,
    }
    optimizer = optax.adam(settings.training.learning_rate)
    if is_autoencoder(settings):
        is_denoising, is_sparse = (settings.objective == name for name in ("denoising", "sparse"))
        return vae.autoencoder_algorithm(
            model,
            optimizer,
            masking_probability=settings.masking_probability if is_denoising else 0.0,
            activity_weight=settings.activity_weight if is_sparse else 0.0,
            **common,
        )
    common["num_importance_samples"] = settings.importance_samples
    if settings.objective == "importance_weighted":
        return vae.importance_weighted_algorithm(
            model, optimizer, num_samples=settings.num_samples, **common
        )
    beta = optax.linear_schedule(0.0, settings.beta, settings.warm_up_steps)
    needs_draws = settings.num_pseudo_inputs or prior is not None
    return vae.elbo_algorithm(
        model,
        optimizer,
        beta=beta if settings.warm_up_steps else settings.beta,
        kl="monte_carlo" if needs_draws else "closed_form",
        free_bits=settings.free_bits,
        **common,
    )


def is_autoencoder(settings: Settings) -> bool:
    """Tells whether the objective has no likelihood bound."""
    return settings.objective in ("autoencoder", "denoising", "sparse")


def build_for_sampling(settings: Settings, info: DataInfo, path: pathlib.Path) -> Algorithm:
    """Builds the algorithm of a trained run; an autoencoder's samples come from the mixture fitted to its codes."""
    fitted = path / MIXTURE_FILE
    has_mixture = is_autoencoder(settings) and fitted.is_file()
    return build(settings, info, prior=vae.priors.load_mixture(fitted) if has_mixture else None)


def train_twin(
    settings: Settings, info: DataInfo, dataset: Dataset, run: RunDirectory
) -> tuple[vae.VAE, PyTree] | None:
    """Trains a plain autoencoder of the same shape in a folder of the run; returns it with its variables."""
    if is_autoencoder(settings) or settings.autoencoder_steps < 1:
        return None
    print(f"training an autoencoder of the same shape for {settings.autoencoder_steps} steps")
    short = dataclasses.replace(settings.training, steps=settings.autoencoder_steps)
    twin = dataclasses.replace(
        settings, objective="autoencoder", training=short, num_pseudo_inputs=0
    )
    folder = RunDirectory(run.path / "autoencoder")
    folder.path.mkdir(exist_ok=True)
    state = training.train(build(twin, info), dataset, folder, short)
    return build_model(twin, info), state.eval_variables


def draw(
    settings: Settings,
    info: DataInfo,
    dataset: Dataset,
    run: RunDirectory,
    state: PyTree,
    twin: tuple[vae.VAE, PyTree] | None,
) -> None:
    """Fits the mixture to the codes, draws every picture and writes the report."""
    # Matplotlib is loaded here, since it would delay the first step by a fifth.
    from experiments import vae_pictures
    from experiments.report import write_report

    codec = vae_pictures.make_codec(build_model(settings, info), state.eval_variables, info)
    codes, _ = vae_pictures.encode_split(codec, dataset.train, info)
    num_components = min(settings.mixture_components, len(codes))
    mixture = vae.priors.fit_mixture(codes, num_components=num_components)
    vae.priors.save_mixture(run.path / MIXTURE_FILE, mixture)
    twin_codec = vae_pictures.make_codec(*twin, info) if twin else None
    vae_pictures.draw(run, dataset, info, codec, mixture, twin_codec)
    if not is_autoencoder(settings):
        print(vae_pictures.draw_health(run, dataset, info, codec))
    command = shlex.join(["python", "-m", "experiments.vae", *sys.argv[1:]])
    print(f"report: {write_report(run.path, command=command)}")


def main() -> None:
    """Trains, measures and draws; the same line goes on where it stopped."""
    settings = parse(Settings, "experiments.vae", __doc__)
    configure(distributed=settings.training.distributed)
    with errors_exit(2, ValueError):
        dataset = settings.data.load()
        info = DataInfo.of(dataset)
        algorithm = build(settings, info)
        training.check(dataset, settings.training)
    with training.open_experiment("vae", settings, info, free_settings=_FREE_SETTINGS) as run:
        state = training.train(algorithm, dataset, run, settings.training)
        training.measure(algorithm, state, dataset, run, step=settings.training.steps)
        twin = train_twin(settings, info, dataset, run)
        if jax.process_index() == 0:
            draw(settings, info, dataset, run, state, twin)


if __name__ == "__main__":
    main()
