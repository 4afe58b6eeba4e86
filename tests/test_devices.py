"""Every family takes the same training steps on 1, 2, 4 and 8 devices, up to rounding.

What an example draws hangs on its place in the global batch alone, and what is averaged is averaged
over all devices: batch statistics, gradients and metrics. A new family adds a row.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gan_games import IMAGES, LEVELS, NUM_CLASSES, ODD_SHAPE, SGD, WEIGHT, image_game, start
from vae_states import random_state

from jaxgen import diffusion, flows, vae
from jaxgen.gan import Rules, alternating_algorithm, penalties, simultaneous_algorithm
from jaxgen.gan.models import MLPCritic, MLPGenerator
from jaxgen.types import Algorithm

NUM_STEPS = 2
SMALL_STEPS = optax.sgd(1e-4)


def gan(make, *, rules, **critic) -> Algorithm:
    # Plain descent: Adam would make steps of the signs of gradients that are rounding errors.
    generator = MLPGenerator(ODD_SHAPE, (8,), NUM_CLASSES, label_dim=2, norm="batch")
    critic = MLPCritic((8,), NUM_CLASSES, **critic)
    return make(image_game(generator=generator, critic=critic, rules=rules), SGD, SGD)


def gan_of_batch_norm():
    make = functools.partial(alternating_algorithm, num_critic_steps=2)
    return gan(make, rules=Rules(), norm="batch")


def gan_of_penalty():
    rules = Rules(penalties.wgan_gp, WEIGHT, instance_noise=0.1)
    return gan(simultaneous_algorithm, rules=rules, spectral=True)


def vae_of_dropout_and_noise():
    """A density of dequantized pixels, masks of features, and a floor for the mean of the batch."""
    likelihood = vae.likelihoods.gaussian_learned_variance(levels=LEVELS)
    model = vae.mlp_vae(ODD_SHAPE, likelihood, latent_dim=2, hidden_sizes=(6,), dropout_rate=0.3)
    return vae.elbo_algorithm(model, SMALL_STEPS, levels=LEVELS, free_bits=3.0)


def importance_weights():
    return vae.importance_weighted_algorithm(plain_vae(), SMALL_STEPS, levels=LEVELS, num_samples=3)


def denoising():
    return vae.autoencoder_algorithm(
        plain_vae(), SMALL_STEPS, levels=LEVELS, masking_probability=0.3
    )


def m2_of_dropout_and_a_few_labels():
    likelihood = vae.likelihoods.gaussian_learned_variance(levels=LEVELS)
    common = {"latent_dim": 2, "hidden_sizes": (6,), "dropout_rate": 0.3}
    model = vae.mlp_m2(ODD_SHAPE, likelihood, num_classes=NUM_CLASSES, **common)
    return vae.m2_algorithm(model, SMALL_STEPS, levels=LEVELS, weight=2.0)


def plain_vae():
    likelihood = vae.likelihoods.categorical(levels=LEVELS)
    return vae.mlp_vae(ODD_SHAPE, likelihood, latent_dim=2, hidden_sizes=(6,))


def glow_of_labels():
    bijector = flows.image_bijector("glow", ODD_SHAPE, num_layers=1, num_levels=1, num_features=4)
    model = flows.make_image_flow(bijector, ODD_SHAPE, levels=LEVELS, is_variational=True)
    return flows.likelihood_algorithm(model, SMALL_STEPS, num_classes=NUM_CLASSES)


def diffusion_of_dropout_and_labels():
    network = diffusion.UNet((4,), num_blocks=1, dropout_rate=0.3)
    model = diffusion.Diffusion(
        network, diffusion.schedules.Cosine(), "v", LEVELS, num_classes=NUM_CLASSES
    )
    return diffusion.diffusion_algorithm(model, SGD, lambda *_: None, label_dropout=0.5)


def start_of_data(algorithm, batch):
    return jax.jit(algorithm.init)(jax.random.key(0), batch)


# Each number of devices is a program of its own, the most expensive kind there is: a family takes
# all numbers once, and the most devices for what else draws or averages.
FAMILIES = {
    "gan of batch norm and labels": (gan_of_batch_norm, start, IMAGES, (2, 4, 8)),
    "gan of spectral norm, noise and a penalty": (gan_of_penalty, start, IMAGES, (8,)),
    "vae of dropout, noise and free bits": (
        vae_of_dropout_and_noise,
        random_state,
        IMAGES,
        (2, 4, 8),
    ),
    "m2 of dropout, noise and a few labels": (
        m2_of_dropout_and_a_few_labels,
        start_of_data,
        {**IMAGES, "label": np.where(np.arange(16) % 3, -1, IMAGES["label"])},
        (8,),
    ),
    "vae of importance weights": (importance_weights, random_state, IMAGES, (8,)),
    "glow of learned noise and labels": (glow_of_labels, start_of_data, IMAGES, (4,)),
    "diffusion of dropout and labels": (
        diffusion_of_dropout_and_labels,
        start_of_data,
        IMAGES,
        (8,),
    ),
    "denoising autoencoder": (denoising, random_state, IMAGES, (8,)),
}
"""Name to what makes the algorithm, its state of a batch, the batch `[16, ...]`, and the counts."""


def steps(algorithm: Algorithm, axis_name: str | None):
    """Some training steps as the loop takes them, in one scan."""

    def run(state, batch, key):
        def step(state, t):
            return algorithm.step(state, batch, jax.random.fold_in(key, t), axis_name=axis_name)

        return jax.lax.scan(step, state, jnp.arange(NUM_STEPS))

    return run


@pytest.mark.parametrize("name", FAMILIES)
def test_any_number_of_devices_takes_the_steps_of_one(name):
    make, start, batch, counts = FAMILIES[name]
    algorithm, key = make(), jax.random.key(4)
    before = start(algorithm, batch)
    expected = jax.jit(steps(algorithm, None))(before, batch, key)
    moved = optax.tree.norm(optax.tree.sub(expected[0].params, before.params))
    assert 1e-2 < moved < 10.0
    for count in counts:
        run = jax.pmap(
            steps(algorithm, "devices"),
            axis_name="devices",
            in_axes=(None, 0, None),
            devices=jax.devices()[:count],
        )
        parts = {name: x.reshape(count, -1, *x.shape[1:]) for name, x in batch.items()}
        found = jax.device_get(run(before, parts, key))
        for leaf in jax.tree.leaves(found):
            np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
        first = jax.tree.map(lambda leaf: leaf[0], found)
        chex.assert_trees_all_close(first, jax.device_get(expected), rtol=1e-3, atol=1e-5)
