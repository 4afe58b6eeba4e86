"""A linear model with a memory of all it was given, and a program that trains it.

python tests/tiny.py RUN_DIR '{"steps": 400, ...}'
"""

import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.data.dataset import ArraySplit
from jaxgen.training.jax_setup import configure
from jaxgen.training.loop import fit
from jaxgen.training.plan import Plan
from jaxgen.training.run_directory import open_run
from jaxgen.types import Algorithm

SHAPE = (2, 3, 1)
LEARNING_RATE = 1e-3


class State(NamedTuple):
    """Parameters: weights `w [6]`, and `memory`, a hash of all examples and keys in order."""

    step: jax.Array
    params: dict[str, jax.Array]


def make_split(num: int = 70, seed: int = 0) -> ArraySplit:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 16, (num, *SHAPE)).astype(np.uint8)
    return ArraySplit({"x": x, "label": rng.integers(0, 3, num).astype(np.int32)})


def make_algorithm(
    *, nan_at: int | None = None, on_trace: Callable[[], None] = lambda: None
) -> Algorithm:
    """Least squares of the label; `nan_at` is the number, from 1, of a step whose loss is NaN."""

    def init(key, batch):
        w = jax.random.normal(key, (batch["x"][0].size,))
        params = {"w": w, "memory": jnp.zeros((), jnp.uint32)}
        return State(jnp.zeros((), jnp.int32), params)

    def step(state, batch, key, axis_name=None):
        on_trace()
        x = batch["x"].reshape(len(batch["x"]), -1)
        places = 2 * jnp.arange(x.size, dtype=jnp.uint32).reshape(x.shape) + 1
        seen = jnp.sum(places * x) + jnp.sum(batch["label"]).astype(jnp.uint32)
        seen = seen * (jax.random.bits(key, (), jnp.uint32) | 1)
        error = x @ state.params["w"] - batch["label"]
        loss = jnp.mean(error**2) / 2
        gradient = error @ x.astype(jnp.float32) / len(x)
        if axis_name is not None:
            loss, gradient = jax.lax.pmean((loss, gradient), axis_name)
            seen = jax.lax.psum(seen, axis_name)
        memory = state.params["memory"] * jnp.uint32(1664525) + seen
        if nan_at is not None:
            loss = jnp.where(state.step + 1 == nan_at, jnp.nan, loss)
        params = {"w": state.params["w"] - LEARNING_RATE * gradient, "memory": memory}
        low_bits = (memory % 1024).astype(jnp.float32)
        return State(state.step + 1, params), {"loss": loss, "memory": low_bits}

    def sample(state, key, num, label=None):
        return jnp.zeros((num, *SHAPE), jnp.uint8)

    def evaluate(state, batch, key):
        x = batch["x"].reshape(len(batch["x"]), -1)
        noise = jax.random.normal(key, (len(x),))
        return {"error": x @ state.params["w"] - batch["label"], "noise": noise}

    return Algorithm(init, step, sample, evaluate)


def main(run_dir: str, plan: str, *processes: str) -> None:
    if processes:
        coordinator, num, number = processes
        configure(
            distributed=True,
            coordinator=coordinator,
            num_processes=int(num),
            process_id=int(number),
        )
    else:
        configure()
    is_writer = jax.process_index() == 0
    with open_run(run_dir, {}, is_writer=is_writer) as run:
        result = fit(make_algorithm(), make_split(), run, Plan(**json.loads(plan)), seed=0)
    if not result.finished:
        print(f"stopped at step {result.step}")


if __name__ == "__main__":
    main(*sys.argv[1:])
