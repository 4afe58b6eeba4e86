"""The training loop: from a run directory's last good checkpoint to the last step, many steps a dispatch."""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgen.data.dataset import ArraySplit, Split
from jaxgen.data.pipeline import chunk_indices, stream
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.leaves import parameter_digest
from jaxgen.training.logging import MetricsLog, read_metrics
from jaxgen.training.parallel import check_divides, replicate, shard_rows, train_steps
from jaxgen.training.progress import Progress
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm, Key, PyTree

DIGEST = "params_sha256"


class NonFiniteError(ArithmeticError):
    """A metric became infinite or not a number: training stopped, the last good checkpoint is kept."""


class FitResult(NamedTuple):
    """Where training ended.

    Attributes:
        state: the last state, replicated over the local devices.
        step: number of steps behind it.
        finished: False if a signal stopped the run before its last step.
    """

    state: PyTree
    step: int
    finished: bool


def fit(
    algorithm: Algorithm,
    split: Split,
    run: RunDirectory,
    *,
    seed: int,
    steps: int,
    batch_size: int,
    steps_per_call: int,
    checkpoint_every: int,
    draw: Callable[[int, PyTree], np.ndarray] | None = None,
    draw_every: int = 1000,
) -> FitResult:
    """Trains, or goes on training, in a run directory.

    Everything is a function of (seed, step): a run that was killed and restarted ends with the same bits. SIGTERM and
    Ctrl-C save and return; a second Ctrl-C raises KeyboardInterrupt. Each dispatch adds a row of mean metrics to
    `metrics.jsonl`; the last row has the digest of the parameters.

    Args:
        algorithm: what is trained.
        split: the examples to train on; one in memory is put on the devices once.
        run: an open run directory.
        seed: of the parameters, the order of the examples and every step's randomness.
        steps: number of training steps in all.
        batch_size: examples in a step over all devices.
        steps_per_call: steps in a dispatch and behind a row of metrics.
        checkpoint_every: a checkpoint is saved at the first dispatch to end on or after each multiple of it.
        draw: ``(step, state) -> picture``, uint8 `[H, W, C]`, for TensorBoard. The state is given away afterwards.
        draw_every: it is called at the first dispatch to end on or after each multiple of it.

    Returns:
        The last state.

    Raises:
        ValueError: if a setting is out of range or does not fit the data and devices, if the run has done more steps
            than asked for, or if the checkpoints belong to another model.
        NonFiniteError: if a metric is not finite, naming the step.
        CheckpointError: if a checkpoint cannot be written, or there are some and all are damaged.
    """
    check_settings(
        split,
        steps=steps,
        batch_size=batch_size,
        steps_per_call=steps_per_call,
        checkpoint_every=checkpoint_every,
    )
    if draw_every < 1:
        raise ValueError(f"draw_every: {draw_every}, expected at least 1")
    if seed < 0:
        raise ValueError(f"seed: {seed}, expected at least 0")
    is_writer = jax.process_index() == 0
    checkpoints = Checkpoints(run.checkpoints)
    init_key, train_key = jax.random.split(jax.random.key(seed))
    first_step, state = _start(algorithm, split, checkpoints, init_key)
    if first_step > steps:
        raise ValueError(
            f"steps: {steps}, but this run has done {first_step}; ask for as many or more"
        )
    with (
        MetricsLog(run.path, first_step, is_writer=is_writer) as log,
        Progress(steps, first_step, is_writer=is_writer) as progress,
        _stop_requested() as is_stop_requested,
    ):
        if first_step:
            progress.message(f"resumed at step {first_step}")

        def settle(end: int, metrics: dict[str, np.ndarray]) -> None:
            row = _mean_metrics(end, {name: np.asarray(value) for name, value in metrics.items()})
            log.write(end, row)
            losses = {name: value for name, value in row.items() if name.endswith("loss")}
            progress.update(end, losses or row)

        step, pending = first_step, None
        run_steps = train_steps(algorithm, rows_are_shared=isinstance(split, ArraySplit))
        dispatches = _dispatches(split, seed, first_step, steps, batch_size, steps_per_call)
        for start, end, rows, indices in dispatches:
            numbers = np.arange(start, end, dtype=np.int32)
            state, metrics = run_steps(state, rows, indices, numbers, train_key)
            # The device is at work on this dispatch while the host reads the one before.
            if pending is not None:
                settle(*pending)
            if draw is not None and is_writer and end // draw_every > start // draw_every:
                log.image(end, "samples", draw(end, state))
            step, pending = end, (end, metrics)
            is_stopping = is_stop_requested(start // steps_per_call)
            if is_stopping or end == steps or end // checkpoint_every > start // checkpoint_every:
                settle(*pending)
                pending = None
                checkpoints.save(end, state)
            if is_stopping:
                break
        if step == steps:
            _write_digest(run, log, step, state)
    return FitResult(state, step, step == steps)


def check_settings(
    split: Split, *, steps: int, batch_size: int, steps_per_call: int, checkpoint_every: int
) -> None:
    """Checks, before anything is compiled, that training can run with these settings.

    Args:
        split: the examples to train on.
        steps: number of training steps, at least 1.
        batch_size: a multiple of the number of devices, at most the number of examples.
        steps_per_call: at least 1.
        checkpoint_every: at least 1.

    Raises:
        ValueError: if a setting is out of its range.
    """
    positive = {
        "steps": steps,
        "batch_size": batch_size,
        "steps_per_call": steps_per_call,
        "checkpoint_every": checkpoint_every,
    }
    for name, value in positive.items():
        if value < 1:
            raise ValueError(f"{name}: {value}, expected at least 1")
    if batch_size > len(split):
        raise ValueError(
            f"batch_size: {batch_size}, but there are only {len(split)} training examples"
        )
    check_divides(batch_size)


def restore(algorithm: Algorithm, run: RunDirectory, batch: dict[str, Any]) -> tuple[int, PyTree]:
    """Reads the newest good checkpoint of a run.

    Args:
        algorithm: the one that was trained.
        run: the run directory.
        batch: a batch of the shapes and types of the training data; its values do not matter.

    Returns:
        The number of training steps and the state.

    Raises:
        ValueError: if there is no checkpoint, or it belongs to another model.
        CheckpointError: if all checkpoints are damaged.
    """
    like_state = jax.eval_shape(algorithm.init, jax.random.key(0), batch)
    restored = Checkpoints(run.checkpoints).restore(like_state)
    if restored is None:
        raise ValueError(f"{run.path} has no checkpoint yet: train first")
    return restored


def _start(
    algorithm: Algorithm, split: Split, checkpoints: Checkpoints, key: Key
) -> tuple[int, PyTree]:
    batch = split.gather(np.zeros(1, np.int64))
    like_state = jax.eval_shape(algorithm.init, key, batch)
    restored = checkpoints.restore(like_state)
    if restored is not None:
        return restored[0], replicate(restored[1])
    # Initialisation runs once, so it is compiled fast instead of well.
    init = jax.jit(algorithm.init, compiler_options={"xla_backend_optimization_level": 0})
    return 0, replicate(init(key, batch))


def _dispatches(
    split: Split, seed: int, first_step: int, last_step: int, batch_size: int, steps_per_call: int
) -> Iterator[tuple[int, int, Any, np.ndarray]]:
    """Yields start, end, rows and their indices `[devices, K, b]` of each dispatch."""
    if first_step >= last_step:
        return
    first_end = (first_step // steps_per_call + 1) * steps_per_call
    ends = [*range(first_end, last_step, steps_per_call), last_step]
    spans = list(zip([first_step, *ends[:-1]], ends, strict=True))
    if isinstance(split, ArraySplit):
        rows = replicate(split.arrays)
        for start, end in spans:
            indices = chunk_indices(
                seed, start, end - start, num_examples=len(split), batch_size=batch_size
            )
            yield start, end, rows, shard_rows(indices).astype(np.int32)
        return
    chunks = stream(
        split, seed, first_step, last_step, batch_size=batch_size, steps_per_call=steps_per_call
    )
    for (start, end), chunk in zip(spans, chunks, strict=True):
        yield start, end, *_split_chunk(chunk)


def _split_chunk(chunk: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each local device's rows of a chunk `[K, B, ...]`, and their indices `[devices, K, b]`."""
    num_steps, batch_size = chunk["x"].shape[:2]
    numbers = np.arange(num_steps * batch_size).reshape(num_steps, batch_size)
    local = shard_rows(numbers)
    flat = local.reshape(len(local), -1)
    rows = {
        name: array.reshape(num_steps * batch_size, *array.shape[2:])[flat]
        for name, array in chunk.items()
    }
    own = np.arange(flat.shape[1], dtype=np.int32).reshape(num_steps, -1)
    return rows, np.broadcast_to(own, local.shape)


def _mean_metrics(end: int, metrics: dict[str, np.ndarray]) -> dict[str, float]:
    """Means over the steps of a dispatch, or NonFiniteError naming the first bad step."""
    for name, values in metrics.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            step = end - len(values) + int(bad[0]) + 1
            raise NonFiniteError(
                f"{name} is {values[bad[0]]} at step {step}; training stopped and the last good checkpoint is kept "
                "(try a smaller learning rate or gradient clipping)"
            )
    return {name: math.fsum(values) / len(values) for name, values in metrics.items()}


def _write_digest(run: RunDirectory, log: MetricsLog, step: int, state: PyTree) -> None:
    rows = read_metrics(run.path)
    if not rows or DIGEST not in rows[-1]:
        log.write(step, {DIGEST: parameter_digest(state.params)})


@contextlib.contextmanager
def _stop_requested() -> Iterator[Callable[[int], bool]]:
    """Yields a function of consecutive numbers that tells whether to stop; all processes get one answer at a number."""
    if jax.process_count() > 1:
        # jax's preemption service catches SIGTERM on any host and names the next number as the one to stop at.
        yield multihost_utils.reached_preemption_sync_point
        return
    received = threading.Event()

    def request(signum: int, frame: Any) -> None:
        if received.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        received.set()

    is_main_thread = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGTERM, signal.SIGINT) if is_main_thread else ()
    previous = {number: signal.signal(number, request) for number in signals}
    try:
        yield lambda number: received.is_set()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
