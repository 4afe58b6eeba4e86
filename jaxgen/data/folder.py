"""A folder of image files as a data set."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from jaxgen.data import images
from jaxgen.data.dataset import DataError, Dataset, NumpyBatch, StreamSplit

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
HELD_OUT_SEED = 0
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that exchange height and width


class _Header(NamedTuple):
    """What a file says of itself without being decoded."""

    mode: str
    size: tuple[int, int]


def load_folder(
    path: str, *, size: tuple[int, int] | None, levels: int | None, memory_limit: int
) -> Dataset:
    """Loads all image files below a folder, in the order of their paths.

    Where the folder has `train` and `test` sub-folders these are the splits; else a tenth, chosen
    by a fixed seed, is the test split. Where all images lie in sub-folders, of which there are at
    least two, the name of the (first) sub-folder is the class. If all images are grey there is one
    channel, else three. If all are black and white (one bit), pixels are 0 and 1.

    Args:
        path: the folder.
        size: `(height, width)` to resize and crop to, None to keep the size.
        levels: number of values of a pixel, None to infer it.
        memory_limit: bytes that the pixels may take in memory.

    Returns:
        The data set.

    Raises:
        DataError: if there are no images, one cannot be read or is not of 8 bits, or sizes differ
            and `size` is None.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    train_root, test_root = root / "train", root / "test"
    if train_root.is_dir() and test_root.is_dir():
        train, test = _image_files(train_root), _image_files(test_root)
        class_names = _class_names(train_root, train)
        labels = [
            _labels(train_root, train, class_names),
            _labels(test_root, test, class_names),
        ]
    else:
        files = _image_files(root)
        class_names = _class_names(root, files)
        train_indices, test_indices = _hold_out(root, len(files))
        train, test = [files[i] for i in train_indices], [files[i] for i in test_indices]
        labels = [_labels(root, train, class_names), _labels(root, test, class_names)]
    mode, found_size = _common_form(sorted(train + test), size)
    shape = (*found_size, images.CHANNELS[mode])
    return images.build(
        f"folder:{path}",
        shape=shape,
        class_names=class_names,
        train=_reader(train, labels[0], mode=mode, size=size, shape=shape),
        test=_reader(test, labels[1], mode=mode, size=size, shape=shape),
        levels=levels,
        memory_limit=memory_limit,
    )


def _image_files(root: Path) -> list[Path]:
    """All image files below the folder, sorted; hidden ones are left out."""
    files = sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in EXTENSIONS and file.is_file() and not file.name.startswith(".")
    )
    if not files:
        raise DataError(f"no image file below {root} (looked for {', '.join(sorted(EXTENSIONS))})")
    return files


def _class_of(root: Path, file: Path) -> str | None:
    """The first sub-folder on the way to the file, or None if there is none."""
    parts = file.relative_to(root).parts
    return parts[0] if len(parts) > 1 else None


def _class_names(root: Path, files: list[Path]) -> tuple[str, ...] | None:
    """The classes, sorted, or None where the folder is not laid out by class."""
    found = {_class_of(root, file) for file in files}
    names = sorted(name for name in found if name is not None)
    return tuple(names) if len(names) == len(found) >= 2 else None


def _labels(
    root: Path, files: list[Path], class_names: tuple[str, ...] | None
) -> np.ndarray | None:
    """The class of each file, int32 `[N]`, or None without classes."""
    if class_names is None:
        return None
    number = {name: label for label, name in enumerate(class_names)}
    labels = []
    for file in files:
        name = _class_of(root, file)
        if name not in number:
            raise DataError(f"{file} is in none of the classes of train: {', '.join(class_names)}")
        labels.append(number[name])
    return np.array(labels, np.int32)


def _hold_out(root: Path, num: int) -> tuple[list[int], list[int]]:
    """Indices of the train and the test split: a tenth is held out, the same one every time."""
    if num < 2:
        raise DataError(f"{root} has one image; at least 2 are needed to hold one out")
    order = np.random.default_rng(HELD_OUT_SEED).permutation(num)
    num_test = max(1, num // 10)
    return sorted(order[num_test:].tolist()), sorted(order[:num_test].tolist())


def _header(file: Path) -> _Header:
    """Mode and size (height, width) of an image as it is to be looked at."""
    try:
        with Image.open(file) as image:
            height, width = image.height, image.width
            if image.getexif().get(ExifTags.Base.Orientation) in _TURNED:
                height, width = width, height
            mode = image.mode
    except images.READ_ERRORS as error:
        raise DataError(f"cannot read the image {file}: {error}") from error
    if mode not in _GREY_MODES | _COLOUR_MODES:
        raise DataError(f"{file} has pixels of mode {mode!r}; jaxgen reads images of 8 bits")
    return _Header(mode, (height, width))


def _common_form(files: list[Path], size: tuple[int, int] | None) -> tuple[str, tuple[int, int]]:
    """The mode to decode all files to, and their size."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as executor:
        headers = list(executor.map(_header, files))
    modes = {header.mode for header in headers}
    mode = "1" if modes == {"1"} else "L" if modes <= _GREY_MODES else "RGB"
    if size is not None:
        return mode, size
    for file, header in zip(files, headers, strict=True):
        if header.size != headers[0].size:
            raise DataError(
                f"images differ in size: {files[0]} is {_by(headers[0].size)}, {file} is "
                f"{_by(header.size)} (height x width): set image_size to one number or "
                "(height, width), to which they are resized and cropped"
            )
    return mode, headers[0].size


def _by(size: tuple[int, int]) -> str:
    """A size in words."""
    return f"{size[0]}x{size[1]}"


def _reader(
    files: list[Path],
    labels: np.ndarray | None,
    *,
    mode: str,
    size: tuple[int, int] | None,
    shape: tuple[int, int, int],
) -> StreamSplit:
    """The files, decoded while they are read."""

    def read(indices: np.ndarray) -> NumpyBatch:
        paths = [files[i] for i in indices]
        names = [str(path) for path in paths]
        batch = {"x": images.decode_all(paths, names, mode=mode, size=size, shape=shape)}
        if labels is not None:
            batch["label"] = labels[indices]
        return batch

    return StreamSplit(len(files), read)
