"""Image files: one image or a sheet of them as PNG, and animations as GIF."""

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from jaxgen.files import PathLike, write_atomically
from jaxgen.plots.sheets import image_grid


def _to_pillow(array: np.ndarray) -> Image.Image:
    """A Pillow image of uint8 `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]`."""
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if array.dtype != np.uint8 or not is_image or 0 in array.shape:
        raise ValueError(
            f"array: {array.dtype} {array.shape}, "
            "expected uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def save_image(path: PathLike, array: np.ndarray) -> None:
    """Writes one image as PNG.

    Args:
        path: the file; its folder is made if there is none.
        array: uint8 `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]`, values 0 to 255.

    Raises:
        ValueError: if the array is not such an image.
    """
    buffer = io.BytesIO()
    _to_pillow(array).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def save_grid(
    path: PathLike,
    x: np.ndarray,
    *,
    columns: int | None = None,
    padding: int = 1,
    levels: int = 256,
    scale: int | None = None,
) -> None:
    """Writes `image_grid(x, ...)` as PNG.

    Args:
        path: the file; its folder is made if there is none.
        x: uint8 images `[N, H, W, C]`, values 0 to `levels - 1`.
        columns: as in `image_grid`.
        padding: as in `image_grid`.
        levels: as in `image_grid`.
        scale: as in `image_grid`.

    Raises:
        ValueError: as in `image_grid`.
    """
    save_image(path, image_grid(x, columns=columns, padding=padding, levels=levels, scale=scale))


def animation(
    path: PathLike,
    frames: Iterable[np.ndarray],
    *,
    milliseconds: int = 80,
    last_milliseconds: int = 1500,
) -> None:
    """Writes an endless GIF, for example of the trajectory of a sampler.

    Args:
        path: the file; its folder is made if there is none.
        frames: images of one shape as `save_image` takes them, such as those of `image_grid`; at
            least one.
        milliseconds: time that a frame is shown, at least 20 (viewers slow down what is faster).
        last_milliseconds: time that the last frame is shown, so that the result can be looked at.

    Raises:
        ValueError: if there is no frame, the shapes differ or a time is below 20 ms.
    """
    images = [_to_pillow(frame) for frame in frames]
    if not images:
        raise ValueError("frames: 0, expected at least 1")
    shapes = {(image.size, image.mode) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"frames: {len(shapes)} shapes, expected one")
    if min(milliseconds, last_milliseconds) < 20:
        raise ValueError(
            f"milliseconds, last_milliseconds: {milliseconds}, {last_milliseconds}, "
            "expected at least 20"
        )
    durations = [milliseconds] * (len(images) - 1) + [last_milliseconds]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=durations if len(images) > 1 else last_milliseconds,
        loop=0,
    )
    write_atomically(path, buffer.getvalue())
