"""Flows of vectors by distrax's bijectors, with networks of flax, since it has none of its own."""

from typing import Any

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import common, flow_sizes, jax_flow


class Conditioner(nn.Module):
    """A fully connected network whose last layer starts at zero.

    Attributes:
        hidden_sizes: width of each hidden layer.
        num_moved: numbers that a coupling transforms.
        num_params: of each of them.
    """

    hidden_sizes: tuple[int, ...]
    num_moved: int
    num_params: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns `[..., num_moved, num_params]`."""
        for size in self.hidden_sizes:
            x = nn.relu(nn.Dense(size)(x))
        last = nn.Dense(self.num_moved * self.num_params, kernel_init=nn.initializers.zeros_init())
        return last(x).reshape(*x.shape[:-1], self.num_moved, self.num_params)


def _affine(params: jax.Array) -> distrax.Bijector:
    shift, raw = params[..., 0], params[..., 1]
    return distrax.ScalarAffine(shift, log_scale=2 * jnp.tanh(raw / 2))


def _spline(params: jax.Array) -> distrax.Bijector:
    return distrax.RationalQuadraticSpline(
        params, -flow_sizes.LIMIT, flow_sizes.LIMIT, boundary_slopes="identity"
    )


class Flow(nn.Module):
    """A density of vectors.

    Attributes:
        workload: which.
    """

    workload: flow_sizes.Workload

    def setup(self) -> None:
        """Makes the networks."""
        sizes = flow_sizes.SIZES[self.workload]
        num_params = 3 * flow_sizes.NUM_BINS + 1 if self.workload in flow_sizes.SPLINES else 2
        self.conditioners = [
            Conditioner(sizes.hidden_sizes, (sizes.num_dims + layer % 2) // 2, num_params)
            for layer in range(flow_sizes.NUM_COUPLINGS)
        ]

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log-density of `[B, D]`: `[B]` in nats."""
        return self._density().log_prob(x)

    def sample(self, key: jax.Array, num: int) -> jax.Array:
        """Draws `[num, D]`."""
        return self._density().sample(seed=key, sample_shape=num)

    def _density(self) -> distrax.Transformed:
        num_dims = flow_sizes.SIZES[self.workload].num_dims
        couplings = [
            distrax.SplitCoupling(
                split_index=(num_dims + 1) // 2,
                event_ndims=1,
                conditioner=conditioner,
                bijector=_spline if self.workload in flow_sizes.SPLINES else _affine,
                swap=bool(layer % 2),
            )
            for layer, conditioner in enumerate(self.conditioners)
        ]
        zeros, ones = jnp.zeros(num_dims), jnp.ones(num_dims)
        base = distrax.MultivariateNormalDiag(zeros, ones)
        return distrax.Transformed(base, distrax.Chain(couplings))


data = flow_sizes.data


def build(
    workload: flow_sizes.Workload, variant: str, data: np.ndarray, threads: int
) -> common.Program:
    """Builds the distrax contestant.

    Args:
        workload: which flow.
        variant: unused: there is one.
        data: float32 `[N, D]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del variant, threads
    flow = Flow(workload)

    @jax.jit
    def init(key: jax.Array) -> Any:
        return flow.init(key, jnp.zeros((1, data.shape[1])), method="log_prob")

    def log_prob(params: Any, x: jax.Array) -> jax.Array:
        result: Any = flow.apply(params, x, method="log_prob")
        return result

    def sample(params: Any, key: jax.Array, num: int) -> jax.Array:
        result: Any = flow.apply(params, key, num, method="sample")
        return result

    params = init(jax.random.key(common.SEED))
    return jax_flow.program(params, log_prob, sample, workload, data)
