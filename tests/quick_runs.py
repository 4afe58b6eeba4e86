"""Runs that are trained for a few steps and neither measured nor drawn, for commands on any run."""

import dataclasses

from experiments import course
from experiments.flow import EXPERIMENT
from experiments.flow.settings import Settings
from experiments.settings import ImportanceSampling


def train(experiment, run_dir, *, dataset="digits", **parts):
    """Trains a run of a family with the parts of its settings given."""
    settings = dataclasses.replace(experiment.defaults(), run_dir=str(run_dir), **parts)
    data = dataclasses.replace(settings.data, dataset=str(dataset))
    settings = dataclasses.replace(settings, data=data)
    prepared = course.prepare(experiment, settings, data.load())
    with course.opened(prepared) as run:
        course.train(prepared, run)


def train_flow(run_dir, *, dataset="digits", steps=4):
    """Trains a tiny flow of each class."""
    plan = dataclasses.replace(EXPERIMENT.plan, steps=steps, steps_per_call=2)
    model = Settings(num_layers=2, num_levels=1, num_features=4, conditional=True)
    train(
        EXPERIMENT,
        run_dir,
        dataset=dataset,
        plan=plan,
        model=model,
        evaluation=ImportanceSampling(1),
    )
