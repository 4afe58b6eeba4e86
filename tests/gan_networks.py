"""The small networks that the tests of GAN models build, and their variables."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.gan.models import DCGANCritic, DCGANGenerator, MLPCritic, MLPGenerator
from jaxgen.gan.resnet import ResNetCritic, ResNetGenerator

B, D = 4, 5
SHAPES = (
    (8, 8, 1),
    (7, 5, 3),
    (28, 28, 1),
    (28, 20, 4),
    (32, 32, 3),
    (64, 48, 3),
    (128, 128, 3),
    (3, 40, 1),
)
GENERATORS = {
    "mlp": functools.partial(MLPGenerator, hidden_sizes=(6, 6)),
    "dcgan": functools.partial(DCGANGenerator, width=4),
    "resnet": functools.partial(ResNetGenerator, width=4),
}
CRITICS = {
    "mlp": functools.partial(MLPCritic, hidden_sizes=(6, 6)),
    "dcgan": functools.partial(DCGANCritic, width=4),
    "resnet": functools.partial(ResNetCritic, width=4),
}
each_kind = pytest.mark.parametrize("kind", GENERATORS)
LABEL = jnp.array([0, 2, 1, 2])


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def shapes(module, x, label=None):
    """The variables of a module, traced: a compiled initialization takes a second each."""
    return jax.eval_shape(lambda key: module.init(key, x, label, train=False), jax.random.key(0))


def init(module, x, label=None):
    """Variables of a module with every entry away from the special values of a start."""
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        name, noise = path[-1].key.split("/")[-1], generator.normal(size=leaf.shape)
        if name in ("kernel", "embedding"):
            noise /= math.sqrt(max(1, leaf.size // leaf.shape[-1]))
        elif name in ("scale", "var", "sigma"):
            noise = 1.0 + 0.1 * np.abs(noise)
        elif name in ("bias", "mean"):
            noise *= 0.1
        return jnp.asarray(noise, jnp.float32)

    return jax.tree.map_with_path(fill, shapes(module, x, label))


@functools.partial(jax.jit, static_argnums=0)
def train(module, variables, x, label=None):
    """The result, and all variables afterwards."""
    y, new = module.apply(variables, x, label, train=True, mutable=["batch_stats"])
    return y, {**variables, **new}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(module, variables, x, label=None):
    return module.apply(variables, x, label, train=False)


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
