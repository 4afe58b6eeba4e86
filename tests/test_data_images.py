"""Image files in folders and in prepared tensorflow-datasets: all made here, no network."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import registered

from jaxgen import data
from jaxgen.data import images
from jaxgen.data import tfds as jaxgen_tfds

RNG = np.random.default_rng(0)


def random_pixels(*shape, high=256):
    return RNG.integers(0, high, shape).astype(np.uint8)


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)


def whole(split):
    return split.gather(np.arange(len(split)))


# --- Folders ---


def test_folder_by_class(tmp_path):
    pixels = {}
    for name in ("cat", "ant"):
        for number in range(6):
            pixels[name, number] = random_pixels(5, 7, 3)
            save(tmp_path / name / f"{number}.png", pixels[name, number])
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "._0.png").write_text("no image either")
    dataset = data.load(f"folder:{tmp_path}")
    assert (dataset.shape, dataset.levels) == ((5, 7, 3), 256)
    assert dataset.class_names == ("ant", "cat")
    assert (len(dataset.train), len(dataset.test)) == (11, 1)
    rows = [whole(split) for split in (dataset.train, dataset.test)]
    seen = {
        (int(label), x.tobytes())
        for part in rows
        for x, label in zip(part["x"], part["label"], strict=True)
    }
    assert seen == {(int(name == "cat"), x.tobytes()) for (name, _), x in pixels.items()}
    again = data.load(f"folder:{tmp_path}", memory_limit=0)
    assert isinstance(again.train, data.StreamSplit)
    for key, value in rows[0].items():
        np.testing.assert_array_equal(whole(again.train)[key], value)


def test_folder_with_splits(tmp_path):
    for split, num in (("train", 3), ("test", 2)):
        for number in range(num):
            for name in ("a", "b"):
                save(tmp_path / split / name / f"{number}.png", random_pixels(4, 4))
    dataset = data.load(f"folder:{tmp_path}")
    assert (len(dataset.train), len(dataset.test)) == (6, 4)
    np.testing.assert_array_equal(whole(dataset.test)["label"], [0, 0, 1, 1])
    save(tmp_path / "test" / "c" / "0.png", random_pixels(4, 4))
    with pytest.raises(data.DataError, match=r"0\.png is in none of the classes of train: a, b"):
        data.load(f"folder:{tmp_path}")


def test_folder_without_classes_has_no_labels(tmp_path):
    save(tmp_path / "0.png", random_pixels(4, 4, high=2))
    save(tmp_path / "more" / "1.PNG", random_pixels(4, 4, high=2))
    dataset = data.load(f"folder:{tmp_path}")
    assert dataset.class_names is None and dataset.num_classes is None
    assert set(whole(dataset.train)) == {"x"}
    assert (dataset.shape, dataset.levels) == ((4, 4, 1), 2)
    assert data.load(f"folder:{tmp_path}", levels=256).levels == 256


@pytest.mark.parametrize(
    ("modes", "channels"),
    [(("L", "LA"), 1), (("1", "L"), 1), (("L", "RGB"), 3), (("RGBA", "P"), 3), (("CMYK",), 3)],
)
def test_modes_are_brought_to_one(tmp_path, modes, channels):
    for number in range(4):
        mode = modes[number % len(modes)]
        suffix = "tif" if mode == "CMYK" else "png"
        save(tmp_path / f"{number}.{suffix}", random_pixels(6, 6, 3), mode)
    dataset = data.load(f"folder:{tmp_path}")
    assert dataset.shape == (6, 6, channels)


def test_black_and_white_becomes_two_levels(tmp_path):
    pixels = random_pixels(6, 6, high=2)
    for number in range(2):
        save(tmp_path / f"{number}.png", pixels * 255, "1")
    dataset = data.load(f"folder:{tmp_path}")
    assert dataset.levels == 2
    np.testing.assert_array_equal(whole(dataset.train)["x"][0, ..., 0], pixels)


def test_transparent_parts_are_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    save(tmp_path / "a.png", pixels)
    image = images.decode(tmp_path / "a.png", mode="RGB", size=None, name="a")
    np.testing.assert_array_equal(image[0, 0], [10, 20, 30])
    assert (image.reshape(4, 3)[1:] == 255).all()
    kept = images.decode(tmp_path / "a.png", mode="RGBA", size=None, name="a")
    np.testing.assert_array_equal(kept, pixels)


def test_turned_photographs(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    pixels = random_pixels(4, 6)
    for name in ("a", "b"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", exif=exif)
    dataset = data.load(f"folder:{tmp_path}")
    assert dataset.shape == (6, 4, 1)
    np.testing.assert_array_equal(whole(dataset.train)["x"][0, ..., 0], np.rot90(pixels, -1))


@pytest.mark.parametrize(("height", "width"), [(8, 16), (16, 8), (8, 8)])
def test_resize_is_that_of_the_whole_image_and_a_centre_crop(height, width):
    pixels = random_pixels(height, width)
    image = images.decode(png(pixels[..., None]), mode="L", size=(4, 4), name="x")
    halved = Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    top, left = (height // 2 - 4) // 2, (width // 2 - 4) // 2
    expected = np.array(halved)[top : top + 4, left : left + 4]
    # Cutting before or after the second pass rounds differently: one level.
    np.testing.assert_allclose(image[..., 0], expected.astype(float), atol=1)


@pytest.mark.parametrize("shape", [(3, 5), (7, 2), (40, 30)])
@pytest.mark.parametrize("size", [(4, 4), (2, 9)])
def test_resize_to_any_shape_keeps_a_constant(shape, size):
    file = png(np.full((*shape, 3), 200, np.uint8))
    image = images.decode(file, mode="RGB", size=size, name="x")
    assert image.shape == (*size, 3) and (image == 200).all()


def test_sizes_that_differ(tmp_path):
    save(tmp_path / "a.png", random_pixels(5, 7))
    save(tmp_path / "b.png", random_pixels(9, 6))
    with pytest.raises(data.DataError, match=r"a\.png is 5x7, .*b\.png is 9x6 .*: set image_size"):
        data.load(f"folder:{tmp_path}")
    dataset = data.load(f"folder:{tmp_path}", image_size=(3, 4))
    assert dataset.shape == (3, 4, 1) and whole(dataset.train)["x"].shape == (1, 3, 4, 1)
    assert data.load(f"folder:{tmp_path}", image_size=4).shape == (4, 4, 1)


def test_folder_errors(tmp_path):
    with pytest.raises(data.DataError, match=r"there is no folder .*nowhere"):
        data.load(f"folder:{tmp_path}/nowhere")
    with pytest.raises(data.DataError, match="no image file below"):
        data.load(f"folder:{tmp_path}")
    save(tmp_path / "a.png", random_pixels(16, 16))
    with pytest.raises(data.DataError, match="has one image"):
        data.load(f"folder:{tmp_path}")
    (tmp_path / "b.png").write_bytes(b"not an image")
    with pytest.raises(data.DataError, match=r"cannot read the image .*b\.png"):
        data.load(f"folder:{tmp_path}")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:120])
    with pytest.raises(data.DataError, match=r"cannot read the image .*b\.png"):
        data.load(f"folder:{tmp_path}")
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(tmp_path / "b.png")
    with pytest.raises(data.DataError, match=r"b\.png has pixels of mode 'I;16'.*8 bits"):
        data.load(f"folder:{tmp_path}")


def test_levels_that_do_not_hold_the_pixels(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", np.full((2, 2), 9, np.uint8))
    assert data.load(f"folder:{tmp_path}", levels=10).levels == 10
    for limit in (0, 100):
        with pytest.raises(data.DataError, match=r"a pixel of value 9, .* levels=9"):
            whole(data.load(f"folder:{tmp_path}", levels=9, memory_limit=limit).train)


def test_file_that_changes_its_size(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", random_pixels(4, 4))
    dataset = data.load(f"folder:{tmp_path}", memory_limit=0)
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", random_pixels(4, 5))
    with pytest.raises(data.DataError, match=r"\(4, 5, 1\), but \(4, 4, 1\) is expected"):
        whole(dataset.train)


# --- tensorflow-datasets ---


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def prepare(data_dir, features, splits, *, file_format="array_record", name="tiny_set"):
    """Prepares a data set without TensorFlow; `splits` maps a name to a list of examples."""
    with registered.skip_registration():

        class TinySet(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {split: enumerate(examples) for split, examples in splits.items()}

            def _generate_examples(self):
                raise NotImplementedError

    TinySet.name = name
    TinySet(data_dir=data_dir, file_format=file_format).download_and_prepare()


def image_examples(num, *shape, high=256):
    return [{"image": png(random_pixels(*shape, high=high))} for _ in range(num)]


def decoded(examples, key="image"):
    """Pixels of the examples, as a set: preparing shuffles them."""
    return sorted(np.array(Image.open(io.BytesIO(e[key]))).tobytes() for e in examples)


def test_tfds_colour_not_square_with_two_class_labels(tmp_path):
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
    dataset = data.load("tiny_set", data_dir=str(tmp_path))
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
    streamed = data.load("tiny_set", data_dir=str(tmp_path), memory_limit=10)
    assert isinstance(streamed.train, data.StreamSplit) and streamed.levels == 256
    chunks = data.stream(streamed.train, 0, 0, 3, batch_size=20, steps_per_call=2)
    x = np.concatenate([chunk["x"] for chunk in chunks])
    indices = data.chunk_indices(0, 0, 3, num_examples=300, batch_size=20)
    np.testing.assert_array_equal(x, train["x"][indices])


def test_tfds_two_levels_without_labels_and_only_train(tmp_path):
    examples = image_examples(20, 4, 4, 1, high=2)
    prepare(tmp_path, {"image": tfds.features.Image(shape=(4, 4, 1))}, {"train": examples})
    dataset = data.load("tiny_set", data_dir=str(tmp_path))
    assert (dataset.shape, dataset.levels, dataset.class_names) == ((4, 4, 1), 2, None)
    assert (len(dataset.train), len(dataset.test)) == (18, 2)
    parts = [x for split in (dataset.train, dataset.test) for x in whole(split)["x"]]
    assert sorted(x.tobytes() for x in parts) == decoded(examples)
    again = data.load("tiny_set:1.0.0", data_dir=str(tmp_path))
    np.testing.assert_array_equal(again.test.arrays["x"], dataset.test.arrays["x"])


def test_tfds_validation_is_the_test_split_and_sizes_may_differ(tmp_path):
    examples = [{"image": png(random_pixels(4 + i, 9 - i, 4))} for i in range(6)]
    splits = {"train": examples[:4], "validation": examples[4:]}
    prepare(tmp_path, {"image": tfds.features.Image(shape=(None, None, 4))}, splits)
    with pytest.raises(data.DataError, match=r"tiny_set differ in size .*: set image_size"):
        data.load("tiny_set", data_dir=str(tmp_path))
    dataset = data.load("tiny_set", data_dir=str(tmp_path), image_size=(2, 3))
    assert dataset.shape == (2, 3, 4)
    assert (len(dataset.train), len(dataset.test)) == (4, 2)


def test_tfds_image_is_found_among_several(tmp_path):
    rows = [
        {"image": png(random_pixels(4, 4, 3)), "mask": png(random_pixels(4, 4, 1))}
        for _ in range(4)
    ]
    features = {
        "image": tfds.features.Image(shape=(4, 4, 3)),
        "mask": tfds.features.Image(shape=(4, 4, 1)),
    }
    prepare(tmp_path, features, {"train": rows, "test": rows})
    assert data.load("tiny_set", data_dir=str(tmp_path)).shape == (4, 4, 3)
    renamed = [{"photo": row["image"], "mask": row["mask"]} for row in rows]
    features["photo"] = features.pop("image")
    prepare(tmp_path, features, {"train": renamed}, name="two_images")
    with pytest.raises(data.DataError, match="several of which one is named 'image'"):
        data.load("two_images", data_dir=str(tmp_path))


def test_tfds_refusals(tmp_path):
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(deep, "PNG")
    deep_feature = tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16, encoding_format="png")
    prepare(tmp_path, {"image": deep_feature}, {"train": [{"image": deep.getvalue()}]}, name="deep")
    with pytest.raises(data.DataError, match="images of deep are uint16; jaxgen reads uint8"):
        data.load("deep", data_dir=str(tmp_path))
    prepare(tmp_path, {"value": np.int64}, {"train": [{"value": 1}]}, name="no_image")
    with pytest.raises(data.DataError, match=r"no_image must have one feature of type Image"):
        data.load("no_image", data_dir=str(tmp_path))
    feature = {"image": tfds.features.Image(shape=(4, 4, 1))}
    prepare(tmp_path, feature, {"extra": image_examples(2, 4, 4, 1)}, name="no_train")
    with pytest.raises(data.DataError, match=r"no_train has no train split; it has \['extra'\]"):
        data.load("no_train", data_dir=str(tmp_path))
    prepare(tmp_path, feature, {"train": image_examples(1, 4, 4, 1)}, name="one_example")
    with pytest.raises(data.DataError, match="at least 2 are needed"):
        data.load("one_example", data_dir=str(tmp_path))
    prepare(tmp_path, feature, {"train": [{"image": b"broken"}] * 3}, name="broken")
    with pytest.raises(data.DataError, match=r"cannot read the image 0 of broken/1\.0\.0, split"):
        data.load("broken", data_dir=str(tmp_path))


def test_tfds_not_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxgen_tfds.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.DataError) as error:
        data.load("mnist", data_dir=str(tmp_path))
    for part in ("mnist/3.0.1", str(tmp_path), "array_record", "jaxgen[tfds-prepare]"):
        assert part in str(error.value)


def test_tfds_prepares_where_tensorflow_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxgen_tfds.importlib.util, "find_spec", lambda name: object())
    asked = []

    def fail(self, **settings_):
        asked.append(settings_)
        raise OSError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(data.DataError, match=r"mnist/3\.0\.1 .* preparing it failed: no network"):
        data.load("mnist", data_dir=str(tmp_path))
    assert asked == [{"file_format": "array_record"}]


def test_tfds_of_another_format(tmp_path):
    feature = {"image": tfds.features.Image(shape=(4, 4, 1))}
    prepare(tmp_path, feature, {"train": image_examples(3, 4, 4, 1)})
    info = tmp_path / "tiny_set" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(data.DataError, match=r"as \['tfrecord'\], but jaxgen reads .*array_record"):
        data.load("tiny_set", data_dir=str(tmp_path))


def test_tfds_unknown(tmp_path):
    with pytest.raises(data.DataError, match=r"unknown data set 'mnits'.*Close: mnist"):
        data.load("mnits", data_dir=str(tmp_path))
    with pytest.raises(data.DataError, match="Close: digits"):
        data.load("digit", data_dir=str(tmp_path))
    with pytest.raises(data.DataError, match="only: 3"):
        data.load("cifar10:9.9.9", data_dir=str(tmp_path))
