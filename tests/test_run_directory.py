"""Run directories: checked before anything is made, locked by one run, one set of settings."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgen.files import write_atomically
from jaxgen.training.run_directory import (
    RunError,
    open_run,
    read_config,
)

ROOT = Path(__file__).parent.parent
CONFIG = {
    "dataset": "digits",
    "steps": 100,
    "sizes": (1, 2),
    "optimizer": {"lr": 1e-3, "b1": 0.9},
    "label": None,
    "tags": {},
}


def test_new_run_writes_its_settings(tmp_path):
    path = tmp_path / "runs" / "a"
    with open_run(path, CONFIG) as run:
        assert run.path == path
        assert run.config == path / "config.json"
        assert run.checkpoints.parent == run.samples.parent == run.metrics.parent == path
        assert run.report.parent == run.evaluation.parent == path
    assert read_config(path) == {**CONFIG, "sizes": [1, 2]}
    assert json.loads((path / "config.json").read_text()) == read_config(path)


def test_same_settings_resume(tmp_path):
    with open_run(tmp_path, CONFIG):
        pass
    before = (tmp_path / "config.json").stat().st_mtime_ns
    with open_run(str(tmp_path), dict(reversed(CONFIG.items()))):
        pass
    assert (tmp_path / "config.json").stat().st_mtime_ns == before


def test_relative_path_means_the_same_run_later(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_run("a", CONFIG) as run:
        assert run.path == tmp_path / "a"


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_run("~/a", CONFIG) as run:
        assert run.path == tmp_path / "a"
    assert read_config("~/a") == json.loads(json.dumps(CONFIG))
    with pytest.raises(RunError, match="no such home directory"):
        read_config("~nobody-of-this-name/a")


def test_every_difference_is_named_with_both_values(tmp_path):
    with open_run(tmp_path, CONFIG):
        pass
    content = (tmp_path / "config.json").read_bytes()
    other = {
        **CONFIG,
        "dataset": "mnist",
        "optimizer": {"lr": 2e-3, "b1": 0.9},
        "label": False,
        "new": 1,
    }
    del other["tags"]
    with pytest.raises(RunError) as info, open_run(tmp_path, other):
        pytest.fail("the body ran")
    message = str(info.value)
    assert str(tmp_path) in message
    assert 'dataset: "digits" there, "mnist" now' in message
    assert "optimizer.lr: 0.001 there, 0.002 now" in message
    assert "label: null there, false now" in message
    assert "new: not set there, 1 now" in message
    assert "tags: {} there, not set now" in message
    assert "steps" not in message and "b1" not in message
    assert (tmp_path / "config.json").read_bytes() == content


@pytest.mark.parametrize("value", [True, 1.0, "1", float("nan")])
def test_values_of_another_type_differ(tmp_path, value):
    with open_run(tmp_path, {"a": 1}):
        pass
    with pytest.raises(RunError, match="a: 1 there"), open_run(tmp_path, {"a": value}):
        pass


def test_nan_equals_itself(tmp_path):
    for _ in range(2):
        with open_run(tmp_path, {"a": float("nan")}):
            pass


def test_free_keys_may_differ_and_are_rewritten(tmp_path):
    with open_run(tmp_path, CONFIG):
        pass
    longer = {**CONFIG, "steps": 200, "optimizer": {"lr": 5e-3, "b1": 0.9}}
    with pytest.raises(RunError, match=r"optimizer\.lr"):  # noqa: SIM117
        with open_run(tmp_path, longer, free_keys=["steps"]):
            pass
    assert read_config(tmp_path)["steps"] == 100
    for free_keys in (["steps", "optimizer.lr"], ["steps", "optimizer"]):
        with open_run(tmp_path, longer, free_keys=free_keys):
            assert read_config(tmp_path)["steps"] == 200


def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match=r"not empty.*'thesis.txt'"), open_run(tmp_path, CONFIG):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(RunError, match="is a file"), open_run(tmp_path / "thesis.txt", CONFIG):
        pass
    with pytest.raises(RunError, match="cannot write"):  # noqa: SIM117
        with open_run(tmp_path / "thesis.txt" / "run", CONFIG):
            pass


def test_start_killed_before_its_settings_can_be_repeated(tmp_path):
    (tmp_path / "lock").write_text("process 1 on host x\n")
    (tmp_path / ".config.json.1.part").write_text("{")
    with open_run(tmp_path, CONFIG):
        pass
    assert read_config(tmp_path)["steps"] == 100


@pytest.mark.parametrize("content", ["", '{"a": 1', "[1]", "\x00\x00"])
def test_damaged_settings_are_a_clear_error(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        read_config(tmp_path)
    with pytest.raises(RunError, match=r"config\.json is damaged"), open_run(tmp_path, CONFIG):
        pass
    assert (tmp_path / "config.json").read_text() == content


def test_reading_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match="there is no run directory"):
        read_config(tmp_path / "none")
    with pytest.raises(RunError, match=r"it has no config\.json"):
        read_config(tmp_path)


def test_settings_json_cannot_hold(tmp_path):
    with pytest.raises(RunError, match="not JSON serializable"):  # noqa: SIM117
        with open_run(tmp_path / "a", {"a": {1, 2}}):
            pass
    assert not (tmp_path / "a").exists()


def test_one_run_at_a_time(tmp_path):
    with open_run(tmp_path, CONFIG):
        message = rf"{tmp_path} is in use by process {os.getpid()} on host"
        with pytest.raises(RunError, match=message), open_run(tmp_path, CONFIG):
            pass
        with open_run(tmp_path, {"other": 1}, is_writer=False):
            pass
    with open_run(tmp_path, CONFIG):
        pass


def test_lock_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), open_run(tmp_path, CONFIG):
        raise KeyError("x")
    with open_run(tmp_path, CONFIG):
        pass


HOLD = """
import sys
from jaxgen.training.run_directory import open_run
with open_run(sys.argv[1], {"a": 1}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_of_another_process_ends_when_it_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"in use by process {process.pid} on host"):  # noqa: SIM117
            with open_run(tmp_path, {"a": 1}):
                pass
    finally:
        process.kill()
        process.communicate()
    with open_run(tmp_path, {"a": 1}):
        pass


def test_others_than_the_writer_touch_nothing(tmp_path):
    with open_run(tmp_path / "a", CONFIG, is_writer=False) as run:
        assert run.path == tmp_path / "a"
    assert not (tmp_path / "a").exists()


def test_atomic_writing_keeps_the_old_content_on_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old é")
    assert path.read_text(encoding="utf-8") == "old é"

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    with pytest.raises(RunError, match=r"cannot write .*config\.json"):  # noqa: SIM117
        with open_run(tmp_path / "a", CONFIG):
            pass
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["file"]
    assert path.read_text(encoding="utf-8") == "old é"
