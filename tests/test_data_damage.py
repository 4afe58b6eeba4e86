"""Damaged image files: all named at once, or left out."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import image_examples, load, prepare, random_pixels, save, whole

from jaxgen import data
from jaxgen.data.build import NUM_LOOKED_AT
from jaxgen.data.folder_layout import understand


def damage(root, *, empty=(), cut=(), text=()):
    for name in empty:
        (root / name).write_bytes(b"")
    for name in text:
        (root / name).write_bytes(b"this is no image")
    for name in cut:  # the header says nothing of it
        (root / name).write_bytes((root / name).read_bytes()[:-60])


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        save(tmp_path / f"{'ab'[number % 2]}/{number}.png", random_pixels(16, 16))
    damage(tmp_path, empty=["a/2.png"], text=["b/5.png"], cut=["a/4.png", "b/7.png"])
    return tmp_path


BROKEN = ("a/2.png", "a/4.png", "b/5.png", "b/7.png")


@pytest.mark.parametrize("memory_limit", [0, 10**6])
def test_all_damaged_files_are_named_in_one_message(folder, memory_limit):
    with pytest.raises(data.DataError) as error:
        load(folder, memory_limit=memory_limit)
    head, *lines, hint = str(error.value).splitlines()
    assert head == "4 of 20 images cannot be read:"
    assert [line.split(":")[0].strip() for line in lines] == [str(folder / n) for n in BROKEN]
    assert "truncated" in lines[1] and "the file is empty" in lines[0]
    assert hint == "restore them, or train with --skip-damaged, which leaves out what is damaged"


@pytest.mark.parametrize("memory_limit", [0, 10**6])
def test_skip_damaged_leaves_them_out_and_says_so(folder, memory_limit):
    dataset = load(folder, memory_limit=memory_limit, skip_damaged=True)
    assert len(dataset.train) + len(dataset.test) == 16
    (note,) = dataset.notes
    assert note.startswith("4 damaged images left out (") and note.endswith("and 1 more)")
    for name in BROKEN:
        (folder / name).unlink()
    expected = load(folder)
    for split, other in ((dataset.train, expected.train), (dataset.test, expected.test)):
        for name, rows in whole(other).items():
            np.testing.assert_array_equal(whole(split)[name], rows)
        np.testing.assert_array_equal(split.labels(), other.labels())
    assert load(folder, skip_damaged=True).notes == ()


def test_damage_in_the_pixels_of_a_set_in_memory_is_named_whole(tmp_path):
    for number in range(13):
        save(tmp_path / f"{number:02}.png", random_pixels(16, 16))
    damage(tmp_path, cut=[f"{number:02}.png" for number in range(1, 13)])
    with pytest.raises(data.DataError) as error:
        load(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0] == "12 of 13 images cannot be read:"
    assert "01.png" in lines[1] and "10.png" in lines[10] and lines[11] == "  and 2 more"


def test_damage_found_in_a_stream_names_the_file_and_the_way_out(tmp_path):
    names = [f"{number}.png" for number in range(NUM_LOOKED_AT + 60)]
    for name in names:
        save(tmp_path / name, random_pixels(16, 16))
    split = understand(sorted(names)).train
    looked_at = data.subset_indices(len(split), NUM_LOOKED_AT)
    last = max(set(range(len(split))) - set(looked_at.tolist()))
    damage(tmp_path, cut=[split[last]])
    train = load(tmp_path, memory_limit=0).train
    train.gather(np.array([0]))
    hint = "restore it, or train with --skip-damaged"
    with pytest.raises(data.DataError, match=rf"{split[last]}: .*; {hint}"):
        train.gather(np.array([0, last]))


def test_nothing_but_damaged_files(tmp_path):
    damage(tmp_path, text=["0.png", "1.png"])
    with pytest.raises(data.DataError, match="2 of 2 images cannot be read"):
        load(tmp_path)
    with pytest.raises(data.DataError, match="0 images found, expected at least 2"):
        load(tmp_path, skip_damaged=True)
    for name in ("train/0.png", "test/0.png"):
        save(tmp_path / name, random_pixels(16, 16))
    damage(tmp_path, cut=["test/0.png"])
    with pytest.raises(data.DataError, match="has no test images that can be read"):
        load(tmp_path, skip_damaged=True)


def test_file_that_changes_its_size(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", random_pixels(4, 4))
    dataset = load(tmp_path, memory_limit=0)
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", random_pixels(4, 5))
    with pytest.raises(data.DataError, match=r"shape \(4, 5, 1\), expected \(4, 4, 1\); --image-s"):
        whole(dataset.train)


def test_damaged_examples_of_tensorflow_datasets(tmp_path):
    examples = image_examples(9, 4, 4, 1)
    examples[2:4] = [{"image": b"broken"}] * 2
    feature = {"image": tfds.features.Image(shape=(4, 4, 1))}
    prepare(tmp_path, feature, {"train": examples, "test": examples[:2]})
    with pytest.raises(data.DataError) as error:
        data.load("tiny_set", data_dir=str(tmp_path))
    lines = str(error.value).splitlines()
    assert lines[0] == "2 of 11 images cannot be read:" and len(lines) == 4
    assert "of tiny_set/1.0.0, split train: no image" in lines[1]
    for limit in (0, 1000):
        settings = {"data_dir": str(tmp_path), "memory_limit": limit, "skip_damaged": True}
        dataset = data.load("tiny_set", **settings)
        assert (len(dataset.train), len(dataset.test)) == (7, 2)
        assert whole(dataset.train)["x"].shape == (7, 4, 4, 1)
        assert dataset.notes[0].startswith("2 damaged images left out (")
