"""Images from scale to scale: pixels become channels, and half of them become latents."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import sum_event
from jaxgen.flows.bijectors.composition import Chain, Concatenate, OnFirst, chain, no_log_det
from jaxgen.flows.bijectors.coupling import Coupling, parameters
from jaxgen.flows.bijectors.elementwise import Affine
from jaxgen.nn import depth_to_space, space_to_depth
from jaxgen.types import Array

Shape = tuple[int, int, int]
Arrays = tuple[Array, ...]


class Squeeze(nn.Module):
    """Every 2 x 2 pixels become the channels of one, `[B, H, W, C]` to `[B, H/2, W/2, 4 C]`.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 3.6.
    """

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of an image of even height and width."""
        return space_to_depth(x, 2), no_log_det(x)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])`."""
        return depth_to_space(z, 2), no_log_det(z)


class Split(nn.Module):
    """Half of the channels leave as latents, normal under a prior that is learned of the rest.

    It is a coupling, which standardises them by what the others tell, and a cut.

    Attributes:
        conditioner: network of the half that stays.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 3.6; Kingma & Dhariwal 2018,
        "Glow: generative flow with invertible 1x1 convolutions", section 3.
    """

    conditioner: Any

    def setup(self) -> None:
        """Makes the coupling."""
        self.coupling = Coupling(Affine(), self.conditioner)

    def encode(self, x: Arrays, condition: Array | None = None) -> tuple[Arrays, Array]:
        """Returns `((kept, *others, latents), log_det [B])` of `(image, *others)`."""
        image, log_det = self.coupling.encode(x[0], condition)
        num = (image.shape[-1] + 1) // 2
        return (image[..., :num], *x[1:], image[..., num:]), log_det

    def decode(self, z: Arrays, condition: Array | None = None) -> tuple[Arrays, Array]:
        """Returns `((image, *others), log_det [B])`."""
        image, log_det = self.coupling.decode(jnp.concatenate([z[0], z[-1]], axis=-1), condition)
        return (image, *z[1:-1]), log_det


class TakeEdge(nn.Module):
    """The last row or column of an image leaves as latents, given the one beside it.

    It makes a height or width even, whatever the image's.

    Attributes:
        conditioner: network of the row or column beside it.
        axis: 1 for a row, 2 for a column.
    """

    conditioner: Any
    axis: int

    def encode(self, x: Arrays, condition: Array | None = None) -> tuple[Arrays, Array]:
        """Returns `((rest, *others, edge), log_det [B])` of `(image, *others)`."""
        rest, edge = jnp.split(x[0], [x[0].shape[self.axis] - 1], axis=self.axis)
        edge, log_slope = Affine().encode(edge, self._parameters(rest, condition))
        return (rest, *x[1:], edge), sum_event(log_slope)

    def decode(self, z: Arrays, condition: Array | None = None) -> tuple[Arrays, Array]:
        """Returns `((image, *others), log_det [B])`."""
        edge, log_slope = Affine().decode(z[-1], self._parameters(z[0], condition))
        return (jnp.concatenate([z[0], edge], axis=self.axis), *z[1:-1]), sum_event(log_slope)

    def _parameters(self, rest: Array, condition: Array | None) -> Array:
        beside = jnp.take(rest, jnp.array([rest.shape[self.axis] - 1]), axis=self.axis)
        return parameters(self.conditioner, Affine(), beside, condition, beside.shape[-1])


class AsTuple(nn.Module):
    """An image as a tuple of one array, to which latents will come."""

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Arrays, Array]:
        """Returns `((x,), log_det [B])`."""
        return (x,), no_log_det(x)

    def decode(self, z: Arrays, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])`."""
        return z[0], no_log_det(z)


def multiscale(
    shape: Sequence[int],
    num_levels: int,
    make_level: Callable[[Shape], Sequence[Any]],
    make_conditioner: Callable[[], Any],
) -> Chain:
    """Builds a flow of several scales; its latents are one vector `[B, D]`, D = H W C.

    A level squeezes the image, transforms it, and, but for the last, gives half of the channels
    away. An odd height or width is made even before, by giving an edge away.

    Args:
        shape: of an image, `(H, W, C)`.
        num_levels: at least 1; the smallest image must have a pixel.
        make_level: bijectors of the images of a level, of the shape after its squeeze, which they
            keep.
        make_conditioner: a new network, which gives the prior of what leaves.

    Returns:
        The bijector.

    Raises:
        ValueError: if the shape is not that of an image, or too small for the levels.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 3.6.
    """
    if len(shape) != 3:
        raise ValueError(f"shape: {tuple(shape)}, expected that of an image (H, W, C)")
    height, width, channels = shape
    if num_levels < 1 or min(height, width) < 2**num_levels:
        raise ValueError(
            f"num_levels: {num_levels}, expected at least 1 and at most "
            f"{min(height, width).bit_length() - 1}, since each halves the {height}x{width} image"
        )
    bijectors: list[Any] = [AsTuple()]
    latents: list[Shape] = []
    for level in range(num_levels):
        if height % 2:
            bijectors.append(TakeEdge(make_conditioner(), axis=1))
            latents.append((1, width, channels))
        if width % 2:
            bijectors.append(TakeEdge(make_conditioner(), axis=2))
            latents.append((height - height % 2, 1, channels))
        height, width, channels = height // 2, width // 2, channels * 4
        inner = (Squeeze(), *make_level((height, width, channels)))
        bijectors.extend(OnFirst(bijector) for bijector in inner)
        if level < num_levels - 1:
            bijectors.append(Split(make_conditioner()))
            latents.append((height, width, channels // 2))
            channels = (channels + 1) // 2
    bijectors.append(Concatenate(((height, width, channels), *latents)))
    return chain(*bijectors)
