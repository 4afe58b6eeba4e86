"""Names of data sets, settings that do not fit them, and the line that says what was loaded."""

import pytest
from image_files import load, make

from jaxgen import data
from jaxgen.data.text import counted, listed, printable


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("digits", {"image_size": 16}, r"image_size: \(16, 16\), expected none for digits"),
        ("digits", {"levels": 256}, "levels: 256, expected none for digits, which has 17"),
        ("ring", {"levels": 2}, "levels: 2, expected none for ring$"),
        ("digits", {"levels": 1}, "levels: 1, expected 2 to 256"),
        ("digits", {"image_size": (9000, 9000)}, r"\(9000, 9000\), .* at most 67,108,864 pixels"),
        ("digits", {"image_size": (0, 4)}, r"image_size: \(0, 4\), expected a height and a width"),
        ("digits", {"memory_limit": -1}, "memory_limit: -1, expected at least 0"),
        ("digits", {"image_feature": "a"}, "image_feature: 'a', expected none: only tensorflow-d"),
        ("folder:.", {"label_feature": "a"}, "label_feature: 'a', expected none"),
    ],
)
def test_settings_that_do_not_fit(name, settings, message):
    with pytest.raises(data.DataError, match=message):
        data.load(name, **settings)


def test_settings_that_fit():
    settings = {"image_size": (8, 8), "levels": 17, "skip_damaged": True, "data_dir": "nowhere"}
    assert data.load("digits", **settings).shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/data/cats", "/data/cats"),
        ("Folder:/data/cats", "/data/cats"),
        ("FOLDER:cats", "cats"),
        ("~/cats", "~/cats"),
        ("./cats", "./cats"),
        ("data/cats/", "data/cats/"),
        ("my cats/all", "my cats/all"),
        ("/data/x[/raw]", "/data/x[/raw]"),
    ],
)
def test_a_path_without_its_prefix(name, path):
    with pytest.raises(data.DataError) as error:
        data.load(name)
    assert str(error.value) == f"unknown data set {name!r}: did you mean folder:{path}"


@pytest.mark.parametrize("name", ["folder:", "Folder:", "", "a b", "x=1", "https://x.org/a.zip"])
def test_names_of_nothing(name):
    with pytest.raises(data.DataError) as error:
        data.load(name)
    expected = "digits, stacked_digits, ring, grid, moons, checkerboard, folder:PATH, image:PATH or the name"
    assert str(error.value).startswith(f"dataset: {name!r}, expected {expected}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["cats", "my/cats"])
def test_a_folder_that_is_named_like_a_set_of_tensorflow_datasets(tmp_path, monkeypatch, name):
    make(tmp_path / name, "0.png", "1.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(data.DataError, match=f"Did you mean folder:{name}"):
        data.load(name, data_dir=str(tmp_path / "tfds"))
    assert len(data.load(f"folder:{name}").train) == 1


def test_every_data_set_is_described_in_one_line(tmp_path):
    assert data.describe(data.load("digits")) == (
        "digits: 1,400 train and 397 test images 8x8x1, 17 levels, 10 classes"
    )
    assert (
        data.describe(data.load("ring")) == "ring: 50,000 train and 10,000 test vectors of 2 values"
    )
    make(tmp_path, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10)))
    for name in ("a.txt", "cat/b.txt", "c.csv"):
        (tmp_path / name).write_text("")
    dataset = load(tmp_path)
    assert data.describe(dataset) == (
        f"folder:{tmp_path}: {len(dataset.train)} train and {len(dataset.test)} test images "
        "2x2x1, 256 levels, 2 classes; 3 files left out (2 .txt, 1 .csv)"
    )
    make(tmp_path / "flat", "0.png", "1.png")
    assert data.describe(load(tmp_path / "flat")).endswith(
        "flat: 1 train and 1 test images 2x2x1, 256 levels, no classes"
    )


def test_words():
    assert printable("a b [x]é\udcff\n\x1b") == "a b [x]é\\udcff\\n\\x1b"
    assert (counted(1, "class"), counted(2000, "class")) == ("1 class", "2,000 classes")
    assert (counted(0, "file"), listed(["a\t"])) == ("0 files", "a\\t")
    assert listed(list("abcde"), most=2) == "a, b and 3 more"
