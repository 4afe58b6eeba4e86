"""Settings of the comparison of flows in the plane."""

import dataclasses
from typing import Annotated, Literal, get_args

from experiments.ranges import AT_LEAST_1, POSITIVE, check_settings
from jaxgen.flows.models import VectorModel

Density = Literal["ring", "checkerboard", "moons", "grid"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a comparison of flows on densities of the plane."""

    run_dir: str = "runs/flow_2d"
    """Directory of the results; the same line skips the flows that are done."""
    densities: tuple[Density, ...] = ("ring", "checkerboard", "moons")
    """What is learned: 8 Gaussians on a circle, a checkerboard, two moons, 25 Gaussians."""
    models: tuple[VectorModel, ...] = get_args(VectorModel)
    """The rows of the table."""
    num_layers: Annotated[int, AT_LEAST_1] = 8
    """Layers of the couplings and autoregressive flows; planar and radial ones have four times as
    many, which are far smaller."""
    hidden_sizes: Annotated[tuple[int, ...], AT_LEAST_1] = (64, 64)
    """Widths of the networks' layers."""
    num_seeds: Annotated[int, AT_LEAST_1] = 1
    """Runs of each flow, trained at once."""
    seed: int = 0
    """The first of the seeds."""
    steps: Annotated[int, AT_LEAST_1] = 1000
    """Training steps."""
    steps_per_call: Annotated[int, AT_LEAST_1] = 100
    """Steps in one dispatch; the last one takes what is left."""
    batch_size: Annotated[int, AT_LEAST_1] = 256
    """Points of a step, drawn anew for each."""
    learning_rate: Annotated[float, POSITIVE] = 5e-3
    """Of Adam, at the start; it falls to 0 along a cosine."""
    num_test: Annotated[int, AT_LEAST_1] = 50_000
    """Points behind a divergence, the same for all flows of a density."""

    def __post_init__(self) -> None:
        check_settings(self)
