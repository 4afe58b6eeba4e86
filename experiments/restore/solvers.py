"""The runs that restore: which of those given can, and what each is as a prior."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.ranges import require
from experiments.restore import solving
from experiments.restore.settings import Settings
from experiments.runs import Restored, Run, find_run, restore_run
from experiments.settings import DataInfo
from jaxgen import inverse
from jaxgen.inverse import DiffusionPrior, LatentPrior, Prior
from jaxgen.types import PyTree

_NO_PRIOR = (
    "vectors, textures and M2 have none, conditional runs only where they drop labels in training"
)


class Solver(NamedTuple):
    """A run as a prior.

    Attributes:
        name: of the run, for the table.
        run: by its settings.
        prior_of: ``state -> prior``.
        state: what it has learned.
        methods: that are asked for.
    """

    name: str
    run: Run
    prior_of: Callable[[PyTree], Prior]
    state: PyTree
    methods: tuple[str, ...]


def serving(paths: tuple[str, ...]) -> dict[str, Run]:
    """The runs that have a prior and the data of the first of them, by their paths; says of the
    others that they are left out.

    Raises:
        ValueError: if there is none, or a run is given twice.
    """
    runs = [find_run(path) for path in paths]
    folders = [run.directory.path for run in runs]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    require(twice is None, "runs", f"{twice}, twice", "each once")
    found = {path: run for path, run in zip(paths, runs, strict=True) if has_prior(run)}
    require(bool(found), "runs", "none with a prior", f"one at least; {_NO_PRIOR}")
    first, reference = next(iter(found.items()))
    alike = {path: run for path, run in found.items() if data_of(run) == data_of(reference)}
    for path in paths:
        if path not in found:
            print(f"left out: {path}, without a prior; {_NO_PRIOR}")
        elif path not in alike:
            print(f"left out: {path}, since its data are not those of {first}")
    return alike


def has_prior(run: Run) -> bool:
    """Whether a run can be restored as a prior of images."""
    method = run.experiment.build(run.settings, run.info, run.directory.path)
    return method.prior is not None


def data_of(run: Run) -> tuple[DataInfo, str]:
    """What tells the data of a run from others; a folder that has moved keeps its digest."""
    return run.info, run.info.digest or run.settings.data.dataset


def names_of(runs: tuple[str, ...]) -> list[str]:
    """The names of their folders; of those that share a name, the whole path."""
    names = [pathlib.Path(run).resolve().name for run in runs]
    return [name if names.count(name) == 1 else run for name, run in zip(names, runs, strict=True)]


def make_solvers(settings: Settings, runs: dict[str, Run], train: np.ndarray) -> list[Solver]:
    """The runs as priors.

    Raises:
        ValueError: if none has the method that is asked for.
    """
    solvers = [
        make_solver(settings, name, run, train)
        for name, run in zip(names_of(tuple(runs)), runs.values(), strict=True)
    ]
    known = {name for s in solvers for name in inverse.methods_of(s.prior_of(s.state))}
    is_good = settings.method in known | {"auto", "all"}
    require(is_good, "method", settings.method, f"auto, all, {', '.join(sorted(known))}")
    return solvers


def make_solver(settings: Settings, name: str, run: Run, train: np.ndarray) -> Solver:
    """Restores a run as a prior; a decoder is told how near it comes to train images."""
    sampling = run.settings.sampling
    if hasattr(sampling, "num_sampling_steps"):
        steps = settings.num_sampling_steps
        sampling = dataclasses.replace(sampling, num_sampling_steps=steps)
    restored: Restored = restore_run(run, sampling=sampling)
    prior_of = restored.method.prior
    assert prior_of is not None  # Of the runs that serve.
    prior = prior_of(restored.state)
    if isinstance(prior, LatentPrior):
        prior_of = with_error(prior_of, restored.state, train, name)
    methods = inverse.methods_of(prior)
    # With a network for the denoiser its derivatives, on which the exact method stands, are noisy.
    usual = "diffpir" if isinstance(prior, DiffusionPrior) else methods[0]
    chosen = {"auto": (usual,), "all": methods}.get(settings.method, (settings.method,))
    return Solver(name, run, prior_of, restored.state, chosen)


def with_error(
    prior_of: Callable[[PyTree], Any], state: PyTree, train: np.ndarray, name: str
) -> Callable[[PyTree], Prior]:
    """Adds to the prior of a decoder what its images lack."""
    print(f"{name}: looking how near its decoder comes to {len(train)} train images")
    error = solving.decoder_error(prior_of, state, jax.random.key(0), train)
    print(f"{name}: {error:.3f} (root mean square, images from -1 to 1)")
    return lambda state: prior_of(state)._replace(model_std=error)
