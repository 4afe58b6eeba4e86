"""Precision, sums over the event, and the keys of examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.arrays import (
    at_least_float32,
    example_keys,
    sample_by_example,
    split_keys,
    sum_event,
)
from jaxgen.training.step import own_keys

KEY = jax.random.key(0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.uint8, jnp.int32])
def test_at_least_float32_widens(dtype):
    wide = at_least_float32(np.array([0, 3, 200]).astype(dtype))
    assert wide.dtype == jnp.float32
    np.testing.assert_array_equal(wide, [0.0, 3.0, 200.0])


def test_float64_keeps_its_digits():
    x = np.array([1.0 + 1e-12])
    assert at_least_float32(x).dtype == np.float64
    np.testing.assert_array_equal(at_least_float32(x), x)


def test_sum_event_keeps_the_first_axis():
    np.testing.assert_array_equal(sum_event(np.ones((2, 3, 4))), [12.0, 12.0])
    np.testing.assert_array_equal(sum_event(np.arange(3.0)), [0.0, 1.0, 2.0])
    with pytest.raises(AssertionError):
        sum_event(np.float32(1.0))


def test_one_key_stands_for_a_key_of_each_example():
    keys = example_keys(KEY, 4)
    assert keys.shape == (4,)
    assert len({bytes(np.asarray(jax.random.key_data(key))) for key in keys}) == 4
    np.testing.assert_array_equal(*(jax.random.key_data(k) for k in (keys, own_keys(KEY, 4, None))))
    assert example_keys(keys, 4) is keys


def test_values_of_an_example_are_those_of_its_key():
    keys = jax.random.split(KEY, 3)
    values = sample_by_example(jax.random.normal, KEY, (3, 2, 5))
    assert values.shape == (3, 2, 5)
    np.testing.assert_array_equal(values[2], jax.random.normal(keys[2], (2, 5)))
    np.testing.assert_array_equal(sample_by_example(jax.random.normal, keys, (3, 2, 5)), values)


def test_parts_of_keys_belong_to_their_examples():
    keys = jax.random.split(KEY, 3)
    first, second = split_keys(keys, 2)
    expected = jax.random.split(keys[1])
    for part, key in zip((first, second), expected, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(part[1]), jax.random.key_data(key))


def test_what_are_no_keys_of_the_examples_is_refused():
    with pytest.raises(ValueError, match=r"key: shape \(3,\), expected one key or keys \[4\]"):
        example_keys(jax.random.split(KEY, 3), 4)
    with pytest.raises(ValueError, match=r"key: uint32 \(2,\), expected a typed key"):
        example_keys(jnp.zeros(2, jnp.uint32), 2)
