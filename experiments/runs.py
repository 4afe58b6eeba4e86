"""Finds a trained run again from its directory alone."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.gan.build import build_for_sampling as build_gan
from experiments.gan.settings import Settings as GANSettings
from experiments.settings import DataInfo, DataSettings, from_json
from experiments.vae.build import build_for_sampling as build_vae
from experiments.vae.settings import Settings as VAESettings
from jaxgen.training.loop import restore
from jaxgen.training.run_directory import RunDirectory, RunError, read_config
from jaxgen.types import Algorithm, PyTree

_EXPERIMENTS: dict[str, tuple[Any, Callable[..., Algorithm]]] = {
    "gan": (GANSettings, build_gan),
    "vae": (VAESettings, build_vae),
}


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
    settings_class, build = _EXPERIMENTS[name]
    settings: Any = from_json(settings_class, config["settings"])
    info = from_json(DataInfo, config["data"])
    directory = RunDirectory(pathlib.Path(path).absolute())
    algorithm = build(settings, info, directory.path)
    step, state = restore(algorithm, directory, {"x": np.zeros((1, *info.shape), np.uint8)})
    return Run(directory, info, settings.data, algorithm, step, jax.device_put(state))
