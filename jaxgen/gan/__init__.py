"""Generative adversarial networks: losses, penalties, objectives, models and algorithms."""

from jaxgen.gan import losses, models, objectives, penalties, resnet
from jaxgen.gan.algorithm import alternating_algorithm, simultaneous_algorithm
from jaxgen.gan.decoders import decoder
from jaxgen.gan.game import Game, GanState, Rules

__all__ = [
    "Game",
    "GanState",
    "Rules",
    "alternating_algorithm",
    "decoder",
    "losses",
    "models",
    "objectives",
    "penalties",
    "resnet",
    "simultaneous_algorithm",
]
