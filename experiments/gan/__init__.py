"""The experiment of a generative adversarial network."""

from experiments.experiment import Experiment
from experiments.gan.build import build
from experiments.gan.settings import Sampling, Settings
from experiments.settings import OptimizerSettings, Plan

EXPERIMENT = Experiment(
    "gan",
    Settings,
    build,
    optimizer=OptimizerSettings(learning_rate=5e-4, beta1=0.0),
    plan=Plan(steps=5000, batch_size=64),
    sampling=Sampling(),
    pictures="experiments.gan.pictures",
)
