"""The leaves of a state as host arrays: their names, types and sums.

A host array does not remember devices; `place` puts it back on any number of them.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import PyTree

_SCALARS = (bool, int, float, complex)


class WrongModelError(ValueError):
    """A sound checkpoint holds other leaves than the model."""


def parameter_digest(params: PyTree) -> str:
    """Fingerprint of parameters: equal exactly when paths, types, shapes and all bits are equal.

    Args:
        params: pytree of arrays, typed keys and Python numbers.

    Returns:
        SHA-256 as 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(named_leaves(params), key=lambda item: item[0]):
        array = to_host(leaf)
        digest.update(json.dumps([path, str(array.dtype), array.shape]).encode())
        digest.update(_raw(array))
    return digest.hexdigest()


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Lists the leaves of a tree under their paths.

    Args:
        tree: any pytree.

    Returns:
        Pairs of path, such as `.params['w']`, and leaf, in the order of the tree.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in paths]


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_impl(key: Any) -> Any:
    """The generator of a typed key, which may be a mere shape."""
    found: list[Any] = []
    jax.eval_shape(lambda k: found.append(jax.random.key_impl(k)), key)
    return found[0]


def to_host(leaf: Any) -> np.ndarray:
    """The values of a leaf as a NumPy array; Python numbers in the type that JAX gives them.

    Args:
        leaf: an array, a typed key or a Python number.

    Returns:
        The array; for a typed key its data.
    """
    if isinstance(leaf, _SCALARS) and not isinstance(leaf, np.generic):
        return np.asarray(leaf, jax.typeof(leaf).dtype)
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _spec(leaf: Any) -> tuple[tuple[int, ...], str]:
    """Shape and type under which a leaf of the model is stored."""
    if _is_key(leaf):
        data = jax.eval_shape(jax.random.key_data, leaf)
        return data.shape, str(data.dtype)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.shape, _canonical(str(leaf.dtype))
    array = jax.typeof(leaf)
    return array.shape, str(array.dtype)


def place(array: np.ndarray, like: Any) -> Any:
    """Gives restored values the kind, type and sharding of the model's leaf.

    Args:
        array: the values, as `to_host` gave them to the checkpoint.
        like: the leaf of the model, which may be a `jax.ShapeDtypeStruct`.

    Returns:
        A leaf that shares no memory with `array` where it is a `jax.Array`.
    """
    if isinstance(like, np.ndarray | np.generic):
        return array.astype(like.dtype)
    if isinstance(like, _SCALARS):
        return type(like)(array.item())
    value: Any = array
    if _is_key(like):
        value = jax.random.wrap_key_data(jnp.array(array), impl=_key_impl(like))
    # Copied: a step that donates its state must not write into memory that NumPy owns.
    return jax.device_put(value, getattr(like, "sharding", None), may_alias=False)


def _raw(array: np.ndarray) -> memoryview:
    """The bytes of an array (types such as bfloat16 offer no buffer of their own)."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def leaf_entries(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Describes leaves so that a changed one is noticed.

    Args:
        leaves: path to host array.

    Returns:
        Path to shape, type and CRC32 sum, ready for JSON.
    """
    return {
        path: {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "crc32": zlib.crc32(_raw(array)),
        }
        for path, array in leaves.items()
    }


def _canonical(dtype: str) -> str:
    """The type JAX gives an array of this type (float32 for float64 unless 64 bits are on)."""
    return str(jax.typeof(np.zeros((), jnp.dtype(dtype))).dtype)


def check_model(entries: Mapping[str, Any], model: Mapping[str, Any], folder: Path) -> None:
    """Compares what a checkpoint holds with what a model needs.

    Args:
        entries: path of the leaf to shape and type, as `leaf_entries` describes it.
        model: path of the leaf to a leaf of the model.
        folder: the checkpoint, for the message.

    Raises:
        WrongModelError: naming the leaves that differ.
    """
    saved = {path: (tuple(e["shape"]), _canonical(e["dtype"])) for path, e in entries.items()}
    wanted = {path: _spec(leaf) for path, leaf in model.items()}
    lines = [
        f"  {path}: checkpoint {_show(saved.get(path))}, model {_show(wanted.get(path))}"
        for path in sorted(saved.keys() | wanted.keys())
        if saved.get(path) != wanted.get(path)
    ]
    if lines:
        more = [f"  and {len(lines) - 20} more"] if len(lines) > 20 else []
        raise WrongModelError(
            f"the checkpoint {folder} belongs to another model; leaves that differ:\n"
            + "\n".join(lines[:20] + more)
        )


def _show(spec: tuple[tuple[int, ...], str] | None) -> str:
    return "has none" if spec is None else f"{spec[1]}{list(spec[0])}"
