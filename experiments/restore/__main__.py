"""Restores test images from noisy measurements, with trained runs of any family as the prior.

python -m experiments.restore runs/diffusion --task random --noise 0.05
python -m experiments.restore runs/* --task inpainting deblurring    # a table of runs
python -m experiments.restore runs/diffusion --method all            # a table of methods
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.command_line import errors_exit, interruption_exits, parse
from experiments.evaluate import load_data
from experiments.other_data import load_others
from experiments.ranges import require
from experiments.restore import pictures, solving, tasks
from experiments.restore.quality import score
from experiments.restore.settings import Settings
from experiments.restore.table import Row, record_of, table_of
from experiments.runs import Restored, Run, find_run, restore_run
from jaxgen import inverse
from jaxgen.data import Dataset, subset
from jaxgen.data.dataset import FOLDER_PREFIX, IMAGE_PREFIX
from jaxgen.files import write_atomically
from jaxgen.inverse import DiffusionPrior, LatentPrior, Prior
from jaxgen.pixels import to_model_range
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.types import PyTree

_NUM_TRAIN = 32  # Train images on which baselines and decoders are settled.


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


def main() -> None:
    """Restores, prints the table and draws."""
    settings = parse(Settings, "experiments.restore", __doc__)
    kept = interruption_exits("the pictures of finished tasks are kept")
    with kept, errors_exit(2, ValueError, CheckpointError, OSError):
        require(not settings.out.is_file(), "out", settings.out, "a folder, not a file")
        jax_setup.configure()
        runs = [find_run(path) for path in settings.runs]
        check_same_data(settings, runs)
        dataset = load_data(runs[0], None, settings.data_dir)
        x = test_images(settings, runs[0], dataset)
        train = as_model_range(subset(dataset.train, _NUM_TRAIN)["x"], runs[0])
        operators = {task: make(settings, task, x) for task in settings.task}
        solvers = [
            make_solver(settings, name, run, train)
            for name, run in zip(names_of(settings.runs), runs, strict=True)
        ]
        check_methods(settings, solvers)
        settings.out.mkdir(parents=True, exist_ok=True)
        rows, refusals = [], []
        for task, (operator, words) in operators.items():
            images = f"{len(x)} image{'s' if len(x) > 1 else ''}"
            print(f"{task}: {words}, noise {settings.noise:g}, {images}")
            problem = solving.measure(task_key(settings, task), x, operator, settings.noise)
            restored, refused = restore_task(settings, task, problem, solvers, train)
            rows += restored
            refusals += refused
        if not rows:
            raise ValueError(refusals[0])
        print(table_of(rows))
        record = record_of(settings, rows)
        write_atomically(settings.out / "restored.json", json.dumps(record, indent=2) + "\n")
        print(f"pictures and numbers: {settings.out}")


def check_same_data(settings: Settings, runs: list[Run]) -> None:
    """Refuses runs of vectors, and runs of different data.

    Raises:
        ValueError: naming the run.
    """
    for path, run in zip(settings.runs, runs, strict=True):
        require(len(run.info.shape) == 3, "runs", f"{path}, of vectors", "runs of images")
        is_same = run.info == runs[0].info
        require(is_same, "runs", f"{path}, of other data", f"the data of {settings.runs[0]}")
    paths = [run.directory.path for run in runs]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    require(twice is None, "runs", f"{twice}, twice", "each once")


def test_images(settings: Settings, run: Run, dataset: Dataset) -> np.ndarray:
    """The images to restore, float32 `[N, H, W, C]` in [-1, 1].

    Raises:
        ValueError: if those of a folder or file have another size, or are the run's own data.
    """
    if settings.images is None:
        return as_model_range(subset(dataset.test, settings.num)["x"], run)
    prefix = IMAGE_PREFIX if pathlib.Path(settings.images).is_file() else FOLDER_PREFIX
    name = f"{prefix}{settings.images}"
    others = load_others("images", name, run.info, dataset.name, settings.num, is_resized=False)
    print(*others.notes, sep="\n")
    return as_model_range(others.x, run)


def as_model_range(x: Any, run: Run) -> np.ndarray:
    """Pixels in [-1, 1]."""
    return np.asarray(to_model_range(jax.numpy.asarray(x), run.info.image_levels))


def make(settings: Settings, task: str, x: np.ndarray) -> tuple[inverse.Operator, str]:
    """Makes and tests the measurement of a task."""
    key = jax.random.fold_in(task_key(settings, task), 1)
    operator, words = tasks.make_operator(task, key, x.shape[1:])
    inverse.check_operator(key, operator)
    return operator, words


def task_key(settings: Settings, task: str) -> jax.Array:
    """Of a task by its name, so that it is the same whatever others are asked for."""
    return jax.random.fold_in(jax.random.key(settings.seed), sum(map(ord, task)))


def names_of(runs: tuple[str, ...]) -> list[str]:
    """The names of their folders; of those that share a name, the whole path."""
    names = [pathlib.Path(run).resolve().name for run in runs]
    return [name if names.count(name) == 1 else run for name, run in zip(names, runs, strict=True)]


def make_solver(settings: Settings, name: str, run: Run, train: np.ndarray) -> Solver:
    """Restores a run as a prior; a decoder is told how near it comes to train images.

    Raises:
        ValueError: if the run has none, saying why.
    """
    sampling = run.settings.sampling
    if hasattr(sampling, "num_sampling_steps"):
        steps = settings.num_sampling_steps
        sampling = dataclasses.replace(sampling, num_sampling_steps=steps)
    restored: Restored = restore_run(run, sampling=sampling)
    path, prior_of = run.directory.path, restored.method.prior
    expected = "a run of images that is not conditional, or drops labels in training"
    require(prior_of is not None, "runs", f"{path}, which gives no prior", expected)
    assert prior_of is not None
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


def check_methods(settings: Settings, solvers: list[Solver]) -> None:
    """Refuses a method that none of the runs has.

    Raises:
        ValueError: naming those that there are.
    """
    known = {name for s in solvers for name in inverse.methods_of(s.prior_of(s.state))}
    is_good = settings.method in known | {"auto", "all"}
    require(is_good, "method", settings.method, f"auto, all, {', '.join(sorted(known))}")


def restore_task(
    settings: Settings,
    task: str,
    problem: solving.Problem,
    solvers: list[Solver],
    train: np.ndarray,
) -> tuple[list[Row], list[str]]:
    """Restores the images of a task by every run and method and draws each; tells of refusals."""
    willing, refusals = [], []
    for solver in solvers:
        for method in solver.methods:
            try:
                num = settings.num_draws
                solving.check(solver.prior_of, solver.state, problem, method, num)
                willing.append((solver, method))
            except ValueError as error:
                refusals.append(f"{solver.name}, {method}: {error}")
                print(f"{task}, {refusals[-1]}")
    if not willing:
        return [], refusals
    levels = solvers[0].run.info.image_levels
    row, baseline = restore_by_baseline(settings, task, problem, train, levels)
    rows, shown = [row], [(row.run, baseline)]
    for solver, method in willing:
        draws, seconds = solve_one(settings, solver, method, problem)
        if not np.all(np.isfinite(draws)):
            print("its draws are not finite, so that they are left out; more steps may help")
            continue
        rows.append(Row(task, solver.name, method, score(problem, draws, levels), seconds))
        shown.append((f"{solver.name}, {method}", draws))
    pictures.draw(settings.out, task, problem, shown, levels)
    return rows, refusals


def restore_by_baseline(
    settings: Settings, task: str, problem: solving.Problem, train: np.ndarray, levels: int
) -> tuple[Row, np.ndarray]:
    """Restores by total variation, whose weight train images choose."""
    key = task_key(settings, task)
    weight = solving.best_weight(key, train, problem.operator, problem.noise_std)
    begin = time.monotonic()
    x = solving.restore_by_total_variation(problem, weight)
    seconds = time.monotonic() - begin
    scores = score(problem, x, levels)
    return Row(task, "total variation", f"weight {weight:.2g}", scores, seconds), x


def solve_one(
    settings: Settings, solver: Solver, method: str, problem: solving.Problem
) -> tuple[np.ndarray, float]:
    """Draws, and the seconds that they took, compilation included."""
    print(f"{solver.name}, {method}")
    has_zeta = method in ("dps", "diffpir") and settings.zeta is not None
    numbers = {"zeta": settings.zeta} if has_zeta else {}
    begin = time.monotonic()
    draws = solving.draw(
        solver.prior_of, solver.state, problem, method, settings.num_draws, **numbers
    )
    return draws, time.monotonic() - begin


if __name__ == "__main__":
    main()
