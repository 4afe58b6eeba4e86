"""Scores how strange examples of another data set are to a trained run, beside its own.

python -m experiments.ood runs/flow --against folder:photos
python -m experiments.flow --dataset redrawn:0.2:digits --run-dir runs/background
python -m experiments.ood runs/flow --against folder:photos --background runs/background
"""

import json
import math
from typing import Any, NamedTuple

import numpy as np
import rich.console
import rich.table
import tyro
from rich.text import Text

from experiments.command_line import errors_exit
from experiments.densities import ClassPrior, Density, density_of, log_likelihoods, train_prior
from experiments.evaluate import load_data
from experiments.ood import pictures
from experiments.ood.scores import Separation, Sets, record_of, separations, warning
from experiments.ood.settings import Settings
from experiments.other_data import Others, load_others
from experiments.ranges import require
from experiments.report import write_report
from experiments.runs import Run, find_run, parse_for_run
from jaxgen import metrics, plots
from jaxgen.data import Dataset, describe, subset
from jaxgen.files import write_atomically
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.evaluation import NonFiniteMetricError

FILE = "ood.json"
UNTUNED = "nothing was tuned on the other data; the larger a score, the stranger the example"


class Prepared(NamedTuple):
    """What is compared, before anything is compiled.

    Attributes:
        density: of the run.
        background: of the background model, or None.
        prior: of the classes of a class-conditional run, or None.
        examples: of each set.
        others: the other data, with notes.
        dataset: the run's data.
    """

    density: Density
    background: Density | None
    prior: ClassPrior | None
    examples: Sets
    others: Others
    dataset: Dataset


def main() -> None:
    """Restores the run, scores all sets, prints and draws what tells them apart."""
    settings: Settings[Any] = parse_for_run(
        lambda run: run.evaluation,
        lambda evaluation: Settings(run=tyro.MISSING, evaluation=evaluation, against=tyro.MISSING),
        "experiments.ood",
        __doc__,
    )
    with errors_exit(2, ValueError, CheckpointError):
        jax_setup.configure()
        prepared = prepare(settings)
    introduce(prepared)
    with errors_exit(1, NonFiniteMetricError, OSError):
        finish(prepared, settings)


def prepare(settings: Settings[Any]) -> Prepared:
    """Loads the run, the background model and all examples.

    Raises:
        ValueError: if something is missing or does not fit, saying what.
        CheckpointError: if all checkpoints of a run are damaged.
    """
    run = find_run(settings.run)
    dataset = load_data(run, settings.dataset, settings.data_dir)
    density = density_of(run, settings.evaluation)
    background = None
    if settings.background is not None:
        background = load_background(find_run(settings.background), run, settings.evaluation)
    half, data_dir = settings.num_test // 2, settings.data_dir or run.settings.data.data_dir
    others = load_others(
        "against", settings.against, run.info, dataset.name, half, data_dir=data_dir
    )
    given = f"{others.name}, with {len(others.x)} example"
    require(len(others.x) > 1, "against", given, "2 or more")
    # Random halves: the subset comes in random order.
    x = subset(dataset.test, 2 * half)["x"]
    require(len(x) > 3, "dataset", f"{len(x)} test examples", "4 or more")
    examples = Sets(x[: len(x) // 2], others.x, x[len(x) // 2 :])
    conditional = [each for each in (density, background) if each and each.is_conditional]
    prior = train_prior(dataset) if conditional else None
    return Prepared(density, background, prior, examples, others, dataset)


def load_background(background: Run, run: Run, evaluation: Any) -> Density:
    """Restores the background model, with the evaluation of the run where it is of its family.

    Raises:
        ValueError: if its data have another form.
    """
    mine, theirs = ((each.info.shape, each.info.levels) for each in (run, background))
    given = f"{background.directory.path}, trained on examples {theirs[0]} of {theirs[1]} levels"
    require(mine == theirs, "background", given, f"examples {mine[0]} of {mine[1]} levels")
    is_same_family = background.experiment is run.experiment
    return density_of(background, evaluation if is_same_family else background.settings.evaluation)


def introduce(prepared: Prepared) -> None:
    """Says what is compared with what."""
    density, background = prepared.density, prepared.background
    print(describe(prepared.dataset))
    for line in prepared.others.notes:
        print(line)
    what = "ln p(x)" if prepared.prior is None else "ln p(x) = logsumexp over classes"
    print(f"{what} by {density.bound.name} ({density.bound.kind})")
    if background is not None:
        data = background.run.settings.data.dataset
        print(
            f"background model: {background.restored.method.description}, trained on {data}, "
            f"{background.bound.kind}"
        )
    print(UNTUNED, flush=True)


def finish(prepared: Prepared, settings: Settings[Any]) -> None:
    """Scores, prints, draws and writes.

    Raises:
        NonFiniteMetricError: if a likelihood is not finite.
        OSError: if a file cannot be written.
    """
    density, others, directory = prepared.density, prepared.others, prepared.density.run.directory
    log_probs = all_log_likelihoods(density, prepared)
    background = prepared.background and all_log_likelihoods(prepared.background, prepared)
    is_image = density.run.info.levels is not None
    bits = Sets(*map(metrics.png_bits, prepared.examples)) if is_image else None
    found = separations(log_probs, bits, background)
    size = math.prod(density.run.info.shape) * math.log(2.0)
    per_dim = Sets(*(-each / size for each in log_probs))
    rich.console.Console().print(table_of(found, per_dim, others.name))
    means = ", ".join(f"{name} {np.mean(each):.3f}" for name, each in per_dim._asdict().items())
    print(f"bits per dimension in the mean: {means}")
    print("complexity: " + (CODEC if is_image else "left out, since vectors have no image file"))
    failure = warning(found["likelihood"], others.name, per_dim)
    if failure:
        print(failure)
    facts = {
        "step": density.restored.step,
        "dataset": prepared.dataset.name,
        "against": others.name,
        "background": settings.background,
        "codec": CODEC if is_image else None,
        "notes": [*others.notes, UNTUNED, *([failure] if failure else [])],
    }
    record = record_of(found, per_dim, density.bound, facts)
    write_atomically(directory.path / FILE, json.dumps(record, indent=2) + "\n")
    figure = pictures.draw(found, prepared.dataset.name, others.name)
    plots.save_figure(directory.samples / "ood.png", figure)
    print(f"report: {write_report(directory.path)}")


CODEC = "PNG of the pixel values by Pillow, optimised, less the size of an image of one colour"


def all_log_likelihoods(density: Density, prepared: Prepared) -> Sets:
    """`ln p(x)` of every set, in nats."""
    prior = prepared.prior if density.is_conditional else None
    return Sets(*(log_likelihoods(density, x, prior) for x in prepared.examples))


def table_of(found: dict[str, Separation], bits: Sets, other: str) -> rich.table.Table:
    """Makes the table: a row for each score."""
    title = (
        f"Area under the ROC curve ± standard error: {len(bits.own):,} test examples beside "
        f"{len(bits.other):,} of {other}"
    )
    table = rich.table.Table("score", title=Text(title), title_justify="left")
    for name in ("other data", f"control: {len(bits.reference):,} more test examples"):
        table.add_column(name, justify="right")
    for name, each in found.items():
        areas = (f"{a.value:.4f} ± {a.standard_error:.4f}" for a in (each.auroc, each.control))
        table.add_row(name, *areas)
    return table


if __name__ == "__main__":
    main()
