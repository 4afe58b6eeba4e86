"""Finds a trained run again from its directory alone."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.command_line import errors_exit, from_json, parse
from experiments.experiment import Experiment, Method, NoSettings, RunSettings, Trained
from experiments.families import FAMILIES
from experiments.settings import DataInfo
from jaxgen.data import Dataset
from jaxgen.training.loop import restore
from jaxgen.training.run_directory import CONFIG_FILE, RunDirectory, RunError, read_config
from jaxgen.types import PyTree


class Run(NamedTuple):
    """A run by its settings.

    Attributes:
        directory: where it lies.
        experiment: its family.
        settings: all of them.
        info: about its data.
    """

    directory: RunDirectory
    experiment: Experiment
    settings: RunSettings[Any, Any, Any]
    info: DataInfo


class Restored(NamedTuple):
    """What a run has learned.

    Attributes:
        settings: all of them, those of sampling and evaluation as they are now.
        method: that was trained.
        step: training steps behind the state.
        state: the newest good checkpoint.
    """

    settings: RunSettings[Any, Any, Any]
    method: Method
    step: int
    state: PyTree


def find_run(path: str) -> Run:
    """Reads the settings of a run.

    Raises:
        ValueError: if `path` is no run of these experiments.
    """
    path = os.path.abspath(os.path.expanduser(path))
    config = read_config(path)
    name = config.get("experiment")
    if name not in FAMILIES:
        raise RunError(f"{path}: experiment {name!r}, expected one of {', '.join(FAMILIES)}")
    experiment = FAMILIES[name]
    settings = from_json(experiment.settings, config["settings"])
    info = from_json(DataInfo, config["data"])
    return Run(RunDirectory(pathlib.Path(path)), experiment, settings, info)


def run_on_command_line() -> Run | None:
    """The run that the command line names, if any, whose sampling settings are then known."""
    for word in sys.argv[1:]:
        if os.path.isfile(os.path.join(os.path.expanduser(word), CONFIG_FILE)):
            return find_run(word)
    return None


def parse_for_run(
    choose: Callable[[RunSettings[Any, Any, Any]], Any],
    make_default: Callable[[Any], Any],
    name: str,
    doc: str | None,
) -> Any:
    """Reads a command line that has settings of the family of the run that it names.

    Args:
        choose: picks them from the settings of a run.
        make_default: makes the defaults of the command with them, of a dataclass that is generic in
            their type.
        name: of the script, as it is started.
        doc: its docstring.
    """
    with errors_exit(2, ValueError):
        named = run_on_command_line()
    own = NoSettings() if named is None else choose(named.settings)
    default = make_default(own)
    return parse(type(default)[type(own)], name, doc, default=default)


def restore_run(run: Run, *, sampling: Any = None, evaluation: Any = None) -> Restored:
    """Rebuilds the method of a run and restores its newest good checkpoint; says so if the run is
    not finished.

    Args:
        run: by its settings.
        sampling: settings in place of the run's own.
        evaluation: likewise.

    Raises:
        ValueError: if there is no checkpoint, or it belongs to another model.
        CheckpointError: if all checkpoints are damaged.
    """
    settings = run.settings
    if sampling is not None:
        settings = dataclasses.replace(settings, sampling=sampling)
    if evaluation is not None:
        settings = dataclasses.replace(settings, evaluation=evaluation)
    method = run.experiment.build(settings, run.info, run.directory.path)
    step, state = restore(method.algorithm, run.directory, _like_batch(run, method))
    if step < settings.plan.steps:
        print(f"{run.directory.path} is not finished: step {step:,} of {settings.plan.steps:,}")
    return Restored(settings, method, step, jax.device_put(state))


def trained_run(run: Run, restored: Restored, dataset: Dataset) -> Trained:
    """A restored run with its data."""
    return Trained(
        run.directory,
        restored.settings,
        dataset,
        run.info,
        restored.method,
        restored.state,
        restored.step,
    )


def _like_batch(run: Run, method: Method) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a batch of the training data."""
    plan = run.settings.plan.settled(run.info.num_train, batches_per_step=method.batches_per_step)
    num = plan.batch_size
    batch = {"x": jax.ShapeDtypeStruct((num, *run.info.shape), run.info.dtype)}
    if run.info.class_names is not None:
        batch["label"] = jax.ShapeDtypeStruct((num,), jnp.int32)
    return batch
