"""An algorithm of jaxgen as its users run it: through the training loop, with its logging."""

import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tensorboardX.proto import event_pb2

from benchmarks.peers import common
from jaxgen.data.dataset import ArraySplit
from jaxgen.training.loop import fit
from jaxgen.training.metrics_log import read_metrics
from jaxgen.training.plan import Plan
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm


def _event_times(directory: Path) -> dict[int, float]:
    """Unix time at which the loop logged each step, from the run's newest TensorBoard file."""
    content = max(directory.glob("events.*"), key=lambda path: path.stat().st_mtime).read_bytes()
    times, position = {}, 0
    while position < len(content):
        # A record: length of 8 bytes, checksum of 4, the event, checksum of 4.
        (length,) = struct.unpack_from("<Q", content, position)
        event = event_pb2.Event.FromString(content[position + 12 : position + 12 + length])
        if event.HasField("summary") and event.step not in times:
            times[event.step] = event.wall_time
        position += length + 16
    return times


def program(
    algorithm: Algorithm,
    x: np.ndarray,
    *,
    batch_size: int,
    steps_per_call: int,
    loss: str,
    num_drawn: int = 0,
) -> common.Program:
    """Trains an algorithm through the loop.

    Each window goes on with the same run by another call of `fit`. What is timed lies between two
    rows of the log, each of which waits for its steps: the loop with its batches, metrics and
    events, without the restart.

    Args:
        algorithm: what is trained.
        x: examples, `[N, ...]`.
        batch_size: images of a step.
        steps_per_call: steps of a dispatch.
        loss: name of the metric that is shown.
        num_drawn: examples of a draw; 0 where none is timed.

    Returns:
        the program.
    """
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0), {"x": x[:1]})
    run = RunDirectory(Path(tempfile.mkdtemp()))
    done, state, number = 0, None, 0
    num_devices = jax.local_device_count()

    def sample_own(state: Any, number: jax.Array) -> jax.Array:
        return algorithm.sample(state, jax.random.key(number), num_drawn // num_devices)

    sample = jax.pmap(sample_own, in_axes=(None, 0))

    def train(num_steps: int) -> common.Window:
        nonlocal done, state
        start, first_step = time.time(), done
        # The first dispatch of a call is not timed, but for the very first, which compiles.
        done += num_steps + (steps_per_call if first_step else 0)
        result = fit(
            algorithm,
            ArraySplit({"x": x}),
            run,
            Plan(done, batch_size, steps_per_call, checkpoint_every=10**9),
            seed=common.SEED,
        )
        state = result.state
        times = _event_times(run.path)
        begin = times[first_step + steps_per_call] if first_step else start
        last_loss = [row[loss] for row in read_metrics(run.path) if loss in row][-1]
        return common.Window(num_steps, times[result.step] - begin, last_loss)

    def draw() -> np.ndarray:
        nonlocal number
        number += num_devices
        return np.asarray(sample(state, np.arange(number, number + num_devices, dtype=np.uint32)))

    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes.params))
    return common.Program(num_parameters, steps_per_call, train, draw if num_drawn else None)
