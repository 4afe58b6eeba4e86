"""What the components of a mixture are: their weights, the information criterion, the labels."""

import json
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.console
import rich.table
from sklearn.metrics import normalized_mutual_info_score

from experiments.encoding import encode_part
from experiments.experiment import Trained
from jaxgen.classical import mixture
from jaxgen.classical.vectors import noise_variance, to_vectors
from jaxgen.data import labelled, subset
from jaxgen.files import write_atomically
from jaxgen.training.metrics_log import read_metrics

_NUM = 10_000
FILE = "clusters.json"


class Clusters(NamedTuple):
    """Test examples by their components.

    Attributes:
        label: of each labelled example, `[N]`, or None without labels.
        component: the most probable one of each, `[N]`.
        share: its responsibility, `[N]`.
    """

    label: np.ndarray | None
    component: np.ndarray
    share: np.ndarray


def cluster(trained: Trained) -> Clusters:
    """Finds the most probable component of a random part of the test examples."""
    test = trained.dataset.test
    has_labels = trained.info.class_names is not None
    batch = subset(labelled(test) if has_labels else test, _NUM)
    shares = jax.jit(lambda m, x: m.responsibilities(to_vectors(x, trained.info.levels)))
    params, x = trained.state.params, batch["x"]
    blocks = [np.asarray(shares(params, x[i : i + 500])) for i in range(0, len(x), 500)]
    found = np.concatenate(blocks)
    label = np.asarray(batch["label"]) if has_labels else None
    return Clusters(label, found.argmax(axis=1), found.max(axis=1))


def diagnose(trained: Trained) -> None:
    """Prints the criterion, the weights and the agreement with the labels, and writes them."""
    params, levels = trained.state.params, trained.info.levels

    @jax.jit
    def log_prob(x: jax.Array) -> jax.Array:
        x = to_vectors(x, levels)
        return mixture.expect(params, x, noise_variance=noise_variance(levels))[1]

    part = encode_part(log_prob, trained.dataset.train)
    num = len(trained.dataset.train)
    mean = float(np.mean(part, dtype=np.float64))
    criterion = -2.0 * num * mean + params.num_parameters() * np.log(num)
    weights = np.asarray(jax.nn.softmax(params.logits), float)
    rows = read_metrics(trained.directory.path)
    reseeded = sum(row.get("num_reseeded", 0.0) for row in rows)
    clusters = cluster(trained)
    values: dict[str, Any] = {
        "free parameters": params.num_parameters(),
        "BIC of the train examples, per example (nats)": criterion / (2 * num),
        "log-density of the train examples (nats)": mean,
        "largest and smallest weight": [float(weights.max()), float(weights.min())],
        "largest responsibility, mean of test examples": float(np.mean(clusters.share)),
        "components that began anew, in the mean of a step": reseeded / max(len(rows), 1),
    }
    if clusters.label is not None:
        values["normalised mutual information of components and labels"] = float(
            normalized_mutual_info_score(clusters.label, clusters.component)
        )
        values["accuracy of each component's most frequent label"] = purity(clusters)
    table = rich.table.Table("components", title="What EM found", title_justify="left")
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(name, _text(value))
    if len(part) < num:
        table.caption = f"train examples: a random {len(part):,} of {num:,}"
    rich.console.Console().print(table)
    write_atomically(trained.directory.path / FILE, json.dumps(values, indent=2) + "\n")


def purity(clusters: Clusters) -> float:
    """The share of examples whose label is the most frequent one of their component."""
    label, component = clusters.label, clusters.component
    if label is None:
        raise ValueError("label: none, expected one of each example")
    counts = np.zeros((component.max() + 1, label.max() + 1), int)
    np.add.at(counts, (component, label), 1)
    return float(counts.max(axis=1).sum() / len(label))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{each:.3g}" for each in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
