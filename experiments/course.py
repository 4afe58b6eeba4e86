"""The course of every experiment: settings, data, model, training, numbers, pictures, report."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from experiments import film
from experiments.command_line import INTERRUPTED, errors_exit, interruption_exits, parse
from experiments.experiment import Experiment, Method, RunSettings, Trained
from experiments.measurement import num_measured
from experiments.settings import DataInfo, Plan
from jaxgen import metrics
from jaxgen.data import Dataset, describe
from jaxgen.files import write_atomically
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.evaluation import NonFiniteMetricError
from jaxgen.training.loop import FitResult, NonFiniteError, fit
from jaxgen.training.plan import check_plan
from jaxgen.training.run_directory import RunDirectory, RunError, open_run, read_config
from jaxgen.types import Algorithm, PyTree

_FREE_KEYS = (
    "settings.run_dir",
    "settings.data.data_dir",
    "settings.plan.checkpoint_every",
    "settings.training.draw_every",
    "settings.processes",
    "settings.sampling",
    "settings.evaluation",
)


class Course(NamedTuple):
    """A run that can begin: everything has been checked, and nothing written or compiled.

    Attributes:
        experiment: the family.
        settings: all of them, as they are stored.
        dataset: the data.
        info: about the data.
        method: what is trained.
        plan: of the loop, whose batch holds all examples that a step sees.
    """

    experiment: Experiment
    settings: RunSettings[Any, Any, Any]
    dataset: Dataset
    info: DataInfo
    method: Method
    plan: Plan


def main(experiment: Experiment, doc: str | None) -> None:
    """Trains, measures and draws what the command line asks for; the same line goes on where it
    stopped.

    Args:
        experiment: the family.
        doc: the script's docstring, whose first paragraph heads the help.
    """
    name, default = f"experiments.{experiment.name}", experiment.defaults()
    follow(experiment, parse(experiment.settings, name, doc, default=default))


def follow(experiment: Experiment, settings: RunSettings[Any, Any, Any]) -> None:
    """The whole course of a run by its settings, of a family with a command line of its own too."""
    with errors_exit(2, ValueError):
        jax_setup.configure(**dataclasses.asdict(settings.processes))
        dataset = settings.data.load()
        course = prepare(experiment, settings, dataset)
    is_writer = jax.process_index() == 0
    if is_writer:
        introduce(course)
    with opened(course) as run:
        if is_writer:
            module = f"experiments.{experiment.name}"
            line = shlex.join(["python", "-m", module, *sys.argv[1:]])
            write_atomically(run.command, line.encode("utf-8", "backslashreplace") + b"\n")
        state = train(course, run)
        complete(course, run, state)
        if is_writer:
            from experiments.report import write_report

            print(f"report: {write_report(run.path)}")


def prepare(
    experiment: Experiment, settings: RunSettings[Any, Any, Any], dataset: Dataset
) -> Course:
    """Builds what the settings name, and checks that it fits the data and the devices.

    Raises:
        ValueError: if it does not.
    """
    info = DataInfo.of(dataset)
    run_dir = os.path.abspath(os.path.expanduser(settings.run_dir))
    data = settings.data.settled(dataset)
    settings = dataclasses.replace(settings, run_dir=run_dir, data=data)
    method = experiment.build(settings, info, None)
    if method.is_conditional and method.needs_all_labels:
        check_labels(dataset)
    method.view(dataset.train)
    batches = method.batches_per_step
    if settings.plan.batch_size:
        check_plan(settings.plan, dataset.train, batches_per_step=batches)
    plan = settings.plan.settled(len(dataset.train), batches_per_step=batches)
    return Course(experiment, settings, dataset, info, method, plan)


def introduce(course: Course) -> None:
    """Says what was loaded, what is trained, and what cannot be measured afterwards."""
    print(describe(course.dataset))
    print(course.method.description)
    num, num_left = len(course.dataset.train), len(course.dataset.train) - course.plan.batch_size
    if course.settings.plan.batch_size == 0 and num_left:
        shares = jax.device_count() * course.method.batches_per_step
        print(
            f"left out of each step: {num_left:,} of {num:,} train examples, since it takes a "
            f"multiple of {shares}"
        )
    for line in metrics.left_out(num_measured(course.dataset)):
        print(f"left out: {line}")
    sys.stdout.flush()


def check_labels(dataset: Dataset) -> None:
    """Checks that a conditional model can be trained.

    Raises:
        ValueError: if train examples have no label.
    """
    if dataset.class_names is None:
        raise ValueError(f"conditional: {dataset.name} has no labels, expected a class for each")
    if dataset.train_unlabelled:
        raise ValueError(
            f"conditional: {dataset.train_unlabelled} of {len(dataset.train)} train examples of "
            f"{dataset.name} have no label (-1), expected a class for each"
        )


@contextlib.contextmanager
def opened(course: Course) -> Iterator[RunDirectory]:
    """Opens the run directory of a course, as `run_directory` does."""
    settings = course.settings
    config = {"experiment": course.experiment.name, "settings": dataclasses.asdict(settings)}
    config["data"] = dataclasses.asdict(course.info)
    free_keys = [*_FREE_KEYS, *(f"settings.model.{name}" for name in course.experiment.free)]
    if settings.optimizer.learning_rate_schedule == "constant":  # Others end with the steps.
        free_keys.append("settings.plan.steps")
    with run_directory(settings.run_dir, config, free_keys) as run:
        yield run


@contextlib.contextmanager
def run_directory(
    path: str, config: Mapping[str, Any], free_keys: Collection[str]
) -> Iterator[RunDirectory]:
    """Opens a run directory, or exits with 2 and the reason; on Ctrl-C within, exits with 130."""
    is_writer = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        with errors_exit(2, ValueError):
            if is_writer:
                _check_family(path, config["experiment"])
            opening = open_run(path, config, free_keys=free_keys, is_writer=is_writer)
            run = stack.enter_context(opening)
        with interruption_exits("the same line goes on"):
            yield run


def _check_family(path: str, family: str) -> None:
    """Refuses the directory of another family by its name: all of its settings would differ."""
    run = RunDirectory(pathlib.Path(path))
    if not run.config.is_file():
        return
    found = read_config(run.path).get("experiment")
    if found != family:
        raise RunError(
            f"{run.path} is a run of {found}, expected one of {family}; "
            "choose another directory: --run-dir NEW"
        )


def train(course: Course, run: RunDirectory) -> PyTree:
    """Trains to the last step and returns the state; exits with 130 if stopped, 1 if failed."""
    with errors_exit(1, NonFiniteError, CheckpointError), errors_exit(2, ValueError):
        return try_to_train(course, run)


def try_to_train(course: Course, run: RunDirectory) -> PyTree:
    """`train` for those who go on after a failure.

    Raises:
        NonFiniteError: if a metric is not finite.
        CheckpointError: if all checkpoints are damaged.
        ValueError: if the run has done more steps than are asked for.
    """
    training = course.settings.training
    result = fit(
        course.method.algorithm,
        course.method.view(course.dataset.train),
        run,
        course.plan,
        seed=training.seed,
        draw=film.make_draw(course.method, course.dataset, run),
        draw_every=training.draw_every,
    )
    return _finished(result)


def train_beside(trained: Trained, algorithm: Algorithm, steps: int, name: str) -> PyTree:
    """Trains something else on the data of a run and by its plan, in the folder of that name."""
    run = RunDirectory(trained.directory.path / name)
    run.path.mkdir(exist_ok=True)
    settings, split = trained.settings, trained.method.view(trained.dataset.train)
    plan = dataclasses.replace(settings.plan, steps=steps).settled(len(split))
    with errors_exit(1, NonFiniteError, CheckpointError), errors_exit(2, ValueError):
        return _finished(fit(algorithm, split, run, plan, seed=settings.training.seed))


def _finished(result: FitResult) -> PyTree:
    """The last state; exits with 130 if a signal stopped the run before."""
    if not result.finished:
        print(f"stopped at step {result.step}; the same line goes on from there")
        sys.exit(INTERRUPTED)
    return result.state


def complete(course: Course, run: RunDirectory, state: PyTree) -> None:
    """Measures a trained run, fits what its samples need, measures these and draws all pictures."""
    from experiments import measurement, pictures
    from experiments.sample_sheets import num_shown

    experiment, settings = course.experiment, course.settings
    trained = Trained(
        run, settings, course.dataset, course.info, course.method, state, settings.plan.steps
    )
    is_writer = jax.process_index() == 0
    with errors_exit(1, NonFiniteMetricError):
        values = measurement.evaluate_run(trained)
    if is_writer:
        measurement.record_evaluation(trained, values)
    experiment.finish(trained)
    if not is_writer:
        return
    trained = trained._replace(method=experiment.build(settings, course.info, run.path))
    experiment.diagnose(trained)
    samples = measurement.record_samples(trained, num_shown(trained.dataset))
    pictures.draw(trained, values, samples)
    if experiment.pictures is not None:
        importlib.import_module(experiment.pictures).draw(trained)
