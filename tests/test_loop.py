"""The training loop against a plain Python one, on eight devices, and the ways it stops."""

import json
import math
import os
import signal
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from jaxgen.data.dataset import ArraySplit, StreamSplit
from jaxgen.data.pipeline import batch_indices
from jaxgen.training import loop
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.leaves import parameter_digest
from jaxgen.training.loop import NonFiniteError, fit, restore
from jaxgen.training.plan import Plan
from jaxgen.training.run_directory import RunDirectory, open_run
from jaxgen.training.timing import Timing, read_timing

SEED, BATCH_SIZE, STEPS, STEPS_PER_CALL = 3, 16, 23, 5
ALGORITHM = tiny.make_algorithm()


def train(path: Path, split=None, algorithm=None, **settings):
    sizes = {
        "steps": STEPS,
        "batch_size": BATCH_SIZE,
        "steps_per_call": STEPS_PER_CALL,
        "checkpoint_every": 10,
    }
    plan = Plan(**{name: settings.pop(name, value) for name, value in sizes.items()})
    split = tiny.make_split() if split is None else split
    with open_run(path, {}) as run:
        return fit(algorithm or ALGORITHM, split, run, plan, **{"seed": SEED} | settings)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def plain_loop(split: ArraySplit, num_devices: int) -> tuple[np.ndarray, list[float], list[int]]:
    """Weights at the end, and loss and memory after every step, a device at a time."""
    init_key, train_key = jax.random.split(jax.random.key(SEED))
    w = np.asarray(jax.random.normal(init_key, (6,)), np.float64)
    memory, losses, memories = 0, [], []
    for step in range(STEPS):
        index = batch_indices(SEED, step, num_examples=len(split), batch_size=BATCH_SIZE)
        batch = split.gather(index)
        x, label = batch["x"].reshape(BATCH_SIZE, -1), batch["label"]
        error = x @ w - label
        losses.append(float(np.mean(error**2)) / 2)
        w = w - tiny.LEARNING_RATE * error @ x / BATCH_SIZE
        memory *= 1664525
        bits = int(jax.random.bits(jax.random.fold_in(train_key, step), (), np.uint32)) | 1
        for device in range(num_devices):
            share = BATCH_SIZE // num_devices
            part = slice(device * share, (device + 1) * share)
            values = x[part].ravel()
            places = 2 * np.arange(values.size) + 1
            memory += (int(places @ values) + int(label[part].sum())) * bits
        memory %= 2**32
        memories.append(memory)
    return w, losses, memories


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    traces = []
    result = train(path, algorithm=tiny.make_algorithm(on_trace=lambda: traces.append(1)))
    return path, result, len(traces)


def test_equals_a_plain_loop(trained):
    path, result, _ = trained
    w, losses, memories = plain_loop(tiny.make_split(), jax.device_count())
    assert (result.step, result.finished, int(result.state.step)) == (STEPS, True, STEPS)
    # The hash knows every pixel, label, key bit and the order of the steps.
    assert int(result.state.params["memory"]) == memories[-1]
    np.testing.assert_allclose(result.state.params["w"], w, rtol=1e-4)
    *found, last = rows(path)
    ends = [5, 10, 15, 20, 23]
    assert [row["step"] for row in found] == ends
    for start, row in zip([0, *ends], found, strict=False):
        part = slice(start, row["step"])
        low_bits = [memory % 1024 for memory in memories[part]]
        assert row["memory"] == math.fsum(low_bits) / len(low_bits)
        np.testing.assert_allclose(row["loss"], np.mean(losses[part]), rtol=1e-4)
    assert last == {"step": STEPS, "params_sha256": parameter_digest(result.state.params)}


def test_drawing_sees_the_state_of_its_step_and_changes_nothing(trained, tmp_path):
    seen = []

    def draw(step, state):
        seen.append((step, int(state.step)))
        return np.full((2, 3, 1), step, np.uint8)

    result = train(tmp_path / "run", draw=draw, draw_every=10)
    assert seen == [(10, 10), (20, 20), (23, 23)]
    assert rows(tmp_path / "run") == rows(trained[0])
    assert int(result.state.params["memory"]) == int(trained[1].state.params["memory"])
    events = next((tmp_path / "run").glob("events.*")).read_bytes()
    assert events.count(b"\x89PNG") == 3


def test_state_is_on_all_devices(trained):
    for leaf in jax.tree.leaves(trained[1].state):
        assert leaf.sharding.is_fully_replicated
        assert len(leaf.sharding.device_set) == jax.device_count()
        shards = [np.asarray(shard.data).tobytes() for shard in leaf.addressable_shards]
        assert set(shards) == {shards[0]}


def test_traces_once_a_dispatch_length(trained):
    # One program for the whole dispatches of 5, one for the last of 3; a scan may trace its body
    # more than once, but no later dispatch traces again.
    _, _, num_traces = trained
    assert 2 <= num_traces <= 4


def test_start_is_given_the_first_batch_whole(trained, tmp_path):
    split, seen = tiny.make_split(), []
    algorithm = tiny.make_algorithm()

    def init(key, batch):
        jax.debug.callback(lambda batch: seen.append(batch), batch)
        return algorithm.init(key, batch)

    train(tmp_path, algorithm=algorithm._replace(init=init), steps=1)
    train(tmp_path, algorithm=algorithm._replace(init=init), steps=2)
    jax.effects_barrier()
    index = batch_indices(SEED, 0, num_examples=len(split), batch_size=BATCH_SIZE)
    (batch,) = seen  # The second start reads shapes alone.
    jax.tree.map(np.testing.assert_array_equal, batch, split.gather(index))


def test_time_adds_up_over_starts(trained, tmp_path, monkeypatch):
    run, now = RunDirectory(tmp_path), iter(range(0, 10_000, 5))
    assert read_timing(run) is None
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    train(tmp_path, steps=10, checkpoint_every=5)
    assert read_timing(run) == Timing(10, 10.0)
    train(tmp_path, checkpoint_every=100)
    assert read_timing(run) == Timing(STEPS, 15.0)
    train(tmp_path, checkpoint_every=100)
    assert read_timing(run) == Timing(STEPS, 15.0)
    assert rows(tmp_path)[-1] == rows(trained[0])[-1]
    run.timing.write_text("{")
    assert read_timing(run) is None


def test_longer_runs_trace_no_more(tmp_path):
    counts = []
    for steps in (5, 40):
        traces = []
        algorithm = tiny.make_algorithm(on_trace=lambda traces=traces: traces.append(1))
        train(tmp_path / str(steps), algorithm=algorithm, steps=steps, checkpoint_every=15)
        counts.append(len(traces))
    assert counts[0] == counts[1]


def test_checkpoints_follow_their_interval(trained):
    path, result, _ = trained
    assert Checkpoints(path / "checkpoints").steps() == [10, 20, 23]
    batch = {"x": np.zeros((1, *tiny.SHAPE), np.uint8)}
    step, state = restore(tiny.make_algorithm(), RunDirectory(path), batch)
    assert step == STEPS
    assert parameter_digest(state.params) == parameter_digest(result.state.params)


def test_interval_between_dispatches_saves_at_the_next(tmp_path):
    train(tmp_path, steps=20, checkpoint_every=7)
    # 7 lies in the dispatch that ends at 10, 14 in that of 15.
    assert Checkpoints(tmp_path / "checkpoints").steps() == [10, 15, 20]


def test_stream_has_the_bits_of_memory(trained, tmp_path):
    path, result, _ = trained
    split = tiny.make_split()
    streamed = train(tmp_path, StreamSplit(len(split), split.gather))
    assert parameter_digest(streamed.state.params) == parameter_digest(result.state.params)
    assert rows(tmp_path) == rows(path)


def test_dispatch_length_does_not_matter(trained, tmp_path):
    digest = rows(trained[0])[-1]
    train(tmp_path, steps_per_call=100)
    assert [row["step"] for row in rows(tmp_path)] == [STEPS, STEPS]
    assert rows(tmp_path)[-1] == digest


@pytest.mark.parametrize("stops", [(10,), (5, 15)])
def test_goes_on_from_a_checkpoint(trained, tmp_path, stops):
    path, _, _ = trained
    for steps in (*stops, STEPS):
        assert train(tmp_path, steps=steps).step == steps
    found = [row for row in rows(tmp_path) if "loss" in row or row["step"] == STEPS]
    assert found == rows(path)


def test_another_call_traces_nothing_new(tmp_path):
    traces = []
    algorithm = tiny.make_algorithm(on_trace=lambda: traces.append(1))
    train(tmp_path, algorithm=algorithm, steps=STEPS_PER_CALL)
    num_traces = len(traces)
    assert num_traces
    train(tmp_path, algorithm=algorithm, steps=2 * STEPS_PER_CALL)
    assert len(traces) == num_traces


def test_finished_run_compiles_and_writes_nothing(trained):
    path, result, _ = trained
    before = rows(path)
    traces = []
    again = train(path, algorithm=tiny.make_algorithm(on_trace=lambda: traces.append(1)))
    assert not traces
    assert again.finished
    assert rows(path) == before
    assert parameter_digest(again.state.params) == parameter_digest(result.state.params)


@pytest.mark.parametrize("bad_step", [1, 13, 15, 20, 23])
def test_nan_stops_within_a_dispatch(tmp_path, monkeypatch, bad_step):
    dispatched = []
    make = loop.train_steps

    def counting(*args, **kwargs):
        run = make(*args, **kwargs)

        def dispatch(state, rows, indices, steps, key):
            dispatched.append(int(steps[-1]) + 1)
            return run(state, rows, indices, steps, key)

        return dispatch

    monkeypatch.setattr(loop, "train_steps", counting)
    with pytest.raises(NonFiniteError, match=f"loss is nan at step {bad_step};") as failure:
        train(tmp_path, algorithm=tiny.make_algorithm(nan_at=bad_step))
    end = min(math.ceil(bad_step / STEPS_PER_CALL) * STEPS_PER_CALL, STEPS)
    assert dispatched[-1] <= min(end + STEPS_PER_CALL, STEPS)
    assert all(row["step"] < bad_step for row in rows(tmp_path))
    saved = [step for step in (10, 20) if step < end]
    kept = f"the checkpoint of step {saved[-1]} is kept" if saved else "nothing was saved"
    assert kept in str(failure.value)
    assert Checkpoints(tmp_path / "checkpoints").steps() == saved


def test_goes_on_after_nan_with_a_cured_algorithm(trained, tmp_path):
    with pytest.raises(NonFiniteError):
        train(tmp_path, algorithm=tiny.make_algorithm(nan_at=13))
    train(tmp_path)
    assert rows(tmp_path) == rows(trained[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 12}, "batch_size: 12, expected a multiple of the 8 devices"),
        ({"batch_size": 0}, "batch_size: 0, expected 1 to"),
        ({"draw_every": 0}, "draw_every: 0, expected at least 1"),
        ({"seed": -1}, "seed: -1, expected at least 0"),
        ({"split": tiny.make_split(0)}, "no batch at all: 0 training examples"),
    ],
)
def test_bad_settings_fail_before_anything_is_traced(tmp_path, settings, message):
    traces = []
    algorithm = tiny.make_algorithm(on_trace=lambda: traces.append(1))
    with pytest.raises(ValueError, match=message):
        train(tmp_path, algorithm=algorithm, **settings)
    assert not traces
    assert not (tmp_path / "checkpoints").exists()


def test_fewer_steps_than_done_are_refused(trained):
    path, result, _ = trained
    with pytest.raises(ValueError, match=f"steps: 1, expected at least {result.step}, which"):
        train(path, steps=1)


def test_checkpoint_of_another_model_is_refused(trained):
    other = tiny.make_algorithm()

    def init(key, batch):
        state = tiny.make_algorithm().init(key, batch)
        return state._replace(params={**state.params, "bias": state.params["w"]})

    with pytest.raises(ValueError, match="bias"):
        train(trained[0], algorithm=other._replace(init=init))


def test_host_reads_a_dispatch_while_the_next_is_under_way(tmp_path, monkeypatch):
    # (The transfer guard would say it of any device, but sees nothing on CPU: reads are free.)
    make, write = loop.train_steps, loop.MetricsLog.write
    num_calls, order = [], []

    def counting(*args, **kwargs):
        run = make(*args, **kwargs)

        def dispatch(*inputs):
            num_calls.append(1)
            return run(*inputs)

        return dispatch

    def noting(self, step, row):
        order.append((step, len(num_calls)))
        write(self, step, row)

    monkeypatch.setattr(loop, "train_steps", counting)
    monkeypatch.setattr(loop.MetricsLog, "write", noting)
    train(tmp_path, steps=20, checkpoint_every=20)
    assert order == [(5, 2), (10, 3), (15, 4), (20, 4), (20, 4)]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_saves_and_returns(trained, tmp_path, monkeypatch, signum):
    before = signal.getsignal(signum)
    write = loop.MetricsLog.write

    def write_and_stop(self, step, row):
        if step == 5:
            os.kill(os.getpid(), signum)
        write(self, step, row)

    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsLog, "write", write_and_stop)
        result = train(tmp_path)
    assert signal.getsignal(signum) is before
    assert not result.finished
    assert Checkpoints(tmp_path / "checkpoints").steps() == [result.step]
    assert result.step <= 15
    train(tmp_path)
    assert rows(tmp_path) == rows(trained[0])


@pytest.mark.parametrize("steps_per_call", [STEPS, 5])
def test_a_signal_while_the_last_step_is_saved_is_not_lost(tmp_path, monkeypatch, steps_per_call):
    """All steps are there, and whoever goes on after the training must know of it."""
    write = loop.MetricsLog.write

    def write_and_stop(self, step, row):
        if step == STEPS:
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, step, row)

    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsLog, "write", write_and_stop)
        result = train(tmp_path, steps_per_call=steps_per_call)
    assert (result.step, result.finished) == (STEPS, False)
    assert train(tmp_path, steps_per_call=steps_per_call).finished


def test_an_ignored_hangup_is_ignored(tmp_path, monkeypatch):
    """A run under `nohup` outlives its terminal."""
    write = loop.MetricsLog.write

    def write_and_hang_up(self, step, row):
        os.kill(os.getpid(), signal.SIGHUP)
        write(self, step, row)

    monkeypatch.setattr(loop.MetricsLog, "write", write_and_hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(tmp_path).finished
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_second_interrupt_is_not_held_back(tmp_path, monkeypatch):
    def interrupt(self, step, row):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.MetricsLog, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
