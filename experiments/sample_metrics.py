"""How far samples lie from the data, each number beside that of the train images: the floor of a perfect sampler."""

import json
from typing import Any, NamedTuple

import numpy as np
import rich.table

from jaxgen import metrics
from jaxgen.data.dataset import Dataset
from jaxgen.files import write_atomically
from jaxgen.metrics.features import FeatureNet, features
from jaxgen.training.run_directory import RunDirectory

_MAX_MEASURED = 2000


def num_measured(dataset: Dataset) -> int:
    """Number of samples to measure: as many as there are train and test images, up to 2,000."""
    return min(_MAX_MEASURED, len(dataset.train), len(dataset.test))


class Yardstick(NamedTuple):
    """A network whose features samples are compared on.

    Attributes:
        net: the network.
        is_classifier: whether it has learned to tell the classes.
        note: what it is, in words.
    """

    net: FeatureNet
    is_classifier: bool
    note: str


def make_yardstick(dataset: Dataset) -> Yardstick:
    """A classifier of the data set, or random features where it has no labels or no accurate one is found."""
    try:
        net = metrics.train_features(dataset)
    except ValueError as error:
        return Yardstick(
            metrics.random_features(dataset), False, f"untrained network, since {error}"
        )
    return Yardstick(net, True, f"classifier of test accuracy {net.test_accuracy:.3f}")


def measure_samples(
    run: RunDirectory, dataset: Dataset, yardstick: Yardstick, samples: np.ndarray
) -> dict[str, Any]:
    """Compares samples with test images, and as many train images with the same; writes `sample_metrics.json`.

    Args:
        run: the run directory.
        dataset: the data.
        yardstick: from `make_yardstick`.
        samples: uint8 `[num_measured(dataset), H, W, C]`.

    Returns:
        What the file holds: under "metrics" the distances of "samples" and of "train images", by name.
    """
    num = len(samples)
    train = dataset.train.gather(np.arange(min(len(dataset.train), 10 * num)))["x"]
    test = dataset.test.gather(np.arange(num))["x"]
    columns = {"samples": samples, "train images": train[:num]}
    values = {name: _distances(yardstick.net, x, test) for name, x in columns.items()}
    copying = metrics.data_copying(*(_flat(x) for x in (samples, train, test)))
    record = {
        "num": num,
        "features": yardstick.note,
        "feature_net": yardstick.net.name,
        "metrics": values,
        "data_copying": copying._asdict(),
    }
    write_atomically(run.sample_metrics, json.dumps(record, indent=2) + "\n")
    return record


def sample_table(dataset_name: str, record: dict[str, Any]) -> rich.table.Table:
    """Makes the table of what `measure_samples` found."""
    copying, values = record["data_copying"], record["metrics"]
    caption = (
        f"features: {record['features']}; net {record['feature_net'][:8]}. Nearest training image (pixel values): "
        f"median {copying['median_distance']:.1f} from samples, {copying['test_median_distance']:.1f} from test images"
    )
    title = f"{record['num']:,} images of each kind beside as many test images of {dataset_name}"
    table = rich.table.Table("metric", title=title, title_justify="left", caption=caption)
    for name in values:
        table.add_column(name, justify="right")
    for metric in values["samples"]:
        table.add_row(metric, *(f"{column[metric]:.4f}" for column in values.values()))
    return table


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)


def _distances(net: FeatureNet, x: np.ndarray, test: np.ndarray) -> dict[str, float]:
    found, known = features(net, x), features(net, test)
    neighbors = min(5, len(test) - 1)
    coverage = metrics.precision_recall_density_coverage(known, found, num_neighbors=neighbors)
    return {
        "Frechet distance of features": metrics.frechet_distance(found, known).value,
        "kernel distance of features": metrics.kernel_distance(found, known).value,
        "precision": coverage.precision,
        "recall": coverage.recall,
        "density": coverage.density,
        "coverage": coverage.coverage,
        "sliced Wasserstein distance of pixels": metrics.sliced_wasserstein(
            0, _flat(x), _flat(test), num_projections=256
        ).value,
    }
