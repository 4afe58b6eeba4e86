"""Checkpoints that notice damage: atomic saves, a checksum for every leaf, newest good one first.

Orbax writes the arrays, and is used nowhere else. It does not notice changed bits and
never goes back to an older step, so a manifest of shapes, types and CRC32 sums is saved beside
every state, and restoring checks against it. A state is stored as host arrays under its leaf paths:
it does not remember devices, and comes back on any number.
"""

import contextlib
import hashlib
import json
import logging
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxgen.types import PyTree

State = TypeVar("State")

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_MANIFEST = "manifest.json"
_ARRAYS = "arrays"
_LEFTOVER = re.compile(r"\d+\.(part|removed)")  # What a killed save or removal leaves behind.
_SCALARS = (bool, int, float, complex)


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or none of those present can be read."""


class _WrongModelError(ValueError):
    """A sound checkpoint holds other leaves than the model."""


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
        self,
        directory: str | Path,
        *,
        keep: int = 3,
        report: Callable[[str], None] = _LOG.warning,
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
            raise ValueError(f"keep must be at least 1, got {keep}")
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
            raise ValueError(f"step must be at least 0, got {step}")
        failure: Exception | None = None
        free = ""
        if jax.process_index() == 0:
            try:
                self._write(step, state)
            except Exception as error:  # Orbax wraps a full disk in several types of its own.
                failure = error
                free = _free_space(self.directory)
                self._clear_leftovers()
        if _worst(int(failure is not None)):
            reason = _first_line(failure) if failure else "see process 0"
            raise CheckpointError(
                f"could not save step {step} in {self.directory}: {reason}{free}. "
                f"The earlier checkpoints (steps {self.steps()}) are untouched."
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
        paths, treedef = jax.tree_util.tree_flatten_with_path(like_state)
        model = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
        failures = []
        step = self._newest_below(None)
        while step is not None:
            arrays, failure = self._try_read(step, model)
            if arrays is not None:
                leaves = [_place(arrays[path], leaf) for path, leaf in model.items()]
                return step, jax.tree_util.tree_unflatten(treedef, leaves)
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
            arrays = _read_folder(self.directory / str(step), model)
        except _WrongModelError as error:
            wrong = error
        except Exception as error:  # Damage shows as any of a dozen types.
            failure = _first_line(error)
        verdict = _worst(2 if wrong else int(arrays is None))
        if verdict == 2:
            raise ValueError(str(wrong) if wrong else "another process has another model") from None
        return (None if verdict else arrays), failure

    def _write(self, step: int, state: PyTree) -> None:
        """Saves on process 0."""
        leaves = {path: _to_host(leaf) for path, leaf in _named_leaves(state)}
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clear_leftovers()
        target = self.directory / str(step)
        if target.exists() and _holds(target, leaves):
            return
        part = target.with_name(f"{step}.part")
        _write_folder(part, leaves)
        self._remove(step)
        part.rename(target)
        self._damaged.discard(step)
        self._prune(step)

    def _prune(self, saved: int) -> None:
        """Removes all but the newest steps, and damaged ones that the run has passed."""
        sound = [step for step in self.steps() if step not in self._damaged]
        passed = [step for step in self._damaged if step < saved]
        for step in {*sound[: -self.keep], *passed} - {saved}:
            self._remove(step)
        self._clear_leftovers()

    def _remove(self, step: int) -> None:
        """Takes a step out of the list; the renaming is at once, and deleting may be killed."""
        folder = self.directory / str(step)
        if folder.exists():
            folder.rename(folder.with_name(f"{step}.removed"))

    def _clear_leftovers(self) -> None:
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if _LEFTOVER.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)


def parameter_digest(params: PyTree) -> str:
    """Fingerprint of parameters: equal exactly when paths, types, shapes and all bits are equal.

    Args:
        params: pytree of arrays, typed keys and Python numbers.

    Returns:
        SHA-256 as 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(_named_leaves(params), key=lambda item: item[0]):
        array = _to_host(leaf)
        digest.update(json.dumps([path, str(array.dtype), array.shape]).encode())
        digest.update(_raw(array))
    return digest.hexdigest()


def _named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in paths]


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_impl(key: Any) -> Any:
    """The generator of a typed key, which may be a mere shape."""
    found: list[Any] = []
    jax.eval_shape(lambda k: found.append(jax.random.key_impl(k)), key)
    return found[0]


def _to_host(leaf: Any) -> np.ndarray:
    """The values of a leaf as a NumPy array; Python numbers in the type that JAX gives them."""
    if isinstance(leaf, _SCALARS) and not isinstance(leaf, np.generic):
        return np.asarray(leaf, jax.typeof(leaf).dtype)
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _spec(leaf: Any) -> tuple[tuple[int, ...], str]:
    """Shape and type under which a leaf of the model is stored."""
    if _is_key(leaf):
        data = jax.eval_shape(jax.random.key_data, leaf)
        return data.shape, str(data.dtype)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.shape, _canonical(str(leaf.dtype))
    array = jax.typeof(leaf)
    return array.shape, str(array.dtype)


def _place(array: np.ndarray, like: Any) -> Any:
    """Gives restored values the kind, type and sharding of the model's leaf."""
    if isinstance(like, np.ndarray | np.generic):
        return array.astype(like.dtype)
    if isinstance(like, _SCALARS):
        return type(like)(array.item())
    value: Any = array
    if _is_key(like):
        value = jax.random.wrap_key_data(jnp.array(array), impl=_key_impl(like))
    # Copied: a step that donates its state must not write into memory that NumPy owns.
    return jax.device_put(value, getattr(like, "sharding", None), may_alias=False)


def _raw(array: np.ndarray) -> memoryview:
    """The bytes of an array (types such as bfloat16 offer no buffer of their own)."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(_raw(array))


def _leaf_entries(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        path: {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "crc32": zlib.crc32(_raw(array)),
        }
        for path, array in leaves.items()
    }


def _file_crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            crc = zlib.crc32(chunk, crc)
    return crc


def _entries_crc(*entries: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(entries, sort_keys=True).encode())


def _canonical(dtype: str) -> str:
    """The type JAX gives an array of this type (float32 for float64 unless 64 bits are on)."""
    return str(jax.typeof(np.zeros((), jnp.dtype(dtype))).dtype)


def _check_model(entries: Mapping[str, Any], model: Mapping[str, Any], folder: Path) -> None:
    """Raises `_WrongModelError` naming the leaves in which checkpoint and model differ."""
    saved = {path: (tuple(e["shape"]), _canonical(e["dtype"])) for path, e in entries.items()}
    wanted = {path: _spec(leaf) for path, leaf in model.items()}
    lines = [
        f"  {path}: checkpoint {_show(saved.get(path))}, model {_show(wanted.get(path))}"
        for path in sorted(saved.keys() | wanted.keys())
        if saved.get(path) != wanted.get(path)
    ]
    if lines:
        more = [f"  and {len(lines) - 20} more"] if len(lines) > 20 else []
        raise _WrongModelError(
            f"the checkpoint {folder} belongs to another model; leaves that differ:\n"
            + "\n".join(lines[:20] + more)
        )


def _show(spec: tuple[tuple[int, ...], str] | None) -> str:
    return "has none" if spec is None else f"{spec[1]}{list(spec[0])}"


def _write_folder(folder: Path, leaves: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays, and then the manifest with the sums of all leaves and files."""
    folder.mkdir()
    with _orbax() as checkpointer:
        checkpointer.save(folder / _ARRAYS, args=ocp.args.StandardSave(_stored(leaves)))
    entries = _leaf_entries(leaves)
    files = {
        str(path.relative_to(folder)): _file_crc(path)
        for path in sorted((folder / _ARRAYS).rglob("*"))
        if path.is_file()
    }
    crc = _entries_crc(entries, files)
    manifest = {"format": _FORMAT, "crc32": crc, "leaves": entries, "files": files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _read_folder(folder: Path, model: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads one step: the manifest, which must fit the model, then the arrays and their sums."""
    manifest = _read_manifest(folder)
    _check_model(manifest["leaves"], model, folder)
    for name, crc in manifest["files"].items():
        # Before Orbax opens them: on damage it leaves reads behind that complain on standard error.
        if _file_crc(folder / name) != crc:
            raise ValueError(f"{name} does not have its CRC32 sum")
    return _read_arrays(folder, manifest["leaves"])


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    if manifest["crc32"] != _entries_crc(manifest["leaves"], manifest["files"]):
        raise ValueError(f"{_MANIFEST} does not have its CRC32 sum")
    if manifest["format"] != _FORMAT:
        raise ValueError(f"{_MANIFEST} is of format {manifest['format']}, expected {_FORMAT}")
    return manifest


def _read_arrays(folder: Path, entries: Mapping[str, Any]) -> dict[str, np.ndarray]:
    empty = {p: np.zeros(e["shape"], jnp.dtype(e["dtype"])) for p, e in entries.items()}
    with _orbax() as checkpointer:
        # A target is given since Orbax would otherwise ask for the devices of the saving run.
        target = ocp.args.StandardRestore(_stored(empty))
        arrays = {**empty, **checkpointer.restore(folder / _ARRAYS, args=target)}
    found = _leaf_entries(arrays)
    wrong = [path for path, entry in entries.items() if found[path] != entry]
    if wrong:
        raise ValueError(f"CRC32 differs in {', '.join(wrong[:5])} ({len(wrong)} leaves)")
    return arrays


def _holds(folder: Path, leaves: Mapping[str, np.ndarray]) -> bool:
    """Whether a folder is a sound checkpoint of just these leaves."""
    try:
        return _leaf_entries(_read_folder(folder, leaves)) == _leaf_entries(leaves)
    except Exception:  # Whatever the damage: the caller writes it anew.
        return False


def _stored(leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The leaves with values: Orbax refuses empty arrays, and the manifest has all of those."""
    return {path: array for path, array in leaves.items() if array.size}


@contextlib.contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
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


def _worst(code: int) -> int:
    """The largest code of all processes, so that they raise or go on together."""
    if jax.process_count() == 1:
        return code
    return int(np.max(multihost_utils.process_allgather(np.asarray(code, np.int32))))


def _free_space(directory: Path) -> str:
    """What to tell beside a failed save: the error itself rarely says that the disk is full."""
    try:
        return f" ({shutil.disk_usage(directory).free / 1e6:.1f} MB were free on that disk)"
    except OSError:
        return ""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
