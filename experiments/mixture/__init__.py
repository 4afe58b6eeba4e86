"""The experiment of a mixture of Gaussians."""

from experiments.experiment import Experiment
from experiments.mixture.build import build
from experiments.mixture.clusters import diagnose
from experiments.mixture.settings import Settings
from experiments.settings import ImportanceSampling, Plan, TrainingSettings

EXPERIMENT = Experiment(
    "mixture",
    Settings,
    build,
    plan=Plan(steps=100, batch_size=0, steps_per_call=10, checkpoint_every=50),
    training=TrainingSettings(ema_decay=0.0, draw_every=20),
    evaluation=ImportanceSampling(),
    diagnose=diagnose,
    pictures="experiments.mixture.pictures",
)
