"""Checkpoints that notice damage: atomic saves, a checksum for every leaf, newest good one first.

Orbax never goes back to an older step, so restoring does. A state is stored as host arrays under
its leaf paths: it does not remember devices, and comes back on any number.
"""

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgen.training import checkpoint_folder
from jaxgen.training.leaves import WrongModelError, named_leaves, place, to_host
from jaxgen.types import PyTree

State = TypeVar("State")

_LOG = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or none of those present can be read."""


class Checkpoints:
    """The checkpoints of one run: one folder a step, the newest few kept.

    Saving is synchronous and atomic: a step is there as a whole or not at all. With several
    processes every one calls each method; process 0 writes (replicated state only), all read, and
    all raise or go on together.

    Attributes:
        directory: where the step folders are; made by the first save.
        keep: how many of the newest steps stay.
    """

    def __init__(
        self, directory: str | Path, *, keep: int = 3, report: Callable[[str], None] = _LOG.warning
    ) -> None:
        """Names the directory; touches no file.

        Args:
            directory: folder of the checkpoints.
            keep: number of newest steps to keep, at least 1.
            report: called on process 0 with one line for each damaged step that is skipped.

        Raises:
            ValueError: if `keep` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep: {keep}, expected at least 1")
        self.directory = Path(directory).absolute()
        self.keep = keep
        self._report = report
        self._damaged: set[int] = set()

    def steps(self) -> list[int]:
        """Lists the saved steps, whether sound or not.

        Returns:
            Steps in ascending order.
        """
        if not self.directory.is_dir():
            return []
        names = [path.name for path in self.directory.iterdir() if path.is_dir()]
        return sorted(int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]*", name))

    def save(self, step: int, state: PyTree) -> None:
        """Writes one state and then removes what is no longer kept.

        A sound checkpoint of the same step and contents is left alone; a damaged or different one
        is replaced.

        Args:
            step: number of training steps behind the state, at least 0.
            state: pytree of replicated `jax.Array` (typed keys too), NumPy arrays and Python
                numbers.

        Raises:
            ValueError: if `step` is negative.
            CheckpointError: if the state cannot be written (disk full, no permission); earlier
                steps are untouched.
        """
        if step < 0:
            raise ValueError(f"step: {step}, expected at least 0")
        failure: Exception | None = None
        free = ""
        if jax.process_index() == 0:
            try:
                self._write(step, state)
            except Exception as error:  # Orbax wraps a full disk in several types of its own.
                failure = error
                free = checkpoint_folder.free_space(self.directory)
                checkpoint_folder.clear_leftovers(self.directory)
        if _worst(int(failure is not None)):
            reason = _first_line(failure) if failure else "see process 0"
            steps = ", ".join(map(str, self.steps()))
            raise CheckpointError(
                f"could not save step {step} in {self.directory}: {reason}{free}. "
                + (f"The earlier checkpoints (steps {steps}) are kept." if steps else "")
            ) from failure

    def restore(self, like_state: State) -> tuple[int, State] | None:
        """Reads the newest sound checkpoint; damaged ones are reported and passed over.

        Args:
            like_state: a state of the model, whose structure, shapes, types and shardings the
                result takes. Its leaves may be `jax.ShapeDtypeStruct`.

        Returns:
            `(step, state)`, or None when there is no checkpoint at all.

        Raises:
            ValueError: if a readable checkpoint belongs to another model, naming the leaves that
                differ.
            CheckpointError: if there are checkpoints and none is sound.
        """
        model = dict(named_leaves(like_state))
        failures = []
        step = self._newest_below(None)
        while step is not None:
            arrays, failure = self._try_read(step, model)
            if arrays is not None:
                leaves = [place(arrays[path], leaf) for path, leaf in model.items()]
                return step, jax.tree.unflatten(jax.tree.structure(like_state), leaves)
            self._damaged.add(step)
            failures.append(f"step {step}: {failure}")
            if jax.process_index() == 0:
                self._report(
                    f"checkpoint of step {step} in {self.directory} is damaged, skipped: {failure}"
                )
            step = self._newest_below(step)
        if failures:
            raise CheckpointError(
                f"none of the {len(failures)} checkpoints in {self.directory} can be read: "
                + "; ".join(failures)
                + ". Remove that folder to train from the start."
            )
        return None

    def _newest_below(self, limit: int | None) -> int | None:
        """Newest step below `limit`, as process 0 sees the folder."""
        steps = [step for step in self.steps() if limit is None or step < limit]
        newest = steps[-1] if steps else -1
        if jax.process_count() > 1:
            newest = int(multihost_utils.broadcast_one_to_all(np.asarray(newest, np.int32)))
        return newest if newest >= 0 else None

    def _try_read(
        self, step: int, model: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray] | None, str]:
        """Arrays of one step, or None and the reason; all processes agree."""
        arrays, failure, wrong = None, "unreadable on another process", None
        try:
            arrays = checkpoint_folder.read(self.directory / str(step), model)
        except WrongModelError as error:
            wrong = error
        except Exception as error:  # Damage shows as any of a dozen types.
            failure = _first_line(error)
        verdict = _worst(2 if wrong else int(arrays is None))
        if verdict == 2:
            raise ValueError(str(wrong) if wrong else "another process has another model") from None
        return (None if verdict else arrays), failure

    def _write(self, step: int, state: PyTree) -> None:
        """Saves on process 0."""
        leaves = {path: to_host(leaf) for path, leaf in named_leaves(state)}
        self.directory.mkdir(parents=True, exist_ok=True)
        checkpoint_folder.clear_leftovers(self.directory)
        target = self.directory / str(step)
        if target.exists() and checkpoint_folder.holds(target, leaves):
            return
        checkpoint_folder.write(target, leaves)
        self._damaged.discard(step)
        self._prune(step)

    def _prune(self, saved: int) -> None:
        """Removes all but the newest steps, and damaged ones that the run has passed."""
        sound = [step for step in self.steps() if step not in self._damaged]
        passed = [step for step in self._damaged if step < saved]
        for step in {*sound[: -self.keep], *passed} - {saved}:
            checkpoint_folder.remove(self.directory / str(step))
        checkpoint_folder.clear_leftovers(self.directory)


def _worst(code: int) -> int:
    """The largest code of all processes, so that they raise or go on together."""
    if jax.process_count() == 1:
        return code
    return int(np.max(multihost_utils.process_allgather(np.asarray(code, np.int32))))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
