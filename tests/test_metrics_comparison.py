"""Samples beside test examples: the numbers of single metrics, the floor, and what few examples leave out."""

import json

import numpy as np
import pytest

from jaxgen import metrics
from jaxgen.data import ArraySplit, Dataset


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    samples, train, test = (rng.normal(size=(num, 3)).astype(np.float32) for num in (40, 90, 40))
    split = ArraySplit({"x": train})
    dataset = Dataset("points", (3,), None, None, train=split, test=ArraySplit({"x": test}))
    return metrics.identity_features(dataset), samples + 1.0, train, test


def test_the_numbers_are_those_of_the_metrics(points):
    net, samples, train, test = points
    found = metrics.compare_samples(net, samples, train, test)
    assert json.loads(json.dumps(found)) == found
    assert found["num"] == 40
    for name, x in (("samples", samples), ("train examples", train[:40])):
        values = found["metrics"][name]
        shares = metrics.precision_recall_density_coverage(test, x, num_neighbors=5)
        assert values == {
            "Frechet distance of features": metrics.frechet_distance(x, test).value,
            "kernel distance of features": metrics.kernel_distance(x, test).value,
            "precision": shares.precision,
            "recall": shares.recall,
            "density": shares.density,
            "coverage": shares.coverage,
            "sliced Wasserstein distance of values": metrics.sliced_wasserstein(
                0, x.astype(float), test.astype(float), num_projections=256
            ).value,
        }
    copying = metrics.data_copying(samples, train, test)
    assert found["data_copying"] == copying._asdict()


def test_train_examples_are_nearer_than_samples_that_are_off(points):
    values = metrics.compare_samples(*points)["metrics"]
    for name, floor in values["train examples"].items():
        is_distance = "distance" in name
        assert (values["samples"][name] > floor) == is_distance, name


@pytest.mark.parametrize("num", [1, 2, 3, 6])
def test_what_few_examples_leave_out_is_said(points, num):
    net, samples, train, test = points
    found = metrics.compare_samples(net, samples[:num], train, test[:num])
    lines = metrics.left_out(num)
    every = metrics.compare_samples(*points)["metrics"]["samples"]
    missing = set(every) - set(found["metrics"]["samples"])
    shares = {"precision", "recall", "density", "coverage"}
    said = {line.partition(":")[0] for line in lines}
    assert said == {
        "precision, recall, density and coverage" if n in shares else n for n in missing
    }
    assert all(f"{num} examples of each kind, expected at least" in line for line in lines)
    assert bool(lines) == (num < 3)


def test_the_floor_has_as_many_examples(points):
    net, samples, train, test = points
    with pytest.raises(ValueError, match="train, test: 39 and 40 examples, expected at least"):
        metrics.compare_samples(net, samples, train[:39], test)
