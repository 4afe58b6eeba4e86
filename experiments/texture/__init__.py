"""The experiment of a Gaussian texture of one exemplar."""

from experiments.experiment import Experiment
from experiments.settings import Plan
from experiments.texture.build import build
from experiments.texture.diagnostics import diagnose
from experiments.texture.settings import Sampling, Settings

EXPERIMENT = Experiment(
    "texture",
    Settings,
    build,
    plan=Plan(steps=1, batch_size=1, steps_per_call=1, checkpoint_every=1),
    sampling=Sampling(),
    diagnose=diagnose,
    pictures="experiments.texture.pictures",
)
