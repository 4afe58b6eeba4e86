"""Finds a trained run again from its directory alone."""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import gan, vae
from experiments.settings import DataInfo, DataSettings, from_json
from jaxgen.training.loop import restore
from jaxgen.training.run_directory import RunDirectory, RunError, read_config
from jaxgen.types import Algorithm, PyTree

_EXPERIMENTS = {"gan": gan, "vae": vae}


class Run(NamedTuple):
    """A trained run.

    Attributes:
        directory: where it lies.
        info: about its data.
        data: the settings that load its data.
        algorithm: what was trained.
        step: training steps behind the state.
        state: the newest good checkpoint.
    """

    directory: RunDirectory
    info: DataInfo
    data: DataSettings
    algorithm: Algorithm
    step: int
    state: PyTree


def load_run(path: str) -> Run:
    """Rebuilds the algorithm of a run from its `config.json` and restores its newest good checkpoint.

    Raises:
        ValueError: if `path` is no run of these experiments, or has no checkpoint.
        CheckpointError: if all its checkpoints are damaged.
    """
    config = read_config(path)
    name = config.get("experiment")
    if name not in _EXPERIMENTS:
        raise RunError(
            f"{path}: its experiment is {name!r}; this version knows {', '.join(_EXPERIMENTS)}"
        )
    experiment = _EXPERIMENTS[name]
    settings: Any = from_json(experiment.Settings, config["settings"])
    info = from_json(DataInfo, config["data"])
    directory = RunDirectory(pathlib.Path(path).absolute())
    algorithm = experiment.build_for_sampling(settings, info, directory.path)
    step, state = restore(algorithm, directory, {"x": np.zeros((1, *info.shape), np.uint8)})
    return Run(directory, info, settings.data, algorithm, step, jax.device_put(state))
