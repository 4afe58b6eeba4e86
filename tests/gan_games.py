"""The small games that the tests of GAN algorithms play."""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
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


def vector_game(
    generator_norm="none", critic=None, rules=None, objective=None, generator=None
) -> Game:
    return Game(
        generator=generator or MLPGenerator((2,), (8,), norm=generator_norm),
        critic=MLPCritic((8,)) if critic is None else critic,
        objective=objectives.nonsaturating if objective is None else objective,
        rules=Rules() if rules is None else rules,
        latent_dim=D,
        levels=None,
        ema_decay=DECAY,
    )


def image_game(num_classes=NUM_CLASSES, *, generator=None, critic=None, rules=None) -> Game:
    return Game(
        generator or DCGANGenerator(ODD_SHAPE, width=4, num_classes=num_classes, label_dim=2),
        critic or DCGANCritic(width=4, num_classes=num_classes),
        objective=objectives.hinge,
        rules=rules or Rules(),
        latent_dim=D,
        levels=LEVELS,
        num_classes=num_classes,
        ema_decay=DECAY,
    )


class Play(NamedTuple):
    """An algorithm, compiled, and its state of step 0."""

    algorithm: Algorithm
    state: GanState


def play(game: Game, generator=ADAM, critic=ADAM, batch=VECTORS, **settings) -> Play:
    return compiled(alternating_algorithm(game, generator, critic, **settings), batch)


def compiled(algorithm: Algorithm, batch) -> Play:
    state = start(algorithm, batch)
    algorithm = Algorithm(
        algorithm.init,
        jax.jit(algorithm.step),
        jax.jit(algorithm.sample, static_argnames="num"),
        jax.jit(algorithm.evaluate),
    )
    return Play(algorithm, state)


def start(algorithm: Algorithm, batch) -> GanState:
    """A state of step 0 with random parameters, traced: compiling `init` takes a second a game."""
    rng = np.random.default_rng(1)

    def fill(path, leaf):
        name = path[-1].key.split("/")[-1]
        noise = rng.normal(size=leaf.shape)
        if name in ("bias", "mean"):
            noise *= 0.0
        elif name in ("scale", "var", "sigma"):
            noise = 1.0 + 0.0 * noise
        elif name == "u":
            noise /= np.linalg.norm(noise)
        elif noise.ndim > 1:
            noise /= math.sqrt(noise.size // noise.shape[-1])
        return jnp.asarray(noise, leaf.dtype)

    def network(state):
        params = jax.tree.map_with_path(fill, state.params)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state).replace(
            params=params,
            ema_params=params if state.ema_decay else None,
            batch_stats=jax.tree.map_with_path(fill, state.batch_stats),
        )

    shapes = jax.eval_shape(algorithm.init, jax.random.key(0), batch)
    return GanState(network(shapes.generator), network(shapes.critic))


@functools.cache
def conditional() -> tuple[Game, Algorithm, GanState]:
    """A game of images with labels, fully connected."""
    generator = MLPGenerator(ODD_SHAPE, (8,), NUM_CLASSES, label_dim=2, norm="batch")
    game = image_game(generator=generator, critic=MLPCritic((8,), NUM_CLASSES))
    return game, *play(game, batch=IMAGES)


def latents(key, num):
    """Of a step, from a key for each example."""
    return jax.vmap(lambda key: jax.random.normal(key, (D,)))(jax.random.split(key, num))


WGAN_GP = Rules(penalty=penalties.wgan_gp, penalty_weight=WEIGHT)


class Point(nn.Module):
    """A generator of one number whatever z: the Dirac-GAN."""

    @nn.compact
    def __call__(self, z, label=None, *, train):
        theta = self.param("theta", nn.initializers.zeros, (1, 1))
        return jnp.broadcast_to(theta, (len(z), 1))


class Slope(nn.Module):
    """The critic ``w x`` of numbers."""

    @nn.compact
    def __call__(self, x, label=None, *, train):
        return x[:, 0] * self.param("w", nn.initializers.zeros, ())


class Identity(nn.Module):
    """A generator that shows its latents."""

    @nn.compact
    def __call__(self, z, label=None, *, train):
        return z[:, :1] + self.param("theta", nn.initializers.zeros, (1, 1))


COUPLED = {"batch": MLPCritic((8,), norm="batch"), "spectral": MLPCritic((8,), spectral=True)}
