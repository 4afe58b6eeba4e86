"""The image files beside the exemplar: a mask of what is known of it, and one to mix it with."""

import hashlib
import os
import pathlib

import numpy as np

from experiments.ranges import require
from experiments.settings import DataInfo
from jaxgen.data import load

_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow makes greys of colours.


def full_path(path: str | None) -> str | None:
    """A path that holds in every working directory."""
    return path and os.path.realpath(os.path.expanduser(path))


def digest(path: str | None) -> str | None:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        ValueError: if it cannot be read.
    """
    if path is None:
        return None
    try:
        return hashlib.sha256(pathlib.Path(full_path(path) or "").read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read the image {path}: {error.strerror}") from error


def read_mask(path: str, info: DataInfo) -> np.ndarray:
    """Reads which sites of the exemplar are known: those that are white.

    Returns:
        Booleans `[H, W]`, of which some are true and some false.

    Raises:
        ValueError: if the file cannot be read, has another size, or hides everything or nothing.
    """
    dataset = load(f"image:{path}")
    size, own = dataset.shape[:2], info.shape[:2]
    expected = f"that of the exemplar, {own[0]}x{own[1]}"
    require(size == own, "mask", f"size {size[0]}x{size[1]}", expected)
    x = dataset.train.gather(np.zeros(1, int))["x"][0]
    known = x.mean(axis=-1) > 0.5 * ((dataset.levels or 2) - 1)
    require(bool(known.any()), "mask", "all black, which hides everything", "white where known")
    require(not known.all(), "mask", "all white, which hides nothing", "black where hidden")
    return known


def read_other(path: str, info: DataInfo) -> np.ndarray:
    """Reads the image to mix with, in the size, the channels and the units of the exemplar.

    Returns:
        float32 `[H, W, C]`.

    Raises:
        ValueError: if the file cannot be read.
    """
    dataset = load(f"image:{path}", image_size=(info.shape[0], info.shape[1]))
    x = dataset.train.gather(np.zeros(1, int))["x"][0].astype(np.float32)
    x *= (info.image_levels - 1) / ((dataset.levels or 2) - 1)
    if x.shape[-1] > info.shape[-1]:
        x = (x @ _LUMINANCE)[..., None].astype(np.float32)
    return np.broadcast_to(x, info.shape)
