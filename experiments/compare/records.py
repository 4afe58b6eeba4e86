"""What is known of a run, and whether runs can be compared."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.bounds import best_bound
from experiments.runs import find_run
from jaxgen.files import read_object
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.run_directory import RunDirectory, RunError

FLOOR = "train examples"
"""The column of a perfect sampler: train examples in place of samples."""


class Record(NamedTuple):
    """What is known of a run.

    Attributes:
        name: of its directory.
        family: of the method.
        directory: where it lies.
        evaluation: of its test examples, what `evaluation.json` holds.
        samples: what `sample_metrics.json` holds.
        seconds: of training in all starts; None where it is not known.
    """

    name: str
    family: str
    directory: RunDirectory
    evaluation: dict[str, Any]
    samples: dict[str, Any]
    seconds: float | None


def read_record(path: str) -> Record:
    """Reads the numbers of a trained run.

    Raises:
        ValueError: if it is no run, or has not been measured since it was last trained.
    """
    run = find_run(path)
    directory = run.directory
    found = [read_object(file) for file in (directory.evaluation, directory.sample_metrics)]
    if None in found:
        raise RunError(
            f"{directory.path}: not measured yet; train it to its end, or run python -m experiments.evaluate "
            f"{directory.path}"
        )
    evaluation, samples = (values or {} for values in found)
    steps = Checkpoints(directory.checkpoints).steps()
    measured = sorted({evaluation["step"], samples["step"]})
    if steps and measured != [steps[-1]]:
        raise RunError(
            f"{directory.path}: measured at step {' and '.join(map(str, measured))}, expected the newest "
            f"checkpoint's, {steps[-1]}; run python -m experiments.evaluate {directory.path}"
        )
    seconds = (read_object(directory.timing) or {}).get("seconds")
    return Record(directory.path.name, run.experiment.name, directory, evaluation, samples, seconds)


def check_comparable(records: Sequence[Record]) -> None:
    """Refuses runs whose numbers do not stand on the same data and features.

    Raises:
        ValueError: naming what differs, and the values.
    """
    first = records[0]
    for other in records[1:]:
        for name, read in _COMPARED.items():
            if read(first) != read(other):
                show = _named_data if name == "dataset" else read
                hint = (
                    "; python -m experiments.evaluate RUN measures anew"
                    if name in _MEASURED
                    else ""
                )
                raise ValueError(
                    f"{name}: {_text(show(first))} in {first.directory.path}, {_text(show(other))} in "
                    f"{other.directory.path}, expected the same in all runs{hint}"
                )


def _data(record: Record) -> Any:
    # A folder that has moved has another name and the same digest.
    return record.evaluation["digest"] or record.evaluation["dataset"]


def _named_data(record: Record) -> str:
    """The name, and as much of the digest as tells two apart."""
    name, digest = record.evaluation["dataset"], record.evaluation["digest"]
    return f"{name} (digest {digest[:12]})" if digest else name


_COMPARED = {
    "dataset": _data,
    "levels": lambda record: record.evaluation["levels"],
    "num_examples": lambda record: record.evaluation["num_examples"],
    "num_samples": lambda record: record.samples["num"],
    "feature_net": lambda record: record.samples["feature_net"],
}

_MEASURED = ("num_examples", "num_samples", "feature_net")  # An evaluation can change these.


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def numbers(record: Record) -> dict[str, Any]:
    """The row of a run: name to a number, a text, or None where it has none."""
    evaluation, samples = record.evaluation, record.samples
    metrics = evaluation["metrics"]
    bound = best_bound(metrics)
    distances = samples["metrics"].get("samples", {})
    copying = samples.get("data_copying") or {}
    return {
        "family": record.family,
        "bits per dimension": None if bound is None else metrics[bound.name]["mean"],
        "standard error": None if bound is None else metrics[bound.name]["standard_error"],
        "kind of likelihood": "none" if bound is None else bound.kind,
        **distances,
        "nearer to train than test examples (share)": copying.get("share_nearer"),
        "nearer than every test example (number)": copying.get("num_nearer_than_all_test"),
        "parameters": evaluation["num_parameters"],
        "training steps": evaluation["step"],
        "training time (s)": record.seconds,
        "samples per second": samples["samples_per_second"],
    }


def floor(record: Record) -> dict[str, Any]:
    """The row of train examples in place of samples."""
    return record.samples["metrics"].get(FLOOR, {})


def unique_names(records: Sequence[Record]) -> list[str]:
    """Names of runs, with as much of their path as tells them apart."""
    paths = [record.directory.path for record in records]
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    common = pathlib.Path(os.path.commonpath([path.parent for path in paths]))
    return [str(path.relative_to(common)) for path in paths]
