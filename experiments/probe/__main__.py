"""Classifies by a few labels from the features of a trained run, beside raw pixels and PCA.

python -m experiments.probe runs/vae
python -m experiments.probe runs/vae --num-labels 10 100 1000 --num-draws 10
"""

import dataclasses

import jax

from experiments.command_line import errors_exit, parse
from experiments.evaluate import load_data
from experiments.probe.examples import labelled_split, read_parts, train_labels
from experiments.probe.settings import Settings
from experiments.runs import Run, find_run, restore_run, trained_run
from jaxgen.data import Dataset, balanced_indices, describe
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError


def main() -> None:
    """Restores the run, extracts its features, fits the regressions, and writes table and curve."""
    settings = parse(Settings, "experiments.probe", __doc__)
    with errors_exit(2, ValueError, CheckpointError):
        jax_setup.configure()
        run = find_run(settings.run)
        check_features(run)
        dataset = load_data(run, settings.dataset, settings.data_dir)
        settings = dataclasses.replace(settings, num_labels=numbers_of_labels(settings, dataset))
        trained = trained_run(run, restore_run(run), dataset)
    print(describe(dataset))
    # They load scikit-learn's regression and Matplotlib.
    from experiments.probe.outcome import record_outcome
    from experiments.probe.regression import probe

    features = trained.method.features
    assert features is not None
    extract = jax.jit(features.extract)
    train, test = read_parts(dataset, lambda x: extract(trained.state, x))
    num_draws, seed = settings.num_draws, settings.seed
    results = probe(train, test, settings.num_labels, num_draws=num_draws, seed=seed)
    with errors_exit(1, OSError):
        record_outcome(trained, settings, test, results)


def check_features(run: Run) -> None:
    """Raises ValueError if a run has no features."""
    method = run.experiment.build(run.settings, run.info, run.directory.path)
    if method.features is None:
        raise ValueError(
            f"run: {run.directory.path}, {method.description or run.experiment.name}, expected a "
            "model with features, and one that need not be told the class"
        )


def numbers_of_labels(settings: Settings, dataset: Dataset) -> tuple[int, ...]:
    """The numbers of labels in rising order, by default 1, 10 and 100 of a class.

    Raises:
        ValueError: if the data have no labels, or not so many.
    """
    labelled_split(dataset, "test")
    labels = train_labels(dataset)
    num_classes = len(set(labels.tolist()))
    usual = [num_classes * each for each in (1, 10, 100) if num_classes * each <= len(labels)]
    chosen = tuple(sorted(set(settings.num_labels or usual)))
    for num in chosen:
        balanced_indices(labels, num, seed=0)
    return chosen


if __name__ == "__main__":
    main()
