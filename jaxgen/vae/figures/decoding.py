"""What latents decode to: originals above their reconstructions, and whole tables of latents."""

from collections.abc import Callable

import jax
import numpy as np

from jaxgen import plots

ArrayFunction = Callable[[np.ndarray], np.ndarray | jax.Array]


def decode_table(decode_mean: ArrayFunction, z: np.ndarray) -> np.ndarray:
    """Decodes a table of latents in one call.

    Args:
        decode_mean: latents `[B, D]` to uint8 images `[B, H, W, C]`.
        z: the table, `[R, K, D]`.

    Returns:
        Images `[R, K, H, W, C]`.
    """
    images = np.asarray(decode_mean(z.reshape(-1, z.shape[-1])))
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
    encode_mean: ArrayFunction,
    decode_mean: ArrayFunction,
    *,
    columns: int = 10,
    levels: int = 256,
) -> None:
    """Draws originals, each above its reconstruction `decode_mean(encode_mean(x))`.

    Args:
        path: the PNG file.
        x: uint8 images `[N, H, W, C]`; the last ones are left out where they do not fill a row.
        encode_mean: images to latent means `[B, D]`.
        decode_mean: latents to uint8 images.
        columns: images in a row, at least 1.
        levels: grey levels per channel, 2 to 256.

    Raises:
        ValueError: if `columns` is below 1 or the images are not uint8 with values below `levels`.
    """
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    x = np.asarray(x)
    columns = min(columns, len(x))
    blocks = len(x) // columns
    x = x[: blocks * columns]
    reconstructed = np.asarray(decode_mean(np.asarray(encode_mean(x))))
    block_shape = (blocks, columns, *x.shape[1:])
    table = np.stack([x.reshape(block_shape), reconstructed.reshape(block_shape)], axis=1)
    plots.labelled_grid(
        path,
        table.reshape(2 * blocks, columns, *x.shape[1:]),
        row_labels=["original", "reconstruction"] * blocks,
        title="Test images and their reconstructions",
        levels=levels,
        rows_per_group=2,
    )
