"""Seeing to it that a tensorflow-datasets set lies on the disk as jaxgen reads it."""

import importlib.util
from typing import Any

from jaxgen.data.dataset import DataError

FORMAT = "array_record"
"""The file format that can be read without TensorFlow, in any order."""


def ensure_prepared(builder: Any) -> None:
    """Downloads and prepares the data set where it is not, and TensorFlow is installed.

    Args:
        builder: the `tfds.core.DatasetBuilder` of the set.

    Raises:
        DataError: if it is not prepared and cannot be, or is in another format.
    """
    if not builder.is_prepared():
        _prepare(builder)
    formats = {file_format.value for file_format in builder.info.available_file_formats()}
    if FORMAT not in formats:
        raise DataError(
            f"{builder.info.full_name} is prepared in {builder.data_dir} as "
            f"{' and '.join(sorted(formats))}, but jaxgen reads {FORMAT}: prepare it again in "
            f"another folder, and give that as --data-dir. {_recipe(builder)}"
        )


def _prepare(builder: Any) -> None:
    """Downloads and prepares the data set, or DataError without TensorFlow."""
    where = f"data set {builder.info.full_name} is not prepared in {builder.data_dir}"
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"{where}. jaxgen reads prepared {FORMAT} data. If it lies elsewhere, give the folder "
            f"as --data-dir. {_recipe(builder)}"
        )
    try:
        builder.download_and_prepare(file_format=FORMAT)
    except Exception as error:
        raise DataError(f"{where}, and preparing it failed: {error}") from error


def _recipe(builder: Any) -> str:
    """How to prepare a data set."""
    return (
        "To prepare it, once: pip install 'jaxgen[tfds-prepare]' (this adds TensorFlow) and load "
        f"it again, or tfds.builder({builder.info.full_name.rsplit('/', 1)[0]!r}, data_dir=...)"
        f".download_and_prepare(file_format={FORMAT!r})"
    )
