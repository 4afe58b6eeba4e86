"""Many samples: each depends on its number alone, not on how many there are or on the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.training.sampling import BLOCK_SIZE, sample_in_blocks
from jaxgen.types import Algorithm


def sample(state, key, num, label=None):
    bits = jax.random.randint(key, (num, 2), 0, 1000) + state["shift"]
    return bits if label is None else jnp.concatenate([bits, label[:, None]], axis=1)


def unused(*_):
    raise AssertionError


ALGORITHM = Algorithm(unused, unused, sample, unused)
STATE, KEY = {"shift": jnp.int32(7)}, jax.random.key(3)


def all_of(num, label=None):
    return np.concatenate(list(sample_in_blocks(ALGORITHM, STATE, KEY, num, label)))


def expected(num):
    """Block i has the key fold_in(key, i)."""
    blocks = [
        sample(STATE, jax.random.fold_in(KEY, number), BLOCK_SIZE)
        for number in range(-(-num // BLOCK_SIZE))
    ]
    return np.concatenate(blocks)[:num]


@pytest.mark.parametrize("num", [1, 64, 1000])
def test_a_sample_depends_on_its_number(num):
    np.testing.assert_array_equal(all_of(num), expected(num))


def test_more_than_a_dispatch_go_on_in_the_same_order():
    """Eight devices make a block of 64 each at first, and then as many as take two seconds."""
    num = 8 * 32 * 64 + 100
    blocks = list(sample_in_blocks(ALGORITHM, STATE, KEY, num))
    sizes = [len(block) for block in blocks]
    assert sizes[0] == 8 * 64 and len(sizes) > 1
    assert all(size % (8 * 64) == 0 and size <= 8 * 32 * 64 for size in sizes[:-1])
    x = np.concatenate(blocks)
    assert len(x) == num
    for first in (0, 8 * 64, 8 * 32 * 64 - 64, 8 * 32 * 64):
        part = sample(STATE, jax.random.fold_in(KEY, first // 64), BLOCK_SIZE)
        np.testing.assert_array_equal(x[first : first + 64], part[: len(x) - first])


def test_every_sample_has_its_label():
    label = np.arange(300, dtype=np.int32)
    x = all_of(300, label)
    np.testing.assert_array_equal(x[:, 2], label)
    np.testing.assert_array_equal(x[:, :2], expected(300))


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="num: 0, expected at least 1"):
        all_of(0)
    with pytest.raises(ValueError, match=r"label: shape \(2,\), expected \(3,\)"):
        all_of(3, np.zeros(2, np.int32))
