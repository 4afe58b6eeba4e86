"""Whether a critic judges examples one by one: found out by trying it, not by what it is called."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.training.jax_setup import QUICK_COMPILATION
from jaxgen.types import Array, PyTree

_NUM = 4
_TOLERANCE = 1e-3


def example_shape(
    generator: nn.Module, latent_dim: int, num_classes: int | None
) -> tuple[int, ...]:
    """Traces a generator for the shape of what it makes.

    Args:
        generator: module ``(z [B, D], label, *, train) -> x [B, ...]``.
        latent_dim: D.
        num_classes: number of labels, or None.

    Returns:
        The shape of one example.
    """
    z = jax.ShapeDtypeStruct((_NUM, latent_dim), jnp.float32)
    x, _ = jax.eval_shape(
        lambda z: generator.init_with_output(
            jax.random.key(0), z, _labels(num_classes), train=False
        ),
        z,
    )
    return x.shape[1:]


def find_coupling(critic: nn.Module, shape: tuple[int, ...], num_classes: int | None) -> bool:
    """Tries whether a logit of a critic in training moves with another example of its batch.

    Batch norm and minibatch statistics couple examples; layer norm and spectral norm do not. The
    parameters are random, as those of a start (often zero in last layers) could hide it.

    Args:
        critic: module ``(x, label, *, train) -> logits [B]``.
        shape: of one example.
        num_classes: number of labels, or None.

    Returns:
        Whether it does.
    """
    try:
        hash(critic)
    except TypeError:  # There is a list among its attributes.
        return _find_coupling.__wrapped__(critic, shape, num_classes)
    return _find_coupling(critic, shape, num_classes)


@functools.lru_cache(maxsize=256)
def _find_coupling(critic: nn.Module, shape: tuple[int, ...], num_classes: int | None) -> bool:
    rng = np.random.default_rng(0)
    label = _labels(num_classes)
    x = rng.normal(size=(_NUM, *shape)).astype(np.float32)
    others = np.concatenate([x[:1], rng.normal(size=x[1:].shape).astype(np.float32)])
    shapes = jax.eval_shape(lambda x: critic.init(jax.random.key(0), x, label, train=False), x)
    variables = jax.tree.map(lambda leaf: _random(rng, leaf), shapes)

    def logits(variables: PyTree, x: Array) -> Array:
        y, _ = critic.apply(variables, x, label, train=True, mutable=["batch_stats"])
        if y.shape != (_NUM,):
            raise ValueError(
                f"critic: shape {y.shape} for {_NUM} examples, expected one logit each"
            )
        return y.astype(jnp.float32)

    # Ahead, since a game may be made within a traced function.
    jitted = jax.jit(logits, compiler_options=QUICK_COMPILATION)
    run = jitted.lower(variables, x).compile()
    first, second = (np.asarray(run(variables, each))[0] for each in (x, others))
    return bool(abs(first - second) > _TOLERANCE * (1.0 + abs(first)))


def _labels(num_classes: int | None) -> np.ndarray | None:
    return None if num_classes is None else np.zeros(_NUM, np.int32)


def _random(rng: np.random.Generator, leaf: Any) -> np.ndarray:
    """Kernels of a start; scales, biases and variances about 1, which keep any norm alive."""
    if len(leaf.shape) < 2:
        return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
    fan_in = max(1, leaf.size // leaf.shape[-1])
    return (rng.normal(size=leaf.shape) / np.sqrt(fan_in)).astype(leaf.dtype)
