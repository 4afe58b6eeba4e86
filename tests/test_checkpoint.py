"""Checkpoints: what goes in comes out, damage is noticed, and nothing good is ever lost."""

import errno
import hashlib
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax.training.train_state import TrainState
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.training.checkpoint import CheckpointError, Checkpoints
from jaxgen.training.leaves import parameter_digest

ROOT = Path(__file__).parent.parent


def make(value: float = 0.0, features: int = 3) -> dict:
    """A small state whose numbers depend on `value`, all of its bits set in some byte."""
    return {"w": jnp.linspace(0.1, 1.7, 4 * features).reshape(4, features) + value, "n": 3}


def train_state() -> TrainState:
    model = nn.Dense(3)
    params = model.init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    return TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3))


def replicated(tree):
    """The tree as a pmap with `out_axes=None` returns it."""
    devices = jnp.zeros(jax.local_device_count())
    return jax.pmap(lambda _, x: x, in_axes=(0, None), out_axes=None)(devices, tree)


def assert_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if jnp.issubdtype(getattr(a, "dtype", np.float32), jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)


def test_train_state_with_static_fields_round_trips(tmp_path):
    state = train_state()
    Checkpoints(tmp_path / "c").save(7, state)
    step, back = Checkpoints(tmp_path / "c").restore(state)
    assert step == 7
    assert back.tx is state.tx and back.apply_fn == state.apply_fn
    assert type(back.step) is int
    assert_equal(back, state)


def test_kinds_and_types_of_leaves_are_kept(tmp_path):
    state = {
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4, impl="rbg"), 2),
        "bfloat16": jnp.arange(3, dtype=jnp.bfloat16),
        "bool": np.array([True, False]),
        "int64": np.arange(2**40, 2**40 + 3),
        "scalar": np.float32(2.5),
        "python": (3, 0.1, True),
        "empty": jnp.zeros((0, 2)),
        "none": None,
        "dots/and.slashes": {"a.b/c": jnp.ones(2), ".": jnp.zeros(())},
    }
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, state)
    _, back = checkpoints.restore(state)
    assert_equal(back["key"], state["key"])
    assert jax.random.key_impl(back["keys"]) == jax.random.key_impl(state["keys"])
    assert isinstance(back["int64"], np.ndarray) and isinstance(back["empty"], jax.Array)
    assert [type(x) for x in back["python"]] == [int, float, bool]
    assert back["python"][1] == pytest.approx(0.1, rel=1e-6)
    del state["python"], back["python"]
    assert_equal(back, state)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=True), min_size=4, max_size=4))
def test_every_bit_of_float32_comes_back(tmp_path_factory, values):
    state = {"x": np.array(values, np.float32)}
    checkpoints = Checkpoints(tmp_path_factory.mktemp("bits"))
    checkpoints.save(0, state)
    assert checkpoints.restore(state)[1]["x"].tobytes() == state["x"].tobytes()


def test_state_of_eight_devices_restores_on_one_and_back(tmp_path):
    single = {"state": train_state(), "key": jax.random.key(1)}
    many = replicated(single)
    assert len(many["key"].sharding.device_set) == 8
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, many)
    _, on_one = checkpoints.restore(single)
    _, on_many = checkpoints.restore(many)
    assert len(on_one["key"].sharding.device_set) == 1
    assert on_many["state"].params["kernel"].sharding == many["state"].params["kernel"].sharding
    assert parameter_digest(on_one) == parameter_digest(many) == parameter_digest(on_many)


def test_restored_state_may_be_donated(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state = {"w": jnp.arange(256.0)}
    checkpoints.save(0, state)
    _, back = checkpoints.restore(state)
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    np.testing.assert_array_equal(step(back)["w"], np.arange(256) + 1)
    np.testing.assert_array_equal(checkpoints.restore(state)[1]["w"], np.arange(256))


def test_shapes_alone_are_enough_to_restore(tmp_path):
    state = {"w": jnp.arange(3.0), "key": jax.random.key(5)}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, state)
    assert_equal(checkpoints.restore(jax.eval_shape(lambda: state))[1], state)


def test_none_without_checkpoints(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(make()) is None
    assert not (tmp_path / "none").exists()
    assert Checkpoints(tmp_path).restore(make()) is None


def test_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (5, 10, 100, 20):
        checkpoints.save(step, make(step))
    assert checkpoints.steps() == [20, 100]
    assert checkpoints.restore(make())[0] == 100


@pytest.mark.parametrize("keep", [0, -1])
def test_keep_is_checked(tmp_path, keep):
    with pytest.raises(ValueError, match=f"keep: {keep}, expected at least 1"):
        Checkpoints(tmp_path, keep=keep)


def test_step_is_checked(tmp_path):
    with pytest.raises(ValueError, match="step: -1, expected at least 0"):
        Checkpoints(tmp_path).save(-1, make())


# Damage -------------------------------------------------------------------------------------------


def data_file(folder: Path) -> Path:
    """The file that holds the largest array."""
    return max(folder.glob("arrays/**/d/*"), key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x04
    path.write_bytes(bytes(content))


def flip_digit(folder: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    assert text.count("    3\n") == 1
    path.write_text(text.replace("    3\n", "    5\n"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_arrays(folder: Path) -> None:
    shutil.rmtree(folder / "arrays")
    shutil.copytree(folder.with_name("1") / "arrays", folder / "arrays")


def wrong_sum(folder: Path) -> None:
    """All files in order, and yet the arrays are not those that were saved."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["leaves"]["['w']"]["crc32"] += 1
    sums = json.dumps([manifest["leaves"], manifest["files"]], sort_keys=True)
    path.write_text(json.dumps(manifest | {"crc32": zlib.crc32(sums.encode())}))


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGE = {
    "bit of the data": lambda f: flip(data_file(f)),
    "data cut": lambda f: truncate(data_file(f)),
    "data zeroed": lambda f: data_file(f).write_bytes(bytes(data_file(f).stat().st_size)),
    "data lost": lambda f: data_file(f).unlink(),
    "_METADATA lost": lambda f: (f / "arrays/_METADATA").unlink(),
    "_METADATA cut": lambda f: truncate(f / "arrays/_METADATA"),
    "index lost": lambda f: (f / "arrays/manifest.ocdbt").unlink(),
    "index cut": lambda f: truncate(f / "arrays/manifest.ocdbt"),
    "arrays lost": lambda f: shutil.rmtree(f / "arrays"),
    "arrays of another step": other_arrays,
    "manifest lost": lambda f: (f / "manifest.json").unlink(),
    "manifest cut": lambda f: truncate(f / "manifest.json"),
    "manifest empty": lambda f: (f / "manifest.json").write_text(""),
    "manifest not of its form": lambda f: (f / "manifest.json").write_text("[1]"),
    "shape in the manifest": flip_digit,
    "sum of a leaf": wrong_sum,
    "empty folder": empty_folder,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with the steps 1 and 2, to be copied."""
    path = tmp_path_factory.mktemp("sound")
    for step in (1, 2):
        Checkpoints(path).save(step, make(step))
    return path


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_newest_is_reported_and_passed_over(tmp_path, sound, kind, capfd):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    DAMAGE[kind](tmp_path / "2")
    reports = []
    checkpoints = Checkpoints(tmp_path, report=reports.append)
    step, state = checkpoints.restore(make())
    assert step == 1
    assert_equal(state, make(1))
    (report,) = reports
    assert "step 2" in report and "damaged" in report and "\n" not in report and len(report) < 600
    assert capfd.readouterr() == ("", "")
    # The run reaches the step again: it is written anew, and sound.
    checkpoints.save(2, make(2))
    step, state = Checkpoints(tmp_path).restore(make())
    assert step == 2
    assert_equal(state, make(2))


def test_damage_is_told_by_logging_unless_another_way_is_given(tmp_path, sound, caplog):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    flip(data_file(tmp_path / "2"))
    with caplog.at_level(logging.WARNING):
        Checkpoints(tmp_path).restore(make())
    assert "step 2" in caplog.text


def test_foreign_files_and_leftovers_do_no_harm(tmp_path, sound):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "2", tmp_path / "3.part")
    (tmp_path / "3.part" / "manifest.json").unlink()
    (tmp_path / "4.removed").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "2" / "notes.txt").write_text("mine")
    (tmp_path / "007").mkdir()
    reports = []
    checkpoints = Checkpoints(tmp_path, report=reports.append)
    assert checkpoints.restore(make())[0] == 2
    assert not reports
    checkpoints.save(3, make(3))
    assert checkpoints.restore(make())[0] == 3
    assert {p.name for p in tmp_path.iterdir()} == {"1", "2", "3", "notes.txt", "007"}


def test_error_when_none_is_sound(tmp_path, sound):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    flip(data_file(tmp_path / "2"))
    empty_folder(tmp_path / "1")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints.*step 2.*step 1") as info:
        Checkpoints(tmp_path, report=lambda _: None).restore(make())
    assert str(tmp_path) in str(info.value)


def test_damaged_newer_steps_never_crowd_out_sound_ones(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(10, make(10))
    for step in (20, 30):
        (tmp_path / str(step)).mkdir()
    checkpoints = Checkpoints(tmp_path, keep=2, report=lambda _: None)
    assert checkpoints.restore(make())[0] == 10
    checkpoints.save(15, make(15))
    assert checkpoints.steps() == [10, 15, 20, 30]
    checkpoints.save(25, make(25))
    assert checkpoints.steps() == [15, 25, 30]
    checkpoints.save(30, make(30))
    assert checkpoints.steps() == [25, 30]
    assert Checkpoints(tmp_path).restore(make())[0] == 30


def test_wrong_model_is_named_and_is_not_damage(tmp_path, sound):
    wrong = {"w": jnp.zeros((4, 5)), "n": 3.0, "extra": jnp.zeros(2)}
    reports = []
    with pytest.raises(ValueError) as info:
        Checkpoints(sound, report=reports.append).restore(wrong)
    message = str(info.value)
    assert "['w']: checkpoint float32[4, 3], model float32[4, 5]" in message
    assert "['n']: checkpoint int32[], model float32[]" in message
    assert "['extra']: checkpoint has none, model float32[2]" in message
    assert not reports and Checkpoints(sound).steps() == [1, 2]
    # Also when the newest manifest is damaged, and when the newest data are.
    for name, damage in (("a", flip_digit), ("b", lambda f: flip(data_file(f)))):
        shutil.copytree(sound, tmp_path / name)
        damage(tmp_path / name / "2")
        with pytest.raises(ValueError, match=r"\['w'\]: checkpoint float32\[4, 3\]"):
            Checkpoints(tmp_path / name, report=lambda _: None).restore(wrong)


def test_long_lists_of_differences_are_cut(tmp_path):
    Checkpoints(tmp_path).save(0, {str(i): i for i in range(30)})
    with pytest.raises(ValueError, match="and 10 more"):
        Checkpoints(tmp_path).restore({str(i): float(i) for i in range(30)})


def test_saving_a_sound_step_again_writes_nothing(tmp_path, sound):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    Checkpoints(tmp_path).save(2, make(2))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    Checkpoints(tmp_path).save(2, make(5))
    assert_equal(Checkpoints(tmp_path).restore(make())[1], make(5))


# Interrupted saves --------------------------------------------------------------------------------


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "place", [(ocp.StandardCheckpointHandler, "save"), (Path, "write_text"), (Path, "rename")]
)
@pytest.mark.parametrize("step", [2, 3])
def test_full_disk_loses_no_earlier_checkpoint(tmp_path, sound, monkeypatch, place, step):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(*place, full_disk)
    with pytest.raises(
        CheckpointError, match=rf"step {step} .*No space left.*\(steps 1, 2\) are kept"
    ):
        checkpoints.save(step, make(9))
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
    found, state = checkpoints.restore(make())
    assert found == 2
    assert_equal(state, make(2))
    checkpoints.save(3, make(3))
    assert checkpoints.restore(make())[0] == 3


def test_a_file_in_place_of_the_folder_is_a_clear_error(tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(CheckpointError, match="could not save step 1") as failure:
        Checkpoints(tmp_path / "c").save(1, make())
    assert "kept" not in str(failure.value)


def spawn(code: str, *args: str, devices: int = 1) -> subprocess.Popen:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "NPROC": "32",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *args],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SAVE_FOREVER = """
import itertools, sys
import numpy as np
from jaxgen.training.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
for step in itertools.count(int(sys.argv[2])):
    state = {"w": np.full((1000, 1000), step, np.float32), "n": np.full(10, step)}
    checkpoints.save(step, state)
    print(step, flush=True)
"""


def test_killed_while_saving(tmp_path):
    like = {"w": np.zeros((1000, 1000), np.float32), "n": np.zeros(10, np.int64)}
    done = -1
    for wait in (0.005, 0.03):
        process = spawn(SAVE_FOREVER, str(tmp_path), str(done + 1))
        try:
            for _ in range(2):
                done = int(process.stdout.readline())
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
        done = max([done, *map(int, rest.split())])
        reports = []
        step, state = Checkpoints(tmp_path, report=reports.append).restore(like)
        assert step in (done, done + 1) and not reports
        done = step
        assert (state["w"] == step).all() and (state["n"] == step).all()


TWO_PROCESSES = """
import sys
import jax
import jax.numpy as jnp
import numpy as np
jax.distributed.initialize(f"localhost:{sys.argv[2]}", 2, int(sys.argv[3]))
from jaxgen.training.checkpoint import CheckpointError, Checkpoints
from jaxgen.training.leaves import parameter_digest
reports = []
checkpoints = Checkpoints(sys.argv[1], report=reports.append)
like = {"w": jnp.zeros((4, 3)), "key": jax.random.key(0), "n": 0}
assert checkpoints.restore(like) is None
pmap = jax.pmap(lambda d, s: s, in_axes=(0, None), out_axes=None)
def make(step):
    w = jnp.full((4, 3), step + 0.5)
    return pmap(jnp.zeros(2), {"w": w, "key": jax.random.key(step), "n": step})
for step in (1, 2):
    checkpoints.save(step, make(step))
step, state = checkpoints.restore(make(0))
assert step == 2 and state["w"].sharding == make(0)["w"].sharding, state
assert parameter_digest(state) == parameter_digest(make(2))
jax.experimental.multihost_utils.sync_global_devices("read")
if jax.process_index() == 0:
    (checkpoints.directory / "2/manifest.json").unlink()
jax.experimental.multihost_utils.sync_global_devices("damaged")
step, state = checkpoints.restore(like)
assert step == 1 and (state["w"] == 1.5).all() and state["n"] == 1
assert len(reports) == (jax.process_index() == 0), reports
try:
    checkpoints.restore({**like, "w": jnp.zeros(2)})
except ValueError as error:
    assert "['w']" in str(error)
else:
    raise AssertionError("a wrong model passed")
checkpoints.save(2, make(7))
assert checkpoints.restore(like)[1]["n"] == 7
checkpoints._write = None  # Fails on process 0 alone; both must hear of it.
try:
    checkpoints.save(3, make(3))
except CheckpointError:
    print("done", flush=True)
"""


def test_two_processes(tmp_path):
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port = str(server.getsockname()[1])
    pair = [spawn(TWO_PROCESSES, str(tmp_path), port, str(i), devices=2) for i in (0, 1)]
    try:
        results = [process.communicate(timeout=100) for process in pair]
    finally:
        for process in pair:
            process.kill()
            process.communicate()
    for process, (out, err) in zip(pair, results, strict=True):
        assert process.returncode == 0 and out.endswith("done\n"), err
    # Two hosts' state restores on one.
    like = {"w": jnp.zeros((4, 3)), "key": jax.random.key(0), "n": 0}
    assert Checkpoints(tmp_path).restore(like)[0] == 2


# Digest -------------------------------------------------------------------------------------------


def test_digest_against_hashlib():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    text = b'["[\'b\']", "int32", []]' + np.int32(7).tobytes()
    text = b'["[\'a\']", "float32", [2, 3]]' + array.tobytes() + text
    expected = hashlib.sha256(text).hexdigest()
    assert parameter_digest({"b": np.int32(7), "a": jnp.asarray(array)}) == expected


def test_digest_is_stable_and_sensitive():
    zeros = jnp.zeros((2, 3))
    trees = [
        {"a": zeros, "b": zeros + 1},
        {"a": zeros + 1, "b": zeros},
        {"a": zeros, "c": zeros + 1},
        {"a": -zeros, "b": zeros + 1},
        {"a": zeros.reshape(3, 2), "b": zeros + 1},
        {"a": zeros.astype(jnp.int32), "b": zeros + 1},
        {"a": zeros.at[1, 2].set(1e-45), "b": zeros + 1},
        {"a": zeros, "b": zeros + 1, "key": jax.random.key(0)},
        {"a": zeros, "b": zeros + 1, "key": jax.random.key(1)},
    ]
    digests = [parameter_digest(tree) for tree in trees]
    assert all(a != b for a, b in itertools.combinations(digests, 2))
    assert digests == [parameter_digest(jax.tree.map(jnp.copy, tree)) for tree in trees]
    assert digests == [parameter_digest(dict(reversed(tree.items()))) for tree in trees]
    assert digests == [parameter_digest(replicated(tree)) for tree in trees]


@pytest.mark.parametrize("name", ["runs [x]", "a*b?", "sp ace"])
def test_a_path_may_hold_what_patterns_are_made_of(tmp_path, name):
    """Also nested leaves, whose names have brackets, and a directory that has moved."""
    state = {"a": ({"count": jnp.int32(3)}, jnp.arange(4.0))}
    Checkpoints(tmp_path / name / "run").save(1, state)
    (tmp_path / name).rename(tmp_path / "moved[1]")
    step, restored = Checkpoints(tmp_path / "moved[1]" / "run").restore(state)
    assert step == 1
    jax.tree.map(np.testing.assert_array_equal, restored, state)
