"""The course of every experiment: open the run directory, train, and measure on the test examples."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import numpy as np
import rich.console
import rich.table

from experiments.settings import DataInfo, TrainingSettings, errors_exit
from jaxgen.data.dataset import Dataset
from jaxgen.files import write_atomically
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.evaluation import NonFiniteMetricError, evaluate, summarize
from jaxgen.training.loop import NonFiniteError, check_settings, fit
from jaxgen.training.run_directory import RunDirectory, open_run
from jaxgen.types import Algorithm, PyTree

EVALUATION_SEED = 1
"""Of the noise in evaluations, so that two of them of one state agree."""

_FREE_SETTINGS = (
    "settings.run_dir",
    "settings.data.data_dir",
    "settings.training.steps",
    "settings.training.checkpoint_every",
    "settings.training.distributed",
)


@contextlib.contextmanager
def open_experiment(
    name: str, settings: Any, info: DataInfo, *, free_settings: Collection[str]
) -> Iterator[RunDirectory]:
    """Opens the run directory of an experiment, or exits with 2 and the reason; on Ctrl-C within, exits with 130.

    Args:
        name: of the experiment's module.
        settings: its dataclass, with `run_dir`.
        info: about its data.
        free_settings: names that may differ from those of an earlier start, beside the common ones.

    Yields:
        The run directory.
    """
    config = {"experiment": name, "settings": dataclasses.asdict(settings)}
    config["data"] = dataclasses.asdict(info)
    free_keys = (*_FREE_SETTINGS, *(f"settings.{free}" for free in free_settings))
    is_writer = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        with errors_exit(2, ValueError):
            run = stack.enter_context(
                open_run(settings.run_dir, config, free_keys=free_keys, is_writer=is_writer)
            )
        try:
            yield run
        except KeyboardInterrupt:
            print("\ninterrupted; the same line goes on from the last checkpoint", file=sys.stderr)
            sys.exit(130)


def check(dataset: Dataset, training: TrainingSettings) -> None:
    """Raises ValueError, before anything is compiled, if the settings do not fit the data or the devices."""
    check_settings(
        dataset.train,
        steps=training.steps,
        batch_size=training.batch_size,
        steps_per_call=training.steps_per_call,
        checkpoint_every=training.checkpoint_every,
    )


def train(
    algorithm: Algorithm,
    dataset: Dataset,
    run: RunDirectory,
    training: TrainingSettings,
    *,
    draw: Callable[[int, PyTree], np.ndarray] | None = None,
    draw_every: int = 1000,
) -> PyTree:
    """Trains to the last step and returns the state; a stopped run exits with 0, a failed one with 1.

    `draw` and `draw_every` are those of `jaxgen.training.loop.fit`.
    """
    with errors_exit(1, NonFiniteError, CheckpointError), errors_exit(2, ValueError):
        return try_to_train(algorithm, dataset, run, training, draw=draw, draw_every=draw_every)


def try_to_train(
    algorithm: Algorithm,
    dataset: Dataset,
    run: RunDirectory,
    training: TrainingSettings,
    *,
    draw: Callable[[int, PyTree], np.ndarray] | None = None,
    draw_every: int = 1000,
) -> PyTree:
    """`train` for those who go on after a failure.

    Raises:
        NonFiniteError: if a metric is not finite.
        CheckpointError: if all checkpoints are damaged.
        ValueError: if the settings do not fit the data or the devices.
    """
    result = fit(
        algorithm,
        dataset.train,
        run,
        seed=training.seed,
        steps=training.steps,
        batch_size=training.batch_size,
        steps_per_call=training.steps_per_call,
        checkpoint_every=training.checkpoint_every,
        draw=draw,
        draw_every=draw_every,
    )
    if not result.finished:
        print(f"stopped at step {result.step}; the same line goes on from there")
        sys.exit(0)
    return result.state


def measure(
    algorithm: Algorithm,
    state: PyTree,
    dataset: Dataset,
    run: RunDirectory,
    *,
    step: int,
) -> None:
    """Evaluates the test examples, prints a table and writes `evaluation.json`; exits with 1 on a bad value."""
    with errors_exit(1, NonFiniteMetricError):
        key = jax.random.key(EVALUATION_SEED)
        summaries = summarize(evaluate(algorithm, state, dataset.test, key))
    if jax.process_index() != 0:
        return
    evaluation = {
        "dataset": dataset.name,
        "split": "test",
        "num_examples": len(dataset.test),
        "levels": dataset.levels,
        "step": step,
        "metrics": {name: summary._asdict() for name, summary in summaries.items()},
    }
    write_atomically(run.evaluation, json.dumps(evaluation, indent=2) + "\n")
    title = f"{len(dataset.test):,} test examples of {dataset.name}, step {step:,}"
    table = rich.table.Table("metric", title=title, title_justify="left")
    table.add_column("mean", justify="right")
    table.add_column("standard error", justify="right")
    for name, summary in summaries.items():
        table.add_row(name, f"{summary.mean:.4f}", f"{summary.standard_error:.4f}")
    rich.console.Console().print(table)
