"""Completes test images of which a part is hidden, by an autoregressive run.

python -m experiments.complete runs/autoregressive --mask lower_half
"""

import dataclasses
import pathlib
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.autoregressive.completions import complete
from experiments.command_line import errors_exit, parse
from experiments.evaluate import load_data
from experiments.ranges import AT_LEAST_1, Range, check_settings, require
from experiments.runs import find_run, restore_run, trained_run
from jaxgen import plots
from jaxgen.autoregressive import Mask
from jaxgen.data import labelled, subset
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to complete."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained autoregressive run."""
    mask: Mask = "lower_half"
    """The part that is hidden; the order of the run must write it last."""
    num: Annotated[int, AT_LEAST_1] = 10
    """Test images, a random draw of them."""
    num_draws: Annotated[int, AT_LEAST_1] = 4
    """Completions of each."""
    out: pathlib.Path = pathlib.Path("completions.png")
    """PNG file."""
    seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the completions."""
    data_dir: str | None = None
    """Where TFDS data sets lie now, if they have moved."""

    def __post_init__(self) -> None:
        check_settings(self)


def main() -> None:
    """Restores the run, draws completions and writes the picture."""
    settings = parse(Settings, "experiments.complete", __doc__)
    with errors_exit(2, ValueError, CheckpointError, OSError):
        jax_setup.configure()
        run = find_run(settings.run)
        name = run.experiment.name
        require(name == "autoregressive", "run", f"of {name}", "a run of autoregressive")
        dataset = load_data(run, None, settings.data_dir)
        trained = trained_run(run, restore_run(run), dataset)
        test = dataset.test
        batch = subset(labelled(test) if trained.method.is_conditional else test, settings.num)
        x = jnp.asarray(batch["x"])
        label = jnp.asarray(batch["label"]) if trained.method.is_conditional else None
        keys = jax.random.split(jax.random.key(settings.seed), settings.num_draws)
        shown, drawn = complete(trained, x, label, settings.mask, keys)
        plots.labelled_grid(
            settings.out,
            np.stack([np.asarray(x), shown, *drawn]),
            row_labels=["test", "known", *["draw"] * settings.num_draws],
            title=f"Test images, the {settings.mask.replace('_', ' ')} drawn given the rest",
            levels=run.info.image_levels,
        )
        print(f"wrote {settings.num_draws} completions of {len(x)} test images to {settings.out}")


if __name__ == "__main__":
    main()
