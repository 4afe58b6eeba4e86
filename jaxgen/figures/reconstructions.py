"""Originals above their reconstructions, and the decoding of whole tables of latents."""

from collections.abc import Callable

import jax
import numpy as np

from jaxgen import plots

Decode = Callable[..., np.ndarray | jax.Array]
"""``z [B, D] -> x``, or ``(z, label [B]) -> x`` where a figure is given labels: uint8 images."""

EncodeMean = Callable[[np.ndarray], np.ndarray | jax.Array]
"""Images `[B, H, W, C]` to latents `[B, D]`."""

_BLOCK_SIZE = 64


def decode_table(decode: Decode, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """Decodes a table of latents, 64 at a time: figures of all sizes share one compiled program.

    Args:
        decode: see `Decode`.
        z: the table, `[R, K, D]`.
        label: int classes `[R, K]` of a conditional decoder, or None.

    Returns:
        Images `[R, K, H, W, C]`.
    """
    num = z.shape[0] * z.shape[1]
    size = num + -num % _BLOCK_SIZE
    inputs = [np.resize(np.asarray(z, np.float32).reshape(num, -1), (size, z.shape[-1]))]
    if label is not None:
        inputs.append(np.resize(np.asarray(label, np.int32), size))
    blocks = zip(*(np.split(array, size // _BLOCK_SIZE) for array in inputs), strict=True)
    images = np.concatenate([np.asarray(decode(*block)) for block in blocks])[:num]
    return images.reshape(*z.shape[:2], *images.shape[1:])


def signed(value: float) -> str:
    """Writes a coordinate for a label.

    Args:
        value: the coordinate.

    Returns:
        At most five characters such as `-1.5`, `0` and `+0.75`.
    """
    return f"{value:+.2g}" if abs(value) > 1e-6 else "0"


def reconstructions(
    path: plots.PathLike,
    x: np.ndarray,
    encode_mean: EncodeMean,
    decode: Decode,
    *,
    levels: int,
    columns: int = 10,
) -> None:
    """Draws originals, each above its reconstruction ``decode(encode_mean(x))``.

    Args:
        path: the PNG file.
        x: uint8 images `[N, H, W, C]`, N at least 1; the last ones are left out where they do not
            fill a row.
        encode_mean: see `EncodeMean`.
        decode: see `Decode`.
        levels: number of pixel values of the data, 2 to 256.
        columns: images in a row, at least 1.

    Raises:
        ValueError: if there is no image, `columns` is below 1 or the images are not uint8 with
            values below `levels`.
    """
    x = np.asarray(x)
    for name, value in (("x", len(x)), ("columns", columns)):
        if value < 1:
            raise ValueError(f"{name}: {value}, expected at least 1")
    columns = min(columns, len(x))
    blocks = len(x) // columns
    x = x[: blocks * columns]
    z = np.asarray(encode_mean(x))
    originals = x.reshape(blocks, columns, *x.shape[1:])
    table = np.stack([originals, decode_table(decode, z.reshape(blocks, columns, -1))], axis=1)
    plots.labelled_grid(
        path,
        table.reshape(2 * blocks, columns, *x.shape[1:]),
        row_labels=["original", "reconstruction"] * blocks,
        title="Test images and their reconstructions",
        levels=levels,
        rows_per_group=2,
    )
