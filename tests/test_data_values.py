"""Levels and labels: inferred alike, checked everywhere, in memory and streamed."""

import math

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import load, png, prepare, random_pixels, save, whole

from jaxgen import data
from jaxgen.data.build import NUM_LOOKED_AT
from jaxgen.data.damage import find_damaged
from jaxgen.data.folder_layout import understand

each_limit = pytest.mark.parametrize("memory_limit", [0, 10**6])


def folder(root, num, *, value, other=None, where="train"):
    """Images of 0 and `value`; in the split `where`, one that is not looked at has `other`."""
    names = [f"{number}.png" for number in range(num)]
    layout = understand(sorted(names))
    looked_at = set(data.subset_indices(len(layout.train), NUM_LOOKED_AT).tolist())
    places = {
        "train": [name for i, name in enumerate(layout.train) if i not in looked_at],
        "test": layout.test,
    }
    for name in names:
        is_other = other is not None and name == places[where][0]
        save(root / name, np.array([[0, other if is_other else value]], np.uint8))


@each_limit
def test_levels_are_inferred_alike(tmp_path, memory_limit):
    folder(tmp_path / "binary", 12, value=1)
    folder(tmp_path / "grey", 12, value=2)
    assert load(tmp_path / "binary", memory_limit=memory_limit).levels == 2
    assert load(tmp_path / "grey", memory_limit=memory_limit).levels == 256
    assert load(tmp_path / "binary", memory_limit=memory_limit, levels=256).levels == 256
    assert load(tmp_path / "grey", memory_limit=memory_limit, levels=3).levels == 3


@each_limit
@pytest.mark.parametrize("where", ["train", "test"])
def test_a_pixel_that_was_not_looked_at_is_checked(tmp_path, memory_limit, where):
    folder(tmp_path, 160, value=1, other=9, where=where)
    message = rf"levels: 2, expected at least 10: the {where} split .* value 9; set --levels 256"
    with pytest.raises(data.DataError, match=message):
        dataset = load(tmp_path, memory_limit=memory_limit)
        whole(getattr(dataset, where))
    dataset = load(tmp_path, memory_limit=memory_limit, levels=256)
    assert whole(getattr(dataset, where))["x"].max() == 9


@each_limit
def test_levels_that_do_not_hold_the_pixels(tmp_path, memory_limit):
    folder(tmp_path, 2, value=9)
    assert load(tmp_path, levels=10, memory_limit=memory_limit).levels == 10
    with pytest.raises(data.DataError, match="levels: 9, expected at least 10"):
        whole(load(tmp_path, levels=9, memory_limit=memory_limit).train)


def labelled_set(root, labels, *, num_classes=3):
    features = {
        "image": tfds.features.Image(shape=(2, 2, 1)),
        "label": tfds.features.ClassLabel(num_classes=num_classes),
    }
    splits = {
        split: [{"image": png(random_pixels(2, 2, 1)), "label": label} for label in values]
        for split, values in labels.items()
    }
    prepare(root, features, splits)


@each_limit
def test_examples_without_a_label_are_counted(tmp_path, memory_limit):
    labelled_set(tmp_path, {"train": [0, 1, -1, 2, -1], "test": [-1, -1, -1]})
    dataset = data.load("tiny_set", data_dir=str(tmp_path), memory_limit=memory_limit)
    assert (dataset.train_unlabelled, dataset.test_unlabelled) == (2, 3)
    known = data.labelled(dataset.train)
    assert sorted(whole(known)["label"].tolist()) == [0, 1, 2] and len(known) == 3
    assert len(data.labelled(dataset.test)) == 0
    if memory_limit:  # of a stream they are not counted before they are asked for
        assert dataset.notes == (
            "2 of 5 train examples have no label",
            "3 of 3 test examples have no label",
        )


@each_limit
def test_labels_beyond_the_classes_are_refused(tmp_path, memory_limit, monkeypatch):
    labelled_set(tmp_path, {"train": [0, 1, 2], "test": [0, 3, 3]}, num_classes=4)
    monkeypatch.setattr(tfds.features.ClassLabel, "num_classes", 3)
    monkeypatch.setattr(tfds.features.ClassLabel, "names", ["a", "b", "c"])
    message = "2 labels of the test split, as 3, are neither 0 to 2 nor -1"
    with pytest.raises(data.DataError, match=message):
        dataset = data.load("tiny_set", data_dir=str(tmp_path), memory_limit=memory_limit)
        whole(dataset.test)
    if not memory_limit:
        with pytest.raises(data.DataError, match=message):
            dataset.test.labels()


def test_large_images_are_read_in_small_blocks():
    shape, asked = (2**12, 2**12, 1), []

    def read(indices):
        asked.append(len(indices))
        return {"x": np.zeros((len(indices), 1, 1, 1), np.uint8)}

    find_damaged(data.StreamSplit(9, read), title="x", shape=shape)
    assert max(asked) * math.prod(shape) <= 2**26 and sum(asked) == 9
    asked.clear()
    find_damaged(data.StreamSplit(600, read), title="x", shape=(2, 2, 1))
    assert sorted(asked) == [88, 256, 256]
