"""The training loop: from a run's last good checkpoint to its last step, many steps a dispatch."""

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.data.dataset import ArraySplit, Split
from jaxgen.data.pipeline import batch_indices
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.dispatches import dispatches
from jaxgen.training.jax_setup import QUICK_COMPILATION
from jaxgen.training.leaves import parameter_digest
from jaxgen.training.memory import return_freed_memory
from jaxgen.training.metrics_log import MetricsLog, read_metrics
from jaxgen.training.parallel import replicate, train_steps
from jaxgen.training.plan import Plan, check_plan
from jaxgen.training.progress import Progress
from jaxgen.training.run_directory import RunDirectory
from jaxgen.training.stopping import stop_requested
from jaxgen.training.timing import Timing, read_timing, write_timing
from jaxgen.types import Algorithm, Key, PyTree

DIGEST = "params_sha256"


class NonFiniteError(ArithmeticError):
    """A metric became infinite or not a number, and training stopped."""


class FitResult(NamedTuple):
    """Where training ended.

    Attributes:
        state: the last state, replicated over the local devices.
        step: number of steps behind it.
        finished: False if a signal asked to stop, before the last step or while it was saved.
    """

    state: PyTree
    step: int
    finished: bool


def fit(
    algorithm: Algorithm,
    split: Split,
    run: RunDirectory,
    plan: Plan,
    *,
    seed: int,
    draw: Callable[[int, PyTree], np.ndarray] | None = None,
    draw_every: int = 1000,
) -> FitResult:
    """Trains, or goes on training, in a run directory.

    Everything is a function of (seed, step): a run that was killed and restarted ends with the same
    bits. SIGTERM, SIGHUP and Ctrl-C save and return; a second Ctrl-C raises KeyboardInterrupt. Each
    dispatch adds a row of mean metrics to `metrics.jsonl`; the last row has the digest of the
    parameters. Each checkpoint renews `timing.json`.

    Args:
        algorithm: what is trained.
        split: the examples to train on; one in memory is put on the devices once.
        run: an open run directory.
        plan: steps in all, batch size, steps in a dispatch and between checkpoints; a checkpoint is
            saved at the first dispatch to end on or after each multiple of its interval.
        seed: of the parameters, the order of the examples and every step's randomness.
        draw: ``(step, state) -> picture``, uint8 `[H, W, C]`, for TensorBoard. The state is given
            away afterwards.
        draw_every: it is called at the first dispatch to end on or after each multiple of it, and
            at the last step.

    Returns:
        The last state.

    Raises:
        ValueError: if the batch does not fit the data and devices, if the run has done more steps
            than asked for, or if the checkpoints belong to another model.
        NonFiniteError: if a metric is not finite, naming the step.
        CheckpointError: if a checkpoint cannot be written, or there are some and all are damaged.
    """
    check_plan(plan, split)
    if draw_every < 1:
        raise ValueError(f"draw_every: {draw_every}, expected at least 1")
    if seed < 0:
        raise ValueError(f"seed: {seed}, expected at least 0")
    is_writer = jax.process_index() == 0
    checkpoints = Checkpoints(run.checkpoints)
    init_key, train_key = _keys(seed)
    first = batch_indices(seed, 0, num_examples=len(split), batch_size=plan.batch_size)
    first_step, state = _start(algorithm, checkpoints, init_key, split.gather(first))
    if first_step > plan.steps:
        raise ValueError(
            f"steps: {plan.steps}, expected at least {first_step}, which this run has done"
        )
    with (
        MetricsLog(run.path, first_step, is_writer=is_writer) as log,
        Progress(plan.steps, first_step, is_writer=is_writer) as progress,
        stop_requested() as is_stop_requested,
    ):
        if first_step:
            progress.message(f"resumed at step {first_step}")
        if first_step < plan.steps:
            progress.waiting("compiling")

        def settle(end: int, metrics: Mapping[str, Any]) -> None:
            values = {name: np.asarray(value) for name, value in metrics.items()}
            _check_finite(end, values, checkpoints)
            row = {name: math.fsum(each) / len(each) for name, each in values.items()}
            log.write(end, row)
            losses = {name: value for name, value in row.items() if name.endswith("loss")}
            progress.update(end, losses or row)

        save = _timed_save(run, checkpoints, is_writer=is_writer)
        step, pending, is_stopping = first_step, None, False
        run_steps = train_steps(algorithm, rows_are_shared=isinstance(split, ArraySplit))
        for start, end, rows, indices in dispatches(split, seed, first_step, plan):
            numbers = np.arange(start, end, dtype=np.int32)
            state, metrics = run_steps(state, rows, indices, numbers, train_key)
            if start == first_step:
                return_freed_memory()  # What the compilation has left.
            is_frame = end // draw_every > start // draw_every
            # The device is at work on this dispatch while the host reads the one before.
            if pending is not None:
                settle(*pending)
            if draw is not None and is_writer and (is_frame or end == plan.steps):
                log.image(end, "samples", draw(end, state))
            step, pending = end, (end, metrics)
            is_stopping = is_stop_requested(start // plan.steps_per_call)
            is_due = end // plan.checkpoint_every > start // plan.checkpoint_every
            if is_stopping or is_due or end == plan.steps:
                settle(*pending)
                pending = None
                save(end, state)
            if is_stopping:
                break
        if step == plan.steps:
            _write_digest(run, log, step, state)
        # The signal may have come while the last dispatch was at work.
        is_stopping = is_stopping or is_stop_requested(-(-plan.steps // plan.steps_per_call))
    return FitResult(state, step, step == plan.steps and not is_stopping)


def restore(
    algorithm: Algorithm, run: RunDirectory, batch: Mapping[str, Any]
) -> tuple[int, PyTree]:
    """Reads the newest good checkpoint of a run.

    Args:
        algorithm: the one that was trained.
        run: the run directory.
        batch: of the shapes and types of a batch of training, arrays or `jax.ShapeDtypeStruct`;
            values do not matter.

    Returns:
        The number of training steps and the state.

    Raises:
        ValueError: if there is no checkpoint, or it belongs to another model.
        CheckpointError: if all checkpoints are damaged.
    """
    like_state = jax.eval_shape(algorithm.init, jax.random.key(0), batch)
    restored = Checkpoints(run.checkpoints).restore(like_state)
    if restored is None:
        raise ValueError(f"{run.path} has no checkpoint yet: train it first")
    return restored


# One program: each operation by itself would be compiled by itself.
@functools.partial(jax.jit, static_argnames="seed", compiler_options=QUICK_COMPILATION)
def _keys(seed: int) -> tuple[Key, Key]:
    """The keys of the initial state and of training."""
    init_key, train_key = jax.random.split(jax.random.key(seed))
    return init_key, train_key


def _start(
    algorithm: Algorithm, checkpoints: Checkpoints, key: Key, batch: Mapping[str, Any]
) -> tuple[int, PyTree]:
    """The newest good checkpoint, or step 0 made of the first batch."""
    like_state = jax.eval_shape(algorithm.init, key, batch)
    restored = checkpoints.restore(like_state)
    if restored is not None:
        return restored[0], replicate(restored[1])
    init = jax.jit(algorithm.init, compiler_options=QUICK_COMPILATION)
    return 0, replicate(init(key, batch))


def _timed_save(
    run: RunDirectory, checkpoints: Checkpoints, *, is_writer: bool
) -> Callable[[int, PyTree], None]:
    """Makes the function that saves a checkpoint, and how long the run has trained until then."""
    earlier, begin = read_timing(run), time.monotonic()
    seconds_before = earlier.seconds if earlier else 0.0

    def save(step: int, state: PyTree) -> None:
        checkpoints.save(step, state)
        if is_writer:
            seconds = seconds_before + time.monotonic() - begin
            write_timing(run, Timing(step, round(seconds, 3)))

    return save


def _check_finite(end: int, metrics: Mapping[str, np.ndarray], checkpoints: Checkpoints) -> None:
    """Raises NonFiniteError naming the first bad step of a dispatch."""
    for name, values in metrics.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            step = end - len(values) + int(bad[0]) + 1
            saved = checkpoints.steps()[-1:]
            kept = f"the checkpoint of step {saved[0]} is kept" if saved else "nothing was saved"
            raise NonFiniteError(
                f"{name} is {values[bad[0]]} at step {step}; training stopped, {kept}. "
                "Try a smaller learning rate in a new run: --learning-rate RATE --run-dir NEW"
            )


def _write_digest(run: RunDirectory, log: MetricsLog, step: int, state: PyTree) -> None:
    rows = read_metrics(run.path)
    if not rows or DIGEST not in rows[-1]:
        log.write(step, {DIGEST: parameter_digest(state.params)})
