"""Sheets of images: arrays that hold many small images side by side, ready to be written."""

import math

import numpy as np

BACKGROUND = 255  # grey level between and behind the tiles of a grid: white
TILE = 64  # a small image is enlarged until its longer side would pass this many pixels


def check_images(x: np.ndarray, levels: int, rank: int) -> None:
    """Refuses what is not a non-empty uint8 array of images with values below `levels`.

    Args:
        x: images `[N, H, W, C]` or a table of them `[R, K, H, W, C]`.
        levels: grey levels per channel, 2 to 256.
        rank: axes that `x` must have, 4 or 5.

    Raises:
        ValueError: if `x` is no such array or `levels` is out of its range.
    """
    if x.ndim != rank or 0 in x.shape:
        axes = "[N, H, W, C]" if rank == 4 else "[R, K, H, W, C]"
        raise ValueError(f"x: shape {x.shape}, expected a non-empty array {axes}")
    if x.dtype != np.uint8:
        raise ValueError(f"x: {x.dtype}, expected uint8 pixels 0 to {levels - 1}")
    if not 2 <= levels <= 256:
        raise ValueError(f"levels: {levels}, expected 2 to 256")
    if int(x.max()) >= levels:
        raise ValueError(f"x: {int(x.max())}, expected pixels 0 to {levels - 1}")


def to_display(x: np.ndarray, levels: int) -> np.ndarray:
    """Brings images to the 256 levels and the channels of a screen.

    Args:
        x: uint8 images `[N, H, W, C]`, values 0 to `levels - 1`.
        levels: grey levels per channel, 2 to 256; the highest becomes 255.

    Returns:
        Grey `[N, H, W', 1]` or colour `[N, H, W, 3]`, uint8, values 0 to 255. Opacity is seen on
        white; other numbers of channels than 1, 3 and 4 become planes side by side.
    """
    grey_levels = np.round(np.arange(256) * (255.0 / (levels - 1))).clip(0, 255).astype(np.uint8)
    x = grey_levels[x]
    channels = x.shape[-1]
    if channels in (1, 3):
        return x
    if channels == 4:  # red, green, blue and opacity, seen on the white of the page
        opacity = x[..., 3:].astype(np.float32) / 255.0
        seen = x[..., :3] * opacity + BACKGROUND * (1.0 - opacity)
        return np.round(seen).astype(np.uint8)
    return np.concatenate(np.split(x, channels, axis=-1), axis=2)


def _enlarge(x: np.ndarray, scale: int) -> np.ndarray:
    """Repeats every pixel of `[N, H, W, C]` `scale` times both ways; nothing is blended."""
    if scale < 1:
        raise ValueError(f"scale: {scale}, expected at least 1")
    return x.repeat(scale, axis=1).repeat(scale, axis=2)


def image_grid(
    x: np.ndarray,
    *,
    columns: int | None = None,
    padding: int = 1,
    levels: int = 256,
    scale: int | None = None,
) -> np.ndarray:
    """Lays images out row by row on a white sheet.

    One channel is grey, three are red, green, blue, four add an opacity; any other number is shown
    as that many grey planes side by side.

    Args:
        x: uint8 images `[N, H, W, C]`, `N >= 1`, values 0 to `levels - 1`.
        columns: images in a row; by default as many as make the sheet about square.
        padding: white pixels of the sheet around and between the images, at least 0.
        levels: grey levels per channel, 2 to 256; the highest becomes 255.
        scale: whole factor of enlargement, at least 1; by default the largest that keeps an image
            within 64 pixels.

    Returns:
        The sheet, uint8 `[height, width, 1]` (grey) or `[height, width, 3]`, values 0 to 255.

    Raises:
        ValueError: if `x` is not a non-empty batch of such images or a setting is out of its range.
    """
    x = np.asarray(x)
    check_images(x, levels, 4)
    if columns is not None and columns < 1:
        raise ValueError(f"columns: {columns}, expected at least 1")
    if padding < 0:
        raise ValueError(f"padding: {padding}, expected at least 0")
    x = to_display(x, levels)
    x = _enlarge(x, max(1, TILE // max(x.shape[1:3])) if scale is None else scale)
    num, height, width, channels = x.shape
    columns = min(num, columns or math.ceil(math.sqrt(num * height / width)))
    rows = math.ceil(num / columns)
    sheet_shape = (
        padding + rows * (height + padding),
        padding + columns * (width + padding),
        channels,
    )
    sheet = np.full(sheet_shape, BACKGROUND, np.uint8)
    for index, image in enumerate(x):
        row, column = divmod(index, columns)
        top, left = padding + row * (height + padding), padding + column * (width + padding)
        sheet[top : top + height, left : left + width] = image
    return sheet
