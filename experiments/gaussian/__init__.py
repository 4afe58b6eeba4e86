"""The experiment of a Gaussian of images."""

from experiments.experiment import Experiment
from experiments.gaussian.build import build
from experiments.gaussian.calibration import diagnose
from experiments.gaussian.settings import Settings
from experiments.settings import ImportanceSampling, Plan, TrainingSettings

EXPERIMENT = Experiment(
    "gaussian",
    Settings,
    build,
    plan=Plan(steps=1, batch_size=0, steps_per_call=1, checkpoint_every=1),
    training=TrainingSettings(ema_decay=0.0),
    evaluation=ImportanceSampling(),
    diagnose=diagnose,
    pictures="experiments.gaussian.pictures",
)
