"""The small games that the tests of GAN algorithms play."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgen.gan import (
    Game,
    GanState,
    Rules,
    alternating_algorithm,
    objectives,
    penalties,
)
from jaxgen.gan.models import DCGANCritic, DCGANGenerator, MLPCritic, MLPGenerator
from jaxgen.types import Algorithm

B, D = 16, 3
WEIGHT, DECAY, LEARNING_RATE, BETA = 10.0, 0.9, 1e-2, 0.5
KEY = jax.random.key(5)
VECTORS = {"x": jax.random.normal(jax.random.key(9), (B, 2)) + 1.0}
ODD_SHAPE, LEVELS, NUM_CLASSES = (7, 5, 3), 17, 4
IMAGES = {
    "x": jax.random.randint(jax.random.key(8), (B, *ODD_SHAPE), 0, LEVELS).astype(jnp.uint8),
    "label": jnp.arange(B, dtype=jnp.int32) % NUM_CLASSES,
}
ADAM = optax.adam(LEARNING_RATE, b1=BETA)
SGD, STILL = optax.sgd(0.1), optax.sgd(0.0)


def vector_game(generator_norm="none", critic=None, rules=None, objective=None) -> Game:
    return Game(
        generator=MLPGenerator((2,), (8,), norm=generator_norm),
        critic=MLPCritic((8,)) if critic is None else critic,
        objective=objectives.nonsaturating if objective is None else objective,
        rules=Rules() if rules is None else rules,
        latent_dim=D,
        levels=None,
        ema_decay=DECAY,
    )


def image_game(num_classes=NUM_CLASSES, norm="none", *, spectral=False) -> Game:
    return Game(
        generator=DCGANGenerator(ODD_SHAPE, width=4, num_classes=num_classes, label_dim=2),
        critic=DCGANCritic(width=4, num_classes=num_classes, norm=norm, spectral=spectral),
        objective=objectives.hinge,
        rules=Rules(),
        latent_dim=D,
        levels=LEVELS,
        ema_decay=DECAY,
    )


class Play(NamedTuple):
    """An algorithm, compiled, and its state of step 0."""

    algorithm: Algorithm
    state: GanState


def play(game: Game, generator=ADAM, critic=ADAM, batch=VECTORS, **settings) -> Play:
    algorithm = alternating_algorithm(game, generator, critic, **settings)
    return compiled(algorithm, batch)


def compiled(algorithm: Algorithm, batch) -> Play:
    algorithm = Algorithm(
        jax.jit(algorithm.init),
        jax.jit(algorithm.step),
        jax.jit(algorithm.sample, static_argnames="num"),
        jax.jit(algorithm.evaluate),
    )
    return Play(algorithm, algorithm.init(jax.random.key(0), batch))


@functools.cache
def conditional() -> Play:
    """A game with labels after a few steps, which leave the images grey no longer."""
    algorithm, state = play(image_game(), batch=IMAGES)
    for number in range(10):
        state, _ = algorithm.step(state, IMAGES, jax.random.key(number))
    return Play(algorithm, state)


def latents(key, num):
    """Of a step, from a key for each example."""
    return jax.vmap(lambda key: jax.random.normal(key, (D,)))(jax.random.split(key, num))


WGAN_GP = Rules(penalty=penalties.gradient_penalty, penalty_weight=WEIGHT)


class Point(nn.Module):
    """A generator of one number whatever z: the Dirac-GAN."""

    @nn.compact
    def __call__(self, z, label=None, *, train):
        theta = self.param("theta", nn.initializers.constant(2.0), (1, 1))
        return jnp.broadcast_to(theta, (len(z), 1))


class Slope(nn.Module):
    """The critic ``w x`` of numbers."""

    @nn.compact
    def __call__(self, x, label=None, *, train):
        return x[:, 0] * self.param("w", nn.initializers.constant(0.5), ())


class Identity(nn.Module):
    """A generator that shows its latents."""

    @nn.compact
    def __call__(self, z, label=None, *, train):
        return z[:, :1] + self.param("theta", nn.initializers.zeros, (1, 1))


COUPLED = {"batch": MLPCritic((8,), norm="batch"), "spectral": MLPCritic((8,), spectral=True)}
