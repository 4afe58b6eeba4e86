"""The settings of JAX: where compiled programs are cached, and how processes find each other."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from jaxgen.training.jax_setup import configure


@pytest.fixture
def settings(monkeypatch) -> dict:
    """What `configure` would set, in an environment without any caches of its own."""
    found: dict = {}
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XLA_FLAGS", "NPROC"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(jax.config, "update", found.__setitem__)
    return found


def no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("xdg", [None, ""])
def test_cache_is_the_users(settings, monkeypatch, tmp_path, xdg, capsys):
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)
    if xdg is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    configure()
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / ".cache/jaxgen/xla")
    assert capsys.readouterr() == ("", "")


def test_cache_needs_no_home_where_it_is_given(settings, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pathlib.Path, "home", no_home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    configure()
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / "jaxgen/xla")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    settings.clear()
    configure()
    assert "jax_compilation_cache_dir" not in settings
    assert capsys.readouterr() == ("", "")


def test_without_a_cache_one_line_says_so(settings, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pathlib.Path, "home", no_home)
    configure()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    configure()
    assert "jax_compilation_cache_dir" not in settings
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("nothing is cached" in line and "set XDG_CACHE_HOME" in line for line in lines)
    assert "Could not determine home directory" in lines[0]
    assert str(tmp_path / "file") in lines[1]


@pytest.mark.parametrize(("num_cores", "num_threads"), [(8, ""), (9, ""), (7, "32")])
def test_devices_that_share_cores_get_threads_to_wait_in(
    settings, monkeypatch, num_cores, num_threads
):
    """And those with a core each none beside it, which would take turns with it."""
    monkeypatch.delenv("NPROC")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(num_cores)))
    assert jax.config.jax_num_cpu_devices == 8
    configure()
    assert os.environ.get("NPROC", "") == num_threads


def test_hosts_without_a_cluster_are_asked_for_the_flags():
    """In a process of its own: JAX refuses to look for a cluster after its first computation."""
    clusters = ("SLURM_", "OMPI_", "PMI_", "KUBERNETES_", "JAX_COORDINATOR")
    given = ({}, {"coordinator": "host:1234"}, {"num_processes": 2, "process_id": 0})
    code = f"""
from jaxgen.training.jax_setup import configure
for given in {given}:
    try:
        configure(distributed=True, **given)
    except ValueError as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in os.environ.items() if not name.startswith(clusters)},
        cwd=pathlib.Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(given)
    for line in lines:
        assert line.startswith("distributed: no cluster was found")
        assert "--coordinator HOST:PORT --num-processes N --process-id I" in line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "host"}, "coordinator: host, expected HOST:PORT"),
        ({"coordinator": ":1234"}, "coordinator: :1234, expected HOST:PORT"),
        ({"num_processes": 0}, "num_processes: 0, expected at least 1"),
        ({"num_processes": 2, "process_id": 2}, "process_id: 2, expected 0 to N - 1"),
        ({"process_id": -1}, "process_id: -1, expected 0 to N - 1"),
        ({"distributed": False, "process_id": 0}, "distributed: False, expected --distributed"),
    ],
)
def test_wrong_arguments_are_refused(settings, given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        configure(**{"distributed": True, **given})


def test_arguments_reach_jax(settings, monkeypatch):
    seen = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args: seen.append(args))
    configure(distributed=True, coordinator="host:1234", num_processes=2, process_id=1)
    configure(distributed=True)
    configure()
    assert seen == [("host:1234", 2, 1), (None, None, None)]
