"""Settings of a GAN, and which of them make no sense together."""

import dataclasses
from typing import Annotated, Literal, get_args

from experiments.ranges import AT_LEAST_0, AT_LEAST_1, POSITIVE, OnlyWith, check_settings, require

Network = Literal["mlp", "dcgan", "resnet"]
Penalty = Literal["wgan_gp", "r1", "r2", "r1_r2", "dragan"]

_WITH_PENALTY = OnlyWith(penalty=get_args(Penalty))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The game of generator and critic; the batch is that of a critic step."""

    loss: Literal[
        "minimax", "nonsaturating", "least_squares", "hinge", "wasserstein", "relativistic"
    ] = "nonsaturating"
    """What critic and generator minimise."""
    penalty: Literal["none"] | Penalty = "r1"
    """Gradient penalty added to the critic's loss."""
    penalty_weight: Annotated[float | None, POSITIVE, _WITH_PENALTY] = None
    """Weight of the penalty; by default 10 for wgan_gp and dragan, and 0.3 for the others."""
    penalty_interval: Annotated[int, AT_LEAST_1, _WITH_PENALTY] = 1
    """Critic steps from one penalty to the next, which then counts as many times (lazy)."""
    weight_clip: Annotated[float, AT_LEAST_0, OnlyWith(loss=("wasserstein",))] = 0.0
    """Bound on every critic weight (wasserstein without a penalty); 0 for none."""
    num_critic_steps: Annotated[int, AT_LEAST_1, OnlyWith(updates=("alternating",))] = 1
    """Critic steps before each generator step, each with a batch of its own."""
    updates: Literal["alternating", "simultaneous"] = "alternating"
    """Whether the generator meets the critic's new parameters or its old ones."""
    generator: Network = "dcgan"
    """Architecture of the generator."""
    critic: Network = "dcgan"
    """Architecture of the critic."""
    width: Annotated[
        int, AT_LEAST_1, OnlyWith(generator=("dcgan", "resnet"), critic=("dcgan", "resnet"))
    ] = 32
    """Channels of the largest feature maps (dcgan, resnet)."""
    num_plain_blocks: Annotated[
        int, AT_LEAST_0, OnlyWith(generator=("resnet",), critic=("resnet",))
    ] = 0
    """Residual blocks after each that changes the size of the maps (resnet)."""
    activation: Annotated[
        Literal["relu", "tanh"], OnlyWith(generator=("dcgan",), critic=("dcgan",))
    ] = "relu"
    """Of both networks (dcgan); the critic's relu is leaky."""
    hidden_sizes: Annotated[
        tuple[int, ...], AT_LEAST_1, OnlyWith(generator=("mlp",), critic=("mlp",))
    ] = (256, 256)
    """Widths of the layers (mlp)."""
    generator_norm: Literal["batch", "layer", "none"] = "batch"
    """Normalization of the generator's layers."""
    critic_norm: Literal["batch", "layer", "none"] = "none"
    """Normalization of the critic's layers."""
    spectral: bool = False
    """Spectral normalization of the critic."""
    conditional: bool = False
    """Give both networks the labels."""
    latent_dim: Annotated[int, AT_LEAST_1] = 64
    """Number of latents."""
    critic_learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Of the critic's optimizer, which is otherwise the generator's."""
    instance_noise: Annotated[float, AT_LEAST_0] = 0.0
    """Standard deviation of normal noise on what the critic sees; it falls linearly to 0."""
    instance_noise_steps: Annotated[int, AT_LEAST_1, OnlyWith(instance_noise=POSITIVE)] = 5000
    """Steps until the instance noise is 0."""

    def __post_init__(self) -> None:
        check_settings(self)
        is_penalized, is_clipped = self.penalty != "none", self.weight_clip > 0.0
        is_bounded = is_penalized or self.spectral
        if self.loss == "wasserstein":
            expected = "nonsaturating, or a bounded critic: --penalty wgan_gp, --spectral or --weight-clip 0.01"
            require(is_bounded or is_clipped, "loss", self.loss, expected)
            rescales = self.spectral and not is_penalized and self.critic_norm != "none"
            expected = "none under --spectral, whose bound batch and layer norm undo"
            require(not rescales, "critic_norm", self.critic_norm, expected)
        expected = "0 where the penalty or the spectral norm bounds the critic already"
        require(not (is_clipped and is_bounded), "weight_clip", self.weight_clip, expected)
        is_coupled = is_penalized and self.critic_norm == "batch"
        expected = "layer or none under a penalty, which needs each example's own gradient"
        require(not is_coupled, "critic_norm", self.critic_norm, expected)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the latents of samples are drawn."""

    truncation: Annotated[float | None, POSITIVE] = None
    """Bound on every latent (truncation trick): the lower, the less variety; by default none."""

    def __post_init__(self) -> None:
        check_settings(self)
