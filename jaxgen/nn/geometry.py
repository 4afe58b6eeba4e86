"""Sizes of a convolution: strides, padding and the number of windows, all static."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Pair = tuple[int, int]
Padding = Literal["SAME", "VALID"] | Sequence[Pair]


class Geometry(NamedTuple):
    """The static sizes that the three functions share, each as (height, width).

    Attributes:
        stride: step between windows, at least 1.
        low: padding before the first pixel of `x`.
        high: padding after the last pixel of `x`.
        size: spatial size of `x`.
        kernel: spatial size of `w`.
    """

    stride: Pair
    low: Pair
    high: Pair
    size: Pair
    kernel: Pair

    @property
    def output(self) -> Pair:
        """Spatial size of `y`, the number of windows along each axis."""
        height, width = (
            (size + low + high - kernel) // stride + 1
            for stride, low, high, size, kernel in zip(*self, strict=True)
        )
        return height, width

    @property
    def covered(self) -> Pair:
        """Length of the padded axes that windows reach; they may leave out some last pixels."""
        height, width = (
            (windows - 1) * stride + kernel
            for windows, stride, kernel in zip(self.output, self.stride, self.kernel, strict=True)
        )
        return height, width


def pair(name: str, value: int | Sequence[int]) -> Pair:
    """Return a setting given as one positive integer or as two (vertical, horizontal) as two.

    Args:
        name: name of the setting, for the message.
        value: positive integer, or two of them.

    Returns:
        (vertical, horizontal).

    Raises:
        ValueError: if `value` is neither.
    """
    entries = (value, value) if isinstance(value, int) else tuple(value)
    if len(entries) != 2 or any(not isinstance(entry, int) or entry < 1 for entry in entries):
        raise ValueError(f"{name}: {value!r}, expected a positive integer or two of them")
    return entries[0], entries[1]


def _is_pairs(padding: Any) -> bool:
    """Whether there are two pairs of whole numbers."""
    axes = padding if isinstance(padding, Sequence) else ()
    numbers = [list(axis) for axis in axes if isinstance(axis, Sequence) and len(axis) == 2]
    return len(axes) == len(numbers) == 2 and all(
        isinstance(number, (int, np.integer)) for axis in numbers for number in axis
    )


def _split_padding(padding: Padding, same_total: Pair) -> tuple[Pair, Pair]:
    """Return the low and the high padding; 'SAME' puts the odd one of `same_total` last."""
    if padding == "SAME":
        low = (same_total[0] // 2, same_total[1] // 2)
        return low, (same_total[0] - low[0], same_total[1] - low[1])
    if padding == "VALID":
        return (0, 0), (0, 0)
    if not _is_pairs(padding):
        raise ValueError(
            f"padding: {padding!r}, expected 'SAME', 'VALID' or ((low, high), (low, high))"
        )
    return (padding[0][0], padding[1][0]), (padding[0][1], padding[1][1])


def convolution_geometry(
    size: Pair, kernel: Pair, stride: int | Sequence[int], padding: Padding
) -> Geometry:
    """The geometry of a convolution.

    Args:
        size: spatial size (H, W) of the image.
        kernel: spatial size of the kernel.
        stride: one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID' or `((top, bottom), (left, right))`.

    Returns:
        The geometry.

    Raises:
        ValueError: if the stride or the padding is malformed or leaves no window.
    """
    steps = pair("stride", stride)
    height, width = (
        max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(size, steps, kernel, strict=True)
    )
    low, high = _split_padding(padding, (height, width))
    geometry = Geometry(steps, low, high, size, kernel)
    if min(geometry.output) < 1:
        raise ValueError(
            f"padding: {padding!r}, expected room for a {kernel} window in an image of {size}"
        )
    return geometry


def transposed_geometry(
    windows: Pair,
    kernel: Pair,
    stride: int | Sequence[int],
    padding: Padding,
    output_size: Sequence[int] | None,
) -> Geometry:
    """The geometry of the convolution that maps `output_size` to `windows`.

    Args:
        windows: spatial size (h, w) of the features.
        kernel: spatial size of the kernel.
        stride: one positive integer or (vertical, horizontal).
        padding: 'SAME', 'VALID' or `((top, bottom), (left, right))` of that convolution.
        output_size: spatial size of the image; None for the default of `conv_transpose`.

    Returns:
        The geometry.

    Raises:
        ValueError: if a setting is malformed or `output_size` does not fit.
    """
    steps = pair("stride", stride)
    if output_size is None:
        low, high = _split_padding(padding, (0, 0))
        # 'SAME' covers at least the strides, and so does 'VALID', which has always been so in lax.
        least = {"SAME": steps, "VALID": steps}.get(str(padding), (1, 1))
        span = steps if padding == "SAME" else kernel
        height, width = (
            (m - 1) * s + max(k, least_size) - before - after
            for m, s, k, least_size, before, after in zip(
                windows, steps, span, least, low, high, strict=True
            )
        )
        output_size = (height, width)
    geometry = convolution_geometry(pair("output_size", output_size), kernel, steps, padding)
    if geometry.output != windows:
        raise ValueError(
            f"output_size: {output_size}, expected a size with {windows} windows as y has, "
            f"not {geometry.output}"
        )
    return geometry
