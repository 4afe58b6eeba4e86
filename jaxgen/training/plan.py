"""How a run is cut into steps, batches, dispatches and checkpoints, checked once."""

import dataclasses

import jax

from jaxgen.data.dataset import Split


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to train, and in what portions.

    Raises:
        ValueError: if a field is below 1, the batch size below 0.
    """

    steps: int = 2000
    """Number of training steps; a finished run goes on if you raise it."""
    batch_size: int = 128
    """Examples in a step, over all devices; 0 for all train examples."""
    steps_per_call: int = 100
    """Steps in one dispatch to the device, and behind each row of metrics."""
    checkpoint_every: int = 1000
    """Steps between checkpoints, each at the end of a dispatch."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "batch_size" else 1
            if value < least:
                raise ValueError(f"{field.name}: {value}, expected at least {least}")

    def settled(self, num_examples: int, *, batches_per_step: int = 1) -> "Plan":
        """The plan of a data set: the batch of a step as the loop is given it.

        Args:
            num_examples: of the train split.
            batches_per_step: batches that one step takes, such as those of critic steps.

        Returns:
            The plan, its batch size that of all batches of a step. All examples are as many as the
            devices can share evenly.
        """
        each = self.batch_size
        if each == 0:
            num_devices = jax.device_count()
            each = num_examples // batches_per_step // num_devices * num_devices
            # A single example goes to every device.
            each = max(each, 1) if num_examples == batches_per_step == 1 else each
        return dataclasses.replace(self, batch_size=each * batches_per_step)


def check_plan(plan: Plan, split: Split, *, batches_per_step: int = 1) -> None:
    """Checks, before anything is compiled, that a batch fits the data and the devices.

    A data set of a single example has nothing to share out: every device is given it whole.

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
    if size == 0:
        raise ValueError(
            f"batch_size: 0, expected 1 to {len(split)} here; `Plan.settled` tells that of all"
        )
    if size == len(split) == batches_per_step == 1:
        return
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
