"""Runs side by side: the table, the page and the files; what cannot be compared is refused with the reason."""

import csv
import dataclasses
import json
import re

import numpy as np
import PIL.Image
import pytest
from test_report import Page

from experiments.bounds import best_bound
from experiments.compare import __main__ as compare
from experiments.families import FAMILIES
from jaxgen import plots

INFO = {
    "shape": [4, 4, 1],
    "levels": 17,
    "class_names": None,
    "num_train": 9,
    "num_test": 5,
    "digest": "d" * 64,
}


def distances(value):
    return {"Frechet distance of features": value, "coverage": 1.0 / value}


def make_run(path, family, metrics, *, value=2.0, **changes):
    (path / "samples").mkdir(parents=True)
    settings = dataclasses.asdict(FAMILIES[family].defaults())
    config = {"experiment": family, "settings": settings, "data": INFO}
    (path / "config.json").write_text(json.dumps(config))
    evaluation = {
        "dataset": "folder:/a/<b>[i]",
        "digest": "d" * 64,
        "levels": 17,
        "num_examples": 5,
        "step": 2000,
        "num_parameters": 12345,
        "metrics": {n: {"mean": m, "standard_error": 0.01} for n, m in metrics.items()},
    }
    samples = {
        "num": 5,
        "step": 2000,
        "features": "classifier of test accuracy 0.9, net abc",
        "feature_net": "abc",
        "samples_per_second": 1234.5,
        "metrics": {"samples": distances(value), "train examples": distances(1.5)},
        "data_copying": {"share_nearer": 0.5, "num_nearer_than_all_test": 1},
    }
    for values in (evaluation, samples):
        values.update({name: new for name, new in changes.items() if name in values})
    (path / "evaluation.json").write_text(json.dumps(evaluation))
    (path / "sample_metrics.json").write_text(json.dumps(samples))
    (path / "timing.json").write_text(json.dumps({"step": 2000, "seconds": 61.5}))
    plots.save_image(path / "samples/samples.png", np.full((4, 4), 7, np.uint8))
    return path


VAE_METRICS = {"elbo": -9.0, "elbo_bits_per_dim": 2.2, "iw100_bits_per_dim": 2.07}


@pytest.fixture
def vae(tmp_path):
    return make_run(tmp_path / "vae", "vae", VAE_METRICS)


def test_runs_of_two_families_stand_side_by_side(vae, tmp_path, call):
    gan = make_run(tmp_path / "gan", "gan", {"critic_loss": 0.7}, value=4.0)
    out = tmp_path / "out"
    code, printed, errors = call(compare, vae, gan, "--out", out)
    assert code == 0, errors
    words = re.sub(r"\s+", " ", printed)
    assert "Runs on folder:/a/<b>[i]" in words and "compare.html" in words
    content = json.loads((out / "compare.json").read_text())
    assert list(content["runs"]) == ["vae", "gan", "train examples"]
    assert content["runs"]["train examples"] == distances(1.5)
    row = content["runs"]["vae"]
    assert row["bits per dimension"] == 2.07 and row["standard error"] == 0.01
    assert row["kind of likelihood"] == "importance-weighted bound, 100 draws"
    assert (row["parameters"], row["training steps"]) == (12345, 2000)
    assert (row["training time (s)"], row["samples per second"]) == (61.5, 1234.5)
    assert content["runs"]["gan"]["bits per dimension"] is None
    assert content["runs"]["gan"]["coverage"] == 0.25
    lines = list(csv.DictReader((out / "compare.csv").read_text().splitlines()))
    assert [line["run"] for line in lines] == ["vae", "gan", "train examples"]
    assert lines[0]["bits per dimension"] == "2.07" and lines[1]["bits per dimension"] == ""
    page = Page((out / "compare.html").read_text())
    assert page.captions == ["what they cover, and sheets of them"] and len(page.images) == 1
    with PIL.Image.open(out / "compare.png") as picture:
        assert picture.width > 2 * picture.height  # The shares, and a sheet of each run.
    assert "Runs on folder:/a/<b>[i]" in page.texts
    assert page.tags.isdisjoint({"script", "link", "b"})


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path, call):
    paths = [make_run(tmp_path / seed / "vae", "vae", VAE_METRICS) for seed in ("a", "b")]
    code, _, errors = call(compare, *paths, "--out", tmp_path / "out")
    assert code == 0, errors
    content = json.loads((tmp_path / "out/compare.json").read_text())
    assert list(content["runs"])[:2] == ["a/vae", "b/vae"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset": "folder:/b", "digest": "e" * 64},
            r"dataset: folder:/a/<b>\[i\] \(digest d{12}\) in .*vae, "
            r"folder:/b \(digest e{12}\) in .*other",
        ),
        (
            {"dataset": "moons", "digest": None},
            r"dataset: folder:/a/<b>\[i\] \(digest d{12}\) in .*vae, moons in .*other",
        ),
        ({"levels": 256}, "levels: 17 in .*vae, 256 in .*other"),
        ({"num_examples": 6}, "num_examples: 5 in"),
        ({"num": 4}, "num_samples: 5 in .*vae, 4 in .*other"),
        ({"feature_net": "xyz"}, "feature_net: abc in .*vae, xyz in .*other"),
    ],
)
def test_what_does_not_compare_is_refused(vae, tmp_path, call, changes, message):
    other = make_run(tmp_path / "other", "vae", VAE_METRICS, **changes)
    code, _, errors = call(compare, vae, other, "--out", tmp_path / "out")
    assert code == 2
    assert re.search(f"error: {message}", errors), errors
    assert not (tmp_path / "out").exists()


def test_a_folder_that_has_moved_compares(vae, tmp_path, call):
    other = make_run(tmp_path / "other", "vae", VAE_METRICS, dataset="folder:/elsewhere")
    assert call(compare, vae, other, "--out", tmp_path / "out")[0] == 0


def test_a_run_without_numbers_is_refused(vae, tmp_path, call):
    (vae / "sample_metrics.json").unlink()
    code, _, errors = call(compare, vae, "--out", tmp_path / "out")
    assert code == 2
    assert (
        f"not measured yet; train it to its end, or run python -m experiments.evaluate {vae}"
        in errors
    )
    code, _, errors = call(compare, tmp_path / "none")
    assert (code, errors) == (2, f"error: there is no run directory {tmp_path / 'none'}\n")


def test_a_run_that_trained_on_since_it_was_measured_is_refused(vae, tmp_path, call):
    (vae / "checkpoints/2000").mkdir(parents=True)
    assert call(compare, vae, "--out", tmp_path / "out")[0] == 0
    (vae / "checkpoints/2400").mkdir()
    code, _, errors = call(compare, vae, "--out", tmp_path / "other")
    assert code == 2 and not (tmp_path / "other").exists()
    assert "measured at step 2000, expected the newest checkpoint's, 2400; run python -m" in errors


def test_the_tightest_likelihood_is_named_with_its_kind():
    assert best_bound(["elbo_bits_per_dim", "rate"]) == ("elbo_bits_per_dim", "ELBO, a bound")
    names = ["iw5_bits_per_dim", "elbo_bits_per_dim"]
    assert best_bound(names).kind == "importance-weighted bound, 5 draws"
    assert best_bound([*names, "log_likelihood_bits_per_dim"]).kind == "exact"
    assert best_bound(["elbo", "critic_loss"]) is None
