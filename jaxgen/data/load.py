"""One call for every data set: `load(name)`."""

import math
import os
import re

from jaxgen.data.dataset import FOLDER_PREFIX, IMAGE_PREFIX, OWN_NAMES, DataError, Dataset
from jaxgen.data.redrawn import REDRAWN_PREFIX, read_name, redraw
from jaxgen.data.text import printable

# name[/config][:version], as tensorflow-datasets has them.
_MAX_PIXELS = 8192**2  # Of an image: no network here takes in more.
_TFDS_NAME = re.compile(r"[A-Za-z]\w*(/[\w.+-]+)?(:\d[\d.*]*)?")


def load(
    name: str,
    *,
    data_dir: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    levels: int | None = None,
    image_feature: str | None = None,
    label_feature: str | None = None,
    skip_damaged: bool = False,
    memory_limit: int = 4 * 2**30,
) -> Dataset:
    """Loads a data set by name.

    Args:
        name: `digits` (8x8 images, no file needed), `stacked_digits` (three of them as channels),
            a toy density in the plane (`ring`, `grid`, `moons`, `checkerboard`), `folder:PATH`
            (image files), `image:PATH` (one image file, which is the train and the test split), or
            the name of a tensorflow-datasets image data set, as `mnist` or
            `celeb_a/config:2.1.0`; any images behind `redrawn:RATE:` with this share of their
            pixel values drawn anew.
        data_dir: where prepared tensorflow-datasets lie; None for their usual place
            (`TFDS_DATA_DIR` or `~/tensorflow_datasets`).
        image_size: `(height, width)`, or one number for a square, at least 1: the shorter side is
            resized, the centre cut out. Needed where images differ in size. None keeps the size.
        levels: number of values a pixel takes, 2 to 256. None: 2 if no pixel of 100 train images
            exceeds 1, else 256 (and 17 for `digits`).
        image_feature: which feature of a tensorflow-datasets set is the image; None for the only
            one, or that named `image`.
        label_feature: which is the label; None for the only one, or that named `label`.
        skip_damaged: leaves out images that cannot be decoded. All are decoded to find them, each
            time.
        memory_limit: bytes. A set whose decoded pixels take at most this much is read once into
            memory; a larger one is decoded while it is used.

    Returns:
        The data set.

    Raises:
        DataError: if there is no such data set, it cannot be read, or a setting does not fit it.
    """
    altered = read_name(name)
    if altered is not None:
        original = load(
            altered.name,
            data_dir=data_dir,
            image_size=image_size,
            levels=levels,
            image_feature=image_feature,
            label_feature=label_feature,
            skip_damaged=skip_damaged,
            memory_limit=memory_limit,
        )
        return redraw(original, altered.rate)
    size = _checked_size(image_size)
    source = _source(name)
    _check(source, levels, memory_limit, image_feature=image_feature, label_feature=label_feature)
    if source == "own":
        return _load_own(name, size=size, levels=levels)
    if source == "folder":
        from jaxgen.data import folder

        return folder.load_folder(
            name.removeprefix(FOLDER_PREFIX),
            size=size,
            levels=levels,
            skip_damaged=skip_damaged,
            memory_limit=memory_limit,
        )
    if source == "image":
        from jaxgen.data import image_file

        return image_file.load_image(name.removeprefix(IMAGE_PREFIX), size=size, levels=levels)
    from jaxgen.data import tfds

    return tfds.load_tfds(
        name,
        data_dir=data_dir,
        size=size,
        levels=levels,
        image_feature=image_feature,
        label_feature=label_feature,
        skip_damaged=skip_damaged,
        memory_limit=memory_limit,
    )


def _check(source: str, levels: int | None, memory_limit: int, **features: str | None) -> None:
    """Raises DataError if a setting is out of its range or has no effect on such data."""
    if levels is not None and not 2 <= levels <= 256:
        raise DataError(f"levels: {levels}, expected 2 to 256")
    if memory_limit < 0:
        raise DataError(f"memory_limit: {memory_limit}, expected at least 0 bytes")
    for setting, value in features.items():
        if value is not None and source != "tfds":
            raise DataError(
                f"{setting}: {value!r}, expected none: only tensorflow-datasets have features"
            )


def _source(name: str) -> str:
    """Where a data set comes from by its name: "own", "folder", "image" or "tfds"; or DataError."""
    if name in OWN_NAMES:
        return "own"
    if name.startswith(FOLDER_PREFIX) and name != FOLDER_PREFIX:
        return "folder"
    if name.startswith(IMAGE_PREFIX) and name != IMAGE_PREFIX:
        return "image"
    if _TFDS_NAME.fullmatch(name):
        return "tfds"
    is_prefixed = name.lower().startswith(FOLDER_PREFIX)
    path = name[len(FOLDER_PREFIX) :] if is_prefixed else name
    is_path = is_prefixed or os.sep in name or name.startswith(("~", ".")) or os.path.isdir(name)
    if path and is_path and "://" not in path:
        raise DataError(
            f"unknown data set {printable(name)!r}: did you mean {FOLDER_PREFIX}{printable(path)}"
        )
    raise DataError(
        f"dataset: {printable(name)!r}, expected {', '.join(OWN_NAMES)}, {FOLDER_PREFIX}PATH, "
        f"{IMAGE_PREFIX}PATH or the name of a tensorflow-datasets set; or one of these behind "
        f"{REDRAWN_PREFIX}RATE:"
    )


def _checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The image size as (height, width)."""
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < 1 or math.prod(size) > _MAX_PIXELS:
        raise DataError(
            f"image_size: {image_size}, expected a height and a width, at least 1 and of at most "
            f"{_MAX_PIXELS:,} pixels"
        )
    return size[0], size[1]


def _load_own(name: str, *, size: tuple[int, int] | None, levels: int | None) -> Dataset:
    """A data set that needs no file; its shape and levels are fixed."""
    if name == "digits":
        from jaxgen.data import digits

        dataset = digits.load_digits()
    elif name == "stacked_digits":
        from jaxgen.data import digits

        dataset = digits.load_stacked_digits()
    else:
        from jaxgen.data import toy

        dataset = toy.load_toy(name)
    if size is not None and size != dataset.shape[:2]:
        raise DataError(
            f"image_size: {size}, expected none for {name}, whose shape is {dataset.shape}"
        )
    if levels not in (None, dataset.levels):
        has = f", which has {dataset.levels}" if dataset.levels else ""
        raise DataError(f"levels: {levels}, expected none for {name}{has}")
    return dataset
