"""Features of small classifiers: what is accepted, names, the cache, blocks, a corruption ladder."""

import dataclasses
import logging

import numpy as np
import pytest

from jaxgen import metrics
from jaxgen.data import ArraySplit, Dataset, StreamSplit, load
from jaxgen.metrics import feature_cache, features

digits = load("digits")
test_x, test_label = digits.test.arrays["x"], digits.test.arrays["label"]


@pytest.fixture(scope="module")
def net():
    return metrics.train_features(digits)


def stripes(shape, num=80, levels=256):
    """Two classes, dark and bright, of any shape of image."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, num).astype(np.int32)
    x = (
        rng.integers(0, levels // 2, (num, *shape)) + label.reshape(-1, 1, 1, 1) * (levels // 2)
    ).astype(np.uint8)
    train, test = ({"x": x[part], "label": label[part]} for part in (slice(60), slice(60, None)))
    return Dataset(
        "stripes", shape, levels, ("dark", "bright"), ArraySplit(train), ArraySplit(test)
    )


def without_labels():
    split = ArraySplit({"x": test_x})
    return Dataset("unlabelled", digits.shape, digits.levels, None, split, split)


def test_the_classifier_of_digits_beats_the_linear_one(net):
    """The published features: 64 of them, few of which are dead (never above 0)."""
    assert net.test_accuracy >= 0.97 > 0.9 < net.linear_accuracy < net.test_accuracy
    assert net.test_accuracy == np.mean(features.predict(net, test_x) == test_label)
    assert f"test accuracy {net.test_accuracy:.3f}" in net.note and net.name[:8] in net.note
    x = features.features(net, digits.train.arrays["x"])
    assert x.shape == (1400, 64) and x.dtype == np.float64 and net.num_features == 64
    assert np.isfinite(x).all() and x.min() == 0.0
    assert np.count_nonzero(x.max(axis=0) == 0.0) <= 12


def test_features_are_the_penultimate_layer(net):
    """The last layer, in NumPy, makes the predictions of them."""
    logits = {name: np.asarray(value) for name, value in net.variables["params"]["logits"].items()}
    x = features.features(net, test_x)
    label = np.argmax(x @ logits["kernel"] + logits["bias"], axis=1)
    np.testing.assert_array_equal(label, features.predict(net, test_x))


def test_a_classifier_that_learns_nothing_is_refused():
    """Labels that images say nothing of: neither the network nor the linear one can know them."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 60).astype(np.int32)
    x = rng.integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
    split = ArraySplit({"x": x, "label": label})
    noise = Dataset("noise", (4, 4, 1), 256, ("a", "b"), split, split)
    with pytest.raises(metrics.NoClassifierError, match="does not clearly beat a linear"):
        metrics.train_features(noise)


def relabelled(label):
    split = ArraySplit({"x": test_x[: len(label)], "label": label})
    return Dataset("few", digits.shape, digits.levels, digits.class_names, split, split)


def test_what_has_no_classifier_says_why():
    few = np.full(60, -1, np.int32)
    few[:49] = test_label[:49]
    for data, reason in (
        (without_labels(), "the data have no labels"),
        (relabelled(few), "49 train images have labels and a classifier takes 50"),
        (relabelled(np.full(60, 3, np.int32)), "all labelled train images are of one class"),
        (load("ring"), "the data have no labels"),
    ):
        with pytest.raises(metrics.NoClassifierError, match=reason):
            metrics.train_features(data)


def test_random_features_are_the_control():
    first, again, other = (metrics.random_features(digits, seed=seed) for seed in (0, 0, 1))
    assert first.name == again.name != other.name and len(first.name) == 64
    assert not first.is_classifier and features.predict(first, test_x[:3]) is None
    assert first.note.startswith("untrained network, since asked for")
    assert features.features(first, test_x[:3]).shape == (3, 64)
    with pytest.raises(ValueError, match="expected images"):
        metrics.random_features(load("ring"))
    with pytest.raises(ValueError, match="^seed: -1"):
        metrics.random_features(digits, seed=-1)


def test_values_of_vectors_are_their_own_features():
    net = metrics.cached_features(load("moons"))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    np.testing.assert_array_equal(features.features(net, x), x.astype(np.float64))
    assert (net.name, net.note, features.predict(net, x)) == (
        "identity",
        "the values themselves",
        None,
    )
    with pytest.raises(ValueError, match="expected vectors"):
        metrics.identity_features(digits)


# --- The cache ---


def test_a_network_is_made_once(tmp_path, monkeypatch, caplog):
    data = stripes((4, 4, 1))
    made = metrics.cached_features(data, cache_dir=tmp_path)
    assert made.is_classifier
    (file,) = tmp_path.iterdir()
    train = feature_cache.train_features
    monkeypatch.setattr(feature_cache, "train_features", lambda _: pytest.fail("trained again"))
    read = metrics.cached_features(data, cache_dir=tmp_path)
    assert read._replace(variables=None, module=None) == made._replace(variables=None, module=None)
    np.testing.assert_array_equal(
        features.features(read, data.test.arrays["x"]),
        features.features(made, data.test.arrays["x"]),
    )
    # The name does not matter, the examples and their labels do.
    renamed = dataclasses.replace(data, name="other")
    assert metrics.cached_features(renamed, cache_dir=tmp_path).name == made.name
    monkeypatch.setattr(feature_cache, "train_features", train)
    other = stripes((4, 4, 1), num=81)
    assert metrics.cached_features(other, cache_dir=tmp_path).name != made.name
    # A damaged file is told of and made anew.
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert metrics.cached_features(data, cache_dir=tmp_path).name == made.name
    file.write_bytes(b"")
    assert metrics.cached_features(data, cache_dir=tmp_path).name == made.name
    assert "made anew" in caplog.text


def test_no_cache_is_no_error(monkeypatch, caplog):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(feature_cache.pathlib.Path, "home", homeless)
    assert metrics.cached_features(stripes((4, 4, 1))).is_classifier
    assert "not cached" in caplog.text


def test_unlabelled_images_have_an_untrained_network_and_it_is_said():
    net = metrics.cached_features(without_labels())
    assert not net.is_classifier
    assert net.note.startswith("untrained network, since the data have no labels")


# --- Features ---


def test_images_are_checked(net):
    for x in (test_x.astype(np.float32), test_x[0], test_x[:, :7], test_x[..., 0]):
        with pytest.raises(AssertionError):
            features.features(net, x)


def test_features_do_not_depend_on_their_company(net):
    """Trap 30: 397 images, which no block divides; a few alone are as in company."""
    whole = features.features(net, test_x)
    np.testing.assert_allclose(
        features.features(net, test_x[3:5]), whole[3:5], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        features.features(net, test_x[-1:]), whole[-1:], rtol=1e-5, atol=1e-5
    )
    labels = features.predict(net, test_x)
    np.testing.assert_array_equal(features.predict(net, test_x[300:310]), labels[300:310])


def test_no_images_are_no_features(net):
    assert features.features(net, test_x[:0]).shape == (0, 64)
    assert features.predict(net, test_x[:0]).shape == (0,)


def test_the_frechet_distance_is_ordered_on_a_corruption_ladder(net):
    """Trap 33: sparse features, trained and random, of test images under more and more noise."""
    noise = np.random.default_rng(1).normal(size=test_x.shape)
    for each in (net, metrics.random_features(digits)):
        real = features.features(each, digits.train.arrays["x"])
        values = []
        for std in (0.0, 2.0, 8.0):
            x = np.clip(np.round(test_x + std * noise), 0, digits.levels - 1).astype(np.uint8)
            values.append(metrics.frechet_distance(real, features.features(each, x)).value)
        assert values == sorted(values) and values[-1] > 5 * values[0]


@pytest.mark.parametrize("shape", [(4, 4, 1), (17, 13, 3)])
def test_any_size_and_number_of_channels(shape):
    """Fewer examples (60) than a batch has, too, and splits that are read when asked for."""
    data = stripes(shape)
    net = metrics.train_features(data)
    assert net.test_accuracy >= 0.95 and net.shape == shape
    assert features.features(net, data.test.arrays["x"]).shape == (20, 64)
    maps = [value for name, value in net.variables["params"].items() if name.startswith("Conv")]
    assert len(maps) == {4: 1, 17: 3}[shape[0]]
    if shape == (4, 4, 1):
        streams = [StreamSplit(len(split), split.gather) for split in (data.train, data.test)]
        streamed = Dataset(data.name, shape, data.levels, data.class_names, *streams)
        assert metrics.train_features(streamed).name == net.name
