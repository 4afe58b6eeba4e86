"""Builds the model and the algorithm of a VAE run, and what is fitted after its training."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import course
from experiments.encoding import encode_part
from experiments.experiment import Features, Method, RunSettings, Trained
from experiments.latent_flows import posterior_flow, prior_flow
from experiments.latent_mixtures import fit_mixture
from experiments.optimizers import make_optimizer
from experiments.settings import DataInfo, ImportanceSampling
from experiments.vae.settings import Sampling, Settings
from jaxgen import vae
from jaxgen.data import subset
from jaxgen.inverse.image_priors import LatentPrior
from jaxgen.training.state import TrainState
from jaxgen.vae import likelihoods, priors
from jaxgen.vae.decoding import bind

FITTED = "mixture.npz"  # The mixture fitted to the codes of a run, in its directory.
CODES = "autoencoder/codes.npy"  # Of the images shown, by an autoencoder of the same shape.
NUM_SHOWN = 2000  # Test images whose latents are shown.

_SHAPE = ("model", "latent_dim", "hidden_sizes", "channels", "dropout_rate", "likelihood")

VaeSettings = RunSettings[Settings, Sampling, ImportanceSampling]


def build_model(settings: VaeSettings, info: DataInfo) -> vae.VAE:
    """Builds the module of a run, or raises ValueError if a setting does not fit the data."""
    own = settings.model
    is_usual = own.likelihood == "auto"
    make = likelihoods.usual if is_usual else likelihoods.BY_NAME[own.likelihood]
    likelihood = make(levels=info.image_levels)
    common: dict[str, Any] = {
        "latent_dim": own.latent_dim,
        "dropout_rate": own.dropout_rate,
        "num_pseudo_inputs": own.num_pseudo_inputs,
        "dtype": jnp.dtype(settings.training.dtype),
    }
    if own.model == "mlp":
        model = vae.mlp_vae(info.shape, likelihood, hidden_sizes=own.hidden_sizes, **common)
    else:
        model = vae.conv_vae(info.shape, likelihood, channels=own.channels, **common)
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
        prior = priors.load_mixture(path / FITTED)
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


def _prior(
    model: vae.VAE, info: DataInfo, prior: priors.Prior | None, state: TrainState
) -> LatentPrior:
    """The images that the decoder expects, and the density that latents are sampled from."""
    bound = bind(model, state.eval_variables, levels=info.image_levels, prior=prior)
    return LatentPrior(bound.expected_images, (model.latent_dim,), bound.prior.log_prob)


def finish(trained: Trained) -> None:
    """Fits the mixture to the codes, and trains a plain autoencoder of the same shape."""
    settings, own, path = trained.settings, trained.settings.model, trained.directory.path
    codec = vae.codec(build_model(settings, trained.info), levels=trained.info.image_levels)
    if jax.process_index() == 0:
        encode = functools.partial(codec.encode, trained.state.eval_variables)
        codes = encode_part(encode, trained.dataset.train).mean
        num = min(own.mixture_components, len(codes))
        if num < own.mixture_components:
            print(f"mixture_components: {num}, as many as there are codes")
        priors.save_mixture(path / FITTED, fit_mixture(codes, num))
    if own.is_autoencoder or own.autoencoder_steps == 0:
        return
    print(f"training an autoencoder of the same shape for {own.autoencoder_steps} steps")
    reference = dataclasses.replace(
        settings,
        model=Settings(objective="autoencoder", **{name: getattr(own, name) for name in _SHAPE}),
        plan=dataclasses.replace(settings.plan, steps=own.autoencoder_steps),
    )
    algorithm = build(reference, trained.info, None).algorithm
    state = course.train_beside(trained, algorithm, reference.plan, path / "autoencoder")
    if jax.process_index() == 0:
        x = jnp.asarray(subset(trained.dataset.test, NUM_SHOWN)["x"])
        np.save(path / CODES, codec.encode(state.eval_variables, x).mean)
