"""Scores of strange examples from the command line, and the data that they are compared with."""

import json

import numpy as np
import pytest
import quick_runs
from PIL import Image

from experiments.classify import __main__ as classify
from experiments.gaussian import EXPERIMENT as GAUSSIAN
from experiments.ood import __main__ as ood
from experiments.other_data import in_form
from experiments.settings import DataInfo, ImportanceSampling
from jaxgen.data import DataError, load

DIGITS = DataInfo.of(load("digits"))


def images(folder, num, spread, *, size=(12, 10), seed=0):
    """Colour images of noise about grey, as files."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(num):
        x = np.clip(rng.normal(128, spread, (*size, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(x).save(folder / f"{i:03d}.png")
    return f"folder:{folder}"


def test_a_conditional_flow_against_a_folder_with_a_background(call, tmp_path):
    run_dir, background = tmp_path / "run", tmp_path / "background"
    other = images(tmp_path / "other", 12, 40)
    quick_runs.train_flow(run_dir)
    quick_runs.train_flow(background, dataset="redrawn:0.3:digits")
    line = (run_dir, "--against", other, "--num-test", 60, "--background", background)
    code, out, err = call(ood, *line)
    assert code == 0, err
    for words in (
        "its images are resized and cropped to 8x8, where they differ",
        "its pixels 0 to 255 are scaled and rounded to 0 to 16",
        "its colours are made grey",
        "logsumexp over classes",
        "nothing was tuned on the other data",
        "trained on redrawn:0.3:digits",
        "PNG of the pixel values",
    ):
        assert words in out
    record = json.loads((run_dir / "ood.json").read_text())
    assert record["num"] == {"own": 30, "other": 12, "reference": 30}
    assert set(record["scores"]) == {"likelihood", "typicality", "complexity", "likelihood ratio"}
    for score in record["scores"].values():
        control = score["control"]
        assert 0 <= score["auroc"]["value"] <= 1
        assert abs(control["value"] - 0.5) < 4 * control["standard_error"]
    assert record["tuned_on_other_data"] is False
    assert (run_dir / "samples" / "ood.png").is_file()


def test_the_failure_of_the_likelihood_is_said(call, tmp_path):
    """A Gaussian of noise gives images of less noise more probability, which typicality tells."""
    run_dir = tmp_path / "run"
    own = images(tmp_path / "own", 600, 40, size=(4, 4))
    other = images(tmp_path / "other", 40, 20, size=(4, 4), seed=1)
    quick_runs.train(GAUSSIAN, run_dir, dataset=own, evaluation=ImportanceSampling(1))
    code, out, err = call(ood, run_dir, "--against", other)
    assert code == 0, err
    assert "MORE probability than its own test examples (AUROC of the likelihood 0.0" in out
    record = json.loads((run_dir / "ood.json").read_text())
    assert record["scores"]["likelihood"]["auroc"]["value"] < 0.1
    assert record["scores"]["typicality"]["auroc"]["value"] > 0.9
    assert any("MORE probability" in note for note in record["notes"])
    code, _, err = call(ood, run_dir, "--against", f"image:{tmp_path}/other/000.png")
    assert code == 2 and "000.png, with 1 example, expected 2 or more" in err, err


def test_vectors_have_no_complexity(call, tmp_path):
    run_dir = tmp_path / "run"
    quick_runs.train(GAUSSIAN, run_dir, dataset="moons")
    code, out, err = call(ood, run_dir, "--against", "checkerboard", "--num-test", 400)
    assert code == 0, err
    assert "complexity: left out, since vectors have no image file" in out
    assert set(json.loads((run_dir / "ood.json").read_text())["scores"]) == {
        "likelihood",
        "typicality",
    }
    for other, words in {
        "moons": "against: moons, expected other data than those of the run",
        "digits": "against: digits, images 8x8x1 of 17 levels, expected vectors of 2 values",
        "no_such_set": "against: unknown data set 'no_such_set'",
    }.items():
        code, _, err = call(ood, run_dir, "--against", other)
        assert code == 2 and words in err, err
    code, _, err = call(classify, run_dir)
    assert code == 2 and "knows no classes, expected a class-conditional run" in err


def test_levels_and_channels_are_brought_to_the_run():
    x = np.zeros((1, 8, 8, 3), np.uint8)
    x[0, 0, 0], x[0, 0, 1], x[0, 0, 2] = 255, (255, 0, 0), 128
    found, notes = in_form("against", x, 256, DIGITS, "other")
    assert found.shape == (1, 8, 8, 1) and found.dtype == np.uint8
    assert found[0, 0, :4, 0].tolist() == [16, round(16 * 0.299), round(16 * 128 / 255), 0]
    assert len(notes) == 2
    colour = DIGITS.__class__((8, 8, 3), 2, None, 1, 1, None)
    grey, notes = in_form("against", np.full((1, 8, 8, 1), 9, np.uint8), 17, colour, "other")
    assert grey.shape == (1, 8, 8, 3) and grey.min() == grey.max() == 1
    assert any("repeated in three channels" in note for note in notes)
    same, notes = in_form("against", x[..., :1] // 16, 17, DIGITS, "other")
    np.testing.assert_array_equal(same, x[..., :1] // 16)
    assert notes == []


@pytest.mark.parametrize(
    ("shape", "levels"), [((1, 8, 8, 2), 17), ((1, 9, 8, 1), 17), ((1, 2), None)]
)
def test_other_forms_are_refused(shape, levels):
    dtype = np.float32 if levels is None else np.uint8
    with pytest.raises(ValueError, match="against: other, .*, expected images 8x8x1 of 17 levels"):
        in_form("against", np.zeros(shape, dtype), levels, DIGITS, "other")


def test_pixels_are_drawn_anew_at_the_rate():
    """The same at every reading, each example by itself, uniformly over the levels."""
    clean, drawn = load("digits"), load("redrawn:0.25:digits")
    assert drawn.name == "redrawn:0.25:digits" and drawn.levels == 17
    assert "0.25 of the pixel values are drawn anew" in drawn.notes
    before, after = (each.train.gather(np.arange(1400)) for each in (clean, drawn))
    np.testing.assert_array_equal(before["label"], after["label"])
    changed = before["x"] != after["x"]
    # A new value is the old one in one of 17 cases.
    expected, num = 0.25 * 16 / 17, changed.size
    assert abs(changed.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / num)
    zero = before["x"] == 0
    values = np.bincount(after["x"][zero & changed], minlength=17)[1:]
    assert np.all(np.abs(values / values.mean() - 1) < 5 / np.sqrt(values.mean()))
    again = load("redrawn:0.25:digits").train.gather(np.array([7, 3]))["x"]
    np.testing.assert_array_equal(again, after["x"][[7, 3]])
    test = load("redrawn:0.25:digits").test.gather(np.arange(397))["x"]
    assert np.any(test != clean.test.gather(np.arange(397))["x"])


def test_a_stream_is_redrawn_as_what_is_in_memory(tmp_path):
    own = images(tmp_path / "own", 20, 40)
    whole, stream = (load(f"redrawn:0.5:{own}", memory_limit=m) for m in (2**30, 0))
    numbers = np.array([4, 0, 9])
    np.testing.assert_array_equal(
        whole.train.gather(numbers)["x"], stream.train.gather(numbers)["x"]
    )


@pytest.mark.parametrize(
    "name", ["redrawn:digits", "redrawn:0:digits", "redrawn:1.5:digits", "redrawn:0.2:"]
)
def test_bad_rates_are_refused(name):
    with pytest.raises(DataError, match="expected redrawn:RATE:NAME with a rate above 0"):
        load(name)


def test_vectors_cannot_be_redrawn():
    with pytest.raises(DataError, match=r"redrawn:0.5:moons, .* vectors, expected images"):
        load("redrawn:0.5:moons")
