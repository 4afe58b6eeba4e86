"""Settings of a normalizing flow."""

import dataclasses
from typing import Annotated, Literal

from experiments.ranges import AT_LEAST_1, POSITIVE, OnlyWith, check_settings

_CONVOLUTIONAL = OnlyWith(model=("auto", "real_nvp", "glow", "spline"))
_CONNECTED = OnlyWith(model=("auto", "nice", "real_nvp", "spline", "maf", "iaf"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The normalizing flow."""

    model: Literal[
        "auto", "planar", "radial", "nice", "real_nvp", "glow", "spline", "maf", "iaf"
    ] = "auto"
    """The bijector; auto: glow for images, spline for vectors. planar and radial are for vectors,
    glow for images; a training step of iaf takes a pass for every number of an example."""
    num_layers: Annotated[int, AT_LEAST_1] = 8
    """Layers, of each scale for the convolutional models (real_nvp, glow, spline of images)."""
    num_levels: Annotated[int, AT_LEAST_1, _CONVOLUTIONAL] = 2
    """Scales of the convolutional models; each halves the image."""
    num_features: Annotated[int, AT_LEAST_1, _CONVOLUTIONAL] = 64
    """Hidden channels of the convolutional networks."""
    hidden_sizes: Annotated[tuple[int, ...], AT_LEAST_1, _CONNECTED] = (128, 128)
    """Widths of the fully connected networks' layers."""
    dequantization: Literal["uniform", "variational"] = "uniform"
    """Noise that fills the gaps between pixel values: uniform, or learned by a flow of its own."""
    base: Literal["normal", "mixture"] = "normal"
    """Density of the latents: standard normal, or a mixture of normals that learns along."""
    num_components: Annotated[int, AT_LEAST_1, OnlyWith(base=("mixture",))] = 10
    """Normals of the mixture."""
    conditional: bool = False
    """Learn the density of each class; the data need labels."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the latents of samples are drawn."""

    temperature: Annotated[float, POSITIVE] = 1.0
    """Factor of the standard deviations of the latents."""
    inverse: Literal["sequential", "jacobi"] = "sequential"
    """How a maf makes an example: number by number, or all at once again and again until none
    moves, which takes as many passes at most and often far fewer (maf)."""

    def __post_init__(self) -> None:
        check_settings(self)
