"""Feature networks that are made once for a data set and kept, so that all runs share them.

A file is named by what the network follows from: the recipe and a digest of the data. Whatever is
wrong with a file or its folder, the network is made anew.
"""

import hashlib
import io
import json
import logging
import math
import os
import pathlib
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from jaxgen.data.dataset import Dataset, Split
from jaxgen.data.subset import subset
from jaxgen.files import PathLike, write_atomically
from jaxgen.metrics.feature_training import NoClassifierError, train_features
from jaxgen.metrics.features import (
    FeatureClassifier,
    FeatureNet,
    identity_features,
    initial_params,
    random_features,
)
from jaxgen.training.leaves import parameter_digest

RECIPE = 1
"""Version of the networks and their training; a change of either raises it."""

_NUM_DIGESTED = 1000
_MAX_BYTES = 2**26
_LOG = logging.getLogger(__name__)


def cached_features(dataset: Dataset, *, cache_dir: PathLike | None = None) -> FeatureNet:
    """Read the features of a data set from the cache, or make and keep them.

    Images with labels get the classifier of `train_features`, those for which there is none the
    network of `random_features`, whose note says why, and vectors their own values.

    Args:
        dataset: images or vectors.
        cache_dir: folder of the networks; by default `jaxgen/features` in the user's cache
            directory (`$XDG_CACHE_HOME` or `~/.cache`). One that cannot be read or written is no
            error.

    Returns:
        The features. What is read equals what was kept bit for bit, and has its name.
    """
    if dataset.levels is None:
        return identity_features(dataset)
    if dataset.num_classes is None:
        return random_features(dataset, reason="the data have no labels")
    folder = _default_folder() if cache_dir is None else pathlib.Path(cache_dir)
    path = None if folder is None else folder / f"{_digest(dataset)}.npz"
    net = None if path is None else _read(path, dataset)
    if net is None:
        try:
            net = train_features(dataset)
        except NoClassifierError as error:
            net = random_features(dataset, reason=str(error))
        _write(path, net)
    return net


def _default_folder() -> pathlib.Path | None:
    """The folder in the user's cache directory, or None for a user who has none."""
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    except RuntimeError:  # Neither HOME nor a known user.
        return None
    return pathlib.Path(caches) / "jaxgen" / "features"


def _digest(dataset: Dataset) -> str:
    """Fingerprint of the recipe and the data, of which at most 1,000 examples a split are read."""
    splits = (dataset.train, dataset.test)
    sizes = [len(split) for split in splits]
    facts = [RECIPE, dataset.shape, dataset.levels, dataset.class_names, sizes]
    digest = hashlib.sha256(json.dumps(facts).encode())
    num = min(_NUM_DIGESTED, max(_MAX_BYTES // math.prod(dataset.shape), 1))
    for split in splits:
        for name, array in sorted(_part(split, num).items()):
            digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _part(split: Split, num: int) -> dict[str, np.ndarray]:
    batch = subset(split, num)
    return {name: batch[name] for name in ("x", "label") if name in batch}


def _write(path: pathlib.Path | None, net: FeatureNet) -> None:
    """Keep a network; where that fails a line says so."""
    facts = {
        "is_classifier": net.is_classifier,
        "test_accuracy": net.test_accuracy,
        "linear_accuracy": net.linear_accuracy,
        "name": net.name,
        "note": net.note,
    }
    arrays = flax.traverse_util.flatten_dict(net.variables, sep="/")
    file = io.BytesIO()
    np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
    try:
        if path is None:
            raise FileNotFoundError("no home directory")
        write_atomically(path, file.getvalue())
    except OSError as error:
        _LOG.warning(
            "the feature network is not cached (%s), so every run makes it anew; set "
            "XDG_CACHE_HOME to a folder that can be written",
            error,
        )


def _read(path: pathlib.Path, dataset: Dataset) -> FeatureNet | None:
    """The network of a file; None if there is none that is sound."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        facts: dict[str, Any] = json.loads(str(arrays.pop("facts")))
        variables = flax.traverse_util.unflatten_dict(arrays, sep="/")
        module = FeatureClassifier(dataset.num_classes if facts["is_classifier"] else None)
        net = FeatureNet(
            module,
            variables,
            dataset.shape,
            dataset.levels,
            module.num_features,
            facts["test_accuracy"],
            facts["linear_accuracy"],
            facts["name"],
            facts["note"],
        )
        wanted = jax.eval_shape(lambda: initial_params(module, dataset, 0))
        sound = parameter_digest(variables["params"]) == net.name and jax.tree.all(
            jax.tree.map(lambda a, b: a.shape == b.shape, variables, {"params": wanted})
        )
    except FileNotFoundError:
        return None
    except (
        Exception
    ) as error:  # A damaged file makes zipfile, zlib, NumPy and JSON raise many kinds.
        _LOG.warning("%s cannot be read (%s): the feature network is made anew", path, error)
        return None
    return net if sound else None
