"""The experiment of an autoregressive model."""

from experiments.autoregressive.build import build
from experiments.autoregressive.reach import diagnose
from experiments.autoregressive.settings import Sampling, Settings
from experiments.experiment import Experiment
from experiments.settings import OptimizerSettings, Plan

EXPERIMENT = Experiment(
    "autoregressive",
    Settings,
    build,
    optimizer=OptimizerSettings(clip_norm=50.0),
    plan=Plan(steps=600, batch_size=64),
    sampling=Sampling(),
    diagnose=diagnose,
    pictures="experiments.autoregressive.pictures",
)
