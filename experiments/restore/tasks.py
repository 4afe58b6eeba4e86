"""The tasks: measurements of images of any size, the same for every run and method."""

import jax
import numpy as np

from experiments.ranges import require
from jaxgen.autoregressive import known_mask
from jaxgen.inverse import Operator, kernels, operators
from jaxgen.types import Key

_SHARE_HIDDEN = 0.7
_FACTORS = (2, 4, 3, 5, 7)  # Of super-resolution; the first that divides both sides.
_LARGE = 32  # Pixels of the shorter side from which the factor is 4.


def make_operator(task: str, key: Key, shape: tuple[int, ...]) -> tuple[Operator, str]:
    """Makes the measurement of a task, and says in words what it is.

    Args:
        task: name of the task.
        key: of what is random in it.
        shape: of an image, `[H, W, C]`.

    Raises:
        ValueError: if the task makes no sense for such images.
    """
    height, width, channels = shape
    side = min(height, width)
    if task == "inpainting":
        known = np.asarray(known_mask("lower_half", height, width))
        return operators.mask(known, shape), "the lower half hidden"
    if task == "box":
        known = np.ones((height, width), bool)
        known[height // 4 : height - height // 4, width // 4 : width - width // 4] = False
        require(bool(known.any()), "task", task, "images of at least 4 pixels on a side")
        return operators.mask(known, shape), "the middle hidden"
    if task == "random":
        num = max(round((1.0 - _SHARE_HIDDEN) * height * width), 1)
        places = np.asarray(jax.random.permutation(key, height * width)).reshape(height, width)
        return operators.mask(places < num, shape), f"{num} of {height * width} pixels known"
    if task == "denoising":
        return operators.identity(shape), "noise alone"
    if task in ("deblurring", "motion"):
        return _blur(task, key, side, shape)
    if task == "super_resolution":
        order = (4, *_FACTORS) if side >= _LARGE else _FACTORS
        fitting = [f for f in order if height % f == 0 and width % f == 0 and f < side]
        require(bool(fitting), "task", task, f"sides that {_FACTORS} divide, not {height}x{width}")
        return operators.downsample(fitting[0], shape), f"{fitting[0]}x{fitting[0]} pixels averaged"
    if task == "colorization":
        require(channels > 1, "task", task, "another for images of one channel")
        return operators.grey(shape), "the grey image known"
    num = max(height * width * channels // 4, 1)
    return operators.compressed_sensing(key, num, shape), f"{num} random numbers measured"


def _blur(task: str, key: Key, side: int, shape: tuple[int, ...]) -> tuple[Operator, str]:
    require(side >= 3, "task", task, "images of at least 3 pixels on a side")
    largest = side - 1 + side % 2
    if task == "motion":
        size = min(max(2 * (side // 5) + 1, 3), largest)
        return operators.blur(kernels.motion(key, size), shape), f"motion of {size} pixels"
    # As wide as the kernel, which is cut at three deviations, finds room for.
    deviation = min(max(side / 20.0, 0.8), (largest // 2) / 3.0)
    words = f"Gaussian blur of deviation {deviation:.2g} pixels"
    return operators.blur(kernels.gaussian(deviation), shape), words
