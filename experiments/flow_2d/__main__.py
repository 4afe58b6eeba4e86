"""Compares flows on densities of the plane that are known, in nats that each lacks.

python -m experiments.flow_2d                                      # three densities, seven flows
python -m experiments.flow_2d --densities moons --models spline maf --steps 4000 --num-seeds 3
"""

import dataclasses
import io
import json
import os
import pathlib

import jax
import numpy as np
import rich.console

from experiments.command_line import errors_exit, parse
from experiments.course import run_directory
from experiments.flow_2d.fitting import Result, build_flow, train
from experiments.flow_2d.settings import Settings
from jaxgen.files import write_atomically
from jaxgen.training import jax_setup
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import PyTree


def main() -> None:
    """Trains every flow that is not done, prints the table and draws the figures."""
    settings = parse(Settings, "experiments.flow_2d", __doc__)
    with errors_exit(2, ValueError):
        jax_setup.configure()
        for model in settings.models:
            build_flow(model, settings)
    config = {"experiment": "flow_2d", "settings": dataclasses.asdict(settings)}
    free_keys = ("settings.run_dir", "settings.models", "settings.densities")
    with run_directory(os.path.expanduser(settings.run_dir), config, free_keys) as run:
        for density in settings.densities:
            for model in settings.models:
                if not _file(run, density, model).is_file():
                    print(f"{density}, {model}")
                    _save(run, density, model, *train(model, density, settings))
        _show(run, settings)


def _file(run: RunDirectory, density: str, model: str) -> pathlib.Path:
    """Where the result of a cell lies; it is written last."""
    return run.path / "cells" / f"{density}_{model}.json"


def _save(run: RunDirectory, density: str, model: str, result: Result, params: PyTree) -> None:
    """Writes the parameters of the first seed as plain arrays, then the result."""
    buffer = io.BytesIO()
    leaves = jax.tree.leaves(jax.device_get(params))
    np.savez(buffer, *(leaf[0] for leaf in leaves))
    path = _file(run, density, model)
    write_atomically(path.with_suffix(".npz"), buffer.getvalue())
    write_atomically(path, json.dumps(dataclasses.asdict(result), indent=1) + "\n")


def _load(run: RunDirectory, density: str, model: str, settings: Settings) -> PyTree:
    flow = build_flow(model, settings)
    shapes = jax.eval_shape(flow.init, jax.random.key(0), np.zeros((2, 2), np.float32))
    with np.load(_file(run, density, model).with_suffix(".npz"), allow_pickle=False) as arrays:
        leaves = [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
    return jax.tree.unflatten(jax.tree.structure(shapes["params"]), leaves)


def _show(run: RunDirectory, settings: Settings) -> None:
    # Matplotlib is loaded here, since it would delay the first step.
    from experiments.flow_2d import pictures

    results: dict[str, dict[str, Result]] = {
        density: {
            model: Result(**json.loads(_file(run, density, model).read_text()))
            for model in settings.models
        }
        for density in settings.densities
    }
    rich.console.Console().print(pictures.make_table(results, settings))
    for density, row in results.items():
        parameters: dict[str, PyTree] = {
            model: _load(run, density, model, settings) for model in settings.models
        }
        pictures.draw(run, density, settings, parameters, row)
    print(f"results: {run.path / 'cells'}\nfigures: {run.samples}")


if __name__ == "__main__":
    main()
