"""Trains a flow on a density of the plane, several seeds at once, and measures what is lacking."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.flow_2d.settings import Settings
from jaxgen import flows
from jaxgen.data import toy
from jaxgen.training.progress import Progress
from jaxgen.types import Algorithm, Array, Key, PyTree

_DENSITIES = {
    "ring": toy.ring,
    "checkerboard": toy.checkerboard,
    "moons": toy.moons,
    "grid": toy.grid,
}
_TEST_SEED = 1_000_000
_CLIP_NORM = 10.0


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a flow on a density.

    Attributes:
        kl: ``mean [ln p(x) - ln q(x)]`` over the test points of p, in nats, of each seed.
        standard_error: of that mean, of each seed.
        compile_seconds: of making the parameters of the start and the program.
        train_seconds: of all, compilation included.
        num_parameters: of one flow.
    """

    kl: list[float]
    standard_error: list[float]
    compile_seconds: float
    train_seconds: float
    num_parameters: int


def build_flow(model: str, settings: Settings) -> flows.Flow:
    """Builds the flow of a row."""
    name: Any = model
    factor = 4 if model in ("planar", "radial") else 1
    bijector = flows.vector_bijector(
        name, 2, num_layers=factor * settings.num_layers, hidden_sizes=settings.hidden_sizes
    )
    return flows.Flow(bijector, flows.make_base(2))


def density_of(name: str) -> toy.ToyDensity:
    """Makes the density of a name."""
    return _DENSITIES[name]()


def train(model: str, density_name: str, settings: Settings) -> tuple[Result, PyTree]:
    """Trains all seeds of a flow in one program.

    Returns:
        The result, and the parameters of each seed, with a leading axis.
    """
    density = density_of(density_name)
    flow = build_flow(model, settings)
    rate = optax.cosine_decay_schedule(settings.learning_rate, settings.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(_CLIP_NORM), optax.adam(rate))
    algorithm = flows.likelihood_algorithm(flow, optimizer)
    seeds = jnp.arange(settings.seed, settings.seed + settings.num_seeds, dtype=jnp.uint32)
    keys = jax.vmap(jax.random.key)(seeds)
    begin = time.monotonic()

    def initialize(key: Key) -> PyTree:
        return algorithm.init(key, {"x": density.sample(key, settings.batch_size)})

    states = jax.jit(jax.vmap(initialize))(keys)
    advance = jax.jit(_advance(algorithm, density, settings), donate_argnums=0)
    per_call = min(settings.steps_per_call, settings.steps)
    compiled = advance.lower(states, keys, jnp.arange(per_call)).compile()
    compile_seconds = time.monotonic() - begin
    with Progress(settings.steps, 0) as progress:
        for start in range(0, settings.steps, per_call):
            end = min(start + per_call, settings.steps)
            run = compiled if end - start == per_call else advance
            states, loss = run(states, keys, jnp.arange(start, end))
            progress.update(end, {"loss": float(jnp.mean(loss))})
    seconds = time.monotonic() - begin
    kl, error = _divergence(flow, states.params, density, settings.num_test)
    num = sum(leaf[0].size for leaf in jax.tree.leaves(states.params))
    return Result(kl.tolist(), error.tolist(), compile_seconds, seconds, num), states.params


def _advance(algorithm: Algorithm, density: toy.ToyDensity, settings: Settings) -> Any:
    def step_of(key: Key) -> Any:
        def step(state: PyTree, index: Array) -> tuple[PyTree, Array]:
            data_key, step_key = jax.random.split(jax.random.fold_in(key, index))
            batch = {"x": density.sample(data_key, settings.batch_size)}
            state, metrics = algorithm.step(state, batch, step_key)
            return state, metrics["loss"]

        return step

    def advance(states: PyTree, keys: Array, indices: Array) -> tuple[PyTree, Array]:
        def one(state: PyTree, key: Key) -> tuple[PyTree, Array]:
            return jax.lax.scan(step_of(key), state, indices)

        return jax.vmap(one)(states, keys)

    return advance


def _divergence(
    flow: flows.Flow, params: PyTree, density: toy.ToyDensity, num: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of ``ln p - ln q`` over points of p, and its standard error, of each seed.

    On the same points: the error of a tabulated entropy is larger than the best divergences.
    """
    x = density.sample(jax.random.key(_TEST_SEED), num)

    @jax.jit
    def log_ratio(params: PyTree) -> Array:
        log_q: Any = flow.apply({"params": params}, x, method="log_prob")
        return density.log_prob(x) - log_q

    rows = [
        np.asarray(log_ratio(jax.tree.map(lambda leaf, i=i: leaf[i], params)), np.float64)
        for i in range(len(jax.tree.leaves(params)[0]))
    ]
    ratios = np.stack(rows)
    return ratios.mean(axis=1), ratios.std(axis=1) / np.sqrt(num)
