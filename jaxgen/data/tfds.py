"""Image data sets of tensorflow-datasets, read without TensorFlow. Only here is tfds imported."""

import difflib
import importlib.util
import os
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import images
from jaxgen.data.dataset import (
    FOLDER_PREFIX,
    OWN_NAMES,
    DataError,
    Dataset,
    NumpyBatch,
    StreamSplit,
)

_FORMAT = "array_record"
_MODES = {None: "RGB", 1: "L", 3: "RGB", 4: "RGBA"}


def load_tfds(
    name: str,
    *,
    data_dir: str | None,
    size: tuple[int, int] | None,
    levels: int | None,
    memory_limit: int,
) -> Dataset:
    """Loads a prepared image data set, or prepares it first where TensorFlow is installed.

    The image is the feature of type `tfds.features.Image` (of several, the one named `image`), the
    label the `ClassLabel` (of several, the one named `label`; there may be none). The test split is
    `test`, else `validation`, else the last tenth of `train`.

    Args:
        name: name as tensorflow-datasets reads it: `mnist`, `name/config`, `name:version`.
        data_dir: where prepared data sets lie, None for the usual place.
        size: `(height, width)` to resize and crop to, None to keep the size.
        levels: number of values of a pixel, None to infer it.
        memory_limit: bytes that the pixels may take in memory.

    Returns:
        The data set.

    Raises:
        DataError: if the data set is unknown, not prepared as array_record, or not of images.
    """
    builder = _prepared_builder(name, data_dir)
    features = builder.info.features
    image = _image_feature(name, features)
    label = _label_feature(features)
    height, width, channels = features[image].shape
    if size is None and None in (height, width):
        raise DataError(
            f"the images of {name} differ in size (shape {features[image].shape}): set image_size "
            "to one number or (height, width), to which they are resized and cropped"
        )
    if channels not in _MODES:
        raise DataError(f"images of {name} have {channels} channels; expected 1, 3 or 4")
    mode = _MODES[channels]
    shape = (*(size or (height, width)), images.CHANNELS[mode])

    def split(spec: str) -> StreamSplit:
        return _reader(builder, spec, image=image, label=label, mode=mode, size=size, shape=shape)

    train, test = _split_names(name, builder.info.splits)
    return images.build(
        name,
        shape=shape,
        class_names=None if label is None else tuple(features[label].names),
        train=split(train),
        test=split(test),
        levels=levels,
        memory_limit=memory_limit,
    )


def _prepared_builder(name: str, data_dir: str | None) -> Any:
    """The builder of a data set that lies in array_record files, or DataError."""
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(_unknown(name, data_dir)) from error
    except (AssertionError, ValueError, RuntimeError) as error:  # a wrong version or configuration
        raise DataError(f"cannot open the data set {name!r}: {error}") from error
    if not builder.is_prepared():
        _prepare(builder)
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if _FORMAT not in formats:
        raise DataError(
            f"{builder.info.full_name} is prepared in {builder.data_dir} as {sorted(formats)}, but "
            f"jaxgen reads prepared {_FORMAT} data: prepare it again in another data_dir. "
            + _recipe(builder)
        )
    return builder


def _prepare(builder: Any) -> None:
    """Downloads and prepares the data set, or DataError without TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"data set {builder.info.full_name} is not prepared in {builder.data_dir}. jaxgen "
            f"reads prepared {_FORMAT} data. If it lies elsewhere, set data_dir. "
            + _recipe(builder)
        )
    try:
        builder.download_and_prepare(file_format=_FORMAT)
    except Exception as error:
        raise DataError(
            f"data set {builder.info.full_name} is not prepared in {builder.data_dir}, and "
            f"preparing it failed: {error}"
        ) from error


def _recipe(builder: Any) -> str:
    """How to prepare a data set."""
    return (
        "To prepare it, once: pip install 'jaxgen[tfds-prepare]' (this adds TensorFlow) and load "
        f"it again, or tfds.builder({builder.info.full_name.rsplit('/', 1)[0]!r}, data_dir=...)"
        f".download_and_prepare(file_format={_FORMAT!r})"
    )


def _unknown(name: str, data_dir: str | None) -> str:
    """The message for a name that is no data set."""
    known = [*OWN_NAMES, *tfds.list_builders(with_community_datasets=False)]
    stem = name.split("/")[0].split(":")[0]
    close = difflib.get_close_matches(stem, known, n=5)
    where = data_dir or tfds.core.constants.DATA_DIR
    return (
        f"unknown data set {name!r}: neither known to tensorflow-datasets nor prepared in {where}. "
        + (f"Close: {', '.join(close)}. " if close else "")
        + f"jaxgen's own are {', '.join(OWN_NAMES)} and {FOLDER_PREFIX}PATH"
    )


def _image_feature(name: str, features: Any) -> str:
    """The key of the image, or DataError."""
    found = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
    if "image" in found:
        found = ["image"]
    if len(found) != 1:
        raise DataError(
            f"{name} must have one feature of type Image, or several of which one is named "
            f"'image'; found {found} among {sorted(features)}"
        )
    dtype = np.dtype(features[found[0]].np_dtype)
    if dtype != np.uint8:
        raise DataError(
            f"images of {name} are {dtype}; jaxgen reads uint8 images (values 0 to 255)"
        )
    return found[0]


def _label_feature(features: Any) -> str | None:
    """The key of the label, or None without one."""
    found = [
        key
        for key, value in features.items()
        if isinstance(value, tfds.features.ClassLabel) and value.num_classes
    ]
    if "label" in found:
        return "label"
    return found[0] if len(found) == 1 else None


def _split_names(name: str, splits: Any) -> tuple[str, str]:
    """Specifications of the train and the test split."""
    if "train" not in splits or splits["train"].num_examples < 1:
        raise DataError(f"{name} has no train split; it has {sorted(splits)}")
    for held_out in ("test", "validation"):
        if held_out in splits and splits[held_out].num_examples:
            return "train", held_out
    num = splits["train"].num_examples
    if num < 2:
        raise DataError(f"{name} has {num} example; at least 2 are needed to hold one out")
    first = num - max(1, num // 10)
    return f"train[:{first}]", f"train[{first}:]"


def _reader(
    builder: Any,
    spec: str,
    *,
    image: str,
    label: str | None,
    mode: str,
    size: tuple[int, int] | None,
    shape: tuple[int, int, int],
) -> StreamSplit:
    """The split, decoded while it is read."""
    # Bytes are asked for, and only the image is decoded here: masks would cost as much as it does.
    undecoded = {
        key: tfds.decode.SkipDecoding()
        for key, value in builder.info.features.items()
        if isinstance(value, tfds.features.Image)
    }
    source = builder.as_data_source(split=spec, decoders=undecoded, file_format=_FORMAT)
    where = f"{builder.info.full_name}, split {spec}"

    def read(indices: np.ndarray) -> NumpyBatch:
        examples = source.__getitems__(indices.tolist())
        names = [f"{index} of {where}" for index in indices]
        files = [example[image] for example in examples]
        batch = {"x": images.decode_all(files, names, mode=mode, size=size, shape=shape)}
        if label is not None:
            batch["label"] = np.array([example[label] for example in examples], np.int32)
        return batch

    return StreamSplit(len(source), read)
