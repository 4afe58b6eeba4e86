"""How samples are guided to their class: without a classifier, or by one that the run was given."""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.diffusion.settings import Sampling
from experiments.ranges import require
from experiments.settings import DataInfo
from jaxgen import diffusion
from jaxgen.diffusion import guidance, noisy_classifier
from jaxgen.diffusion.process import Denoiser
from jaxgen.files import read_object, write_atomically
from jaxgen.training.loop import restore
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm, PyTree

FOLDER = "noisy_classifier"
"""Of the classifier, in the directory of its diffusion run."""
_SETTINGS = "classifier.json"


class Guide(NamedTuple):
    """Guidance of samples.

    Attributes:
        function: ``(denoise, inputs) -> denoise``.
        inputs: arrays and numbers, which another value does not compile anew.
    """

    function: Callable[[Denoiser, PyTree], Denoiser]
    inputs: PyTree


def make_guide(
    settings: Any, model: diffusion.Diffusion, info: DataInfo, path: pathlib.Path | None
) -> Guide | None:
    """Makes the guidance that the settings ask for, or None.

    Raises:
        ValueError: if the model has no classes, or the run no classifier.
    """
    own: Sampling = settings.sampling
    if own.guidance_scale != 1.0:
        expected = "1 (the default), since the model has no classes"
        require(model.num_classes is not None, "guidance_scale", own.guidance_scale, expected)
        expected = "0 (the default) with another --guidance-scale than 1"
        require(not own.classifier_scale, "classifier_scale", own.classifier_scale, expected)
        nothing = jnp.zeros((1, model.num_classes or 0))
        return Guide(
            lambda denoise, scale: guidance.classifier_free(denoise, scale, without=nothing),
            own.guidance_scale,
        )
    if not own.classifier_scale:
        return None
    folder = None if path is None else path / FOLDER
    record = None if folder is None else read_object(folder / _SETTINGS)
    if folder is None or record is None:
        raise ValueError(
            f"classifier_scale: {own.classifier_scale}, expected 0 for a run without a classifier: "
            f"python -m experiments.noisy_classifier {path or 'RUN'}"
        )
    network = make_network(record["channels"], info)
    batch = {"x": jax.ShapeDtypeStruct((1, *info.shape), info.dtype)}
    _, state = restore(make_algorithm(model, network), RunDirectory(folder), batch)

    def function(denoise: Denoiser, inputs: PyTree) -> Denoiser:
        variables, scale = inputs
        log_prob = noisy_classifier.class_log_prob(network, variables)
        return guidance.classifier(denoise, log_prob, scale)

    return Guide(function, (state.eval_variables, own.classifier_scale))


def make_network(channels: Sequence[int], info: DataInfo) -> noisy_classifier.NoisyClassifier:
    """Builds the classifier of some data."""
    return noisy_classifier.NoisyClassifier(info.num_classes or 0, tuple(channels))


def make_algorithm(
    model: diffusion.Diffusion,
    network: noisy_classifier.NoisyClassifier,
    learning_rate: float = 1e-3,
) -> Algorithm:
    """Builds what trains the classifier."""
    optimizer = optax.adam(learning_rate)
    return noisy_classifier.classifier_algorithm(model, network, optimizer, ema_decay=0.999)


def save_settings(folder: pathlib.Path, channels: Sequence[int], learning_rate: float) -> None:
    """Writes what `make_guide` must know to find the classifier again, and what it learns by.

    Raises:
        ValueError: if the run has a classifier of other settings.
    """
    path, record = folder / _SETTINGS, {"channels": list(channels), "learning_rate": learning_rate}
    known = read_object(path) or record
    for name, value in record.items():
        expected = f"{known[name]} as of the classifier in {folder}; delete it for another"
        require(known[name] == value, name, value, expected)
    write_atomically(path, json.dumps(record) + "\n")
