"""Builds the algorithm of a mixture run."""

import math
import pathlib

from experiments.experiment import Features, Method, NoSettings, RunSettings
from experiments.mixture.settings import Settings
from experiments.ranges import require, require_default
from experiments.settings import DataInfo, ImportanceSampling
from jaxgen.classical import mixture
from jaxgen.classical.vectors import to_vectors
from jaxgen.inverse.image_priors import gaussian_of_pixels

MixtureSettings = RunSettings[Settings, NoSettings, ImportanceSampling]

_NUM_FACTORS = 8  # If the settings have none and the numbers are enough.
_WORDS = {"ppca": "PPCA", "factor_analysis": "factor-analysis"}


def build(settings: MixtureSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm: EM on all examples, or stepwise EM where there is a batch size."""
    own, size = settings.model, math.prod(info.shape)
    num = settings.plan.batch_size or info.num_train
    is_good = own.num_components <= num
    expected = f"1 to {num}, the number of examples of a step"
    require(is_good, "num_components", own.num_components, expected)
    has_factors = own.covariance in ("ppca", "factor_analysis")
    num_factors = 0
    if has_factors:
        num_factors = own.num_factors or max(min(_NUM_FACTORS, size - 1), 1)
    expected = f"1 to {size - 1} for {size} numbers; diagonal or full covariances have none"
    require(num_factors < size, "num_factors", num_factors, expected)
    if info.levels is None:
        require_default(settings.evaluation, "importance_samples", "the data are vectors")
    if not settings.plan.batch_size:
        require_default(own, "forgetting", "every step sees all examples (--batch-size)")
    algorithm = mixture.mixture_algorithm(
        info.shape,
        levels=info.levels,
        kind=own.covariance,
        num_components=own.num_components,
        num_factors=num_factors,
        min_variance=own.min_variance,
        forgetting=own.forgetting if settings.plan.batch_size else None,
        num_importance_samples=0 if info.levels is None else settings.evaluation.importance_samples,
    )
    words = f"EM of {own.num_components} Gaussians, {_WORDS.get(own.covariance, own.covariance)}"
    words += f" covariances of {num_factors} factors" * has_factors
    words += " covariances" * (not has_factors)
    words += f", stepwise on batches of {settings.plan.batch_size:,}" * bool(
        settings.plan.batch_size
    )
    features = Features(
        "responsibilities",
        lambda state, x: state.params.responsibilities(to_vectors(x, info.levels)),
    )
    return Method(
        algorithm,
        words,
        features=features,
        prior=None
        if info.levels is None
        else lambda s: gaussian_of_pixels(s.params, info.image_levels),
    )
