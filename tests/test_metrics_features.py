"""Features of small classifiers: accuracy, names, blocks, and an ordered corruption ladder."""

import jax
import numpy as np
import pytest

from jaxgen import metrics
from jaxgen.data import ArraySplit, Dataset, StreamSplit, load
from jaxgen.metrics import features

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


def test_the_defaults_learn_digits_beyond_the_gate(net):
    """The published features: 64 of them, few of which are dead (never above 0)."""
    assert net.test_accuracy >= 0.97
    assert net.test_accuracy == np.mean(features.predict(net, test_x) == test_label)
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


def test_the_seed_decides_the_name():
    """Seeds 0, 0, 1; the net with random parameters is where training starts, at chance."""

    def train(seed):
        return metrics.train_features(digits, seed=seed, steps=20, min_accuracy=0.0)

    first, again, other = train(0), train(0), train(1)
    assert first.name == again.name and len(first.name) == 64
    np.testing.assert_array_equal(
        features.features(first, test_x), features.features(again, test_x)
    )
    random = metrics.random_features(digits)
    assert (
        len({first.name, other.name, random.name, metrics.random_features(digits, seed=1).name})
        == 4
    )
    assert random.name == metrics.random_features(digits, seed=0).name
    assert random.test_accuracy < 0.3 < first.test_accuracy
    assert jax.tree.structure(random.variables) == jax.tree.structure(first.variables)


def test_a_classifier_below_the_gate_is_refused():
    with pytest.raises(ValueError, match=r"digits has test accuracy 0\.\d{4}.*at least 0\.95"):
        metrics.train_features(digits, steps=1)


def test_data_without_labels_are_refused_but_for_random_features():
    data = without_labels()
    with pytest.raises(ValueError, match="a classifier needs labels"):
        metrics.train_features(data)
    net = metrics.random_features(data)
    assert net.test_accuracy is None
    assert features.features(net, test_x[:3]).shape == (3, 64)
    with pytest.raises(ValueError, match="predicts none"):
        features.predict(net, test_x[:3])


def test_data_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="a classifier needs labels"):
        metrics.train_features(load("ring"))
    with pytest.raises(ValueError, match="expected images"):
        metrics.random_features(load("ring"))


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"seed": -1}, {"min_accuracy": 1.1}, {"min_accuracy": -0.1}]
)
def test_settings_out_of_range_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name}: "):
        metrics.train_features(digits, **settings)


def test_images_are_checked(net):
    for x in (test_x.astype(np.float32), test_x[0], test_x[:, :7], test_x[..., 0]):
        with pytest.raises(AssertionError):
            features.features(net, x)
    with pytest.raises(ValueError, match="block_size: 0"):
        features.features(net, test_x, block_size=0)


@pytest.mark.parametrize("block_size", [1, 100, 1000])
def test_features_do_not_depend_on_blocks(net, block_size):
    """Trap 30: 397 images, which no block divides; one image alone is as in company."""
    x = test_x[: 5 if block_size == 1 else None]
    whole = features.features(net, x)
    blocks = features.features(net, x, block_size=block_size)
    np.testing.assert_allclose(blocks, whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(features.features(net, x[3:5]), whole[3:5])
    labels = features.predict(net, x, block_size=block_size)
    np.testing.assert_array_equal(labels, features.predict(net, x))


def test_no_images_are_no_features(net):
    assert features.features(net, test_x[:0]).shape == (0, 64)
    assert features.predict(net, test_x[:0]).shape == (0,)


def test_the_frechet_distance_is_ordered_on_a_corruption_ladder(net):
    """Trap 33: sparse features, trained and random, of test images under more and more noise."""
    noise = np.random.default_rng(1).normal(size=test_x.shape)
    for each in (net, metrics.random_features(digits)):
        real = features.features(each, digits.train.arrays["x"])
        values = []
        for std in (0.0, 1.0, 2.0, 4.0, 8.0):
            x = np.clip(np.round(test_x + std * noise), 0, digits.levels - 1).astype(np.uint8)
            values.append(metrics.frechet_distance(real, features.features(each, x)).value)
        assert values == sorted(values) and values[-1] > 5 * values[0]


@pytest.mark.parametrize("shape", [(4, 4, 1), (5, 9, 3), (17, 13, 2)])
def test_any_size_and_number_of_channels(shape):
    """Fewer examples (60) than a batch has, too, and splits that are read when asked for."""
    data = stripes(shape)
    net = metrics.train_features(data, steps=40)
    assert net.test_accuracy >= 0.95 and net.shape == shape
    assert features.features(net, data.test.arrays["x"]).shape == (20, 64)
    maps = [value for name, value in net.variables["params"].items() if name.startswith("Conv")]
    assert len(maps) == 1 + sum(max(shape[:2]) > size for size in (4, 8, 16))
    if shape == (4, 4, 1):
        streams = [StreamSplit(len(split), split.gather) for split in (data.train, data.test)]
        streamed = Dataset(data.name, shape, data.levels, data.class_names, *streams)
        assert metrics.train_features(streamed, steps=40).name == net.name
