"""Settings of an autoregressive model."""

import dataclasses
from typing import Annotated, Literal

from experiments.ranges import AT_LEAST_1, SHARE, OnlyWith, check_settings

_SCALED = OnlyWith(model=("pixelcnn_plus_plus",))
_LAYERED = OnlyWith(model=("pixelcnn", "gated", "transformer"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The autoregressive model."""

    model: Literal["pixelcnn", "gated", "pixelcnn_plus_plus", "transformer"] = "gated"
    """The network: masked convolutions with a blind spot, gated stacks without one, residual blocks
    at several scales, or attention to all pixels before."""
    likelihood: Literal["auto", "categorical", "logistic_mixture", "bernoulli"] = "auto"
    """Of a pixel given those before: a probability of each level, a mixture of logistics, or of two
    levels; auto: bernoulli for 2 levels, categorical to 32, then the mixture."""
    order: Literal[
        "raster", "bottom_up", "right_to_left", "rotated", "columns", "snake", "hilbert"
    ] = "raster"
    """In which the pixels are written; snake and hilbert need the transformer."""
    num_features: Annotated[int, AT_LEAST_1] = 64
    """Channels of the network."""
    num_layers: Annotated[int, AT_LEAST_1, _LAYERED] = 6
    """Layers."""
    kernel_size: Annotated[int, AT_LEAST_1, OnlyWith(model=("pixelcnn", "gated"))] = 5
    """Side of a window, odd."""
    num_blocks: Annotated[int, AT_LEAST_1, _SCALED] = 2
    """Residual blocks at each scale."""
    num_scales: Annotated[int, AT_LEAST_1, _SCALED] = 3
    """Scales, each half the one before."""
    num_heads: Annotated[int, AT_LEAST_1, OnlyWith(model=("transformer",))] = 4
    """Heads of attention; they divide the features."""
    num_components: Annotated[
        int, AT_LEAST_1, OnlyWith(likelihood=("auto", "logistic_mixture"))
    ] = 10
    """Logistics of the mixture."""
    dropout_rate: Annotated[float, SHARE] = 0.2
    """Share of features dropped in training."""
    conditional: bool = False
    """Learn the images of each class; the data need labels."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How samples are written; every way gives the same images."""

    method: Literal["cached", "sequential", "jacobi"] = "cached"
    """Pixel by pixel with what the layers computed before, pixel by pixel anew, or all pixels again
    and again until none changes."""
