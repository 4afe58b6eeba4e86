"""Orders in which the pixels of an image are written, as data.

An order is another model: each gives the same image another product of conditionals. Convolutional
networks know what is above and to the left, so they serve the raster order and what flips and
transposition make of it; a transformer serves any.
"""

from typing import NamedTuple

import numpy as np

from jaxgen.types import Array


class Order(NamedTuple):
    """A permutation of the pixels.

    Attributes:
        name: in words.
        indices: number `row W + column` of each pixel in the order of writing, `[H W]`.
        shape: height and width of the arrangement in which that order is the raster one.
        size: height and width of the image.
        is_raster: whether neighbours in the arrangement are neighbours in the image.
    """

    name: str
    indices: tuple[int, ...]
    shape: tuple[int, int]
    size: tuple[int, int]
    is_raster: bool

    def arrange(self, x: Array) -> Array:
        """Images `[B, H, W, C]` in the arrangement of the order, `[B, *shape, C]`."""
        flat = x.reshape(len(x), -1, x.shape[-1])
        return flat[:, np.array(self.indices)].reshape(len(x), *self.shape, x.shape[-1])

    def restore(self, x: Array) -> Array:
        """The images of an arrangement, `[B, H, W, C]`."""
        flat = x.reshape(len(x), -1, x.shape[-1])
        back = np.argsort(np.array(self.indices))
        return flat[:, back].reshape(len(x), *self.size, x.shape[-1])

    def places(self) -> tuple[tuple[int, int], ...]:
        """Row and column of each pixel in the order of writing."""
        width = self.size[1]
        return tuple((index // width, index % width) for index in self.indices)


NAMES = ("raster", "bottom_up", "right_to_left", "rotated", "columns", "snake", "hilbert")


def make_order(name: str, height: int, width: int) -> Order:
    """Makes an order.

    Args:
        name: ``"raster"`` by rows from the top left; ``"bottom_up"`` rows from the last one up;
            ``"right_to_left"`` rows from right to left; ``"rotated"`` from the bottom right;
            ``"columns"`` by columns; ``"snake"`` rows to the right and back in turn; ``"hilbert"``
            a curve that stays near.
        height: of the image.
        width: of the image.

    Returns:
        The order.

    Raises:
        ValueError: if there is none of that name.

    Source:
        Jain et al. 2020, "Locally masked convolution for autoregressive models", section 3.2, of
        snake and Hilbert orders.
    """
    numbers = np.arange(height * width).reshape(height, width)
    arranged = {
        "raster": numbers,
        "bottom_up": numbers[::-1],
        "right_to_left": numbers[:, ::-1],
        "rotated": numbers[::-1, ::-1],
        "columns": numbers.T,
    }
    size = (height, width)
    if name in arranged:
        indices = arranged[name]
        shape = (indices.shape[0], indices.shape[1])
        return Order(name, tuple(map(int, indices.reshape(-1))), shape, size, True)
    if name == "snake":
        rows = [row if i % 2 == 0 else row[::-1] for i, row in enumerate(numbers)]
        return Order(name, tuple(map(int, np.concatenate(rows))), size, size, False)
    if name == "hilbert":
        return Order(name, _hilbert(height, width), size, size, False)
    raise ValueError(f"order: {name}, expected one of {', '.join(NAMES)}")


def _hilbert(height: int, width: int) -> tuple[int, ...]:
    """The pixels along a Hilbert curve of the next power of two, those outside left out."""
    side = 1
    while side < max(height, width):
        side *= 2
    found = []
    for number in range(side * side):
        row, column = _on_curve(side, number)
        if row < height and column < width:
            found.append(row * width + column)
    return tuple(found)


def _on_curve(side: int, number: int) -> tuple[int, int]:
    row = column = 0
    scale, rest = 1, number
    while scale < side:
        right = 1 & (rest // 2)
        down = 1 & (rest ^ right)
        if down == 0:
            if right == 1:
                row, column = scale - 1 - row, scale - 1 - column
            row, column = column, row
        row, column = row + scale * right, column + scale * down
        rest //= 4
        scale *= 2
    return row, column
