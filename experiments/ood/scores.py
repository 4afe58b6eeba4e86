"""The scores of three sets of examples, and how well each score tells the other data."""

from typing import Any, NamedTuple

import numpy as np

from experiments.bounds import Bound
from jaxgen import metrics

IN, OTHER, CONTROL = "own test examples", "other data", "reference"


class Sets(NamedTuple):
    """One array for each set: scored test examples, the other data, and held-out test examples
    that are the reference of the first.
    """

    own: Any
    other: Any
    reference: Any


class Separation(NamedTuple):
    """What one score does.

    Attributes:
        scores: of the examples of each set, larger for stranger ones.
        unit: of the scores.
        auroc: probability that an example of the other data has the larger score.
        control: the same of the reference, which is 0.5 but for chance.
    """

    scores: Sets
    unit: str
    auroc: metrics.Auroc
    control: metrics.Auroc


def separations(
    log_probs: Sets, compressed_bits: Sets | None, background: Sets | None
) -> dict[str, Separation]:
    """Scores the examples of all sets.

    Args:
        log_probs: `ln p(x)` in nats, `[N]` each.
        compressed_bits: of images, `[N]` each; None for vectors.
        background: as `log_probs`, under the background model; None without.

    Returns:
        Name of the score to what it does.
    """
    scored = {"likelihood": (Sets(*map(metrics.likelihood_score, log_probs)), "nats")}
    typical = (metrics.typicality_score(each, log_probs.reference) for each in log_probs)
    scored["typicality"] = Sets(*typical), "nats"
    if compressed_bits is not None:
        pairs = zip(log_probs, compressed_bits, strict=True)
        scored["complexity"] = Sets(*(metrics.complexity_score(*pair) for pair in pairs)), "bits"
    if background is not None:
        pairs = zip(log_probs, background, strict=True)
        scored["likelihood ratio"] = Sets(*(metrics.ratio_score(*pair) for pair in pairs)), "nats"
    return {name: _separation(*each) for name, each in scored.items()}


def _separation(scores: Sets, unit: str) -> Separation:
    areas = (metrics.auroc(scores.own, each) for each in (scores.other, scores.reference))
    return Separation(scores, unit, *areas)


def warning(found: Separation, name: str, bits: Sets) -> str | None:
    """The line that says that the likelihood fails, where it does."""
    if found.auroc.value >= 0.5:
        return None
    return (
        f"the model gives {name} MORE probability than its own test examples (AUROC of the "
        f"likelihood {found.auroc.value:.4f} < 0.5; {np.mean(bits.other):.3f} and "
        f"{np.mean(bits.own):.3f} bits per dimension): likelihood alone does not find them strange"
    )


def record_of(
    found: dict[str, Separation], bits: Sets, bound: Bound, facts: dict[str, Any]
) -> dict[str, Any]:
    """Makes what `ood.json` holds."""
    return {
        **facts,
        "likelihood": bound.name,
        "kind": bound.kind,
        "larger_is_stranger": True,
        "tuned_on_other_data": False,
        "num": {name: len(each) for name, each in bits._asdict().items()},
        "bits_per_dim": {name: float(np.mean(each)) for name, each in bits._asdict().items()},
        "scores": {
            name: {"auroc": each.auroc._asdict(), "control": each.control._asdict()}
            for name, each in found.items()
        },
    }
