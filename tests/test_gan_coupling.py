"""A critic whose logits move with other examples is found out by what it does."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from gan_games import KEY, SGD, VECTORS, WGAN_GP, B, start, vector_game
from gan_networks import CRITICS

from jaxgen.gan import Rules, alternating_algorithm, penalties
from jaxgen.gan.batch_coupling import example_shape, find_coupling
from jaxgen.gan.models import MLPCritic, MLPGenerator


class OwnCritic(nn.Module):
    """A critic that says nothing about its norm, and starts with a last layer of zeros."""

    kind: str

    @nn.compact
    def __call__(self, x, label=None, *, train):
        h = nn.Dense(4)(x.reshape(len(x), -1))
        if self.kind == "batch norm":
            h = nn.BatchNorm(use_running_average=not train)(h)
        elif self.kind == "minibatch deviation":
            h = jnp.concatenate([h, jnp.broadcast_to(jnp.std(h), (len(h), 1))], axis=1)
        return nn.Dense(1, kernel_init=nn.initializers.zeros)(nn.tanh(h))[:, 0]


@pytest.mark.parametrize(
    ("critic", "is_coupled"),
    [
        (OwnCritic("none"), False),
        (OwnCritic("batch norm"), True),
        (OwnCritic("minibatch deviation"), True),
        (MLPCritic((4,), norm="layer", spectral=True), False),
        (MLPCritic((4,), norm="batch", dtype=jnp.bfloat16), True),
        (CRITICS["dcgan"](), False),
        (CRITICS["dcgan"](norm="batch"), True),
        (CRITICS["resnet"](norm="layer", dtype=jnp.bfloat16), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_coupling_is_found(critic, is_coupled):
    assert find_coupling(critic, (8, 8, 1), None) == is_coupled


def test_a_game_may_be_made_within_a_traced_function_and_of_lists():
    @jax.jit
    def traced(x):
        assert find_coupling(MLPCritic([5], norm="batch"), (2,), None)
        assert not vector_game(critic=MLPCritic([5])).is_coupled
        return x

    traced(jnp.zeros(()))


def test_coupling_is_found_among_labels():
    assert not find_coupling(MLPCritic((4,), num_classes=3), (2,), 3)
    assert find_coupling(MLPCritic((4,), num_classes=3, norm="batch"), (2,), 3)


def test_shape_of_examples_is_the_generators():
    assert example_shape(MLPGenerator((7, 5, 3), (4,), num_classes=3), 2, 3) == (7, 5, 3)
    assert vector_game().shape == (2,)


@pytest.mark.parametrize("critic", [OwnCritic("batch norm"), MLPCritic((4,), norm="batch")])
@pytest.mark.parametrize("penalty", [penalties.wgan_gp, penalties.r1])
def test_a_penalty_is_refused_with_a_coupled_critic(critic, penalty):
    with pytest.raises(ValueError, match="^penalty: .* logits move with the other examples"):
        vector_game(critic=critic, rules=Rules(penalty, 1.0))
    assert vector_game(critic=critic).is_coupled


def test_a_penalty_is_taken_with_other_norms():
    critic = MLPCritic((4,), norm="layer", spectral=True)
    game = vector_game(critic=critic, rules=WGAN_GP)
    assert not game.is_coupled
    assert not dataclasses.replace(game, rules=Rules()).is_coupled


def test_a_critic_that_could_see_a_part_of_the_batch_alone_is_refused():
    game = vector_game(critic=OwnCritic("batch norm"))
    algorithm = alternating_algorithm(game, SGD, SGD)
    state = start(algorithm, VECTORS)
    batch = {"x": VECTORS["x"].reshape(2, B // 2, 2)}

    def step(batch):
        return algorithm.step(state, batch, KEY, axis_name="devices")

    with pytest.raises(ValueError, match="^critic: .* no attribute axis_name"):
        jax.eval_shape(jax.vmap(step, axis_name="devices"), batch)
    jax.eval_shape(algorithm.step, state, VECTORS, KEY)
