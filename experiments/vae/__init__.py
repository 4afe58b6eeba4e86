"""The experiment of an autoencoder or a VAE."""

from experiments.experiment import Experiment
from experiments.settings import ImportanceSampling
from experiments.vae.build import build, finish
from experiments.vae.settings import Sampling, Settings

EXPERIMENT = Experiment(
    "vae",
    Settings,
    build,
    sampling=Sampling(),
    evaluation=ImportanceSampling(100),
    free=("mixture_components", "autoencoder_steps"),
    finish=finish,
    pictures="experiments.vae.pictures",
)
