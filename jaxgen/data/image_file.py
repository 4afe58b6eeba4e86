"""One image file as a data set, for models of a single exemplar."""

import hashlib
import os
import pathlib

from jaxgen.data import images
from jaxgen.data.build import build
from jaxgen.data.dataset import IMAGE_PREFIX, ArraySplit, DataError, Dataset
from jaxgen.data.folder_survey import common_form, survey
from jaxgen.data.formats import DamagedError
from jaxgen.data.text import printable


def load_image(path: str, *, size: tuple[int, int] | None, levels: int | None) -> Dataset:
    """Loads an image file, which is the only example of both splits.

    It is decoded as the files of a folder are: grey by its pixels or its palette has one channel,
    anything else three; black and white (one bit) is 0 and 1.

    Args:
        path: the file.
        size: `(height, width)` to resize and crop to, None to keep the size.
        levels: number of values of a pixel, None to infer it.

    Returns:
        The data set, in memory.

    Raises:
        DataError: if the file cannot be read as an image.
    """
    file = os.path.realpath(os.path.expanduser(path))
    if not os.path.isfile(file):
        what = "is not a file" if os.path.exists(file) else "does not exist"
        raise DataError(f"the image {printable(file)} {what}")
    root, name = os.path.split(file)
    seen = survey(root, [name])
    images.silence_warnings()
    if name not in seen.headers:
        reason = seen.damaged[0].reason if seen.damaged else seen.unreadable[name]
        raise DataError(f"cannot read the image {printable(file)}: {reason}")
    mode, _ = common_form(root, seen.headers, size)
    try:
        x = images.decode(file, mode=mode, size=size, name=file)
    except DamagedError as error:
        raise DataError(f"cannot read the image {printable(file)}: {error.reason}") from error
    split = ArraySplit({"x": x[None]})
    readers = Dataset(
        f"{IMAGE_PREFIX}{file}",
        shape=x.shape,
        levels=None,
        class_names=None,
        train=split,
        test=split,
        notes=tuple(seen.notes),
        digest=hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest(),
    )
    return build(readers, levels=levels, memory_limit=2 * x.size, skip_damaged=False)
