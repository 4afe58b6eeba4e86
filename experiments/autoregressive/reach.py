"""What the trained network sees of an image, and that it sees nothing that is yet to come."""

import json

import jax
import jax.numpy as jnp

from experiments.autoregressive.build import build_model
from experiments.experiment import Trained
from jaxgen.autoregressive import Causality, causality
from jaxgen.files import write_atomically

FILE = "causality.json"


def measure(trained: Trained) -> Causality:
    """Of the pixel in the middle, on this machine."""
    model = build_model(trained.settings, trained.info)
    height, width, channels = trained.info.shape
    condition = None
    if trained.method.is_conditional:
        condition = jnp.eye(trained.info.num_classes or 1)[:1]
    variables = {"params": trained.state.eval_variables["params"]}
    shape = (height, width, channels)
    return causality(model, variables, shape, jax.random.key(0), condition=condition)


def diagnose(trained: Trained) -> None:
    """Prints how much of what comes before is seen, and writes it into the run.

    Raises:
        OSError: if the file cannot be written, after the line.
    """
    found = measure(trained)
    print(
        f"the pixel in the middle sees {found.num_seen} of the {found.num_before} before it and "
        f"{found.num_leaks} of those from it on"
    )
    content = {name: value for name, value in found._asdict().items() if name != "seen"}
    text = json.dumps({**content, "seen": found.seen.astype(int).tolist()}, indent=2)
    write_atomically(trained.directory.path / FILE, text + "\n")
