"""A game of two networks: who plays, for what, by which rules, and the state of both."""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxgen.gan.batch_coupling import example_shape, find_coupling
from jaxgen.gan.objectives import Objective
from jaxgen.gan.penalties import Penalty
from jaxgen.pixels import to_model_range
from jaxgen.training.state import TrainState
from jaxgen.types import Array, PyTree


class GanState(flax.struct.PyTreeNode):
    """The state of both networks.

    Attributes:
        generator: its train state; the average of its parameters makes the samples.
        critic: its train state, without an average.
    """

    generator: TrainState
    critic: TrainState

    @property
    def step(self) -> Array:
        """Number of generator steps."""
        return self.generator.step

    @property
    def params(self) -> dict[str, PyTree]:
        """The parameters of both networks."""
        return {"generator": self.generator.params, "critic": self.critic.params}


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a game adds to its objective.

    Attributes:
        penalty: added to the critic's loss, or None.
        penalty_weight: its weight, at least 0; 0 without a penalty.
        penalty_interval: the penalty is taken every so many critic steps, with so many times the
            weight; at least 1.
        weight_clip: bound on every critic parameter, applied after the critic's step, above 0; None
            for no bound.
        instance_noise: standard deviation of normal noise on all that the critic sees, at least 0,
            or its optax schedule over generator steps.

    Raises:
        ValueError: if a rule is out of its range.
    """

    penalty: Penalty | None = None
    penalty_weight: float = 0.0
    penalty_interval: int = 1
    weight_clip: float | None = None
    instance_noise: float | optax.Schedule = 0.0

    def __post_init__(self) -> None:
        if self.penalty is None and self.penalty_weight:
            raise ValueError(f"penalty_weight: {self.penalty_weight}, expected 0 without a penalty")
        if not self.penalty_weight >= 0.0:
            raise ValueError(f"penalty_weight: {self.penalty_weight}, expected at least 0")
        if self.penalty_interval < 1:
            raise ValueError(f"penalty_interval: {self.penalty_interval}, expected at least 1")
        if self.weight_clip is not None and not self.weight_clip > 0.0:
            raise ValueError(f"weight_clip: {self.weight_clip}, expected above 0 or None")
        if not callable(self.instance_noise) and not self.instance_noise >= 0.0:
            raise ValueError(f"instance_noise: {self.instance_noise}, expected at least 0")


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Game:
    """Both networks and the rules they play by, checked once, here.

    A network whose examples are coupled (batch norm) and that has an attribute `axis_name` is given
    the axis of the devices there, so that it couples the examples of all of them.

    Attributes:
        generator: module ``(z [B, D], label, *, train) -> x``, images in [-1, 1] or vectors.
        critic: module ``(x, label, *, train) -> logits [B]``.
        objective: the losses of both.
        rules: penalty, weight clipping and instance noise.
        latent_dim: D, at least 1.
        levels: number of pixel values, 2 to 256; None for vectors, which are not scaled.
        num_classes: number of labels that both networks are given, or None.
        ema_decay: of the generator's averaged parameters, in [0, 1); 0 keeps none.
        shape: of the examples that the generator makes, found by tracing it.
        is_coupled: whether a logit of the critic depends on the other examples of its batch, found
            by trying it.

    Raises:
        ValueError: if a setting is out of range, the critic does not judge what the generator
            makes, or a penalty meets a critic whose examples are coupled.
    """

    generator: nn.Module
    critic: nn.Module
    objective: Objective
    rules: Rules
    latent_dim: int
    levels: int | None
    num_classes: int | None = None
    ema_decay: float = 0.0
    shape: tuple[int, ...] = dataclasses.field(init=False)
    is_coupled: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        for name, value in (("latent_dim", self.latent_dim), ("num_classes", self.num_classes)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: {value}, expected at least 1")
        shape = example_shape(self.generator, self.latent_dim, self.num_classes)
        is_coupled = find_coupling(self.critic, shape, self.num_classes)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "is_coupled", is_coupled)
        if self.rules.penalty is not None and is_coupled:
            raise ValueError(
                "penalty: it needs the gradient of each example's own logit, but this critic's "
                "logits move with the other examples of the batch, as under batch norm; give it "
                "another norm (layer, spectral) or none"
            )


def to_critic_range(game: Game, x: Array) -> Array:
    """Data as the critic sees them.

    Args:
        game: whose `levels` say what the data are.
        x: integer images in 0 to levels - 1, or float32 vectors where levels is None; `[B, ...]`.

    Returns:
        Images scaled to [-1, 1]; vectors as they are.

    Raises:
        ValueError: if the type or shape is not that of the game's examples.
    """
    kind, name = (jnp.floating, "floats") if game.levels is None else (jnp.integer, "integers")
    if not jnp.issubdtype(x.dtype, kind) or x.shape[1:] != game.shape:
        expected = f"{name} {list(game.shape)} at levels={game.levels}"
        raise ValueError(f"x: {x.dtype} {list(x.shape[1:])} an example, expected {expected}")
    return x if game.levels is None else to_model_range(x, game.levels)
