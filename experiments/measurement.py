"""The numbers of a trained run: of the test examples, and how far samples lie from the data."""

import dataclasses
import json
import time
from typing import Any

import jax
import numpy as np
import rich.console
import rich.table
from rich.text import Text

from experiments.experiment import Trained
from experiments.film import labels_in_turn
from jaxgen import metrics
from jaxgen.data import Dataset, counted, labelled, subset
from jaxgen.files import write_atomically
from jaxgen.training.evaluation import evaluate, summarize
from jaxgen.training.sampling import sample_in_blocks

EVALUATION_SEED = 1
"""Of the noise in evaluations, so that two of them of one state agree."""
SAMPLING_SEED = 0
"""Of the samples that are measured and shown."""
_MAX_MEASURED = 2000
_MAX_COMPARED = 20_000
_FEW = 200


def evaluate_run(trained: Trained) -> dict[str, np.ndarray]:
    """Evaluates every test example, with a label if that is needed, on all processes together.

    Returns:
        Name to values `[N]`.

    Raises:
        NonFiniteMetricError: if a value is not finite.
    """
    test = trained.dataset.test
    split = labelled(test) if trained.method.is_conditional else test
    values = evaluate(
        trained.method.algorithm, trained.state, split, jax.random.key(EVALUATION_SEED)
    )
    summarize(values)
    return values


def record_evaluation(trained: Trained, values: dict[str, np.ndarray]) -> None:
    """Prints the table of the test examples and writes `evaluation.json`.

    Raises:
        OSError: if the file cannot be written, after the table.
    """
    dataset, summaries = trained.dataset, summarize(values)
    num = len(next(iter(values.values())))
    title = f"{counted(num, 'test example')} of {dataset.name}, step {trained.step:,}"
    table = rich.table.Table("metric", title=Text(title), title_justify="left")
    table.add_column("mean", justify="right")
    table.add_column("standard error", justify="right")
    for name, summary in summaries.items():
        error = summary.standard_error
        table.add_row(name, f"{summary.mean:.4f}", "" if error is None else f"{error:.4f}")
    rich.console.Console().print(table)
    evaluation = {
        "dataset": dataset.name,
        "digest": dataset.digest,
        "split": "test",
        "num_examples": num,
        "levels": dataset.levels,
        "step": trained.step,
        "num_parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.state.params)),
        "metrics": {name: summary._asdict() for name, summary in summaries.items()},
    }
    write_atomically(trained.directory.evaluation, json.dumps(evaluation, indent=2) + "\n")


def num_measured(dataset: Dataset) -> int:
    """Number of samples to measure: as many as there are train and test examples, up to 2,000."""
    return min(_MAX_MEASURED, len(dataset.train), len(dataset.test))


def measure_samples(trained: Trained, num_shown: int) -> tuple[dict[str, Any], np.ndarray]:
    """Compares samples of a run with its data.

    Args:
        trained: the run.
        num_shown: number of samples that the pictures want.

    Returns:
        What `sample_metrics.json` holds, and the samples, `[max(num_measured, num_shown), ...]`.
    """
    dataset, num = trained.dataset, num_measured(trained.dataset)
    samples, per_second = _timed_samples(trained, max(num, num_shown))
    # Those of a texture may have another size: then the corner that both have is compared.
    shape = tuple(map(min, samples.shape[1:], dataset.shape))
    corner = (slice(None), *map(slice, shape))
    if shape == dataset.shape:
        net = metrics.cached_features(dataset)
    else:
        part = dataclasses.replace(dataset, shape=shape)
        net = metrics.random_features(part, reason="samples are smaller than the data")
    train = subset(dataset.train, _MAX_COMPARED)["x"][corner]
    test = subset(dataset.test, num)["x"][corner]
    record = {
        "dataset": dataset.name,
        "digest": dataset.digest,
        "step": trained.step,
        "sampling": dataclasses.asdict(trained.settings.sampling),
        "samples_per_second": per_second,
        "features": net.note,
        "feature_net": net.name,
        **metrics.compare_samples(net, samples[corner][:num], train, test),
    }
    return record, samples


def record_samples(trained: Trained, num_shown: int) -> np.ndarray:
    """Prints and writes what `measure_samples` finds, and returns the samples.

    Raises:
        OSError: if the file cannot be written, after the table.
    """
    record, samples = measure_samples(trained, num_shown)
    rich.console.Console().print(sample_table(record))
    write_sample_metrics(trained, record)
    return samples


def write_sample_metrics(trained: Trained, record: dict[str, Any]) -> None:
    """Writes what `measure_samples` found into the run."""
    write_atomically(trained.directory.sample_metrics, json.dumps(record, indent=2) + "\n")


def _timed_samples(trained: Trained, num: int) -> tuple[np.ndarray, float]:
    """Samples, and how many there are in a second once the program is compiled."""
    algorithm, state = trained.method.algorithm, trained.state
    label = labels_in_turn(trained.method, trained.info.num_classes, num)
    blocks = sample_in_blocks(algorithm, state, jax.random.key(SAMPLING_SEED), num, label)
    parts, begin = [next(blocks)], time.monotonic()  # The first dispatch compiles as well.
    parts += blocks
    if len(parts) == 1:
        begin = time.monotonic()
        again = sample_in_blocks(algorithm, state, jax.random.key(SAMPLING_SEED), num, label)
        return parts[0], len(next(again)) / (time.monotonic() - begin)
    per_second = (num - len(parts[0])) / (time.monotonic() - begin)
    return np.concatenate(parts), per_second


def sample_table(record: dict[str, Any]) -> rich.table.Table:
    """Makes the table of what `record_samples` found."""
    values, copying = record["metrics"], record["data_copying"]
    caption = f"features: {record['features']}"
    if copying:
        caption += (
            f". Nearest training example: median {_rounded(copying['median_distance'])} from samples, "
            f"{_rounded(copying['test_median_distance'])} from test examples"
        )
    if record["num"] < _FEW:
        caption += (
            f". With only {counted(record['num'], 'example')} of each kind these numbers are mostly "
            "chance"
        )
    title = f"{counted(record['num'], 'example')} of each kind beside as many test examples of {record['dataset']}"
    table = rich.table.Table(
        "metric", title=Text(title), title_justify="left", caption=Text(caption)
    )
    for name in values:
        table.add_column(name, justify="right")
    for metric in values["samples"]:
        table.add_row(metric, *(_estimate(record, name, metric) for name in values))
    return table


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _estimate(record: dict[str, Any], name: str, metric: str) -> str:
    """A number of the table, with its standard error where it has one."""
    value, error = record["metrics"][name][metric], record["standard_errors"][name].get(metric)
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"
