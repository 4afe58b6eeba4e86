"""What a solver may be given as a prior: plain callables, whatever network is behind them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxgen.classical.gaussian.protocol import Gaussian
from jaxgen.classical.mixture.density import Mixture
from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.process import Denoiser
from jaxgen.inverse.latent_posteriors import standard_normal
from jaxgen.types import Array


class DiffusionPrior(NamedTuple):
    """A denoiser and the noise levels that its samplers go through.

    Attributes:
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``, that treats its examples apart.
        grid: noise levels.
        condition: of one example, given to the denoiser for each; None for none.
        bounds: lowest and highest value of the data, within which estimates are kept after they
            have been guided; None where there are none.
    """

    denoise: Denoiser
    grid: Grid
    condition: Any = None
    bounds: tuple[float, float] | None = None


class LatentPrior(NamedTuple):
    """A decoder of latents whose density is known; a density of images has the identity.

    Attributes:
        decode: ``u [B, *latent_shape] -> x [B, *shape]``, that treats its examples apart.
        latent_shape: of the latents of an example.
        log_prior: ``u [B, *latent_shape] -> ln p(u) [B]``, up to a constant.
        model_std: of what images have beside the decoder's, in the units of data; it is added to
            the noise of measurements.
    """

    decode: Callable[[Array], Array]
    latent_shape: tuple[int, ...]
    log_prior: Callable[[Array], Array] = standard_normal
    model_std: Array | float = 0.0


class GaussianPrior(NamedTuple):
    """A Gaussian, or a mixture of them, of flattened images.

    Attributes:
        density: over vectors v `[n]`.
        scale: images are ``scale v + offset``.
        offset: see there.
    """

    density: Gaussian | Mixture
    scale: float = 1.0
    offset: float = 0.0


class CompletionPrior(NamedTuple):
    """A model that draws what is hidden of an image given what is known of it, exactly.

    Attributes:
        complete: ``(keys [B], x [B, H, W, C], known [H, W]) -> x``: what is not known is drawn.
        check: ``known -> None``; raises ValueError where a mask cannot be served.
    """

    complete: Callable[[Any, Array, Any], Array]
    check: Callable[[Any], None]


Prior = DiffusionPrior | LatentPrior | GaussianPrior | CompletionPrior


def density_prior(log_prob: Callable[[Array], Array], shape: tuple[int, ...]) -> LatentPrior:
    """Makes a prior of a density of images themselves.

    Args:
        log_prob: ``x [B, *shape] -> ln p(x) [B]``, up to a constant.
        shape: of an example.

    Returns:
        The prior, whose latents are the images.
    """
    return LatentPrior(jax.tree_util.Partial(_same), shape, log_prob)


def gaussian_of_pixels(density: Gaussian | Mixture, levels: int) -> GaussianPrior:
    """Brings a density of pixels to the scale of [-1, 1].

    Args:
        density: of the classical family: over flattened pixels, each in the middle of its bin.
        levels: number of pixel values, 2 to 256.

    Returns:
        The prior of images whose darkest pixel is -1 and whose brightest is 1.
    """
    scale = 2.0 / (levels - 1)
    return GaussianPrior(density, scale, -1.0 - 0.5 * scale)


def _same(x: Array) -> Array:
    return x
