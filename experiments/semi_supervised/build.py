"""Builds the model and the algorithm of an M2 run, and the classifier that it stands beside."""

import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
import rich.console
import rich.table

from experiments import course
from experiments.experiment import Method, NoSettings, RunSettings, Trained
from experiments.measurement import EVALUATION_SEED
from experiments.optimizers import make_optimizer
from experiments.ranges import require
from experiments.semi_supervised.settings import Settings
from experiments.settings import DataInfo
from jaxgen import vae
from jaxgen.data import Split, balanced_indices, counted, labelled, with_labels_of
from jaxgen.files import write_atomically
from jaxgen.training.evaluation import evaluate, summarize

FILE = "classification.json"
"""The errors of both classifiers, in the directory of a run."""

M2Settings = RunSettings[Settings, NoSettings, NoSettings]


def build_model(settings: M2Settings, info: DataInfo) -> vae.ClassVAE:
    """Builds the module of a run, or raises ValueError if a setting does not fit the data."""
    own, likelihood = settings.model, settings.model.make_likelihood(info.image_levels)
    num_classes = info.num_classes
    if num_classes is None:
        raise ValueError(f"num_labels: {own.num_labels}, expected data that have labels")
    make = vae.mlp_m2 if own.model == "mlp" else vae.conv_m2
    options = own.options(settings.training.dtype)
    return make(info.shape, likelihood, num_classes=num_classes, **options)


def build(settings: M2Settings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm, whose training sees the labels that the settings draw."""
    del path
    own, model = settings.model, build_model(settings, info)
    expected = f"at most the {info.num_train} train examples"
    require(own.num_labels <= info.num_train, "num_labels", own.num_labels, expected)
    algorithm = vae.m2_algorithm(
        model,
        make_optimizer(settings.optimizer, settings.plan.steps),
        levels=info.image_levels,
        weight=own.classification_weight * info.num_train / own.num_labels,
        ema_decay=settings.training.ema_decay,
    )
    words = f"M2, {own.model} networks, {own.latent_dim} latents and {info.num_classes} classes; "
    words += f"{own.num_labels:,} of {info.num_train:,} train examples keep their label, evenly "
    words += f"over the classes (label seed {own.label_seed}), all others are hidden"
    view = functools.partial(few_labels, num=own.num_labels, seed=own.label_seed)
    return Method(algorithm, words, is_conditional=True, view=view, needs_all_labels=False)


def few_labels(split: Split, *, num: int, seed: int) -> Split:
    """The examples with a balanced draw of their labels; raises ValueError if it is too large."""
    labels = split.labels()
    assert labels is not None  # The data have classes.
    return with_labels_of(split, balanced_indices(labels, num, seed=seed))


def finish(trained: Trained) -> None:
    """Trains the same classifier on the labels alone, and writes the test errors of both."""
    settings, own, state = trained.settings, trained.settings.model, trained.state
    values = {"M2": _errors(trained, trained.method.algorithm, state)}
    steps = settings.plan.steps if own.supervised_steps is None else own.supervised_steps
    if steps:
        print(f"training the classifier on the labels alone for {steps} steps")
        algorithm = vae.supervised_algorithm(
            build_model(settings, trained.info),
            make_optimizer(settings.optimizer, steps),
            levels=trained.info.image_levels,
            ema_decay=settings.training.ema_decay,
        )
        state = course.train_beside(trained, algorithm, steps, "supervised")
        values["supervised"] = _errors(trained, algorithm, state)
        values["supervised - M2"] = values["supervised"] - values["M2"]
    if jax.process_index() == 0:
        _record(trained, values)


def _errors(trained: Trained, algorithm: Any, state: Any) -> np.ndarray:
    """Whether each labelled test example is put in a wrong class, `[N]`."""
    split, key = labelled(trained.dataset.test), jax.random.key(EVALUATION_SEED)
    return evaluate(algorithm, state, split, key)["error"]


def _record(trained: Trained, values: dict[str, np.ndarray]) -> None:
    own, num = trained.settings.model, len(values["M2"])
    title = f"Test error with {own.num_labels:,} labels, {counted(num, 'test example')}"
    table = rich.table.Table("classifier", title=title, title_justify="left")
    table.add_column("error (%) ± standard error", justify="right")
    summaries = summarize(values)
    for name, summary in summarize({name: 100 * error for name, error in values.items()}).items():
        table.add_row(name, f"{summary:.2f}")
    rich.console.Console().print(table)
    record = {
        "num_labels": own.num_labels,
        "label_seed": own.label_seed,
        "num_examples": num,
        "errors": {name: summary._asdict() for name, summary in summaries.items()},
    }
    write_atomically(trained.directory.path / FILE, json.dumps(record, indent=2) + "\n")
