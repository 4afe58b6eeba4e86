"""Settings of a GAN, and which of them make no sense together."""

import dataclasses
from typing import Annotated, Literal

from experiments.ranges import AT_LEAST_0, AT_LEAST_1, POSITIVE, check_ranges

Network = Literal["mlp", "dcgan", "resnet"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The game of generator and critic; the batch is that of a critic step."""

    loss: Literal[
        "minimax", "nonsaturating", "least_squares", "hinge", "wasserstein", "relativistic"
    ] = "nonsaturating"
    """What critic and generator minimise."""
    penalty: Literal["none", "wgan_gp", "r1", "r2", "r1_r2", "dragan"] = "r1"
    """Gradient penalty added to the critic's loss."""
    penalty_weight: Annotated[float | None, POSITIVE] = None
    """Weight of the penalty; by default 10 for wgan_gp and dragan, and 0.3 for the others."""
    penalty_interval: Annotated[int, AT_LEAST_1] = 1
    """Critic steps from one penalty to the next, which then counts as many times (lazy)."""
    weight_clip: Annotated[float, AT_LEAST_0] = 0.0
    """Bound on every critic weight (wasserstein without a penalty); 0 for none."""
    num_critic_steps: Annotated[int, AT_LEAST_1] = 1
    """Critic steps before each generator step, each with a batch of its own."""
    updates: Literal["alternating", "simultaneous"] = "alternating"
    """Whether the generator meets the critic's new parameters or its old ones."""
    generator: Network = "dcgan"
    """Architecture of the generator."""
    critic: Network = "dcgan"
    """Architecture of the critic."""
    width: Annotated[int, AT_LEAST_1] = 32
    """Channels of the largest feature maps (dcgan, resnet)."""
    num_plain_blocks: Annotated[int, AT_LEAST_0] = 0
    """Residual blocks after each that changes the size of the maps (resnet)."""
    activation: Literal["relu", "tanh"] = "relu"
    """Of both networks (dcgan); the critic's relu is leaky."""
    hidden_sizes: Annotated[tuple[int, ...], AT_LEAST_1] = (256, 256)
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
    instance_noise_steps: Annotated[int, AT_LEAST_1] = 5000
    """Steps until the instance noise is 0."""

    def __post_init__(self) -> None:
        check_ranges(self)
        check_combination(self)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the latents of samples are drawn."""

    truncation: Annotated[float | None, POSITIVE] = None
    """Bound on every latent (truncation trick): the lower, the less variety; by default none."""

    def __post_init__(self) -> None:
        check_ranges(self)


def check_combination(own: Settings) -> None:
    """Refuses settings that make no sense together.

    Raises:
        ValueError: with the reason.
    """
    is_penalized, is_clipped = own.penalty != "none", own.weight_clip > 0.0
    is_wasserstein, is_bounded = own.loss == "wasserstein", is_penalized or own.spectral
    rescales = own.spectral and not is_penalized and own.critic_norm != "none"
    networks = (own.generator, own.critic)
    refusals = {
        "activation: only dcgan has a choice": own.activation != "relu" and "dcgan" not in networks,
        "num_plain_blocks: only resnet has blocks": own.num_plain_blocks
        and "resnet" not in networks,
        "loss: wasserstein needs a critic of bounded slope: add --penalty wgan_gp, --spectral or "
        "--weight-clip 0.01": is_wasserstein and not is_bounded and not is_clipped,
        "weight_clip: only a Wasserstein critic needs a bounded slope": is_clipped
        and not is_wasserstein,
        "weight_clip: the penalty or the spectral norm bounds the slope already": is_clipped
        and is_bounded,
        "spectral: batch and layer norm scale the critic's features again, so its slope has no "
        "bound; use --critic-norm none": is_wasserstein and rescales,
        "penalty_weight: there is no penalty to weigh": own.penalty_weight and not is_penalized,
        "penalty: gradients of single examples do not exist under batch norm; use --critic-norm "
        "layer or none": is_penalized and own.critic_norm == "batch",
        "penalty_interval: there is no penalty": own.penalty_interval > 1 and not is_penalized,
        "num_critic_steps: simultaneous updates are one step of each": own.updates == "simultaneous"
        and own.num_critic_steps > 1,
    }
    for message, is_bad in refusals.items():
        if is_bad:
            raise ValueError(message)
