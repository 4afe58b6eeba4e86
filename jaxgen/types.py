"""The types that every family, loop and script shares."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax

Array = jax.Array
Key = jax.Array
"""A typed random key, as `jax.random.key` makes them."""
PyTree = Any
Batch = Mapping[str, Array]
"""``"x"``: uint8 images `[B, H, W, C]` or float32 vectors `[B, D]`; ``"label"``: int32 `[B]`, where
the data have labels."""
Metrics = dict[str, Array]


class State(Protocol):
    """What every algorithm's state has, beside being a pytree of arrays."""

    @property
    def step(self) -> Array:
        """Number of training steps behind it, an integer scalar."""

    @property
    def params(self) -> PyTree:
        """The parameters that training moves."""


class Algorithm(NamedTuple):
    """A generative method as four pure functions, independent of any training loop.

    Attributes:
        init: ``(key, batch) -> state``, a pytree of arrays that is a `State`. The batch is the
            first of training, whole; a start that does not depend on data reads its shapes alone.
        step: ``(state, batch, key, axis_name=None) -> (state, metrics)``: one training step. The
            metrics are scalars, averaged over the devices of ``axis_name`` where one is given. The
            key is the same on all devices: what an example draws comes from its own part of it,
            `jaxgen.training.step.own_keys`. The carry comes first, so `jax.lax.scan` runs many
            steps in one dispatch.
        sample: ``(state, key, num, label=None) -> x``: `num` (static) new examples
            `[num, H, W, C]` or `[num, D]` in data space.
        evaluate: ``(state, batch, key) -> metrics``: one value `[B]` per example and name.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[..., tuple[Any, Metrics]]
    sample: Callable[..., Array]
    evaluate: Callable[[Any, Batch, Key], Metrics]


def jit_loss(
    function: Callable[..., Any] | None = None, *, static_argnames: Sequence[str] = ()
) -> Callable[..., Any]:
    """Jits a loss whose arguments may be callables.

    A `jax.tree_util.Partial` argument, such as ``Partial(model.apply, variables)``, is a pytree:
    new variables do not retrace. Any other callable is wrapped in one, and traces anew for each new
    function object.

    Args:
        function: the loss; omit it to use this as a decorator with arguments.
        static_argnames: names of the arguments that must be Python values.

    Returns:
        The jitted loss with the same signature.
    """
    if function is None:
        return functools.partial(jit_loss, static_argnames=static_argnames)
    jitted = jax.jit(function, static_argnames=static_argnames)

    @functools.wraps(function)
    def loss(*args: Any, **kwargs: Any) -> Any:
        return jitted(
            *(as_pytree(value) for value in args),
            **{name: as_pytree(value) for name, value in kwargs.items()},
        )

    return loss


def as_pytree(value: Any) -> Any:
    """Wraps a function so that it may be an argument of a jitted one.

    Args:
        value: anything.

    Returns:
        A `jax.tree_util.Partial` of a callable, and other values as they are.
    """
    is_function = callable(value) and not isinstance(value, jax.tree_util.Partial)
    return jax.tree_util.Partial(value) if is_function else value
