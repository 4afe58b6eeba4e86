"""Kernels of blurred images."""

import jax
import numpy as np

from jaxgen.types import Key

_SUB_STEPS = 16  # Of a motion, to each pixel of its length.


def gaussian(deviation: float) -> np.ndarray:
    """A Gaussian, cut at three deviations.

    Args:
        deviation: in pixels, above 0.

    Returns:
        `[k, k]`, k odd, float64, of sum 1.

    Raises:
        ValueError: if the deviation is not above 0.
    """
    if not 0.0 < deviation < np.inf:
        raise ValueError(f"deviation: {deviation}, expected above 0")
    reach = max(int(np.ceil(3.0 * deviation)), 1)
    row = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / deviation))
    kernel = np.outer(row, row)
    return kernel / kernel.sum()


def motion(key: Key, size: int, *, bend: float = 1.0) -> np.ndarray:
    """The path of a camera that moves on and turns at random while the shutter is open.

    Args:
        key: random key.
        size: of the kernel, odd; the path is as long.
        bend: deviation of the turn from one end of the path to the other, in radians.

    Returns:
        `[size, size]`, float64, of sum 1.

    Raises:
        ValueError: if the size is not odd.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size: {size}, expected an odd number")
    num = _SUB_STEPS * size
    of_start, of_turns = jax.random.split(key)
    turns = np.asarray(jax.random.normal(of_turns, (num,)), np.float64)
    turns *= bend / np.sqrt(num)
    angle = float(jax.random.uniform(of_start, (), maxval=2.0 * np.pi)) + np.cumsum(turns)
    path = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0) / _SUB_STEPS
    path -= 0.5 * (path.max(axis=0) + path.min(axis=0))
    path *= min(1.0, 0.5 * (size - 1) / max(np.abs(path).max(), 1e-9))
    return _splat(path + size // 2, size)


def _splat(places: np.ndarray, size: int) -> np.ndarray:
    """Shares each point among the four pixels around it."""
    kernel = np.zeros((size + 1, size + 1))
    low = np.floor(places).astype(int)
    part = places - low
    for down in (0, 1):
        for across in (0, 1):
            share = np.abs(1 - down - part[:, 0]) * np.abs(1 - across - part[:, 1])
            np.add.at(kernel, (low[:, 0] + down, low[:, 1] + across), share)
    kernel = kernel[:size, :size]
    return kernel / kernel.sum()
