"""How a folder of images becomes splits, classes and labels."""

import hashlib
import random
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import load, make, random_pixels, save, whole

from jaxgen import data
from jaxgen.data.folder_layout import digest, natural_order, understand


def paths(folder, num):
    return [f"{folder}/{number}.png" for number in range(num)]


def labels(split):
    return whole(split)["label"].tolist()


def test_folder_by_class(tmp_path):
    pixels = {(name, i): random_pixels(5, 7, 3) for name in ("cat", "ant") for i in range(6)}
    for (name, number), x in pixels.items():
        save(tmp_path / name / f"{number}.png", x)
    dataset = load(tmp_path)
    assert (dataset.shape, dataset.levels) == ((5, 7, 3), 256)
    assert dataset.class_names == ("ant", "cat")
    rows = [whole(split) for split in (dataset.train, dataset.test)]
    seen = [
        (int(label), x.tobytes())
        for part in rows
        for x, label in zip(part["x"], part["label"], strict=True)
    ]
    assert sorted(seen) == sorted((int(n == "cat"), x.tobytes()) for (n, _), x in pixels.items())
    streamed = load(tmp_path, memory_limit=0)
    assert isinstance(streamed.train, data.StreamSplit)
    for name, value in rows[0].items():
        np.testing.assert_array_equal(whole(streamed.train)[name], value)
    np.testing.assert_array_equal(streamed.train.labels(), rows[0]["label"])


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("test", ["test", "val", "VALID", "validation", "Testing"])
def test_usual_names_of_splits_in_any_case(train, test):
    files = [f"{split}/{name}/0.png" for split in (train, test) for name in ("cat", "dog")]
    layout = understand(sorted(files))
    assert layout.class_names == ("cat", "dog")
    assert layout.train == [f"{train}/cat/0.png", f"{train}/dog/0.png"]
    assert layout.test == [f"{test}/cat/0.png", f"{test}/dog/0.png"]
    is_usual = test.lower().startswith("test")
    assert layout.notes == ([] if is_usual else [f"splits: {test} is test, {train} is train"])


def test_test_is_preferred_to_val_and_what_lies_beside_is_left_out():
    files = [*paths("train", 2), *paths("val", 3), *paths("test", 1), *paths("extra", 4), "a.png"]
    layout = understand(files)
    assert (layout.train, layout.test) == (paths("train", 2), paths("test", 1))
    assert "8 images beside the splits left out (extra, val, a.png)" in layout.notes


@pytest.mark.parametrize("only", ["train", "test", "val"])
def test_one_split_alone_is_parted(only):
    files = [*paths(f"{only}/cat", 20), *paths(f"{only}/dog", 20)]
    layout = understand(files)
    assert layout.class_names == ("cat", "dog")
    assert sorted(layout.train + layout.test) == sorted(files) and layout.test
    assert layout.notes == [f"splits: a tenth of {only} is test, the rest train"]


def test_layouts_that_are_no_splits():
    vehicles = understand([*paths("car", 2), *paths("plane", 2), *paths("train", 2)])
    assert vehicles.class_names == ("car", "plane", "train")
    assert vehicles.notes == [
        "train taken as any other folder, without a test or val folder beside it"
    ]
    held_out = understand([*paths("car", 2), *paths("test", 2)])
    assert held_out.class_names == ("car", "test")
    assert "without a train folder" in held_out.notes[0]
    with pytest.raises(data.DataError, match="there are test, val, but no train folder"):
        understand([*paths("test", 2), *paths("val", 2)])
    assert understand([*paths("train", 9), "cover.png"]).notes == [
        "splits: a tenth of train is test, the rest train",
        "1 image beside the splits left out (cover.png)",
    ]


def test_test_split_of_other_classes(tmp_path):
    make(tmp_path, *(f"{split}/{name}/0.png" for split in ("train", "test") for name in "ab"))
    assert labels(load(tmp_path).test) == [0, 1]
    make(tmp_path, "test/1.png")
    dataset = load(tmp_path)
    assert labels(dataset.test) == [-1, 0, 1]
    assert (dataset.train_unlabelled, dataset.test_unlabelled) == (0, 1)
    assert dataset.notes == ("1 of 3 test examples have no label",)
    make(tmp_path, "test/c/0.png")
    with pytest.raises(data.DataError, match=r"1 image .*\(test/c/0\.png\).* classes .*: a, b"):
        load(tmp_path)


def test_what_is_in_the_way_of_classes_is_said():
    files = [*paths("cat", 3), *paths("dog", 3), "cover.png"]
    layout = understand(files)
    assert (layout.class_names, layout.train_labels) == (None, None)
    assert layout.notes == ["classes: none, since cover.png beside the folders cat, dog"]
    many = understand([*files, "1.png", "2.png", "3.png", "4.png"])
    assert "cover.png, 1.png, 2.png and 2 more" in many.notes[0]
    one = understand(paths("cat", 3))
    assert one.notes == ["classes: none, since all images lie in one folder, cat"]
    assert understand(["0.png", "1.png"]).notes == []


def test_numbers_are_classes_in_their_order(tmp_path):
    make(tmp_path, *(f"train/{number}/0.png" for number in range(12)), "test/11/0.png")
    dataset = load(tmp_path)
    assert dataset.class_names == tuple(map(str, range(12)))
    assert labels(dataset.test) == [11]


@given(st.lists(st.integers(0, 10**6), unique=True), st.text("ab0", max_size=2))
@settings(deadline=None, max_examples=50)
def test_natural_order_is_that_of_the_numbers(numbers, prefix):
    prefix = f"{prefix}x"
    names = [f"{prefix}{number}" for number in numbers]
    assert sorted(names, key=natural_order) == [f"{prefix}{n}" for n in sorted(numbers)]


def test_natural_order_of_anything():
    names = ["", "1b", "9", "10", "a", "a02", "a2", "a10", "b", "²"]
    assert sorted(random.Random(0).sample(names, len(names)), key=natural_order) == names


def test_new_files_move_none_between_the_splits():
    files = [f"{number}.png" for number in range(1000)]
    before, after = understand(files), understand([*files, "new.png"])
    assert set(before.train) <= set(after.train) and set(before.test) <= set(after.test)
    # A tenth of 1,000, within five standard deviations of a binomial.
    assert abs(len(before.test) - 100) < 5 * np.sqrt(1000 * 0.1 * 0.9)
    assert understand(files).test == before.test


@given(st.integers(2, 12), st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_a_file_is_held_out_by_the_hash_of_its_path(num, seed):
    files = [f"{seed}/{number}.png" for number in range(num)]
    value = {path: int(hashlib.sha256(path.encode()).hexdigest()[:16], 16) for path in files}
    expected = {path for path in files if value[path] < 2**64 / 10}
    expected = expected or {min(files, key=value.__getitem__)}
    if len(expected) == num:
        expected.remove(max(files, key=value.__getitem__))
    layout = understand(files)
    assert set(layout.test) == expected
    assert sorted(layout.train + layout.test) == sorted(files)


def test_name_and_digest_do_not_depend_on_the_way_to_the_folder(tmp_path, monkeypatch):
    make(tmp_path / "pets", "cat/0.png", "cat/1.png", "dog/0.png")
    name, found = f"folder:{tmp_path.resolve()}/pets", load(tmp_path / "pets")
    assert found.name == name
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to("pets")
    for path in ("pets", "./pets/", "pets/../pets", "~/pets", "link", f"{tmp_path}/pets//"):
        again = data.load(f"folder:{path}")
        assert (again.name, again.digest) == (name, found.digest)
    shutil.copytree("pets", "moved")
    assert load("moved").digest == found.digest
    make(tmp_path / "moved", "dog/1.png")
    assert load("moved").digest != found.digest


def test_digest_tells_splits_and_classes_apart():
    layouts = [
        understand(files)
        for files in (
            ["train/a/0.png", "train/b/0.png", "test/a/0.png"],
            ["train/a/0.png", "train/b/0.png", "val/a/0.png"],
            ["train/a/0.png", "train/a/1.png", "test/a/0.png"],
        )
    ]
    relabelled = layouts[0]._replace(train_labels=layouts[0].train_labels[::-1])
    swapped = layouts[0]._replace(train=layouts[0].test, test=layouts[0].train)
    swapped = swapped._replace(train_labels=None, test_labels=None)
    unlabelled = layouts[0]._replace(train_labels=None, test_labels=None)
    sizes = {path: 7 for layout in layouts for path in (*layout.train, *layout.test)}
    found = [digest(layout, sizes) for layout in (*layouts, relabelled, swapped, unlabelled)]
    found.append(digest(layouts[0], {**sizes, "test/a/0.png": 8}))  # Replaced under its name.
    assert len(set(found)) == len(found)
    assert all(len(text) == 64 for text in found)


def test_folders_that_cannot_be_split(tmp_path):
    with pytest.raises(data.DataError, match="folder .*nowhere does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(data.DataError, match=r"file\.txt is not a folder"):
        load(tmp_path / "file.txt")
    with pytest.raises(
        data.DataError, match=r"no image file below .*; 1 file left out \(1 \.txt\)"
    ):
        load(tmp_path)
    make(tmp_path, "a.png")
    with pytest.raises(data.DataError, match="1 image found, expected at least 2"):
        load(tmp_path)
