"""Generative adversarial networks: losses, penalties, objectives, models and algorithms."""

from jaxgen.gan import algorithm, losses, models, objectives, penalties, resnet, updates
from jaxgen.gan.algorithm import alternating_algorithm, simultaneous_algorithm
from jaxgen.gan.updates import Game, GanState, Rules

__all__ = [
    "Game",
    "GanState",
    "Rules",
    "algorithm",
    "alternating_algorithm",
    "losses",
    "models",
    "objectives",
    "penalties",
    "resnet",
    "simultaneous_algorithm",
    "updates",
]
