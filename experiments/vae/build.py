"""Builds the model and the algorithm that the settings of a VAE run name."""

import pathlib
from typing import Any

import optax

from experiments.settings import DataInfo
from experiments.vae.settings import Settings, is_autoencoder
from jaxgen import vae
from jaxgen.distributions import NormalMixture
from jaxgen.types import Algorithm

MIXTURE_FILE = "mixture.npz"
"""The mixture fitted to the codes of a run, in its directory."""

_LIKELIHOODS = {
    "bernoulli": vae.likelihoods.bernoulli,
    "categorical": vae.likelihoods.categorical,
    "discretized_logistic": vae.likelihoods.discretized_logistic,
    "gaussian": vae.likelihoods.gaussian,
    "gaussian_learned_variance": vae.likelihoods.gaussian_learned_variance,
}


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


def build_for_sampling(settings: Settings, info: DataInfo, path: pathlib.Path) -> Algorithm:
    """Builds the algorithm of a trained run; an autoencoder's samples come from the mixture fitted to its codes."""
    fitted = path / MIXTURE_FILE
    has_mixture = is_autoencoder(settings) and fitted.is_file()
    return build(settings, info, prior=vae.priors.load_mixture(fitted) if has_mixture else None)
