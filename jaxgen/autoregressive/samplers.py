"""Three ways to write the same image: pixel by pixel, with a cache, or all pixels again and again.

Pixel i of an example draws with the key ``fold_in(key, i)`` of that example, whatever the way. What
is known beforehand stays as it is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.arrays import example_keys
from jaxgen.autoregressive.causal import Site
from jaxgen.autoregressive.models import PixelModel
from jaxgen.types import Array, Key, PyTree


class Written(NamedTuple):
    """Images that were drawn.

    Attributes:
        x: uint8 images `[num, H, W, C]`.
        num_passes: of the network over a whole image, or as many pixels.
    """

    x: Array
    num_passes: Array


class Known(NamedTuple):
    """What is known of images before they are drawn.

    Attributes:
        x: images `[num, H, W, C]`.
        mask: true where a pixel is known, `[H, W]`.
    """

    x: Array
    mask: Array


Sampler = Callable[..., Written]


def sequential(
    model: PixelModel,
    variables: PyTree,
    key: Key,
    num: int,
    shape: tuple[int, int, int],
    *,
    condition: Array | None = None,
    known: Known | None = None,
) -> Written:
    """Draws pixel by pixel, with a pass over the whole image for each.

    Args:
        model: over images of `shape`.
        variables: of it.
        key: one key or keys `[num]`.
        num: number of images.
        shape: `(H, W, C)`.
        condition: `[num, K]`, or None.
        known: pixels that are given.

    Returns:
        The images.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.
    """
    start, mask, keys = _start(model, key, num, shape, known)

    def write(i: Array, x: Array) -> Array:
        h = _apply(model, variables, "context", x, condition)
        row, column = i // x.shape[2], i % x.shape[2]
        new = _draw(model, variables, keys, i, h[:, row, column])
        return _put(x, new, row, column, mask)

    x = jax.lax.fori_loop(0, mask.size, write, start)
    return Written(_images(model, x), jnp.asarray(mask.size))


def cached(
    model: PixelModel,
    variables: PyTree,
    key: Key,
    num: int,
    shape: tuple[int, int, int],
    *,
    condition: Array | None = None,
    known: Known | None = None,
) -> Written:
    """Draws pixel by pixel; what the layers computed of the pixels before is kept.

    Args:
        model: over images of `shape`.
        variables: of it.
        key: one key or keys `[num]`.
        num: number of images.
        shape: `(H, W, C)`.
        condition: `[num, K]`, or None.
        known: pixels that are given.

    Returns:
        The images.

    Source:
        Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models",
        section 2.
    """
    start, mask, keys = _start(model, key, num, shape, known)
    size = (start.shape[1], start.shape[2])

    def ask(cache: PyTree, method: str, *inputs: Any) -> tuple[Any, PyTree]:
        apply: Any = model.apply
        output, changed = apply(
            {**variables, "cache": cache}, *inputs, condition, method=method, mutable=["cache"]
        )
        return output, _joined(cache, changed.get("cache", {}))

    def write_row(carry: tuple[Array, PyTree], row: Array) -> tuple[tuple[Array, PyTree], None]:
        x, cache = carry
        rows, cache = ask(cache, "row", x, Site(row, None, size))

        def write(carry: tuple[Array, PyTree], column: Array) -> tuple[tuple[Array, PyTree], None]:
            x, cache = carry
            h, cache = ask(cache, "at", x, rows, Site(row, column, size))
            new = _draw(model, variables, keys, row * size[1] + column, h)
            return (_put(x, new, row, column, mask), cache), None

        return jax.lax.scan(write, (x, cache), jnp.arange(size[1]))[0], None

    empty = _empty_cache(model, variables, start, condition)
    (x, _), _ = jax.lax.scan(write_row, (start, empty), jnp.arange(size[0]))
    return Written(_images(model, x), jnp.asarray(1))


def jacobi(
    model: PixelModel,
    variables: PyTree,
    key: Key,
    num: int,
    shape: tuple[int, int, int],
    *,
    condition: Array | None = None,
    known: Known | None = None,
) -> Written:
    """Draws all pixels at once from an image, with the same noise again, until none changes.

    After k passes at least the first k pixels are final, so there are at most as many as pixels.

    Args:
        model: over images of `shape`.
        variables: of it.
        key: one key or keys `[num]`.
        num: number of images.
        shape: `(H, W, C)`.
        condition: `[num, K]`, or None.
        known: pixels that are given.

    Returns:
        The images.

    Source:
        Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation
        solving", section 4.
    """
    start, mask, keys = _start(model, key, num, shape, known)
    numbers = jnp.arange(mask.size)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    pixel_keys = fold(keys, numbers).reshape(-1)

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, count, _ = carry
        h = _apply(model, variables, "context", x, condition)
        drawn = _apply(model, variables, "draw", pixel_keys, h.reshape(-1, h.shape[-1]))
        new = jnp.where(mask[None, :, :, None], x, drawn.reshape(x.shape))
        return new, count + 1, jnp.any(new != x)

    def is_open(carry: tuple[Array, Array, Array]) -> Array:
        return carry[2] & (carry[1] < mask.size)

    first = start, jnp.zeros((), jnp.int32), jnp.asarray(True)
    x, count, _ = jax.lax.while_loop(is_open, sweep, first)
    return Written(_images(model, x), count)


def _apply(model: PixelModel, variables: PyTree, method: str, *inputs: Any) -> Array:
    result: Any = model.apply(variables, *inputs, method=method)
    return result


def _start(
    model: PixelModel, key: Key, num: int, shape: tuple[int, int, int], known: Known | None
) -> tuple[Array, Array, Array]:
    """Arranged images to begin with, the arranged mask of what is known, and keys `[num]`."""
    x, mask = jnp.zeros((num, *shape), jnp.int32), jnp.zeros(shape[:2], bool)
    if known is not None:
        mask = jnp.asarray(known.mask)
        x = jnp.where(mask[None, :, :, None], known.x.astype(jnp.int32), 0)
    arranged = model.order.arrange(mask[None, :, :, None])[0, ..., 0]
    return model.order.arrange(x), arranged, example_keys(key, num)


def _draw(model: PixelModel, variables: PyTree, keys: Array, i: Array, h: Array) -> Array:
    """Pixels number i `[num, C]` of contexts `[num, F]`."""
    own = jax.vmap(lambda key: jax.random.fold_in(key, i))(keys)
    return _apply(model, variables, "draw", own, h)


def _put(x: Array, new: Array, row: Array, column: Array, mask: Array) -> Array:
    old = jax.lax.dynamic_slice(x, (0, row, column, 0), (len(x), 1, 1, x.shape[3]))
    value = jnp.where(mask[row, column], old, new[:, None, None])
    return jax.lax.dynamic_update_slice(x, value, (0, row, column, 0))


def _images(model: PixelModel, x: Array) -> Array:
    return model.order.restore(x).astype(jnp.uint8)


def _empty_cache(model: PixelModel, variables: PyTree, x: Array, condition: Array | None) -> PyTree:
    """Zeros of what the layers keep of an image."""
    size, zero = (x.shape[1], x.shape[2]), jnp.zeros((), jnp.int32)

    def visit(variables: PyTree, x: Array) -> PyTree:
        apply: Any = model.apply
        rows, first = apply(
            variables, x, Site(zero, None, size), condition, method="row", mutable=["cache"]
        )
        _, second = apply(
            variables, x, rows, Site(zero, zero, size), condition, method="at", mutable=["cache"]
        )
        return _joined(first.get("cache", {}), second.get("cache", {}))

    like = jax.eval_shape(visit, variables, x)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)


def _joined(a: PyTree, b: PyTree) -> PyTree:
    """Two trees of dictionaries as one."""
    both = {**a, **b}
    for name in a.keys() & b.keys():
        if isinstance(a[name], dict):
            both[name] = _joined(a[name], b[name])
    return both
