"""Image data sets of tensorflow-datasets, read without TensorFlow. Only here is tfds imported."""

import difflib
import hashlib
import os
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxgen.data import images
from jaxgen.data.build import build, note_unlabelled
from jaxgen.data.dataset import (
    FOLDER_PREFIX,
    OWN_NAMES,
    ArraySplit,
    DataError,
    Dataset,
    NumpyBatch,
    StreamSplit,
)
from jaxgen.data.reading import for_each_block
from jaxgen.data.text import printable
from jaxgen.data.tfds_layout import choose_image, choose_label, choose_splits
from jaxgen.data.tfds_prepare import FORMAT, ensure_prepared

_MODES = {None: "RGB", 1: "L", 3: "RGB", 4: "RGBA"}


def load_tfds(
    name: str,
    *,
    data_dir: str | None,
    size: tuple[int, int] | None,
    levels: int | None,
    image_feature: str | None,
    label_feature: str | None,
    skip_damaged: bool,
    memory_limit: int,
) -> Dataset:
    """Loads a prepared image data set, or prepares it first where TensorFlow is installed.

    What is the image, the label and the test split says `tfds_layout`. Images are not turned as
    their EXIF data say: tensorflow-datasets does not, and declares their shapes so.

    Args:
        name: name as tensorflow-datasets reads it: `mnist`, `name/config`, `name:version`.
        data_dir: where prepared data sets lie, None for the usual place.
        size: `(height, width)` to resize and crop to, None to keep the size.
        levels: number of values of a pixel, None to infer it.
        image_feature: name of the image, None to find it.
        label_feature: name of the label, None to find it.
        skip_damaged: whether images that cannot be decoded are left out, or refused.
        memory_limit: bytes that the pixels may take in memory.

    Returns:
        The data set.

    Raises:
        DataError: if the data set is unknown, not prepared as array_record, or not of images.
    """
    builder = _prepared_builder(name, data_dir)
    features = builder.info.features
    image = choose_image(name, _of_type(features, tfds.features.Image), image_feature)
    classes = _of_type(features, tfds.features.ClassLabel)
    label, label_notes = choose_label(
        [key for key in classes if features[key].num_classes], label_feature
    )
    mode, depth_notes = _form(name, features[image])
    height, width, _ = features[image].shape
    if size is None and None in (height, width):
        raise DataError(
            f"the images of {name} differ in size (shape {features[image].shape}); --image-size "
            "64 64 resizes and crops all to that height and width"
        )
    shape = (*(size or (height, width)), images.CHANNELS[mode])
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    train, test, split_notes = choose_splits(name, sizes)

    def reader(spec: str) -> StreamSplit:
        return _reader(builder, spec, image=image, label=label, mode=mode, size=size, shape=shape)

    images.silence_warnings()
    readers = Dataset(
        name,
        shape=shape,
        levels=None,
        class_names=None if label is None else tuple(map(printable, features[label].names)),
        train=reader(train),
        test=reader(test),
        notes=(*split_notes, *label_notes, *depth_notes),
        digest=hashlib.sha256(f"{builder.info.full_name} {train} {test}".encode()).hexdigest(),
    )
    dataset = build(readers, levels=levels, memory_limit=memory_limit, skip_damaged=skip_damaged)
    # Of a stream the labels are not counted here: all records would be read for them.
    return note_unlabelled(dataset) if isinstance(dataset.train, ArraySplit) else dataset


def _prepared_builder(name: str, data_dir: str | None) -> Any:
    """The builder of a data set that lies in array_record files, or DataError."""
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(_unknown(name, data_dir)) from error
    except (AssertionError, ImportError, RuntimeError, ValueError) as error:
        # A wrong version or configuration: what tensorflow-datasets says, on one line.
        reason = " ".join(str(error).split()).rpartition('}": ')[2]
        raise DataError(f"cannot open the data set {name!r}: {reason}") from error
    ensure_prepared(builder)
    return builder


def _unknown(name: str, data_dir: str | None) -> str:
    """The message for a name that is no data set."""
    known = [*OWN_NAMES, *tfds.list_builders(with_community_datasets=False)]
    close = difflib.get_close_matches(name.split("/")[0].split(":")[0], known, n=5)
    where = data_dir or tfds.core.constants.DATA_DIR
    return (
        f"unknown data set {name!r}: neither known to tensorflow-datasets nor prepared in {where}. "
        + (f"Did you mean {FOLDER_PREFIX}{name}? " if os.path.isdir(name) else "")
        + (f"Close: {', '.join(close)}. " if close else "")
        + f"jaxgen's own are {', '.join(OWN_NAMES)} and {FOLDER_PREFIX}PATH"
    )


def _of_type(features: Any, kind: type) -> list[str]:
    return sorted(key for key, value in features.items() if isinstance(value, kind))


def _form(name: str, feature: Any) -> tuple[str, list[str]]:
    """The mode to decode an image feature to, and what there is to say of its depth."""
    channels, dtype = feature.shape[-1], np.dtype(feature.np_dtype)
    if channels not in _MODES:
        raise DataError(f"images of {name} have {channels} channels, expected 1, 3 or 4")
    if dtype not in (np.uint8, np.uint16):
        raise DataError(f"images of {name} are {dtype}, expected uint8 or uint16")
    return _MODES[channels], ["16-bit pixels scaled to 8 bits"] if dtype == np.uint16 else []


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
        for key in _of_type(builder.info.features, tfds.features.Image)
    }
    source = builder.as_data_source(split=spec, decoders=undecoded, file_format=FORMAT)
    where = f"{builder.info.full_name}, split {spec}"

    def read(indices: np.ndarray) -> NumpyBatch:
        examples = source.__getitems__(indices.tolist())
        names = [f"{index} of {where}" for index in indices]
        files = [example[image] for example in examples]
        x = images.decode_all(files, names, mode=mode, size=size, shape=shape, is_turned=False)
        if label is None:
            return {"x": x}
        return {"x": x, "label": np.array([example[label] for example in examples], np.int32)}

    def read_labels() -> np.ndarray | None:
        if label is None:
            return None
        labels = np.empty(len(source), np.int32)

        def read_block(indices: np.ndarray) -> None:
            examples = source.__getitems__(indices.tolist())
            labels[indices] = [example[label] for example in examples]

        for_each_block(read_block, len(source), title=f"Reading labels of {where}")
        return labels

    return StreamSplit(len(source), read, read_labels)
