"""The settings that all experiments share: data, training, optimizer, processes."""

import dataclasses
import os
from typing import Annotated, Literal

import numpy as np

from experiments.ranges import (
    AT_LEAST_0,
    AT_LEAST_1,
    POSITIVE,
    SHARE,
    OnlyWith,
    Range,
    check_settings,
)
from jaxgen.data.dataset import Dataset
from jaxgen.data.load import load
from jaxgen.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which examples to learn from."""

    dataset: str = "digits"
    """digits, stacked_digits, ring, grid, moons or checkerboard (no download), folder:PATH (a
    folder of images), image:PATH (one image) or the name of a TFDS image data set; any images
    behind redrawn:RATE: have this share of their pixel values drawn anew."""
    data_dir: str | None = None
    """Where TFDS data sets lie; by default ~/tensorflow_datasets."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize and crop to; by default the images' own."""
    levels: int | None = None
    """Number of pixel values; by default 2 if no pixel exceeds 1, else 256."""
    image_feature: str | None = None
    """Which feature of a TFDS data set is the image, where it has several."""
    label_feature: str | None = None
    """Which feature of a TFDS data set is the label, where it has several."""
    skip_damaged: bool = False
    """Leave out image files that cannot be read."""

    def load(self) -> Dataset:
        """Loads the data set."""
        return load(
            self.dataset,
            data_dir=self.data_dir,
            image_size=self.image_size,
            levels=self.levels,
            image_feature=self.image_feature,
            label_feature=self.label_feature,
            skip_damaged=self.skip_damaged,
        )

    def settled(self, dataset: Dataset) -> "DataSettings":
        """The same settings as they are stored: with paths that hold in every working directory."""
        data_dir = self.data_dir and os.path.abspath(os.path.expanduser(self.data_dir))
        return dataclasses.replace(self, dataset=dataset.name, data_dir=data_dir)


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """How the parameters follow the gradient."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    """The update rule."""
    learning_rate: Annotated[float, POSITIVE] = 1e-3
    """After the warm-up."""
    learning_rate_schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the learning rate goes on after the warm-up: as it is, or down to 0 at the last step."""
    warm_up_steps: Annotated[int, AT_LEAST_0] = 0
    """Steps over which the learning rate rises from 0."""
    beta1: Annotated[float, SHARE] = 0.9
    """Decay of the first moment (adam, adamw); momentum (sgd, rmsprop)."""
    beta2: Annotated[float, SHARE] = 0.999
    """Decay of the second moment (adam, adamw, rmsprop)."""
    clip_norm: Annotated[float, AT_LEAST_0] = 0.0
    """Bound on the norm of the whole gradient; 0 for none."""
    weight_decay: Annotated[float, AT_LEAST_0, OnlyWith(optimizer=("adamw",))] = 0.0
    """Decay of the kernels (adamw), times the learning rate."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """What of the training is alike in all families."""

    ema_decay: Annotated[float, SHARE] = 0.999
    """Decay of the averaged parameters used for sampling and evaluation; 0 uses the last ones."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in; parameters and losses stay float32."""
    seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the parameters, the order of the examples and all noise."""
    draw_every: Annotated[int, AT_LEAST_1] = 200
    """Steps from one frame of the film to the next."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class ProcessSettings:
    """How this process finds those on other hosts."""

    distributed: bool = False
    """Join the processes of other hosts (TPU pod, Slurm, MPI); start the same line on each."""
    coordinator: str | None = None
    """HOST:PORT of the first process, where no cluster tells it."""
    num_processes: int | None = None
    """Number of processes, where no cluster tells it."""
    process_id: int | None = None
    """Number of this process, from 0, where no cluster tells it."""


@dataclasses.dataclass(frozen=True)
class ImportanceSampling:
    """How the likelihood of a trained model with latents or noise is estimated."""

    importance_samples: Annotated[int, AT_LEAST_0] = 10
    """Draws of the latents, or of the noise on pixels, behind the tighter bound on an image's
    likelihood; 0 for none."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What of a data set a model must know; kept in `config.json` so that sampling needs no data.

    Attributes:
        shape: of one example, `(H, W, C)` or `(D,)`.
        levels: number of pixel values; None for vectors.
        class_names: of each label; None without labels.
        num_train: number of train examples.
        num_test: number of test examples.
        digest: of the names and the split of the examples, where they can change.
    """

    shape: tuple[int, ...]
    levels: int | None
    class_names: tuple[str, ...] | None
    num_train: int
    num_test: int
    digest: str | None

    @classmethod
    def of(cls, dataset: Dataset) -> "DataInfo":
        """Describes a data set."""
        return cls(
            dataset.shape,
            dataset.levels,
            dataset.class_names,
            len(dataset.train),
            len(dataset.test),
            dataset.digest,
        )

    @property
    def dtype(self) -> np.dtype:
        """Of the data in a batch."""
        return np.dtype(np.float32 if self.levels is None else np.uint8)

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None without labels."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def image_levels(self) -> int:
        """Number of pixel values.

        Raises:
            ValueError: if the examples are not images.
        """
        if self.levels is None:
            raise ValueError(
                f"dataset: vectors of shape {self.shape}, expected images (H, W, C) for this model"
            )
        return self.levels


__all__ = [
    "DataInfo",
    "DataSettings",
    "ImportanceSampling",
    "OptimizerSettings",
    "Plan",
    "ProcessSettings",
    "TrainingSettings",
]
