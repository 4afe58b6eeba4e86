"""Evaluation: every example once, in order, with the same value on any blocks and devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from jaxgen.data.dataset import StreamSplit
from jaxgen.training.evaluation import NonFiniteMetricError, evaluate, summarize

ROOT = Path(__file__).parent.parent
NUM = 27
KEY = jax.random.key(5)


def make_state() -> tiny.State:
    batch = tiny.make_split(1).arrays
    return tiny.make_algorithm().init(jax.random.key(1), batch)


def values(block_size: int = 128, num: int = NUM) -> dict[str, np.ndarray]:
    split = tiny.make_split(num)
    return evaluate(tiny.make_algorithm(), make_state(), split, KEY, block_size=block_size)


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    return values()


def test_each_example_has_its_own_value_and_key(whole):
    split, w = tiny.make_split(NUM), np.asarray(make_state().params["w"], np.float64)
    assert {name: value.shape for name, value in whole.items()} == dict.fromkeys(whole, (NUM,))
    x = split.arrays["x"].reshape(NUM, -1)
    np.testing.assert_allclose(whole["error"], x @ w - split.arrays["label"], rtol=1e-4, atol=1e-4)
    noise = [jax.random.normal(jax.random.fold_in(KEY, i), (1,))[0] for i in range(NUM)]
    np.testing.assert_array_equal(whole["noise"], np.array(noise))


# Of the 27 examples a block of 1 on 8 devices takes 4 rounds, the last of 3; of 2 two rounds.
@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_block_size_does_not_matter(whole, block_size):
    for name, value in values(block_size).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("num", [1, 8, 9])
def test_padding_is_dropped(whole, num):
    # The first examples of a shorter split are others, but the noise hangs on the number alone.
    found = values(block_size=2, num=num)
    assert found["error"].shape == (num,)
    np.testing.assert_array_equal(found["noise"], whole["noise"][:num])


def test_number_of_devices_does_not_matter(whole, tmp_path):
    code = (
        "import json, sys; import test_evaluation as t; "
        "json.dump({n: v.tolist() for n, v in t.values(4).items()}, open(sys.argv[1], 'w'))"
    )
    out = tmp_path / "values.json"
    subprocess.run(
        [sys.executable, "-c", code, str(out)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        check=True,
        timeout=120,
    )
    for name, value in json.loads(out.read_text()).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-6, err_msg=name)


def test_stream_is_read_in_order(whole):
    split = tiny.make_split(NUM)
    seen = []

    def read(indices):
        seen.extend(indices.tolist())
        return split.gather(indices)

    streamed = StreamSplit(NUM, read)
    found = evaluate(tiny.make_algorithm(), make_state(), streamed, KEY, block_size=2)
    np.testing.assert_allclose(found["error"], whole["error"], rtol=1e-6)
    assert list(dict.fromkeys(seen)) == list(range(NUM))


def test_state_survives(whole):
    state = make_state()
    evaluate(tiny.make_algorithm(), state, tiny.make_split(NUM), KEY)
    np.asarray(state.params["w"])


def test_empty_split():
    with pytest.raises(ValueError, match="split: 0 examples, expected at least 1"):
        values(num=0)


def test_block_of_nothing():
    with pytest.raises(ValueError, match="block_size: 0, expected at least 1"):
        values(block_size=0)


def test_averages_are_of_all_examples_in_float64(whole):
    for name, summary in summarize(whole).items():
        value = whole[name].astype(np.float64)
        np.testing.assert_allclose(summary.mean, value.mean(), rtol=1e-12)
        error = value.std(ddof=1) / np.sqrt(NUM)
        np.testing.assert_allclose(summary.standard_error, error, rtol=1e-12)
    large = np.full(100_000, 16_777_217 / 3, np.float32)
    assert summarize({"x": large})["x"] == (float(large[0]), 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_counted_and_refused(bad):
    value = np.zeros(9, np.float32)
    value[[2, 7]] = bad
    with pytest.raises(NonFiniteMetricError, match="elbo is not finite for 2 of 9 examples"):
        summarize({"rate": np.zeros(9, np.float32), "elbo": value})


def test_one_example_has_no_standard_error():
    one = summarize({"loss": np.array([2.0])})["loss"]
    assert one == (2.0, None) and f"{one:.1f}" == "2.0"
    two = summarize({"loss": np.array([1.0, 3.0])})["loss"]
    assert two == (2.0, 1.0) and f"{two:.2f}" == "2.00 ± 1.00"
