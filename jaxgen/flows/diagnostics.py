"""The inversion report: how exactly a trained flow comes back, layer by layer."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxgen.flows.bijectors import (
    Chain,
    CheckerboardCoupling,
    Coupling,
    Inverse,
    MaskedAutoregressive,
    OnFirst,
    Repeat,
    Spline,
)
from jaxgen.types import Array, PyTree

_MAX_JACOBIAN = 256


class Inversion(NamedTuple):
    """What one layer, or the whole, makes of some examples on the way there and back.

    Attributes:
        name: of the layer, its place among the others, and its kind.
        round_trip: largest ``|decode(encode(x)) - x|``.
        log_det_sum: largest ``|log_det + log_det|`` of both ways, in nats.
        log_det_error: ``|log_det - ln |det J||`` of the first example by automatic differentiation
            in nats; NaN where the example has too many numbers.
        condition: ratio of the largest to the least singular value of that Jacobian, or NaN.
        outside: share of the numbers coming in that lie outside of the box of a spline, which
            keeps them as they are; of the whole the largest of its layers; NaN where there is no
            spline.
    """

    name: str
    round_trip: float
    log_det_sum: float
    log_det_error: float
    condition: float
    outside: float


def layers(bijector: Any, variables: PyTree) -> Iterator[tuple[str, Any, PyTree]]:
    """Takes a trained bijector apart, from data to latents.

    Args:
        bijector: chains and repetitions are taken apart, an inverse is turned round as a whole.
        variables: ``{"params": ...}`` of it.

    Yields:
        Name, module, and its variables.
    """
    params = variables.get("params", {})
    if isinstance(bijector, Chain):
        for i, part in enumerate(bijector.bijectors):
            own = {"params": params.get(f"bijectors_{i}", {})}
            for name, module, parameters in layers(part, own):
                yield f"{i}.{name}", module, parameters
    elif isinstance(bijector, Repeat):
        for i in range(bijector.num):
            own = {"params": jax.tree.map(lambda leaf, i=i: leaf[i], params["block"])}
            for name, module, parameters in layers(bijector.block, own):
                yield f"{i}.{name}", module, parameters
    elif isinstance(bijector, OnFirst):
        own = {"params": params.get("bijector", {})}
        for name, module, parameters in layers(bijector.bijector, own):
            yield name, OnFirst(module), {"params": {"bijector": parameters["params"]}}
    else:
        kind = bijector.bijector if isinstance(bijector, Inverse) else bijector
        yield type(kind).__name__, bijector, variables


def inversion_report(
    bijector: Any, variables: PyTree, x: PyTree, condition: Array | None = None
) -> list[Inversion]:
    """Goes through a bijector layer by layer, there and back.

    Args:
        bijector: the bijector of a flow.
        variables: ``{"params": ...}`` of it; their type is that of the computation.
        x: examples `[B, ...]` of the same type.
        condition: of each example, or None.

    Returns:
        A row for each layer, in order, and a last one, "whole".
    """
    bijector = bijector.clone(parent=None)
    rows, here = [], x
    for name, module, own in layers(bijector, variables):
        row, here = _measure(name, module.clone(parent=None), own, here, condition)
        rows.append(row)
    whole, _ = _measure("whole", bijector, variables, x, condition)
    outside = [row.outside for row in rows if not np.isnan(row.outside)]
    return [*rows, whole._replace(outside=max(outside, default=np.nan))]


def worst_layer(rows: list[Inversion]) -> Inversion:
    """Finds the layer of a report with the largest round trip.

    Args:
        rows: as `inversion_report` gives them.

    Returns:
        The row; one whose error is not a number is the worst.
    """
    own = rows[:-1] or rows
    return max(own, key=lambda row: np.nan_to_num(row.round_trip, nan=np.inf))


def _measure(
    name: str, module: nn.Module, variables: PyTree, x: PyTree, condition: Array | None
) -> tuple[Inversion, PyTree]:
    z, there = _apply(module, "encode", variables, x, condition)
    again, back = _apply(module, "decode", variables, z, condition)
    differences = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), again, x)
    error, ratio = np.nan, np.nan
    if ravel_pytree(x)[0].size <= _MAX_JACOBIAN * len(there):
        first, own = jax.tree.map(lambda leaf: leaf[:1], (x, condition))
        jacobian = np.asarray(_jacobian(module, variables, first, own), np.float64)
        singular = np.linalg.svd(jacobian, compute_uv=False)
        error = abs(float(np.sum(np.log(singular))) - float(there[0]))
        ratio = float(singular[0] / singular[-1])
    row = Inversion(
        name,
        float(max(jax.tree.leaves(differences))),
        float(jnp.max(jnp.abs(there + back))),
        error,
        ratio,
        _outside(module, x),
    )
    return row, z


def _outside(module: Any, x: PyTree) -> float:
    """The share of what enters a layer that lies outside of the box of its spline, or NaN."""
    while isinstance(module, Inverse | OnFirst):
        module = module.bijector
    is_elementwise = isinstance(module, Coupling | CheckerboardCoupling | MaskedAutoregressive)
    if not is_elementwise or not isinstance(module.elementwise, Spline):
        return np.nan
    return float(jnp.mean(jnp.abs(jax.tree.leaves(x)[0]) >= module.elementwise.limit))


def _run(
    module: Any, method: str, variables: PyTree, x: PyTree, condition: Array | None
) -> tuple[PyTree, Array]:
    return module.apply(variables, x, condition, method=method)


_apply = jax.jit(_run, static_argnums=(0, 1))


def _differentiate(module: Any, variables: PyTree, x: PyTree, condition: Array | None) -> Array:
    flat, unravel = ravel_pytree(x)

    def encode(flat: Array) -> Array:
        z = _run(module, "encode", variables, unravel(flat), condition)[0]
        return ravel_pytree(z)[0]

    return jax.jacfwd(encode)(flat)


_jacobian = jax.jit(_differentiate, static_argnums=0)
