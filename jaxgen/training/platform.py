"""Process-wide settings of XLA that make runs faster; called by programs, never on import."""

import os
import pathlib

import jax
import jaxlib

# jaxlib 0.10 sends CPU convolutions of fewer than 128 output channels to a path that uses one core; `individual_dot`
# keeps that path for matrix products alone. Versions that do not know the flag abort the process.
_CONVOLUTION_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_FLAG_VERSIONS = ("0.10.2",)


def configure(*, distributed: bool = False) -> None:
    """Sets up the compilation cache, the CPU flags and the processes; call it before the first JAX computation.

    The cache lives in ``$JAX_COMPILATION_CACHE_DIR`` or in ``jaxgen/xla`` of the user's cache directory
    (``$XDG_CACHE_HOME`` or ``~/.cache``). A flag that the user gave in ``XLA_FLAGS`` or ``NPROC`` is left alone.

    Args:
        distributed: whether to join the processes of other hosts, found by `jax.distributed.initialize`.
    """
    num_devices = int(os.environ.get("JAX_NUM_CPU_DEVICES", 1))
    if num_devices > 1:
        # Fewer threads than twice the virtual CPU devices can deadlock their all-reduce (jax 0.10 and 0.11); more
        # threads than cores slow the loop of one device by a third.
        os.environ.setdefault("NPROC", str(max(32, 2 * num_devices)))
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__ in _FLAG_VERSIONS and _CONVOLUTION_FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_CONVOLUTION_FLAG}=individual_dot".strip()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        caches = os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(caches) / "jaxgen" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if distributed:
        jax.distributed.initialize()
