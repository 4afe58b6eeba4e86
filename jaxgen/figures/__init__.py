"""Pictures of what latents mean, for every family that has them, from arrays and plain functions.

``decode(z)`` maps latents `[B, D]` to uint8 images `[B, H, W, C]` with values 0 to levels - 1, the
data's own, and ``encode_mean(x)`` such images to latents. Nothing here knows of a network, a data
set or a training run. Every function writes one PNG.
"""

from jaxgen.figures.arithmetic import arithmetic
from jaxgen.figures.latent_space import latent_comparison, manifold
from jaxgen.figures.reconstructions import Decode, EncodeMean, reconstructions
from jaxgen.figures.walks import traversals, truncation, walks

__all__ = [
    "Decode",
    "EncodeMean",
    "arithmetic",
    "latent_comparison",
    "manifold",
    "reconstructions",
    "traversals",
    "truncation",
    "walks",
]
