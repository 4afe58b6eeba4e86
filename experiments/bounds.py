"""Which of a run's numbers is its likelihood, and what it is: exact or what kind of bound."""

import re
from collections.abc import Collection
from typing import NamedTuple


class Bound(NamedTuple):
    """A metric in bits per dimension.

    Attributes:
        name: of the metric.
        kind: what it is, in words.
    """

    name: str
    kind: str


_KINDS = (
    (re.compile(r"log_likelihood_bits_per_dim"), "exact"),
    (re.compile(r"iw(\d+)_bits_per_dim"), "importance-weighted bound, {} draws"),
    (re.compile(r"ode_bits_per_dim"), "density of the probability flow, a bound"),
    (re.compile(r"dequantized_bits_per_dim"), "density of dequantized pixels, a bound"),
    (re.compile(r"elbo_bits_per_dim"), "ELBO, a bound"),
)


def best_bound(names: Collection[str]) -> Bound | None:
    """Finds the tightest likelihood among metrics; None where there is none."""
    for pattern, kind in _KINDS:
        for name in names:
            found = pattern.fullmatch(name)
            if found:
                return Bound(name, kind.format(*found.groups()))
    return None
