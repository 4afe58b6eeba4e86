"""How far samples lie from the data, each number beside that of the train images: the floor of a perfect sampler."""

import json

import numpy as np
import rich.table

from jaxgen import metrics
from jaxgen.data.dataset import Dataset
from jaxgen.files import write_atomically
from jaxgen.metrics.features import FeatureNet, features
from jaxgen.training.run_directory import RunDirectory

NUM_MEASURED = 2000
"""Samples, test and train images that are compared, where there are as many."""


def num_measured(dataset: Dataset) -> int:
    """Number of samples to measure: as many as there are train and test images, up to `NUM_MEASURED`."""
    return min(NUM_MEASURED, len(dataset.train), len(dataset.test))


def measure_samples(run: RunDirectory, dataset: Dataset, samples: np.ndarray) -> rich.table.Table:
    """Compares samples with test images, and as many train images with the same; writes `sample_metrics.json`.

    Args:
        run: the run directory.
        dataset: the data.
        samples: uint8 `[num_measured(dataset), H, W, C]`.

    Returns:
        The table of all numbers.
    """
    num = len(samples)
    train = dataset.train.gather(np.arange(min(len(dataset.train), 10 * num)))["x"]
    test = dataset.test.gather(np.arange(num))["x"]
    net, note = _feature_net(dataset)
    columns = {"samples": samples, "train images": train[:num]}
    values = {name: _distances(net, x, test) for name, x in columns.items()}
    copying = metrics.data_copying(*(_flat(x) for x in (samples, train, test)))
    record = {"num": num, "features": note, "feature_net": net.name, "metrics": values}
    record["data_copying"] = copying._asdict()
    write_atomically(run.path / "sample_metrics.json", json.dumps(record, indent=2) + "\n")
    caption = (
        f"features: {note}; net {net.name[:8]}. Nearest training image (pixel values): median "
        f"{copying.median_distance:.1f} from samples, {copying.test_median_distance:.1f} from test images"
    )
    title = f"{num:,} images of each kind beside as many test images of {dataset.name}"
    table = rich.table.Table("metric", title=title, title_justify="left", caption=caption)
    for name in columns:
        table.add_column(name, justify="right")
    for metric in values["samples"]:
        table.add_row(metric, *(f"{values[name][metric]:.4f}" for name in columns))
    return table


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)


def _feature_net(dataset: Dataset) -> tuple[FeatureNet, str]:
    """A classifier of the data set, or random features where it has no labels or no accurate one is found."""
    try:
        net = metrics.train_features(dataset)
    except ValueError as error:
        return metrics.random_features(dataset), f"untrained network, since {error}"
    return net, f"classifier of test accuracy {net.test_accuracy:.3f}"


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
