"""Samples as files: one sheet, NumPy arrays, or a folder of images; a block at a time."""

import errno
import itertools
import math
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterable, Iterator

import numpy as np

from experiments.ranges import require
from experiments.settings import DataInfo
from jaxgen.training.progress import Progress

_MAX_ON_SHEET = 1024


def check_out(out: pathlib.Path, num: int, info: DataInfo) -> None:
    """Checks, before anything is compiled, that samples can be written.

    Args:
        out: the file or folder.
        num: number of samples.
        info: about the data.

    Raises:
        ValueError: if the ending is unknown, a sheet would be too large, or a folder is not empty.
        OSError: if the place cannot be written.
    """
    if _is_folder(out):
        is_image = info.levels is not None
        require(is_image, "out", out, "FILE.png or FILE.npz, since vectors are no images")
        is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
        require(is_free, "out", out, "a new or empty folder")
        _make_room(out, num, info)
        return
    suffix = out.suffix.lower()
    require(suffix in (".png", ".npz"), "out", out, "FILE.png, FILE.npz or FOLDER/")
    if suffix == ".png":
        expected = f"at most {_MAX_ON_SHEET:,} on a sheet; use --out FILE.npz or --out FOLDER/"
        require(num <= _MAX_ON_SHEET, "num", num, expected)
    _make_room(out.parent, num, info)


def _make_room(folder: pathlib.Path, num: int, info: DataInfo) -> None:
    """Makes the folder, unless it cannot be written or the samples outgrow its disk."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(existing))
    size, free = math.prod(info.shape), shutil.disk_usage(existing).free
    expected = f"at most {free // size:,}, whose pixels fill what is free on the disk of {folder}"
    require(num * size <= free, "num", num, expected)
    folder.mkdir(parents=True, exist_ok=True)


def _is_folder(out: pathlib.Path) -> bool:
    return out.is_dir() or not out.suffix


def write_samples(
    out: pathlib.Path,
    blocks: Iterable[np.ndarray],
    num: int,
    label: np.ndarray | None,
    info: DataInfo,
) -> None:
    """Writes samples where `check_out` has been; shows progress and the time left.

    Args:
        out: the file or folder.
        blocks: the samples, some at a time.
        num: number of all.
        label: class of each, or None.
        info: about the data.

    Raises:
        OSError: if the disk is full.
    """
    counted = _with_progress(blocks, num)
    if _is_folder(out):
        _write_images(out, counted, label, info)
    elif out.suffix.lower() == ".npz":
        _write_arrays(out, counted, num, label, info)
    else:
        _write_sheet(out, np.concatenate(list(counted)), info)


def _with_progress(blocks: Iterable[np.ndarray], num: int) -> Iterator[np.ndarray]:
    done = 0
    with Progress(num, unit="sample") as progress:
        for block in blocks:
            yield block
            done += len(block)
            progress.update(done)


def _write_sheet(out: pathlib.Path, x: np.ndarray, info: DataInfo) -> None:
    from experiments.sample_sheets import scatter
    from jaxgen import plots

    picture = scatter(x) if info.levels is None else plots.image_grid(x, levels=info.levels)
    plots.save_image(out, picture)


def write_film(path: pathlib.Path, frames: np.ndarray, info: DataInfo) -> None:
    """Writes the states of samples, `[F, N, ...]`, as an endless GIF.

    Raises:
        OSError: if the file cannot be written.
    """
    from experiments.sample_sheets import scatter
    from jaxgen import plots

    pictures = [
        scatter(x, frames[-1]) if info.levels is None else plots.image_grid(x, levels=info.levels)
        for x in frames
    ]
    plots.animation(path, pictures, milliseconds=120)


def _write_arrays(
    out: pathlib.Path,
    blocks: Iterable[np.ndarray],
    num: int,
    label: np.ndarray | None,
    info: DataInfo,
) -> None:
    """NumPy's npz with `x`, and `levels` and `label` where there are such; never all in memory."""
    part = out.with_name(f".{out.name}.part")
    dtype = np.dtype(np.float32 if info.levels is None else np.uint8)
    blocks = iter(blocks)
    first = next(blocks)  # Samples of a texture may have another size than the data.
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (num, *first.shape[1:]),
    }
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
            with file.open("x.npy", "w", force_zip64=True) as array:
                np.lib.format.write_array_header_1_0(array, header)
                for block in itertools.chain([first], blocks):
                    array.write(np.ascontiguousarray(block, dtype).tobytes())
            for name, value in (("levels", info.levels), ("label", label)):
                if value is not None:
                    with file.open(f"{name}.npy", "w") as array:
                        np.lib.format.write_array(array, np.asarray(value))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _write_images(
    out: pathlib.Path, blocks: Iterable[np.ndarray], label: np.ndarray | None, info: DataInfo
) -> None:
    """A PNG each; with labels in a folder for each class, as folders of images are read."""
    import PIL.Image

    from jaxgen.plots.sheets import to_display

    number = 0
    for block in blocks:
        for image in to_display(block, info.image_levels):
            folder = out
            if label is not None:
                folder = out / (info.class_names or ())[label[number]].replace("/", "_")
                folder.mkdir(exist_ok=True)
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            PIL.Image.fromarray(pixels).save(folder / f"{number:06d}.png")
            number += 1
