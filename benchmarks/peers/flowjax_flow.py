"""flowjax's flows of vectors: its `coupling_flow`, which scans over the layers."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow

from benchmarks.peers import common, flow_sizes, jax_flow


def _flow(workload: flow_sizes.Workload) -> Any:
    sizes = flow_sizes.SIZES[workload]
    width, *others = sizes.hidden_sizes
    assert set(others) <= {width}
    # mypy takes its attributes for its arguments.
    standard_normal: Any = StandardNormal
    spline = None
    if workload in flow_sizes.SPLINES:
        # Inner knots, one less than bins.
        spline = RationalQuadraticSpline(knots=flow_sizes.NUM_BINS - 1, interval=flow_sizes.LIMIT)
    return coupling_flow(
        jax.random.key(common.SEED),
        base_dist=standard_normal((sizes.num_dims,)),
        transformer=spline,
        flow_layers=flow_sizes.NUM_COUPLINGS,
        nn_width=width,
        nn_depth=len(sizes.hidden_sizes),
    )


data = flow_sizes.data


def build(
    workload: flow_sizes.Workload, variant: str, data: np.ndarray, threads: int
) -> common.Program:
    """Builds the flowjax contestant.

    Args:
        workload: which flow.
        variant: unused: there is one.
        data: float32 `[N, D]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del variant, threads
    params, static = eqx.partition(
        _flow(workload),
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )

    def flow(params: Any) -> Any:
        return paramax.unwrap(eqx.combine(params, static))

    def log_prob(params: Any, x: jax.Array) -> jax.Array:
        return flow(params).log_prob(x)

    def sample(params: Any, key: jax.Array, num: int) -> jax.Array:
        return flow(params).sample(key, (num,))

    return jax_flow.program(params, log_prob, sample, workload, data)
