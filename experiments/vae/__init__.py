"""The experiment of an autoencoder or a VAE."""

from experiments.experiment import Experiment
from experiments.vae.build import build, finish
from experiments.vae.settings import Evaluation, Sampling, Settings

EXPERIMENT = Experiment(
    "vae",
    Settings,
    build,
    sampling=Sampling,
    evaluation=Evaluation,
    free=("mixture_components", "autoencoder_steps"),
    finish=finish,
    pictures="experiments.vae.pictures",
)
