"""The experiment of a normalizing flow."""

from experiments.experiment import Experiment
from experiments.flow.build import build
from experiments.flow.inversion import diagnose
from experiments.flow.settings import Sampling, Settings
from experiments.settings import ImportanceSampling, OptimizerSettings, Plan

EXPERIMENT = Experiment(
    "flow",
    Settings,
    build,
    optimizer=OptimizerSettings(clip_norm=50.0),
    plan=Plan(steps=1200, batch_size=64),
    sampling=Sampling(),
    evaluation=ImportanceSampling(),
    diagnose=diagnose,
    pictures="experiments.flow.pictures",
)
