"""A flow of jaxgen."""

from typing import Any

import jax
import numpy as np
import optax

from benchmarks.peers import common, flow_sizes, jaxgen_loop
from jaxgen import flows
from jaxgen.training.jax_setup import configure

STEPS_PER_CALL = {"real_nvp_2d": 400, "glow_32": 50}
"""Steps of a dispatch, where they are not 100: one takes 0.1 seconds or more."""


def _flow(workload: flow_sizes.Workload) -> flows.Flow:
    sizes = flow_sizes.SIZES[workload]
    if workload == "glow_32":
        bijector: Any = flows.image_bijector(
            "glow",
            flow_sizes.SHAPE,
            num_layers=flow_sizes.NUM_STEPS,
            num_levels=flow_sizes.NUM_LEVELS,
            num_features=flow_sizes.NUM_FEATURES,
        )
    else:
        bijector = flows.vector_bijector(
            "spline" if workload in flow_sizes.SPLINES else "real_nvp",
            sizes.num_dims,
            num_layers=flow_sizes.NUM_COUPLINGS,
            hidden_sizes=sizes.hidden_sizes,
        )
    return flows.Flow(bijector, flows.make_base(sizes.num_dims))


data = flow_sizes.data


def build(
    workload: flow_sizes.Workload, variant: str, data: np.ndarray, threads: int
) -> common.Program:
    """Builds the jaxgen contestant.

    Args:
        workload: which flow.
        variant: "device_per_core", or "one_device".
        data: float32 `[N, ...]`.
        threads: cores that the process may use.

    Returns:
        the program.
    """
    if variant == "device_per_core":
        jax.config.update("jax_num_cpu_devices", threads)
    configure()
    sizes = flow_sizes.SIZES[workload]
    return jaxgen_loop.program(
        flows.likelihood_algorithm(_flow(workload), optax.adam(flow_sizes.LEARNING_RATE)),
        data,
        batch_size=sizes.batch_size,
        steps_per_call=STEPS_PER_CALL.get(workload, 100),
        loss="loss",
        num_drawn=sizes.num_drawn,
    )
