"""A GAN of jaxgen."""

import numpy as np
import optax

from benchmarks.peers import common, gan_sizes, jaxgen_loop
from jaxgen import gan
from jaxgen.training.jax_setup import configure
from jaxgen.types import Algorithm

STEPS_PER_CALL: dict[gan_sizes.Workload, int] = {"dcgan": 20, "wgan_gp": 5}
"""Few, so that a dispatch fits a turn of the benchmark."""


def _algorithm(workload: gan_sizes.Workload, shape: tuple[int, ...]) -> Algorithm:
    play = gan_sizes.PLAYS[workload]
    width = gan_sizes.FEATURES[0]
    if workload == "dcgan":
        objective, rules = gan.objectives.nonsaturating, gan.Rules()
    else:
        objective = gan.objectives.wasserstein
        rules = gan.Rules(gan.penalties.wgan_gp, gan_sizes.PENALTY_WEIGHT)
    game = gan.Game(
        generator=gan.models.DCGANGenerator(shape, width=width),
        critic=gan.models.DCGANCritic(width=width),
        objective=objective,
        rules=rules,
        latent_dim=gan_sizes.LATENT,
        levels=2,
        ema_decay=0.0,
    )
    b1, b2 = play.betas
    return gan.alternating_algorithm(
        game,
        optax.adam(play.learning_rate, b1, b2),
        optax.adam(play.learning_rate, b1, b2),
        num_critic_steps=play.num_critic_steps,
    )


def build(
    workload: gan_sizes.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the jaxgen contestant.

    Args:
        workload: which GAN.
        variant: unused: there is one.
        images: uint8 `[N, 28, 28, 1]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del variant, threads
    configure()
    return jaxgen_loop.program(
        _algorithm(workload, images.shape[1:]),
        images,
        batch_size=gan_sizes.PLAYS[workload].num_critic_steps * gan_sizes.BATCH_SIZE,
        steps_per_call=STEPS_PER_CALL[workload],
        loss="critic_loss",
    )
