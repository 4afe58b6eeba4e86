"""Data sets that need no file, the order of examples, and the stream."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits

from jaxgen import data
from jaxgen.data import toy

DENSITIES = {name: make() for name, make in toy.DENSITIES.items()}
SIZES = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


def test_import_is_light():
    heavy = ("sklearn", "PIL", "grain", "tensorflow_datasets", "matplotlib", "rich")
    code = (
        "import sys; from jaxgen import data; data.describe(data.load('digits')); "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_digits_are_those_of_sklearn():
    digits = data.load("digits")
    assert (digits.shape, digits.levels, digits.num_classes) == ((8, 8, 1), 17, 10)
    assert (len(digits.train), len(digits.test)) == (1400, 397)
    parts = [split.gather(np.arange(len(split))) for split in (digits.train, digits.test)]
    x = np.concatenate([part["x"] for part in parts])
    label = np.concatenate([part["label"] for part in parts])
    assert x.dtype == np.uint8 and label.dtype == np.int32 and x.max() == 16
    original = load_digits()
    rows = np.column_stack([x.reshape(-1, 64), label])
    expected = np.column_stack([original.data, original.target])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))


def test_digits_split_gives_the_published_floors():
    digits = data.load("digits")
    x = np.concatenate([digits.train.arrays["x"], digits.test.arrays["x"]]).reshape(-1, 64)
    generator = np.random.default_rng(0)
    generator.permutation(len(x))  # the published noise was drawn after the split
    y = (x + generator.uniform(size=x.shape)) / 17
    train, test = y[:1400], y[1400:]
    full = references.gaussian_nats(train, test, 1e-4).mean() / (64 * np.log(2)) + np.log2(17)
    assert abs(full - 2.968) < 6e-4
    log_prob = stats.norm.logpdf(test, train.mean(0), np.sqrt(train.var(0) + 1e-4))
    assert abs(-log_prob.mean() / np.log(2) + np.log2(17) - 3.406) < 6e-4


@pytest.mark.parametrize("name", DENSITIES)
def test_toy_data_set(name):
    dataset = data.load(name)
    again = data.load(name)
    assert (dataset.shape, dataset.levels, dataset.class_names) == ((2,), None, None)
    x = dataset.train.gather(np.arange(5))["x"]
    assert x.dtype == np.float32 and x.shape == (5, 2)
    np.testing.assert_array_equal(dataset.test.arrays["x"], again.test.arrays["x"])


@pytest.mark.parametrize("name", DENSITIES)
def test_entropy_is_the_mean_of_minus_log_prob(name, key):
    density = DENSITIES[name]
    nats = -np.asarray(density.log_prob(density.sample(key, 50_000)), np.float64)
    error = nats.std() / np.sqrt(len(nats))
    assert abs(nats.mean() - density.entropy) < 5 * error + 1e-5


@pytest.mark.parametrize(
    ("name", "step"), [("ring", 0.05), ("grid", 0.02), ("moons", 0.05), ("checkerboard", 0.1)]
)
def test_density_integrates_to_one(name, step):
    axis = np.arange(-5 + step / 2, 5, step)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype(np.float32)
    log_prob = jax.jit(DENSITIES[name].log_prob)
    total = sum(
        np.exp(np.asarray(log_prob(part), np.float64)).sum() for part in np.split(points, 8)
    )
    assert abs(total * step**2 - 1) < 1e-3


@pytest.mark.parametrize("name", DENSITIES)
def test_log_prob_against_float64(name, key):
    density = DENSITIES[name]
    near = np.asarray(density.sample(key, 40))
    far = np.random.default_rng(0).uniform(-4.5, 4.5, size=(40, 2)).astype(np.float32)
    x = np.concatenate([near, far])
    np.testing.assert_allclose(
        density.log_prob(x), references.toy_log_prob(name, x), rtol=2e-5, atol=2e-4
    )


@pytest.mark.parametrize(
    ("entropy", "name"), [(2.8319, "ring"), (1.0076, "moons"), (np.log(32), "checkerboard")]
)
def test_published_entropies(entropy, name):
    assert abs(DENSITIES[name].entropy - entropy) < 5e-5


def test_entropy_of_separated_modes_has_a_closed_form():
    component = 1 + np.log(2 * np.pi)
    for density, modes, std in (
        (toy.grid(), 25, 0.05),
        (toy.ring(radius=1.0, std=0.01), 8, 0.01),
        (toy.gaussians(np.zeros((3, 2)), std=0.5), 1, 0.5),
    ):
        expected = np.log(modes) + component + 2 * np.log(std)
        assert abs(density.entropy - expected) < 1e-8


def test_toy_arguments():
    with pytest.raises(ValueError, match="std: 0.0, expected above 0"):
        toy.ring(std=0.0)
    with pytest.raises(ValueError, match="radius: -1.0, expected above 0"):
        toy.ring(radius=-1.0)
    with pytest.raises(ValueError, match="spacing: 0.0, expected above 0"):
        toy.grid(spacing=0.0)
    with pytest.raises(ValueError, match="centres: shape"):
        toy.gaussians(np.zeros((2, 3)), std=1.0)
    with pytest.raises(data.DataError, match="name: 'spiral', expected ring, grid"):
        toy.load_toy("spiral")
    for density in DENSITIES.values():
        with pytest.raises(AssertionError):
            density.log_prob(jax.numpy.zeros((4, 3)))


@settings(deadline=None, max_examples=50)
@given(sizes=SIZES, seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_every_epoch_shows_distinct_examples(sizes, seed, epoch):
    num, size = sizes
    steps = num // size
    chunk = data.chunk_indices(seed, epoch * steps, steps, num_examples=num, batch_size=size)
    assert chunk.shape == (steps, size) and chunk.dtype == np.int64
    assert len(np.unique(chunk)) == chunk.size
    assert chunk.min() >= 0 and chunk.max() < num
    order = np.random.default_rng((seed, epoch)).permutation(num)
    np.testing.assert_array_equal(chunk.ravel(), order[: steps * size])


@settings(deadline=None, max_examples=50)
@given(sizes=SIZES, seed=st.integers(0, 9), step=st.integers(0, 99), other=st.integers(0, 99))
def test_batch_is_a_function_of_seed_and_step(sizes, seed, step, other):
    num, size = sizes
    first = data.batch_indices(seed, step, num_examples=num, batch_size=size)
    kept = first.copy()
    data.batch_indices(seed + 1, other, num_examples=num, batch_size=size)[:] = 0
    data.batch_indices(seed, step, num_examples=num, batch_size=size)[:] = 0
    again = data.batch_indices(seed, step, num_examples=num, batch_size=size)
    np.testing.assert_array_equal(again, kept)


def test_epochs_and_seeds_differ():
    orders = [
        data.batch_indices(seed, step, num_examples=50, batch_size=50)
        for seed in range(2)
        for step in range(2)
    ]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 4, 5), "batch_size: 5, expected 1 to 4, the number of examples"),
        ((0, 0, 4, 0), "batch_size: 0, expected 1 to 4"),
        ((-1, 0, 4, 2), "seed: -1, expected at least 0"),
        ((0, -1, 4, 2), "step: -1, expected at least 0"),
    ],
)
def test_batch_index_arguments(arguments, message):
    seed, step, num, size = arguments
    with pytest.raises(ValueError, match=message):
        data.batch_indices(seed, step, num_examples=num, batch_size=size)
    if step < 0 or seed < 0 or size == 0:
        split = data.ArraySplit({"x": np.zeros((4, 1), np.float32)})
        with pytest.raises(ValueError, match=message):
            data.stream(split, seed, step, 9, batch_size=size, steps_per_call=1)


def test_stream_arguments():
    split = data.ArraySplit({"x": np.zeros((4, 1), np.float32)})
    for first, last, steps, message in (
        (3, 2, 1, "last_step: 2, expected at least first_step, 3"),
        (0, 2, 0, "steps_per_call: 0, expected at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            data.stream(split, 0, first, last, batch_size=2, steps_per_call=steps)
    with pytest.raises(ValueError, match="num_threads: 0, expected at least 1"):
        data.stream(split, 0, 0, 1, batch_size=2, steps_per_call=1, num_threads=0)
    with pytest.raises(ValueError, match="num_steps: 0, expected at least 1"):
        data.chunk_indices(0, 0, 0, num_examples=4, batch_size=2)
    assert list(data.stream(split, 0, 2, 2, batch_size=2, steps_per_call=1)) == []


@pytest.mark.parametrize(
    ("first", "last", "lengths"), [(0, 8, [4, 4]), (3, 11, [1, 4, 3]), (5, 7, [2]), (4, 5, [1])]
)
def test_stream_is_cut_at_multiples_and_shows_the_batches_of_each_step(first, last, lengths):
    x = np.arange(20, dtype=np.float32)[:, None]
    split = data.ArraySplit({"x": x, "label": np.arange(20, dtype=np.int32)})
    streamed = data.StreamSplit(20, split.gather)
    chunks = list(data.stream(streamed, 7, first, last, batch_size=3, steps_per_call=4))
    assert [len(chunk["x"]) for chunk in chunks] == lengths
    expected = data.chunk_indices(7, first, last - first, num_examples=20, batch_size=3)
    np.testing.assert_array_equal(np.concatenate([c["label"] for c in chunks]), expected)
    np.testing.assert_array_equal(np.concatenate([c["x"] for c in chunks])[..., 0], expected)


def test_stream_passes_on_errors():
    def read(indices):
        raise data.DataError("broken.png")

    broken = data.StreamSplit(8, read)
    with pytest.raises(data.DataError, match=r"broken\.png"):
        next(data.stream(broken, 0, 0, 4, batch_size=2, steps_per_call=2))


def test_stream_can_be_left_early():
    split = data.load("digits").train
    chunks = data.stream(split, 0, 0, 1000, batch_size=10, steps_per_call=10)
    assert next(chunks)["x"].shape == (10, 10, 8, 8, 1)
    chunks.close()


def test_array_split():
    split = data.ArraySplit({"x": np.arange(6, dtype=np.uint8).reshape(3, 2)})
    batch = split.gather(np.array([2, 0]))
    np.testing.assert_array_equal(batch["x"], [[4, 5], [0, 1]])
    batch["x"][:] = 9
    assert split.arrays["x"].max() == 5
    for wrong in (np.array([3]), np.array([-1]), np.array([0.0]), np.array([[0]])):
        with pytest.raises(IndexError, match="indices: .*, expected"):
            split.gather(wrong)
    x = np.zeros((2, 2), np.uint8)
    for arrays, message in (
        ({"label": np.zeros(2, np.int32)}, 'expected "x" among them'),
        ({"x": x, "label": np.zeros(3, np.int32)}, "expected the same"),
        ({"x": x.astype(np.float64)}, "x: float64, expected uint8 or float32"),
        ({"x": x, "label": np.zeros(2, np.int64)}, "label: int64, expected int32"),
    ):
        with pytest.raises(ValueError, match=message):
            data.ArraySplit(arrays)


def test_stacked_digits_are_three_digits_of_the_same_split():
    stacked, digits = data.load("stacked_digits"), data.load("digits")
    assert (stacked.shape, stacked.levels, stacked.class_names) == ((8, 8, 3), 17, None)
    for split, known in ((stacked.train, digits.train), (stacked.test, digits.test)):
        one = {x.tobytes() for x in known.gather(np.arange(len(known)))["x"][..., 0]}
        x = split.gather(np.arange(len(split)))["x"]
        channels = [x[i, ..., c].tobytes() for i in range(len(x)) for c in range(3)]
        assert set(channels) <= one
        assert len(set(channels)) > 0.95 * len(one)
        assert len({each.tobytes() for each in x}) > 0.99 * len(x)
