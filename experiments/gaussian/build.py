"""Builds the algorithm of a Gaussian run."""

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

from experiments.experiment import Method, NoSettings, RunSettings
from experiments.gaussian.settings import Settings
from experiments.ranges import require, require_default
from experiments.settings import DataInfo, ImportanceSampling
from jaxgen.classical import gaussian
from jaxgen.classical.vectors import noise_variance
from jaxgen.data import counted
from jaxgen.inverse.image_priors import gaussian_of_pixels
from jaxgen.types import Array

GaussianSettings = RunSettings[Settings, NoSettings, ImportanceSampling]

Fit = Callable[[Array], gaussian.Gaussian]
_NUM_FACTORS = 20  # If the settings have none and the data allow it.
_COEFFICIENTS: dict[str, Callable[[Array], Array]] = {
    "ledoit_wolf": gaussian.ledoit_wolf,
    "oas": gaussian.oas,
}
_WORDS = {
    "full": "full covariance",
    "ppca": "probabilistic PCA",
    "factor_analysis": "factor analysis",
}


def build(settings: GaussianSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm, whose step fits all examples, or as many as the batch size says."""
    plan = settings.plan
    require(plan.steps == 1, "steps", plan.steps, "1, since the fit has a closed form")
    num, size = plan.batch_size or info.num_train, math.prod(info.shape)
    if info.levels is None:
        require_default(settings.evaluation, "importance_samples", "the data are vectors")
    fit, words = _fit_of(settings, num, size, noise_variance(info.levels))
    if plan.batch_size:
        words += f", of {num:,} random train examples"
    algorithm = gaussian.gaussian_algorithm(
        fit,
        info.shape,
        levels=info.levels,
        num_importance_samples=0 if info.levels is None else settings.evaluation.importance_samples,
    )
    return Method(
        algorithm,
        words,
        prior=None
        if info.levels is None
        else lambda s: gaussian_of_pixels(s.params, info.image_levels),
    )


def _fit_of(settings: GaussianSettings, num: int, size: int, noise: float) -> tuple[Fit, str]:
    """What fits the density, and the words for it."""
    own = settings.model
    words = f"a Gaussian, {_WORDS[own.covariance]}"
    if own.covariance == "full":
        if own.shrinkage != "none":
            words += f", {own.shrinkage.replace('_', '-')} shrinkage"
        elif num <= size:
            words += f", which {counted(num, 'example')} of {size:,} numbers do not determine; "
            words += "--shrinkage ledoit_wolf or --covariance ppca"
        return functools.partial(_fit_full, shrinkage=own.shrinkage, noise_variance=noise), words
    largest = min(num, size) - 1
    num_factors = own.num_factors or max(min(_NUM_FACTORS, largest), 1)
    expected = f"1 to {largest} ({num} examples of {size} numbers)"
    require(num_factors <= largest, "num_factors", num_factors, expected)
    common: dict[str, Any] = {"num_factors": num_factors, "noise_variance": noise}
    words += f", {num_factors} factors"
    if own.covariance == "ppca":
        return functools.partial(gaussian.fit_ppca, **common), words
    return functools.partial(gaussian.fit_factor_analysis, num_steps=own.em_steps, **common), words


def _fit_full(x: Array, *, shrinkage: str, noise_variance: float) -> gaussian.Gaussian:
    coefficient = _COEFFICIENTS[shrinkage](x) if shrinkage in _COEFFICIENTS else 0.0
    return gaussian.fit(x, shrinkage=coefficient, noise_variance=noise_variance)
