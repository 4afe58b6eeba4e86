"""How photographs have to be turned, by their EXIF data."""

import functools
import warnings
from collections.abc import Callable
from typing import IO

from PIL import ExifTags, Image, ImageFile

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image of each EXIF orientation upright."""
TURNED = frozenset({5, 6, 7, 8})
"""The orientations that exchange height and width."""


def orientation(image: Image.Image) -> int:
    """How an open image has to be turned to be looked at.

    Args:
        image: an image whose pixels are loaded.

    Returns:
        The EXIF orientation, 1 to 8; 1 (as it is) where there is none or it cannot be read, which
        a warning says.
    """
    if image.format == "TIFF":  # Pillow turns it, its size from the first on
        return 1
    return _read(image.getexif)


def header_orientation(image: ImageFile.ImageFile) -> int:
    """The same of an image whose pixels are not loaded, and stay so where that can be.

    Args:
        image: an open image.

    Returns:
        As `orientation`.
    """
    if image.format == "PNG" and image.fp is not None and not _has_late_chunks(image.fp):
        # Pillow would decode the whole image, to look for what may stand behind the pixels.
        return _read(functools.partial(Image.Image.getexif, image))
    return orientation(image)


def _read(read_exif: Callable[[], Image.Exif]) -> int:
    try:
        return read_exif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # of any kind, as everywhere in damaged files
        warnings.warn(f"EXIF data cannot be read: {error}", stacklevel=1)
        return 1


def _has_late_chunks(file: IO[bytes]) -> bool:
    """Whether a PNG file has something other than its end behind the pixels; walks the chunks."""
    place = file.tell()
    file.seek(8)
    kinds = []
    while len(head := file.read(8)) == 8:
        kinds.append(head[4:])
        file.seek(int.from_bytes(head[:4]) + 4, 1)
    file.seek(place)
    return b"IDAT" in kinds and not {*kinds[kinds.index(b"IDAT") :]} <= {b"IDAT", b"IEND"}
