"""Restores test images from noisy measurements, with trained runs of any family as the prior.

python -m experiments.restore runs/diffusion --task random --noise 0.05
python -m experiments.restore runs/* --task inpainting deblurring    # a table of runs
python -m experiments.restore runs/diffusion --method all            # a table of methods
"""

import json
import pathlib
import time
from typing import Any

import jax
import numpy as np

from experiments.command_line import errors_exit, interruption_exits, parse
from experiments.evaluate import load_data
from experiments.other_data import load_others
from experiments.ranges import require
from experiments.restore import pictures, solving, tasks
from experiments.restore.quality import score
from experiments.restore.settings import Settings
from experiments.restore.solvers import Solver, make_solvers, serving
from experiments.restore.table import Row, record_of, table_of
from experiments.runs import Run
from jaxgen import inverse
from jaxgen.data import Dataset, subset
from jaxgen.data.dataset import FOLDER_PREFIX, IMAGE_PREFIX
from jaxgen.files import write_atomically
from jaxgen.pixels import to_model_range
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError

_NUM_TRAIN = 32  # Train images on which baselines and decoders are settled.


def main() -> None:
    """Restores, prints the table and draws."""
    settings = parse(Settings, "experiments.restore", __doc__)
    kept = interruption_exits("the pictures of finished tasks are kept")
    with kept, errors_exit(2, ValueError, CheckpointError, OSError):
        require(not settings.out.is_file(), "out", settings.out, "a folder, not a file")
        jax_setup.configure()
        runs = serving(settings.runs)
        first = next(iter(runs.values()))
        dataset = load_data(first, None, settings.data_dir)
        x = test_images(settings, first, dataset)
        train = as_model_range(subset(dataset.train, _NUM_TRAIN)["x"], first)
        operators = {task: make(settings, task, x) for task in settings.task}
        solvers = make_solvers(settings, runs, train)
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
                reason = str(error).replace("noise_std: ", "noise: ")  # As the setting is called.
                refusals.append(f"{solver.name}, {method}: {reason}")
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
