"""Settings of restoration."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import tyro

from experiments.ranges import AT_LEAST_0, AT_LEAST_1, POSITIVE, Range, check_settings, require

Task = Literal[
    "inpainting",
    "box",
    "random",
    "denoising",
    "deblurring",
    "motion",
    "super_resolution",
    "colorization",
    "compressed_sensing",
]
Method = Literal[
    "auto",
    "all",
    "moment_matching",
    "pigdm",
    "likelihood_gradient",
    "dps",
    "ddrm",
    "diffpir",
    "repaint",
    "langevin",
    "map",
    "exact",
    "completion",
]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to restore, and with what."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Directories of trained runs of the same data, of any family."""
    task: tuple[Task, ...] = ("inpainting",)
    """One or more: inpainting hides the lower half, box a middle square, random 70 % of the pixels;
    super_resolution starts from blocks averaged, compressed_sensing from a quarter as many
    numbers."""
    noise: Annotated[float, AT_LEAST_0] = 0.05
    """Deviation of the noise of a measurement; images go from -1 to 1."""
    method: Method = "auto"
    """Of the solver: all are all that a run's family has; auto is diffpir for diffusion, langevin
    for decoders, exact for Gaussians and completion for autoregressive runs."""
    num: Annotated[int, AT_LEAST_1] = 16
    """Test images, a random draw of them."""
    num_draws: Annotated[int, Range(2)] = 8
    """Draws from the posterior of each."""
    num_sampling_steps: Annotated[int, Range(1, 10_001)] = 100
    """Of the sampler of a diffusion run."""
    zeta: Annotated[float | None, POSITIVE] = None
    """Of dps: its step size; of diffpir: the share of fresh noise. 1 if not given."""
    images: str | None = None
    """Other images to restore: a file, or a folder with files of the size of the run's images."""
    out: pathlib.Path = pathlib.Path("restored")
    """Folder for the table and the pictures."""
    seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the measurements and the draws."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if they have moved."""

    def __post_init__(self) -> None:
        check_settings(self)
        require(len(self.runs) > 0, "runs", "none", "the directory of a trained run")
        needs = ("dps", "diffpir", "all")
        is_good = self.zeta is None or self.method in needs
        require(is_good, "zeta", self.zeta, "none, since only dps and diffpir have it")
        is_good = self.zeta is None or self.zeta <= 1.0 or self.method == "dps"
        require(is_good, "zeta", self.zeta, "at most 1 for diffpir, whose share it is")
