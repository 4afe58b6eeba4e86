"""Strict settings for every test: eight virtual devices, no implicit broadcasting of ranks, cached compilation."""

import os
import pathlib
import subprocess
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
# Fewer threads than twice the devices can deadlock the all-reduce of virtual CPU devices (jax 0.10 and 0.11).
os.environ.setdefault("NPROC", "32")
# Values are tested, not speed: without LLVM's optimizations programs compile in half the time.
os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path.home() / ".cache/jaxgen/xla")),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Frees the compiled programs of a file: all together take more memory mappings than Linux gives a process."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def shell():
    """Runs an experiment in a process of its own, on as many devices as asked for."""

    def run(module: str, *args: object, devices: int = 1) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", f"experiments.{module}", *map(str, args)],
            env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
            cwd=pathlib.Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def call(monkeypatch, capfd):
    """Calls an experiment in this process and returns its exit code, output and errors."""

    def run(module, *args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(module, "configure", lambda **_: None)
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, args)])
        code = 0
        try:
            module.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run
