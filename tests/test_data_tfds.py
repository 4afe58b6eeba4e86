"""Prepared tensorflow-datasets: all made here, no network."""

import io
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import image_examples, png, prepare, random_pixels, whole
from PIL import Image

from jaxgen import data
from jaxgen.data import tfds_prepare
from jaxgen.data.tfds_layout import choose_splits

GREY = {"image": tfds.features.Image(shape=(4, 4, 1))}
COLOUR = tfds.features.Image(shape=(4, 4, 3))


def load(data_dir, name="tiny_set", **settings):
    return data.load(name, data_dir=str(data_dir), **settings)


def decoded(examples, key="image"):
    """Pixels of the examples, as a set: preparing shuffles them."""
    return sorted(np.array(Image.open(io.BytesIO(e[key]))).tobytes() for e in examples)


def test_colour_not_square_with_two_class_labels(tmp_path):
    splits = {}
    for split, num in (("train", 300), ("validation", 3), ("test", 5)):
        splits[split] = [
            {"photo": png(random_pixels(3, 5, 3)), "label": i % 2, "maker": i % 3}
            for i in range(num)
        ]
    features = {
        "photo": tfds.features.Image(shape=(3, 5, 3)),
        "label": tfds.features.ClassLabel(names=["even", "odd"]),
        "maker": tfds.features.ClassLabel(num_classes=3),
    }
    prepare(tmp_path, features, splits)
    dataset = load(tmp_path)
    assert (dataset.shape, dataset.levels) == ((3, 5, 3), 256)
    assert dataset.class_names == ("even", "odd")
    assert (len(dataset.train), len(dataset.test)) == (300, 5)
    train = whole(dataset.train)
    assert train["x"].dtype == np.uint8 and train["label"].dtype == np.int32
    pixels_to_label = {
        np.array(Image.open(io.BytesIO(e["photo"]))).tobytes(): e["label"] for e in splits["train"]
    }
    assert {x.tobytes(): label for x, label in zip(train["x"], train["label"], strict=True)} == (
        pixels_to_label
    )
    assert dataset.notes == ("3 images of other splits left out (validation)",)
    streamed = load(tmp_path, memory_limit=10)
    assert isinstance(streamed.train, data.StreamSplit) and streamed.levels == 256
    chunks = data.stream(streamed.train, 0, 0, 3, batch_size=20, steps_per_call=2)
    x = np.concatenate([chunk["x"] for chunk in chunks])
    indices = data.chunk_indices(0, 0, 3, num_examples=300, batch_size=20)
    np.testing.assert_array_equal(x, train["x"][indices])
    np.testing.assert_array_equal(streamed.train.labels(), train["label"])


def test_two_levels_without_labels_and_only_train(tmp_path):
    examples = image_examples(20, 4, 4, 1, high=2)
    prepare(tmp_path, GREY, {"train": examples})
    dataset = load(tmp_path)
    assert (dataset.shape, dataset.levels, dataset.class_names) == ((4, 4, 1), 2, None)
    assert (len(dataset.train), len(dataset.test)) == (18, 2)
    parts = [x for split in (dataset.train, dataset.test) for x in whole(split)["x"]]
    assert sorted(x.tobytes() for x in parts) == decoded(examples)
    again = load(tmp_path, "tiny_set:1.0.0")
    np.testing.assert_array_equal(again.test.arrays["x"], dataset.test.arrays["x"])
    assert again.digest == dataset.digest and len(dataset.digest) == 64
    assert dataset.notes == ("splits: the last tenth of train is test",)
    assert load(tmp_path, memory_limit=0).train.labels() is None


def test_sizes_may_differ(tmp_path):
    examples = [{"image": png(random_pixels(4 + i, 9 - i, 4))} for i in range(6)]
    splits = {"train": examples[:4], "val": examples[4:]}
    prepare(tmp_path, {"image": tfds.features.Image(shape=(None, None, 4))}, splits)
    with pytest.raises(data.DataError, match=r"tiny_set differ in size .*; --image-size 64 64"):
        load(tmp_path)
    dataset = load(tmp_path, image_size=(2, 3))
    assert dataset.shape == (2, 3, 4)
    assert (len(dataset.train), len(dataset.test)) == (4, 2)


@pytest.mark.parametrize(
    ("sizes", "train", "test", "note"),
    [
        ({"train": 9, "val": 2}, "train", "val", "splits: val is test"),
        ({"train": 9, "valid": 2}, "train", "valid", "splits: valid is test"),
        ({"Training": 9, "Testing": 2}, "Training", "Testing", None),
        ({"train": 9, "test": 0, "validation": 2}, "train", "validation", "splits: validation"),
        ({"val": 3, "test": 2, "train": 9}, "train", "test", "3 images of other splits left out"),
        ({"train": 9, "extra": 5}, "train[:8]", "train[8:]", "5 images of other .*extra"),
        ({"train": 20}, "train[:18]", "train[18:]", "the last tenth of train is test"),
    ],
)
def test_splits(sizes, train, test, note):
    splits = choose_splits("x", sizes)
    assert (splits.train, splits.test) == (train, test)
    assert (note is None and not splits.notes) or re.search(note, "; ".join(splits.notes))


def test_the_image_is_found_or_chosen(tmp_path):
    features = {"image": COLOUR, "mask": tfds.features.Image(shape=(4, 4, 1))}
    rows = [{key: png(random_pixels(*f.shape)) for key, f in features.items()} for _ in range(4)]
    prepare(tmp_path, features, {"train": rows, "test": rows})
    assert load(tmp_path).shape == (4, 4, 3)
    masks = load(tmp_path, image_feature="mask")
    assert masks.shape == (4, 4, 1)
    assert sorted(x.tobytes() for x in whole(masks.test)["x"]) == decoded(rows, "mask")
    features = {"image_a": COLOUR, "image_b": COLOUR}
    rows = [{"image_a": row["image"], "image_b": png(random_pixels(4, 4, 3))} for row in rows]
    prepare(tmp_path, features, {"train": rows, "test": rows}, name="pairs")
    message = "pairs has 2 images, image_a, image_b: choose one, as with --image-feature image_a"
    with pytest.raises(data.DataError, match=message):
        load(tmp_path, "pairs")
    chosen = load(tmp_path, "pairs", image_feature="image_b")
    assert sorted(x.tobytes() for x in whole(chosen.test)["x"]) == decoded(rows, "image_b")
    message = "image_feature: 'photo', expected image_a or image_b"
    with pytest.raises(data.DataError, match=message):
        load(tmp_path, "pairs", image_feature="photo")


def test_the_label_is_found_or_chosen(tmp_path):
    features = {
        **GREY,
        "breed": tfds.features.ClassLabel(num_classes=5),
        "species": tfds.features.ClassLabel(names=["cat", "dog"]),
    }
    rows = [
        {**row, "breed": 4, "species": i % 2} for i, row in enumerate(image_examples(4, 4, 4, 1))
    ]
    prepare(tmp_path, features, {"train": rows, "test": rows})
    dataset = load(tmp_path)
    assert dataset.class_names is None and "label" not in whole(dataset.test)
    assert dataset.notes == (
        "labels: none, since there are 2, breed, species; --label-feature breed chooses one",
    )
    dataset = load(tmp_path, label_feature="species")
    assert (dataset.class_names, dataset.notes) == (("cat", "dog"), ())
    assert sorted(whole(dataset.test)["label"].tolist()) == [0, 0, 1, 1]
    with pytest.raises(data.DataError, match="label_feature: 'kind', expected breed or species"):
        load(tmp_path, label_feature="kind")


def test_exif_turns_are_ignored_as_declared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    pixels = np.full((8, 12, 3), 90, np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)
    feature = {"image": tfds.features.Image(shape=(8, 12, 3), encoding_format="jpeg")}
    prepare(tmp_path, feature, {"train": [{"image": file.getvalue()}] * 2})
    for limit in (0, 10**6):
        dataset = load(tmp_path, memory_limit=limit)
        assert dataset.shape == (8, 12, 3)
        np.testing.assert_allclose(whole(dataset.train)["x"][0], pixels, atol=2)


def test_16_bits_are_scaled(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**16, (4, 4)).astype(np.uint16)
    deep = io.BytesIO()
    Image.fromarray(values).save(deep, "PNG")
    feature = tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16, encoding_format="png")
    prepare(tmp_path, {"image": feature}, {"train": [{"image": deep.getvalue()}] * 2})
    dataset = load(tmp_path)
    np.testing.assert_array_equal(whole(dataset.train)["x"][0, ..., 0], values // 256)
    assert "16-bit pixels scaled to 8 bits" in dataset.notes


def test_refusals(tmp_path):
    prepare(tmp_path, {"value": np.int64}, {"train": [{"value": 1}]}, name="no_image")
    with pytest.raises(data.DataError, match="no_image has no feature of type Image"):
        load(tmp_path, "no_image")
    prepare(tmp_path, GREY, {"extra": image_examples(2, 4, 4, 1)}, name="no_train")
    with pytest.raises(data.DataError, match="no_train has no train split; it has extra"):
        load(tmp_path, "no_train")
    prepare(tmp_path, GREY, {"train": image_examples(1, 4, 4, 1)}, name="one_example")
    with pytest.raises(data.DataError, match="one_example has 1 image, expected at least 2"):
        load(tmp_path, "one_example")


def test_not_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_prepare.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataError) as error:
        load(tmp_path, "mnist")
    for part in (
        "mnist/3.0.1",
        str(tmp_path),
        "array_record",
        "jaxgen[tfds-prepare]",
        "--data-dir",
    ):
        assert part in str(error.value)


def test_prepares_where_tensorflow_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_prepare.importlib.util, "find_spec", lambda name: object())
    asked = []

    def fail(self, **settings):
        asked.append(settings)
        raise OSError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(data.DataError, match=r"mnist/3\.0\.1 .* preparing it failed: no network"):
        load(tmp_path, "mnist")
    assert asked == [{"file_format": "array_record"}]


def test_another_format(tmp_path):
    prepare(tmp_path, GREY, {"train": image_examples(3, 4, 4, 1)})
    info = tmp_path / "tiny_set" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    message = "as tfrecord, but jaxgen reads array_record: .*--data-dir"
    with pytest.raises(data.DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "unknown data set 'mnits'.*Close: mnist"),
        ("digit", "Close: digits"),
        ("cifar10:9.9.9", "cannot open the data set 'cifar10:9.9.9': .*only: 3"),
        ("mnist/nope", "cannot open the data set 'mnist/nope': BuilderConfig nope not found"),
    ],
)
def test_unknown(tmp_path, name, message):
    with pytest.raises(data.DataError, match=message) as error:
        load(tmp_path, name)
    assert len(str(error.value).splitlines()) == 1
