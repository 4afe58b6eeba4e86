"""Counts the modes that adversarial methods find where all modes are known, several seeds at once.

python -m experiments.mode_collapse                     # ring of 8 Gaussians, 9 methods, 4 seeds
python -m experiments.mode_collapse --target grid --num-seeds 10 --run-dir runs/grid
python -m experiments.mode_collapse --target stacked    # three digits as channels, 1000 modes
python -m experiments.mode_collapse --target stacked --dataset mnist --model dcgan --run-dir DIR

The defaults are the protocol of the target, which --help shows beside its --target.
"""

import dataclasses
import os

import jax
import rich.console

from experiments.command_line import errors_exit, parse, peek
from experiments.course import run_directory
from experiments.mode_collapse.methods import build, rows
from experiments.mode_collapse.results import Result, load_results, results_file
from experiments.mode_collapse.settings import PROTOCOLS, Settings
from experiments.mode_collapse.targets import Target, mixture, stacked
from experiments.mode_collapse.training import one_by_one, train
from jaxgen.data import describe
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.run_directory import RunDirectory


def main() -> None:
    """Trains every method that is not done, prints the table and draws the figures."""
    protocol = PROTOCOLS.get(peek("target") or "ring", PROTOCOLS["ring"])
    settings = parse(Settings, "experiments.mode_collapse", __doc__, default=protocol)
    with errors_exit(2, ValueError):
        jax_setup.configure()
        target = _target(settings)
    config = {"experiment": "mode_collapse", "settings": dataclasses.asdict(settings)}
    free_keys = ("settings.run_dir", "settings.methods", "settings.data.data_dir")
    path = os.path.expanduser(settings.run_dir)
    with run_directory(path, config, free_keys) as run:
        with errors_exit(1, CheckpointError), errors_exit(2, ValueError):
            for method in settings.methods:
                if load_results(run).get(method, Result()).step < settings.steps:
                    _train(method, settings, target, run)
        _show(run, settings, target)


def _target(settings: Settings) -> Target:
    if settings.target == "stacked":
        dataset = settings.data.load()
        print(describe(dataset))
        return stacked(dataset)
    return mixture(settings.target)


def _train(method: str, settings: Settings, target: Target, run: RunDirectory) -> None:
    row = rows(settings)[method]
    train(
        build(row, settings, target),
        target,
        run,
        name=method,
        seeds=range(settings.seed, settings.seed + settings.num_seeds),
        steps=settings.steps,
        steps_per_call=settings.steps_per_call,
        batch_size=settings.batch_size * row.num_critic_steps,
        num_samples=settings.num_samples,
        map_seeds=one_by_one if settings.model == "dcgan" else jax.vmap,
    )


def _show(run: RunDirectory, settings: Settings, target: Target) -> None:
    # Matplotlib is loaded here, since it would delay the first step.
    from experiments.mode_collapse import pictures

    done = load_results(run)
    results: dict[str, Result] = {method: done[method] for method in settings.methods}
    title = f"{settings.target}, {settings.steps:,} steps, {settings.num_seeds} seeds"
    table = pictures.make_table(title, results, target, settings.num_samples)
    rich.console.Console().print(table)
    pictures.draw(run, target, results)
    print(f"results: {results_file(run)}\nfigures: {run.samples}")


if __name__ == "__main__":
    main()
