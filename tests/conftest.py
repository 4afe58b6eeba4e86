"""Strict settings for every test: eight virtual devices, no implicit broadcasting of ranks, cached compilation."""

import collections
import itertools
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
# Fewer threads than twice the devices can deadlock the all-reduce of virtual CPU devices (jax 0.10 and 0.11).
os.environ.setdefault("NPROC", "32")
import jax
import jaxlib
import pytest

from jaxgen.training.memory import return_freed_memory

# Values are tested, not speed: without LLVM's optimizations programs compile in half the time, and by
# the older of two code generators in a third of the rest. Versions without the flag abort on it.
_FLAGS = ["--xla_backend_optimization_level=0"]
if jaxlib.__version__ == "0.10.2":
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*_FLAGS, os.environ.get("XLA_FLAGS", "")])

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path.home() / ".cache/jaxgen/xla")),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_addoption(parser):
    parser.addoption("--slowest-files", action="store_true", help="list the seconds of each file")


def pytest_terminal_summary(terminalreporter, config):
    """Lists the seconds that the tests of each file took, the slowest first."""
    if not config.getoption("--slowest-files"):
        return
    seconds = collections.Counter()
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section("seconds of each file")
    for name, duration in seconds.most_common():
        terminalreporter.write_line(f"{duration:7.1f}  {name}")
    terminalreporter.write_line(f"{seconds.total():7.1f}  all files, one after another")


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Frees the compiled programs of a file: all together take more memory mappings than Linux gives a process."""
    yield
    jax.clear_caches()
    return_freed_memory()


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
        from experiments import course, without_optimizer
        from jaxgen.training import jax_setup

        monkeypatch.setattr(jax_setup, "configure", lambda **_: None)
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, args)])
        code = 0
        try:
            main = getattr(module, "main", course.main)
            if main in (course.main, without_optimizer.main):
                main(module.EXPERIMENT, module.__doc__)
            else:
                main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return run
