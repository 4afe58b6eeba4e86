"""A plain autoencoder trained beside a VAE of the same shape, and a figure of both latents."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import course
from experiments.experiment import Trained
from experiments.optimizers import make_optimizer
from jaxgen import vae
from jaxgen.data import Dataset, subset
from jaxgen.data.dataset import NumpyBatch

_NUM_SHOWN = 2000
_FOLDER = "autoencoder"  # In the directory of the run.
_CODES = "codes.npy"


def images(dataset: Dataset) -> NumpyBatch:
    """The test images whose latents are shown."""
    return subset(dataset.test, _NUM_SHOWN)


def train_autoencoder(trained: Trained, model: vae.VAE, steps: int) -> None:
    """Trains the networks of a model as an autoencoder, and keeps its codes of the images shown."""
    print(f"training an autoencoder of the same shape for {steps} steps")
    settings, levels = trained.settings, trained.info.image_levels
    plain = model.clone(pseudo_inputs_shape=None, prior_module=None, posterior_bijector=None)
    optimizer = make_optimizer(settings.optimizer, steps)
    algorithm = vae.autoencoder_algorithm(
        plain, optimizer, levels=levels, ema_decay=settings.training.ema_decay
    )
    state = course.train_beside(trained, algorithm, steps, _FOLDER)
    if jax.process_index() == 0:
        x = jnp.asarray(images(trained.dataset)["x"])
        codes = vae.codec(plain, levels=levels).encode(state.eval_variables, x).mean
        np.save(trained.directory.path / _FOLDER / _CODES, codes)


def draw(trained: Trained, z: np.ndarray, label: np.ndarray | None) -> None:
    """Draws the latents of the images shown, beside the autoencoder's where there is one."""
    from jaxgen import figures  # Matplotlib would delay the first step.

    latents, codes = {"latents": z}, trained.directory.path / _FOLDER / _CODES
    if codes.is_file():
        latents = {"autoencoder": np.load(codes, allow_pickle=False), "VAE": z}
    path, names = trained.directory.samples / "latents.png", trained.info.class_names
    figures.latent_comparison(path, latents, label, names)
