"""Classifies test examples by Bayes' rule: p(y|x) from the density of each class.

python -m experiments.classify runs/flow --num-test 500    # a run trained with --conditional
python -m experiments.classify --help    # with a run, lists its family's settings too
"""

import json
from typing import Any

import numpy as np
import tyro

from experiments.classify import pictures
from experiments.classify.answers import (
    Answers,
    Examples,
    bayes_answers,
    plain_answers,
    record_of,
    table_of,
)
from experiments.classify.settings import Settings
from experiments.command_line import errors_exit
from experiments.densities import ClassPrior, Density, density_of, train_prior
from experiments.evaluate import load_data
from experiments.ranges import require
from experiments.report import write_report
from experiments.runs import find_run, parse_for_run, trained_run
from jaxgen.data import Dataset, describe, labelled, subset
from jaxgen.files import write_atomically
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.evaluation import NonFiniteMetricError

FILE = "classification.json"


def main() -> None:
    """Restores the run, classifies test examples, prints and draws how well."""
    settings: Settings[Any] = parse_for_run(
        lambda run: run.evaluation,
        lambda evaluation: Settings(run=tyro.MISSING, evaluation=evaluation),
        "experiments.classify",
        __doc__,
    )
    with errors_exit(2, ValueError, CheckpointError):
        jax_setup.configure()
        run = find_run(settings.run)
        dataset = load_data(run, settings.dataset, settings.data_dir)
        density = density_of(run, settings.evaluation)
        check(density, settings)
        prior = train_prior(dataset)
        examples = test_examples(dataset, prior, settings.num_test)
    print(describe(dataset))
    introduce(density, prior, examples)
    trained = trained_run(run, density.restored, dataset)
    with errors_exit(1, NonFiniteMetricError, OSError):
        bayes = bayes_answers(density, prior, examples, settings.num_draws)
        answers = [bayes, *plain_answers(dataset, prior, examples)]
        record = record_of(density, prior, examples, answers)
        print_results(answers)
        write_atomically(run.directory.path / FILE, json.dumps(record, indent=2) + "\n")
        pictures.draw(trained, prior, examples, answers)
        print(f"report: {write_report(run.directory.path)}")


def check(density: Density, settings: Settings[Any]) -> None:
    """Refuses runs without classes, and draws of noise where there is none.

    Raises:
        ValueError: saying what to do.
    """
    path, draws = settings.run, settings.num_draws
    expected = (
        "a class-conditional run, as --conditional trains, since Bayes' rule compares classes"
    )
    require(density.is_conditional, "run", f"{path}, which knows no classes", expected)
    is_good = draws == 1 or not density.is_exact
    require(is_good, "num_draws", draws, "1, since the likelihood is exact")


def test_examples(dataset: Dataset, prior: ClassPrior, num: int) -> Examples:
    """Draws labelled test examples of the classes that were trained on.

    Raises:
        ValueError: if there are none.
    """
    batch = subset(labelled(dataset.test), num)
    label = batch.get("label", np.zeros(0, np.int32))
    known = np.isin(label, prior.classes)
    if len(known) > known.sum():
        print(f"left out: {len(known) - known.sum():,} test examples of classes without training")
    given = f"{dataset.name} without labelled test examples"
    require(bool(known.any()), "dataset", given, "some, to be classified")
    return Examples(batch["x"][known], np.searchsorted(prior.classes, label[known]))


def introduce(density: Density, prior: ClassPrior, examples: Examples) -> None:
    """Says what is compared, and under which prior."""
    bound = density.bound
    print(
        f"Bayes' rule on {len(examples.x):,} random test examples under each of "
        f"{len(prior.classes)} classes, by {bound.name} ({bound.kind}), the same noise for all"
    )
    if not density.is_exact:
        print(
            "bounds, and not exact likelihoods, are compared: a gap that differs from class to "
            "class moves the probabilities"
        )
    shares = zip(prior.names, prior.frequency, strict=True)
    print("prior: " + ", ".join(f"{name} {share:.4f}" for name, share in shares), flush=True)


def print_results(answers: list[Answers]) -> None:
    """Prints the table, and what else there is to say of the answers."""
    import rich.console

    rich.console.Console().print(table_of(answers))
    for each in answers:
        for line in each.notes:
            print(line)


if __name__ == "__main__":
    main()
