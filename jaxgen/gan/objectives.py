"""Pairs of losses that make a game: what critic and generator minimise, by the field's names."""

from collections.abc import Callable
from typing import NamedTuple

from jaxgen.gan import losses
from jaxgen.types import Array

Loss = Callable[[Array, Array], Array]


class Objective(NamedTuple):
    """The two losses of a game, each a function of the logits of real and generated examples.

    Attributes:
        critic: ``(real_logits [B], fake_logits [B]) -> loss [B]`` that the critic minimises.
        generator: the same for the generator; most ignore the real examples.
    """

    critic: Loss
    generator: Loss


def _of_fakes(loss: Callable[[Array], Array]) -> Loss:
    return lambda real_logits, fake_logits: loss(fake_logits)


minimax = Objective(losses.minimax_critic, _of_fakes(losses.minimax_generator))
"""The saturating game whose value is the Jensen-Shannon divergence (Goodfellow et al. 2014)."""
nonsaturating = Objective(losses.minimax_critic, _of_fakes(losses.nonsaturating_generator))
"""The same critic, and a generator whose gradient does not vanish (Goodfellow et al. 2014)."""
least_squares = Objective(losses.least_squares_critic, _of_fakes(losses.least_squares_generator))
"""LSGAN (Mao et al. 2017)."""
wasserstein = Objective(losses.wasserstein_critic, _of_fakes(losses.wasserstein_generator))
"""WGAN, to be used with clipped weights or a gradient penalty (Arjovsky et al. 2017)."""
hinge = Objective(losses.hinge_critic, _of_fakes(losses.wasserstein_generator))
"""The hinge game (Lim & Ye 2017)."""
relativistic = Objective(losses.relativistic_critic, losses.relativistic_generator)
"""Relativistic pairing (Jolicoeur-Martineau 2018)."""

BY_NAME = {
    "minimax": minimax,
    "nonsaturating": nonsaturating,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "hinge": hinge,
    "relativistic": relativistic,
}
"""Every objective, for those who choose one by a word."""
