"""Synthesizes textures from one image: fits its Gaussian model, draws, enlarges, mixes, completes.

python -m experiments.texture grass.png                          # seconds, on a CPU
python -m experiments.texture grass.png --size 1024 1024 --method adsn --run-dir runs/grass
python -m experiments.texture grass.png --mix gravel.png --run-dir runs/mix
python -m experiments.texture grass.png --mask mask.png --run-dir runs/completion
"""

import dataclasses
from typing import Annotated

import tyro

from experiments.command_line import errors_exit, parse
from experiments.course import follow
from experiments.ranges import AT_LEAST_1, Range, check_settings
from experiments.texture import EXPERIMENT
from experiments.texture.settings import Sampling, Settings
from experiments.texture.side_images import digest, full_path


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What to synthesize."""

    image: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """Image file of the texture, grey or colour, of any size."""
    sampling: Sampling
    mask: str | None = None
    """Image file of the exemplar's size: white is known, black is hidden, and is completed from
    what is known."""
    mix: str | None = None
    """Another image file, with whose model that of the exemplar is mixed; it is resized and cropped
    to the exemplar's size."""
    run_dir: str = "runs/texture"
    """Directory of the run; the same line with the same directory goes on where it stopped."""
    image_size: Annotated[tuple[int, int] | None, AT_LEAST_1] = None
    """Height and width to resize and crop the exemplar to; by default its own."""
    seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the random phases and the noise in the pictures."""

    def __post_init__(self) -> None:
        check_settings(self)


def main() -> None:
    """Fits, measures and draws what the command line asks for."""
    default = CommandLine(image=tyro.MISSING, sampling=Sampling())
    line = parse(CommandLine, "experiments.texture", __doc__, default=default)
    with errors_exit(2, ValueError):
        settings = EXPERIMENT.defaults()
        settings = dataclasses.replace(
            settings,
            run_dir=line.run_dir,
            data=dataclasses.replace(
                settings.data, dataset=f"image:{line.image}", image_size=line.image_size
            ),
            training=dataclasses.replace(settings.training, seed=line.seed),
            model=Settings(
                full_path(line.mask), full_path(line.mix), digest(line.mask), digest(line.mix)
            ),
            sampling=line.sampling,
        )
    follow(EXPERIMENT, settings)


if __name__ == "__main__":
    main()
