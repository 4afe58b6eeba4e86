"""Flows that are ready to use, for vectors and for images of any size and number of channels."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import flax.linen as nn

from jaxgen.flows.bases import LearnedMixture, StandardNormal
from jaxgen.flows.bijectors import (
    ActNorm,
    Additive,
    Affine,
    Chain,
    CheckerboardCoupling,
    Coupling,
    Elementwise,
    Flatten,
    Inverse,
    InvertibleConv,
    MaskedAutoregressive,
    Permutation,
    Planar,
    Radial,
    Repeat,
    Spline,
    chain,
    multiscale,
)
from jaxgen.flows.conditioners import MADE, ConvConditioner, MLPConditioner
from jaxgen.flows.dequantization import UniformDequantizer, VariationalDequantizer
from jaxgen.flows.flow import Flow
from jaxgen.flows.image_flow import ImageFlow

_UNROLL = 4
"""Blocks at once: a third of a step of vectors is saved, a tenth of images, for a third more to
compile."""

VectorModel = Literal["planar", "radial", "nice", "real_nvp", "spline", "maf", "iaf"]
ImageModel = Literal["nice", "real_nvp", "glow", "spline", "maf", "iaf"]
Inversion = Literal["sequential", "jacobi"]


def vector_bijector(
    model: VectorModel,
    num_dims: int,
    *,
    num_layers: int,
    hidden_sizes: Sequence[int] = (128, 128),
    inverse: Inversion = "sequential",
    dtype: Any = None,
) -> Chain:
    """Builds a bijector of vectors `[B, D]`; in front of it stands a standardisation.

    Args:
        model: "planar", "radial"; couplings that are additive ("nice"), affine ("real_nvp") or
            rational quadratic ("spline"); affine autoregressive layers whose fast direction is that
            to the latents ("maf") or that to the data ("iaf").
        num_dims: D; at least 2 for couplings.
        num_layers: planar, radial, coupling or autoregressive layers; even but for the first two,
            which keep one parameter vector each.
        hidden_sizes: of the networks.
        inverse: of autoregressive layers; see `MaskedAutoregressive`.
        dtype: of the networks' computation.

    Returns:
        The bijector.

    Raises:
        ValueError: if there is no such model, or a number does not suit it.

    Source:
        Rezende & Mohamed 2015, "Variational inference with normalizing flows", section 4.1; Dinh et
        al. 2015, "NICE: non-linear independent components estimation", section 3.2; Dinh et al.
        2017, "Density estimation using Real NVP", section 3.2; Durkan et al. 2019, "Neural spline
        flows", section 3.2; Papamakarios et al. 2017, "Masked autoregressive flow for density
        estimation", section 3; Kingma et al. 2016, "Improving variational inference with inverse
        autoregressive flow", section 3.
    """
    _check_choice("model", model, VectorModel)
    _check_choice("inverse", inverse, Inversion)
    _check_least("num_dims", num_dims, 1)
    if model in ("planar", "radial"):
        _check_layers(num_layers, least=1)
        return chain(ActNorm(), Repeat(Planar() if model == "planar" else Radial(), num_layers))
    _check_layers(num_layers, least=2)
    if model in ("maf", "iaf"):
        layers = [
            MaskedAutoregressive(Affine(), MADE(tuple(hidden_sizes), is_reversed, dtype), inverse)
            for is_reversed in (False, True)
        ]
        pair: Any = Repeat(chain(*layers), num_layers // 2, _UNROLL)
        return chain(ActNorm(), Inverse(pair) if model == "iaf" else pair)
    if num_dims < 2:
        raise ValueError(f"num_dims: {num_dims}, expected at least 2 for couplings")
    elementwise = _elementwise(model)
    # Smooth units halve what splines lack of a density; affine layers do better with edges.
    activation = nn.hard_silu if model == "spline" else nn.relu
    couplings = [
        Coupling(elementwise, MLPConditioner(tuple(hidden_sizes), dtype, activation), moves_first)
        for moves_first in (False, True)
    ]
    block = [*couplings, Permutation(_riffle(num_dims))] if num_dims > 2 else couplings
    last = [ActNorm()] if model == "nice" else []  # Its diagonal scaling.
    unroll = 1 if model == "spline" else _UNROLL  # Splines gain nothing and compile for long.
    return chain(ActNorm(), Repeat(chain(*block), num_layers // 2, unroll), *last)


def image_bijector(
    model: ImageModel,
    shape: Sequence[int],
    *,
    num_layers: int,
    num_levels: int = 2,
    num_features: int = 64,
    hidden_sizes: Sequence[int] = (256, 256),
    inverse: Inversion = "sequential",
    dtype: Any = None,
) -> Chain:
    """Builds a bijector of images `[B, H, W, C]` whose latents are vectors `[B, H W C]`.

    Args:
        model: convolutional and of several scales: "real_nvp", "glow", and "spline", a Glow of
            spline couplings; fully connected: "nice", "maf", "iaf", as in `vector_bijector`.
        shape: of an image, `(H, W, C)`.
        num_layers: coupling layers of each scale, or all layers of a fully connected model.
        num_levels: scales of a convolutional model.
        num_features: hidden channels of its networks.
        hidden_sizes: of the networks of a fully connected model.
        inverse: of its autoregressive layers; see `MaskedAutoregressive`.
        dtype: of the networks' computation.

    Returns:
        The bijector.

    Raises:
        ValueError: if there is no such model, or a number does not suit it or the shape.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 3.6; Kingma & Dhariwal 2018,
        "Glow: generative flow with invertible 1x1 convolutions", section 3; Durkan et al. 2019,
        "Neural spline flows", section 5.2.
    """
    _check_choice("model", model, ImageModel)
    _check_least("num_features", num_features, 1)
    shape = tuple(shape)
    if model in ("nice", "maf", "iaf"):
        inner = vector_bijector(
            model,
            math.prod(shape),
            num_layers=num_layers,
            hidden_sizes=hidden_sizes,
            inverse=inverse,
            dtype=dtype,
        )
        return chain(Flatten(shape), inner)
    _check_layers(num_layers, least=2 if model == "real_nvp" else 1)

    def conditioner() -> ConvConditioner:
        return ConvConditioner(num_features, dtype)

    def real_nvp_level(_: Sequence[int]) -> list[Any]:
        pair = [
            make(Affine(), conditioner(), moves_first)
            for make in (CheckerboardCoupling, Coupling)
            for moves_first in (False, True)
        ]
        return [Repeat(chain(ActNorm(), *pair), num_layers // 2, _UNROLL)]

    def glow_level(_: Sequence[int]) -> list[Any]:
        coupling = Coupling(_elementwise(model), conditioner())
        step = chain(ActNorm(), InvertibleConv(), coupling)
        unroll = 2 if model == "spline" else _UNROLL  # More splines compile for 4 seconds longer.
        return [Repeat(step, num_layers, unroll)]

    level = real_nvp_level if model == "real_nvp" else glow_level
    return multiscale(shape, num_levels, level, conditioner)


def make_base(num_dims: int, num_components: int = 0) -> StandardNormal | LearnedMixture:
    """Makes the density of the latents.

    Args:
        num_dims: D.
        num_components: of a mixture that learns along; 0 for the standard normal.

    Returns:
        The module.

    Raises:
        ValueError: if a number is too small.
    """
    _check_least("num_dims", num_dims, 1)
    _check_least("num_components", num_components, 0)
    if num_components:
        return LearnedMixture(num_dims, num_components)
    return StandardNormal(num_dims)


def make_image_flow(
    bijector: Any,
    shape: Sequence[int],
    *,
    levels: int,
    num_components: int = 0,
    is_variational: bool = False,
    dtype: Any = None,
) -> ImageFlow:
    """Joins a bijector of images with a base and a dequantization.

    Args:
        bijector: such as `image_bijector` builds.
        shape: of an image, `(H, W, C)`.
        levels: number of pixel values, 2 to 256.
        num_components: of the base, as in `make_base`.
        is_variational: whether the noise of the dequantization is learned.
        dtype: of the computation of its networks.

    Returns:
        The module.

    Raises:
        ValueError: if there are other levels.
    """
    if levels not in range(2, 257):
        raise ValueError(f"levels: {levels}, expected a whole number from 2 to 256")
    flow = Flow(bijector, make_base(math.prod(shape), num_components))
    if is_variational:
        return ImageFlow(flow, VariationalDequantizer(levels, dtype=dtype), levels)
    return ImageFlow(flow, UniformDequantizer(levels), levels)


def _elementwise(model: str) -> Elementwise:
    if model == "spline":
        return Spline()
    return Additive() if model == "nice" else Affine()


def _riffle(num: int) -> tuple[int, ...]:
    """The halves laid into each other like two stacks of cards, so that partners change."""
    half = (num + 1) // 2
    return tuple(i // 2 + half * (i % 2) for i in range(num))


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name}: {value!r}, expected one of {', '.join(get_args(choices))}")


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}: {value}, expected at least {least}")


def _check_layers(num_layers: int, *, least: int) -> None:
    if num_layers < least or num_layers % least:
        raise ValueError(
            f"num_layers: {num_layers}, expected "
            + ("at least 1" if least == 1 else f"an even number, at least {least}")
        )
