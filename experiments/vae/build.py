"""Builds the model and the algorithm of a VAE run, and what is fitted after its training."""

import functools
import pathlib
from typing import Any

import jax
import optax

from experiments import latent_comparison, latent_mixtures
from experiments.encoding import encode_part
from experiments.experiment import Features, Method, RunSettings, Trained
from experiments.latent_flows import posterior_flow, prior_flow
from experiments.optimizers import make_optimizer
from experiments.settings import DataInfo, ImportanceSampling
from experiments.vae.settings import Sampling, Settings
from jaxgen import vae
from jaxgen.training.state import TrainState
from jaxgen.vae import priors
from jaxgen.vae.decoding import bind

VaeSettings = RunSettings[Settings, Sampling, ImportanceSampling]


def build_model(settings: VaeSettings, info: DataInfo) -> vae.VAE:
    """Builds the module of a run, or raises ValueError if a setting does not fit the data."""
    own = settings.model
    make = vae.mlp_vae if own.model == "mlp" else vae.conv_vae
    model = make(
        info.shape,
        own.make_likelihood(info.image_levels),
        num_pseudo_inputs=own.num_pseudo_inputs if own.prior == "vamp" else 0,
        **own.options(settings.training.dtype),
    )
    return model.clone(
        prior_module=prior_flow(own.latent_dim) if own.prior == "flow" else None,
        posterior_bijector=posterior_flow(own.latent_dim) if own.posterior == "iaf" else None,
    )


def build(settings: VaeSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm; a finished run samples from its mixture, where that is asked for."""
    own, model = settings.model, build_model(settings, info)
    optimizer = make_optimizer(settings.optimizer, settings.plan.steps)
    common: dict[str, Any] = {"levels": info.levels, "ema_decay": settings.training.ema_decay}
    bounds = {**common, "num_importance_samples": settings.evaluation.importance_samples}
    if own.is_autoencoder:
        algorithm = vae.autoencoder_algorithm(
            model,
            optimizer,
            masking_probability=own.masking_probability * (own.objective == "denoising"),
            activity_weight=own.activity_weight * (own.objective == "sparse"),
            **common,
        )
    elif own.objective == "importance_weighted":
        algorithm = vae.importance_weighted_algorithm(
            model, optimizer, num_samples=own.num_samples, **bounds
        )
    else:
        rise = optax.linear_schedule(0.0, own.beta, own.kl_warm_up_steps)
        beta = rise if own.kl_warm_up_steps else own.beta
        algorithm = vae.elbo_algorithm(
            model, optimizer, beta=beta, free_bits=own.free_bits, **bounds
        )
    prior, chosen = None, settings.sampling.latents
    if path is not None and (chosen == "mixture" or (chosen == "auto" and own.is_autoencoder)):
        prior = latent_mixtures.load(path)
    temperature = settings.sampling.temperature
    sample = vae.sampler(model, levels=info.image_levels, prior=prior, temperature=temperature)
    words = f"{own.objective.replace('_', '-')}, {own.model} networks, {own.latent_dim} latents"
    if not own.has_closed_form:
        words += f", {own.prior} prior, {own.posterior} posterior"
    codec = vae.codec(model, levels=info.image_levels)
    features = Features(
        "posterior means", lambda state, x: codec.encode(state.eval_variables, x).mean
    )
    return Method(
        algorithm._replace(sample=sample),
        words,
        features=features,
        prior=functools.partial(_prior, model, info, prior),
    )


def _prior(model: vae.VAE, info: DataInfo, prior: priors.Prior | None, state: TrainState) -> Any:
    """The images that the decoder expects, and the density that latents are sampled from."""
    from jaxgen.inverse import LatentPrior  # It would delay the first step of a training.

    bound = bind(model, state.eval_variables, levels=info.image_levels, prior=prior)
    return LatentPrior(bound.expected_images, (model.latent_dim,), bound.prior.log_prob)


def finish(trained: Trained) -> None:
    """Fits the mixture to the codes, and trains a plain autoencoder of the same shape."""
    own, features = trained.settings.model, trained.method.features
    if jax.process_index() == 0:
        assert features is not None  # Those of every VAE.
        encode = functools.partial(features.extract, trained.state)
        codes = encode_part(encode, trained.dataset.train)
        latent_mixtures.fit(trained.directory.path, codes, own.mixture_components)
    if own.autoencoder_steps and not own.is_autoencoder:
        model = build_model(trained.settings, trained.info)
        latent_comparison.train_autoencoder(trained, model, own.autoencoder_steps)
