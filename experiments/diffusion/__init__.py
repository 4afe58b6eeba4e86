"""The experiment of a diffusion model."""

from experiments.diffusion.build import build
from experiments.diffusion.settings import Evaluation, Sampling, Settings
from experiments.experiment import Experiment
from experiments.settings import OptimizerSettings, Plan

EXPERIMENT = Experiment(
    "diffusion",
    Settings,
    build,
    optimizer=OptimizerSettings(learning_rate=2e-3, clip_norm=1.0, warm_up_steps=100),
    plan=Plan(steps=2500, batch_size=64),
    sampling=Sampling(),
    evaluation=Evaluation(),
    pictures="experiments.diffusion.pictures",
)
