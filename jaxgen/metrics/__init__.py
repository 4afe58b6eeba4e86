"""Scores of samples against data, each with its sample sizes, and of what a likelihood is used for:
classes by Bayes' rule, and examples from elsewhere. scikit-learn is loaded on first use.

Metrics take points or features, `[N, D]`, that `np.asarray` accepts, and compute in float64.
`metrics.features.features(net, x)` gives the features of images under a net of `cached_features`.
"""

from jaxgen.metrics.classification import (
    ClassificationScores,
    bayes_posterior,
    classification_scores,
    lead_standard_error,
    log_evidence,
)
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
from jaxgen.metrics.reliability import Reliability, reliability_curve
from jaxgen.metrics.separation import Auroc, Histograms, auroc, shared_histograms
from jaxgen.metrics.sliced import SlicedWasserstein, sliced_wasserstein
from jaxgen.metrics.strangeness import (
    complexity_score,
    likelihood_score,
    png_bits,
    ratio_score,
    typicality_score,
)

__all__ = [
    "GOOD_RADIUS",
    "Auroc",
    "ClassificationScores",
    "DataCopying",
    "FeatureClassifier",
    "FeatureNet",
    "FrechetDistance",
    "Histograms",
    "KernelDistance",
    "ModeCounts",
    "Moments",
    "Neighbors",
    "NoClassifierError",
    "PrecisionRecallDensityCoverage",
    "Reliability",
    "SlicedWasserstein",
    "StackedModeCounts",
    "auroc",
    "bayes_posterior",
    "cached_features",
    "classification_scores",
    "compare_samples",
    "complexity_score",
    "count_modes",
    "count_stacked_modes",
    "data_copying",
    "expected_kl",
    "frechet_distance",
    "frechet_distance_of_gaussians",
    "identity_features",
    "kernel_distance",
    "lead_standard_error",
    "left_out",
    "likelihood_score",
    "log_evidence",
    "merge_moments",
    "moments",
    "nearest_neighbors",
    "nearest_other_points",
    "png_bits",
    "precision_recall_density_coverage",
    "predict",
    "random_features",
    "ratio_score",
    "reliability_curve",
    "shared_histograms",
    "sliced_wasserstein",
    "train_features",
    "typicality_score",
]
