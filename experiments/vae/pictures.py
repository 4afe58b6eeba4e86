"""The pictures of a VAE run that only it has: its mixture, latent planes, the use of latents."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import latent_comparison, latent_mixtures
from experiments.encoding import encode_part
from experiments.experiment import Trained
from experiments.latent_pictures import draw_encoded
from experiments.vae.build import build_model
from jaxgen import plots, vae
from jaxgen.distributions import normal_kl_per_dimension
from jaxgen.training.metrics_log import read_metrics
from jaxgen.vae import health
from jaxgen.vae.diagnostics import active_units, describe_collapse


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`, and says whether the posterior has collapsed."""
    folder, info, variables = trained.directory.samples, trained.info, trained.state.eval_variables
    codec = vae.codec(build_model(trained.settings, info), levels=info.image_levels)
    decode = functools.partial(codec.decode, variables)
    batch = latent_comparison.images(trained.dataset)
    posterior = encode_part(functools.partial(codec.encode, variables), trained.dataset.test)
    kl = None
    if trained.settings.model.has_closed_form:
        kl = np.asarray(normal_kl_per_dimension(posterior)).mean(axis=0)
    draw_encoded(trained, batch, kl, lambda x: codec.encode(variables, jnp.asarray(x)).mean, decode)
    fitted = latent_mixtures.load(trained.directory.path).sample(jax.random.key(0), 64)
    path, x = folder / "means_of_mixture_samples.png", np.asarray(decode(fitted))
    plots.save_grid(path, x, levels=info.image_levels)
    z = posterior.mean[: len(batch["x"])]  # The first of a larger subset.
    latent_comparison.draw(trained, z, batch.get("label"))
    if not trained.settings.model.is_autoencoder and len(posterior.mean) > 1:
        variance, is_active = active_units(jnp.asarray(posterior.mean))
        if kl is not None:
            health.latent_health(folder / "latent_health.png", kl, np.asarray(variance))
        print(describe_collapse(int(is_active.sum()), posterior.mean.shape[1]))
    rows = [row for row in read_metrics(trained.directory.path) if "rate" in row]
    if rows:
        columns = (np.array([row[name] for row in rows]) for name in ("step", "rate", "distortion"))
        health.rate_distortion(folder / "rate_distortion.png", *columns)
