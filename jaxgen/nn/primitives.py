"""Primitives that XLA computes in one way on a CPU and in another elsewhere.

A `lax.platform_dependent` is differentiated branch by branch, and a rule for derivatives around it
(`jax.custom_vjp`) has no forward mode. A linear primitive has every mode: its tangent is itself,
and its transpose another primitive, for which each platform has its own form again. So at every
order just the forms that were chosen here run.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from jaxgen.types import Array

Form = Callable[..., Array]


def platform_primitive(name: str, *, cpu: Form, default: Form) -> Primitive:
    """Make a primitive of one result, without rules for derivatives and `vmap`.

    Args:
        name: as it appears in a jaxpr.
        cpu: what it computes on a CPU, of arrays and of hashable parameters by keyword.
        default: the same elsewhere; says shapes and types on every platform.

    Returns:
        The primitive; `bind` applies it.
    """
    primitive = Primitive(name)

    def lowering(form: Form) -> mlir.LoweringRule:
        def at_precision(*operands: Array, precision: str | None, **parameters: Any) -> Array:
            with jax.default_matmul_precision(precision):
                return form(*operands, **parameters)

        return mlir.lower_fun(at_precision, multiple_results=False)

    @functools.cache
    def compiled(**parameters: Any) -> Form:
        return jax.jit(functools.partial(primitive.bind, **parameters))

    def evaluate(*operands: Array, **parameters: Any) -> Array:
        # Where the user has disabled it, `jit` would come back here.
        with jax.disable_jit(False):
            return compiled(**parameters)(*operands)

    def result_type(*types: Any, precision: str | None, **parameters: Any) -> Any:
        del precision
        return jax.make_jaxpr(functools.partial(default, **parameters))(*types).out_avals[0]

    primitive.def_impl(evaluate)
    primitive.def_abstract_eval(result_type)
    mlir.register_lowering(primitive, lowering(default))
    mlir.register_lowering(primitive, lowering(cpu), platform="cpu")
    return primitive


def vary_alike(operands: Sequence[Array]) -> tuple[Array, ...]:
    """Let arrays inside of a `shard_map` vary over the same devices, as operations of lax do.

    Args:
        operands: arrays, of which some may be equal on all devices of an axis where others are not.

    Returns:
        The same arrays, marked.
    """
    axes = [frozenset(jax.typeof(operand).mat.varying) for operand in operands]
    union = frozenset().union(*axes)
    return tuple(
        lax.pcast(operand, tuple(union - own), to="varying")
        for operand, own in zip(operands, axes, strict=True)
    )


def bind(primitive: Primitive, operands: Sequence[Array], **parameters: Any) -> Array:
    """Apply a primitive and its parameters at the precision of products that holds here.

    Args:
        primitive: made by `platform_primitive`.
        operands: its arrays.

    Returns:
        Its result.
    """
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return primitive.bind(*vary_alike(operands), precision=precision, **parameters)
