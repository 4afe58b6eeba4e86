"""Parts of splits: random draws, and the examples that have a label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen import data

NUM_CLASSES, NUM_EACH, NUM_DRAWN = 3, 3000, 900


@given(num_examples=st.integers(0, 300), num=st.integers(0, 300))
@settings(deadline=None, max_examples=50)
def test_subset_is_a_fixed_draw_without_replacement(num_examples, num):
    indices = data.subset_indices(num_examples, num)
    assert indices.dtype == np.int64 and len(indices) == min(num, num_examples)
    assert set(indices) <= set(range(num_examples)) and len(set(indices)) == len(indices)
    # Fewer are the first of more.
    every = data.subset_indices(num_examples, num_examples)
    np.testing.assert_array_equal(indices, every[:num])


def test_every_example_is_as_likely():
    """Of all splits of 20 to 619 examples, the place of a drawn one is uniform over its split."""
    places = [
        (data.subset_indices(num, 5) + 0.5) / num for num in range(20, 620)
    ]  # 3,000 of mean 1/2
    error = np.sqrt(1 / 12 / (5 * len(places)))
    assert abs(np.mean(places) - 0.5) < 5 * error


def test_sorted_and_shuffled_copies_give_the_same_numbers_within_noise():
    label = np.repeat(np.arange(NUM_CLASSES, dtype=np.int32), NUM_EACH)
    order = np.random.default_rng(1).permutation(len(label))
    share = 1 / NUM_CLASSES
    # The variance of a draw without replacement of 900 from 9,000.
    rest = 1 - NUM_DRAWN / len(label)
    error = np.sqrt(NUM_DRAWN * share * (1 - share) * rest)
    for labels in (label, label[order]):
        split = data.ArraySplit({"x": labels[:, None].astype(np.float32), "label": labels})
        for part in (split, data.StreamSplit(len(split), split.gather)):
            batch = data.subset(part, NUM_DRAWN)
            counts = np.bincount(batch["label"], minlength=NUM_CLASSES)
            assert counts.sum() == NUM_DRAWN
            assert (np.abs(counts - NUM_DRAWN * share) < 5 * error).all()
            np.testing.assert_array_equal(batch["x"][:, 0], batch["label"])


def test_the_first_of_a_subset_are_of_all_classes():
    label = np.repeat(np.arange(10, dtype=np.int32), 300)
    split = data.ArraySplit({"x": label[:, None].astype(np.float32), "label": label})
    assert len(np.unique(data.subset(split, 2000)["label"][:40])) > 7


def test_subset_of_all_and_of_none():
    split = data.ArraySplit({"x": np.arange(4, dtype=np.float32)[:, None]})
    np.testing.assert_array_equal(np.sort(data.subset(split, 9)["x"], axis=0), split.arrays["x"])
    assert data.subset(split, 0)["x"].shape == (0, 1)
    with pytest.raises(ValueError, match="num: -1, expected at least 0"):
        data.subset(split, -1)
    with pytest.raises(ValueError, match="num_examples: -1, expected at least 0"):
        data.subset_indices(-1, 0)


LABELS = np.array([2, -1, 0, -1, -1, 1], np.int32)


def split_of(labels):
    arrays = {"x": np.arange(len(labels), dtype=np.float32)[:, None]}
    return data.ArraySplit({**arrays, "label": labels})


def test_labelled_examples_are_a_view():
    split = split_of(LABELS)
    known = data.labelled(split)
    assert len(known) == 3
    np.testing.assert_array_equal(known.labels(), [2, 0, 1])
    batch = known.gather(np.array([2, 0]))
    np.testing.assert_array_equal(batch["label"], [1, 2])
    np.testing.assert_array_equal(batch["x"][:, 0], [5, 0])
    with pytest.raises(IndexError, match="indices: 3 to 3, expected 0 to 2"):
        known.gather(np.array([3]))
    everything = split_of(np.abs(LABELS))
    assert data.labelled(everything) is everything
    assert len(data.labelled(data.ArraySplit({"x": np.zeros((4, 1), np.float32)}))) == 0


def test_labels_of_a_stream_are_read_once_in_blocks():
    labels = np.tile(LABELS, 200)
    split, asked = split_of(labels), []

    def read(indices):
        asked.append(len(indices))
        return split.gather(indices)

    streamed = data.StreamSplit(len(split), read)
    known = data.labelled(streamed)
    np.testing.assert_array_equal(known.labels(), labels[labels >= 0])
    streamed.labels()
    assert sum(asked) == len(labels) and max(asked) <= 256
    given = data.StreamSplit(len(split), read, lambda: labels)
    asked.clear()
    np.testing.assert_array_equal(given.labels(), labels)
    unlabelled = data.StreamSplit(4, lambda indices: {"x": np.zeros((len(indices), 1))})
    assert (unlabelled.labels(), asked) == (None, [])


def test_a_data_set_counts_what_has_no_label():
    known, unknown = split_of(np.abs(LABELS)), split_of(LABELS)
    dataset = data.Dataset("x", (1,), None, ("a", "b", "c"), train=known, test=unknown)
    assert (dataset.train_unlabelled, dataset.test_unlabelled) == (0, 3)
    ring = data.load("ring")
    assert (ring.train_unlabelled, ring.test_unlabelled, ring.digest, ring.notes) == (
        0,
        0,
        None,
        (),
    )
