"""Builds the algorithm of a texture run."""

import pathlib
from typing import Any

import numpy as np

from experiments.experiment import Method, NoSettings, RunSettings
from experiments.ranges import require
from experiments.settings import DataInfo
from experiments.texture.settings import Sampling, Settings
from experiments.texture.side_images import read_mask, read_other
from jaxgen.classical import texture

TextureSettings = RunSettings[Settings, Sampling, NoSettings]
DRAWS: dict[str, Any] = {"rpn": texture.random_phase_noise, "adsn": texture.spot_noise}
NAMES = {"rpn": "random phase noise", "adsn": "asymptotic discrete spot noise"}


def build(settings: TextureSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm, or raises ValueError if a setting does not fit the exemplar."""
    own, sampling, levels = settings.model, settings.sampling, info.image_levels
    canvas, size = canvas_size(sampling, info)
    known = None
    if path is None and own.mix is not None:
        read_other(own.mix, info)  # A bad file is refused before anything is fitted.
    if own.mask is not None:
        # A state that is restored has the mask in it, and needs the file no more.
        known = read_mask(own.mask, info) if path is None else np.ones(info.shape[:2], bool)
    sample = texture.sampler(DRAWS[sampling.method], levels=levels, canvas=canvas, size=size)
    algorithm = texture.texture_algorithm(sample, levels=levels, known=known)
    words = f"Gaussian texture of one exemplar, drawn as {NAMES[sampling.method]}"
    words += f", {size[0]}x{size[1]}" + ", periodic" * sampling.periodic
    return Method(algorithm, words)


def canvas_size(sampling: Sampling, info: DataInfo) -> tuple[tuple[int, int], tuple[int, int]]:
    """The torus on which textures are made, and the part of it that is kept.

    Raises:
        ValueError: if the texture is to tile and the exemplar is larger than it.
    """
    height, width = info.shape[:2]
    size = sampling.size or (height, width)
    if not sampling.periodic:
        # The autocovariance ends at the exemplar's size: beyond it nothing comes back.
        return (size[0] + height, size[1] + width), size
    fits = size[0] >= height and size[1] >= width
    expected = f"at least {height}x{width}, the size of the exemplar, since periodic is set"
    require(fits, "size", f"{size[0]}x{size[1]}", expected)
    return size, size
