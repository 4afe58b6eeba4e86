"""jaxgen as its users run it: `jaxgen.vae` through the training loop, with its logging."""

import struct
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import optax
from tensorboardX.proto import event_pb2

from benchmarks.peers import common
from jaxgen import vae
from jaxgen.data.dataset import ArraySplit
from jaxgen.training.logging import read_metrics
from jaxgen.training.loop import fit
from jaxgen.training.platform import configure
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm

STEPS_PER_CALL = 100


def _algorithm(workload: common.Workload, shape: tuple[int, ...]) -> Algorithm:
    likelihood = vae.likelihoods.bernoulli(levels=2)
    if workload == "mlp":
        model = vae.mlp_vae(
            shape, likelihood, latent_dim=common.MLP_LATENT, hidden_sizes=(common.MLP_HIDDEN,)
        )
    else:
        model = vae.conv_vae(
            shape, likelihood, latent_dim=common.CONV_LATENT, channels=common.CONV_FEATURES
        )
    return vae.elbo_algorithm(model, optax.adam(common.LEARNING_RATE), levels=2)


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


def build(
    workload: common.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the jaxgen contestant.

    Each window goes on with the same run by another call of `fit`. What is timed lies between two
    rows of the log, each of which waits for its steps: the loop with its batches, metrics and
    events, without the restart.

    Args:
        workload: which VAE.
        variant: unused: there is one.
        images: uint8 `[N, 28, 28, 1]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del variant, threads
    configure()
    algorithm = _algorithm(workload, images.shape[1:])
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0), {"x": images[:1]})
    run = RunDirectory(Path(tempfile.mkdtemp()))
    done = 0

    def train(num_steps: int) -> common.Window:
        nonlocal done
        start, first_step = time.time(), done
        # The first dispatch of a call is not timed, but for the very first, which compiles.
        done += num_steps + (STEPS_PER_CALL if first_step else 0)
        result = fit(
            algorithm,
            ArraySplit({"x": images}),
            run,
            seed=common.SEED,
            steps=done,
            batch_size=common.BATCH_SIZE,
            steps_per_call=STEPS_PER_CALL,
            checkpoint_every=10**9,
        )
        times = _event_times(run.path)
        begin = times[first_step + STEPS_PER_CALL] if first_step else start
        return common.Window(num_steps, times[result.step] - begin, _last_loss(run))

    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes.params))
    return common.Program(num_parameters, STEPS_PER_CALL, train)


def _last_loss(run: RunDirectory) -> float:
    return [row["loss"] for row in read_metrics(run.path) if "loss" in row][-1]
