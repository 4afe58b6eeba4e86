"""How a run is cut into steps, batches, dispatches and checkpoints, checked once."""

import dataclasses

import jax

from jaxgen.data.dataset import Split


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to train, and in what portions.

    Raises:
        ValueError: if a field is below 1.
    """

    steps: int = 2000
    """Number of training steps; a finished run goes on if you raise it."""
    batch_size: int = 128
    """Examples in a step, over all devices."""
    steps_per_call: int = 100
    """Steps in one dispatch to the device, and behind each row of metrics."""
    checkpoint_every: int = 1000
    """Steps between checkpoints, each at the end of a dispatch."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ValueError(f"{field.name}: {value}, expected at least 1")


def check_plan(plan: Plan, split: Split, *, batches_per_step: int = 1) -> None:
    """Checks, before anything is compiled, that a batch fits the data and the devices.

    Args:
        plan: whose batch size is checked.
        split: the examples to train on.
        batches_per_step: batches of that size that one step takes, at least 1: the critic steps of
            a GAN have one each.

    Raises:
        ValueError: if the batch has more examples than there are, or does not divide by the number
            of devices; the message names the sizes that do.
    """
    size, num_devices = plan.batch_size, jax.device_count()
    largest = len(split) // batches_per_step // num_devices * num_devices
    facts = f"{len(split)} training examples"
    if batches_per_step > 1:
        facts += f", {batches_per_step} batches in a step"
    if num_devices > 1:
        facts += f", {num_devices} devices"
    if largest == 0:
        raise ValueError(f"batch_size: {size}, but these allow no batch at all: {facts}")
    if size > largest:
        raise ValueError(f"batch_size: {size}, expected at most {largest} ({facts})")
    if size % num_devices:
        below = size // num_devices * num_devices
        nearest = [str(n) for n in (below, below + num_devices) if 1 <= n <= largest]
        raise ValueError(
            f"batch_size: {size}, expected a multiple of the {num_devices} devices, "
            f"such as {' or '.join(nearest)}"
        )
