"""Process-wide settings of JAX that make runs faster; called by programs, never on import."""

import os
import pathlib
import sys
from typing import Any

import jax
import jaxlib

# jaxlib 0.10 sends CPU convolutions of fewer than 128 output channels to a path that uses one core;
# `individual_dot` keeps that path for matrix products alone. Versions that do not know the flag
# abort the process.
_CONVOLUTION_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_FLAG_VERSIONS = ("0.10.2",)

QUICK_COMPILATION = {"xla_backend_optimization_level": 0}
"""Compiler options of a program that runs once: compiled fast instead of well."""

_CLUSTER_FLAGS = "--coordinator HOST:PORT --num-processes N --process-id I"


def configure(
    *,
    distributed: bool = False,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Sets up the compilation cache, the CPU flags and the processes.

    Call it before the first JAX computation. The cache lives in ``$JAX_COMPILATION_CACHE_DIR`` or
    in ``jaxgen/xla`` of the user's cache directory (``$XDG_CACHE_HOME`` or ``~/.cache``); where
    none can be written, a line on standard error says so. A flag that the user gave in
    ``XLA_FLAGS`` or ``NPROC`` is left alone.

    Args:
        distributed: whether to join the processes of other hosts. A TPU pod, Slurm and MPI tell
            by themselves who they are; elsewhere the arguments below do.
        coordinator: ``HOST:PORT`` of process 0, where all meet; the same on each host.
        num_processes: number of processes in all; the same on each host.
        process_id: number of this process, from 0.

    Raises:
        ValueError: if no cluster is found and one of the three is missing, or they make no sense.
    """
    config: Any = jax.config
    if config.jax_num_cpu_devices > _num_cores():
        # Fewer threads than twice the virtual CPU devices can deadlock their all-reduce (jax 0.10
        # and 0.11); more threads than cores halve the speed of devices that have a core each.
        os.environ.setdefault("NPROC", str(max(32, 2 * config.jax_num_cpu_devices)))
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__ in _FLAG_VERSIONS and _CONVOLUTION_FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_CONVOLUTION_FLAG}=individual_dot".strip()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        _set_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _check_cluster(distributed, coordinator, num_processes, process_id)
    if distributed:
        _join(coordinator, num_processes, process_id)


def _num_cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _set_cache() -> None:
    """Chooses the folder of compiled programs, if there is one that can be written."""
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = pathlib.Path(caches) / "jaxgen" / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written")
    except (OSError, RuntimeError) as error:  # RuntimeError: neither HOME nor a known user.
        print(
            f"no cache directory ({error}): nothing is cached, so every start compiles anew; "
            "set XDG_CACHE_HOME to a folder that can be written",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _check_cluster(
    distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Raises ValueError for arguments that belong to no cluster."""
    if not distributed and (coordinator, num_processes, process_id) != (None, None, None):
        raise ValueError(f"distributed: False, expected --distributed with {_CLUSTER_FLAGS}")
    host, _, port = (coordinator or "").rpartition(":")
    if coordinator is not None and not (host and port.isdigit()):
        raise ValueError(f"coordinator: {coordinator}, expected HOST:PORT")
    if num_processes is not None and num_processes < 1:
        raise ValueError(f"num_processes: {num_processes}, expected at least 1")
    if process_id is not None and not 0 <= process_id < (num_processes or sys.maxsize):
        raise ValueError(f"process_id: {process_id}, expected 0 to N - 1 of --num-processes N")


def _join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes; JAX finds out what is missing where a cluster tells it."""
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except ValueError as error:
        raise ValueError(
            f"distributed: no cluster was found that tells all about its processes ({error}); "
            f"give {_CLUSTER_FLAGS} on each host, I from 0 to N - 1"
        ) from error
