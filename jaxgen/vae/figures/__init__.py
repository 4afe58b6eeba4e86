"""Pictures of what an autoencoder or a VAE has learned, from arrays and plain functions.

`encode_mean(x)` maps uint8 images `[B, H, W, C]` to latent means `[B, D]`; `decode_mean(z)` maps
latents `[B, D]` to uint8 images. Nothing here knows of a network, a data set or a training run.
Every function writes one PNG.
"""

from jaxgen.vae.figures.decoding import ArrayFunction, reconstructions
from jaxgen.vae.figures.health import INACTIVE_COLOUR, latent_health, rate_distortion
from jaxgen.vae.figures.latent_space import latent_comparison, manifold
from jaxgen.vae.figures.walks import attribute_arithmetic, interpolations, traversals

__all__ = [
    "INACTIVE_COLOUR",
    "ArrayFunction",
    "attribute_arithmetic",
    "interpolations",
    "latent_comparison",
    "latent_health",
    "manifold",
    "rate_distortion",
    "reconstructions",
    "traversals",
]
