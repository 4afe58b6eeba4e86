"""Scores of samples against data, each with its sample sizes; scikit-learn is loaded on first use.

Metrics take points or features, `[N, D]`, that `np.asarray` accepts, and compute in float64.
`metrics.features.features(net, x)` gives the features of images under a net of `cached_features`.
"""

from jaxgen.metrics.comparison import compare_samples, left_out
from jaxgen.metrics.coverage import (
    PrecisionRecallDensityCoverage,
    precision_recall_density_coverage,
)
from jaxgen.metrics.feature_cache import cached_features
from jaxgen.metrics.feature_training import NoClassifierError, train_features
from jaxgen.metrics.features import (
    FeatureClassifier,
    FeatureNet,
    identity_features,
    predict,
    random_features,
)
from jaxgen.metrics.frechet import (
    FrechetDistance,
    Moments,
    frechet_distance,
    frechet_distance_of_gaussians,
    merge_moments,
    moments,
)
from jaxgen.metrics.kernel import KernelDistance, kernel_distance
from jaxgen.metrics.memorization import (
    DataCopying,
    Neighbors,
    data_copying,
    nearest_neighbors,
    nearest_other_points,
)
from jaxgen.metrics.modes import (
    GOOD_RADIUS,
    ModeCounts,
    StackedModeCounts,
    count_modes,
    count_stacked_modes,
    expected_kl,
)
from jaxgen.metrics.sliced import SlicedWasserstein, sliced_wasserstein

__all__ = [
    "GOOD_RADIUS",
    "DataCopying",
    "FeatureClassifier",
    "FeatureNet",
    "FrechetDistance",
    "KernelDistance",
    "ModeCounts",
    "Moments",
    "Neighbors",
    "NoClassifierError",
    "PrecisionRecallDensityCoverage",
    "SlicedWasserstein",
    "StackedModeCounts",
    "cached_features",
    "compare_samples",
    "count_modes",
    "count_stacked_modes",
    "data_copying",
    "expected_kl",
    "frechet_distance",
    "frechet_distance_of_gaussians",
    "identity_features",
    "kernel_distance",
    "left_out",
    "merge_moments",
    "moments",
    "nearest_neighbors",
    "nearest_other_points",
    "precision_recall_density_coverage",
    "predict",
    "random_features",
    "sliced_wasserstein",
    "train_features",
]
