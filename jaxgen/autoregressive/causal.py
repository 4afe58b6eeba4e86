"""Layers that see what comes before a pixel alone, for a whole image or for one pixel of it.

A layer's window ends before what is to come, by padding and cropping: no weight is masked. While an
image is being written the same layers answer at a `Site`: they keep what they were given there in
the collection ``cache``, and read their window from it.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.nn import conv
from jaxgen.nn.sums import add_bias
from jaxgen.types import Array


class Site(NamedTuple):
    """Where a network is asked.

    Attributes:
        row: a number, maybe traced.
        column: likewise, or None for a whole row.
        size: height and width of the maps at this scale.
    """

    row: Array
    column: Array | None
    size: tuple[int, int]

    def halved(self) -> "Site":
        """The place at half the scale."""
        column = None if self.column is None else self.column // 2
        height, width = (-(-side // 2) for side in self.size)
        return Site(self.row // 2, column, (height, width))


class CausalConv(nn.Module):
    """A convolution whose window lies at `rows` and `columns` relative to its place.

    A window of rows -1 to 0 sees the row above and its own; one of columns -2 to -1 the two to the
    left.

    Attributes:
        features: number of output channels.
        rows: first and last row of the window.
        columns: first and last column of it.
        stride: step between places, 1 or 2.
        reads_image: whether the argument is always the whole image, also at a site.
        kernel_init: initializer of the kernel.
        dtype: of the computation; parameters are float32.
    """

    features: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    stride: int = 1
    reads_image: bool = False
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, site: Site | None = None) -> Array:
        """Returns features at every place of `x [B, H, W, C]`, or at a site of what is there."""
        height, width = (last - first + 1 for first, last in (self.rows, self.columns))
        shape = (height, width, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        if site is None:
            map_height, map_width = x.shape[1:3]
            x = self._padded(x)[:, : map_height + height - 1, : map_width + width - 1]
        else:
            x = self._window(x, site, height, width)
        stride = self.stride if site is None else self._stride_at(site)
        y = conv(x, kernel, stride=stride, padding="VALID")
        return add_bias(y, bias)

    def _padded(self, x: Array) -> Array:
        """Zeros where a window leaves the map."""
        sides = ((max(-first, 0), max(last, 0)) for first, last in (self.rows, self.columns))
        return jnp.pad(x, ((0, 0), *sides, (0, 0)))

    def _window(self, x: Array, site: Site, height: int, width: int) -> Array:
        """What the window sees at a site; of a whole row at all its columns."""
        top, left = max(-self.rows[0], 0), max(-self.columns[0], 0)
        if self.reads_image:
            padded = self._padded(x)
        else:
            like = self._padded(jnp.zeros((x.shape[0], *site.size, x.shape[-1]), x.dtype))
            cache = self.variable("cache", "map", lambda: like)
            start = (0, site.row + top, left if site.column is None else site.column + left, 0)
            cache.value = jax.lax.dynamic_update_slice(cache.value, x, start)
            padded = cache.value
        # With stride 2 only even places have a window of their own; the others read that one again.
        row, column = site.row, site.column
        if self.stride == 2:
            row, column = 2 * (row // 2), None if column is None else 2 * (column // 2)
        first_row = row + top + self.rows[0]
        if column is None:
            span = site.size[1] + width - 1
            sizes = (x.shape[0], height, span, x.shape[-1])
            return jax.lax.dynamic_slice(padded, (0, first_row, left + self.columns[0], 0), sizes)
        sizes = (x.shape[0], height, width, x.shape[-1])
        start = (0, first_row, column + left + self.columns[0], 0)
        return jax.lax.dynamic_slice(padded, start, sizes)

    def _stride_at(self, site: Site) -> tuple[int, int]:
        """A site has one row, and one column or all of them."""
        return (1, self.stride if site.column is None else 1)


def at_column(row: Array, site: Site | None) -> Array:
    """Features of a row at the site's column, `[B, 1, 1, F]`; whole maps as they are.

    Args:
        row: `[B, 1, W, F]` where there is a site.
        site: one pixel, or None.

    Returns:
        The features.
    """
    if site is None or site.column is None:
        return row
    return jax.lax.dynamic_slice_in_dim(row, site.column, 1, axis=2)


def upsample(x: Array, features: int, site: Site | None, finer: Site) -> Array:
    """Takes features at half the scale, of four places each, to those places.

    Args:
        x: `[B, h, w, 4 F]`, of maps, or of the halved site.
        features: F.
        site: the halved one, or None for maps.
        finer: the site at the full scale; of maps only its size is read.

    Returns:
        `[B, H, W, F]`, cropped to an odd size, or the features at the finer site.
    """
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height, width, 2, 2, features)
    if site is None:
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, features)
        return x[:, : finer.size[0], : finer.size[1]]
    x = jax.lax.dynamic_index_in_dim(x, finer.row % 2, axis=3, keepdims=False)
    if finer.column is None:
        return x.reshape(batch, 1, 2 * width, features)[:, :, : finer.size[1]]
    return jax.lax.dynamic_index_in_dim(x, finer.column % 2, axis=3, keepdims=False)


def image_input(x: Array, levels: int) -> Array:
    """Pixels in [-1, 1], with a channel of ones, by which a network knows the border.

    Args:
        x: integer pixels 0 to levels - 1, `[B, H, W, C]`.
        levels: number of pixel values.

    Returns:
        float32 `[B, H, W, C + 1]`.
    """
    scaled = x.astype(jnp.float32) * (2.0 / (levels - 1)) - 1.0
    return jnp.concatenate([scaled, jnp.ones((*x.shape[:-1], 1), jnp.float32)], axis=-1)
