"""Named host arrays in a folder, as Orbax writes and reads them; Orbax is used nowhere else."""

import contextlib
import glob
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp


def save(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to a new folder.

    Args:
        folder: which does not exist yet.
        arrays: none of them empty, which Orbax refuses.

    Raises:
        Exception: of many types, if the disk is full or the folder cannot be written.
    """
    if glob.escape(str(folder)) == str(folder):
        _save(folder, arrays)
        return
    # Orbax finds its own files by a pattern, of which brackets in a path become a part.
    with tempfile.TemporaryDirectory() as elsewhere:
        _save(Path(elsewhere) / folder.name, arrays)
        shutil.copytree(Path(elsewhere) / folder.name, folder)


def _save(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with _checkpointer() as checkpointer:
        checkpointer.save(folder, args=ocp.args.StandardSave(dict(arrays)))


def restore(folder: Path, like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reads the arrays of a folder.

    Args:
        folder: what `save` has written.
        like: arrays of the same names, shapes and types: without them Orbax asks for the devices of
            the run that saved.

    Returns:
        The arrays.

    Raises:
        Exception: of many types, on damage.
    """
    with _checkpointer() as checkpointer:
        return checkpointer.restore(folder, args=ocp.args.StandardRestore(dict(like)))


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    """An Orbax checkpointer of this process alone; its log is silent, as its errors are raised."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    finally:
        log.setLevel(level)
