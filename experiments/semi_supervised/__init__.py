"""The experiment of M2, the VAE that learns classes from a few labels and all images."""

from experiments.experiment import Experiment
from experiments.semi_supervised.build import build, finish
from experiments.semi_supervised.settings import Settings

EXPERIMENT = Experiment(
    "semi_supervised",
    Settings,
    build,
    free=("supervised_steps",),
    finish=finish,
    pictures="experiments.semi_supervised.pictures",
)
