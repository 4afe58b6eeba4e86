"""What an image file says of itself before it is decoded, and the formats that are read."""

import errno
import functools
import os
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgen.data.dataset import DataError
from jaxgen.data.orientation import TURNED, header_orientation
from jaxgen.data.text import printable

# Pillow knows them by name alone: they need Ghostscript, Windows or a handler of one's own.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_GREY_MODES = frozenset({"L", "LA"})
_PALETTE_MODES = frozenset({"P", "PA"})
_COLOUR_MODES = frozenset({"RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})
_DEEP_RAW_MODE = re.compile("(?<!BGR);16")  # BGR;16 has 16 bits for all three channels


WAY_OUT = "train with --skip-damaged, which leaves out what is damaged"
"""Said beside damage: only a training can do without some images."""


class DamagedError(DataError):
    """The contents of a file are not an image that can be decoded.

    Attributes:
        name: the file, printable.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str):
        """Says that the file is not read, and how to do without it."""
        super().__init__(f"cannot read the image {name}: {reason}; restore it, or {WAY_OUT}")
        self.name = name
        self.reason = reason


class UnreadableError(DataError):
    """The system does not give the contents of a file: no permission, a broken disk or link.

    Attributes:
        name: the file, printable.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str):
        """Says that the file is not read."""
        super().__init__(f"cannot read {name}: {reason}")
        self.name = name
        self.reason = reason


class Header(NamedTuple):
    """What a file says of itself.

    Attributes:
        mode: what its pixels need: `"1"` (black and white), `"L"` (grey) or `"RGB"`.
        size: height and width of the image as it is to be looked at.
        is_deep: whether a channel has 16 bits.
        has_frames: whether there are several frames or pages.
        has_alpha: whether pixels can be transparent.
    """

    mode: str
    size: tuple[int, int]
    is_deep: bool
    has_frames: bool
    has_alpha: bool


@functools.cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that it decodes to pixels by itself.

    Returns:
        The names, in the order in which a file is tried.
    """
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_DECODED)


@functools.cache
def extensions() -> frozenset[str]:
    """Endings of the names of files in those formats.

    Returns:
        The endings in small letters, with their dot.
    """
    # A photograph of several frames (MPO) begins as a JPEG does, and is opened as one.
    read = {*formats(), "MPO"}
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name in read
    )


def as_data_error(error: Exception, name: str) -> DataError:
    """What an exception of Pillow or of the system says about a file.

    Args:
        error: what was raised while the file was opened or decoded.
        name: what the message calls the file.

    Returns:
        UnreadableError if the system did not give the contents, else DamagedError.
    """
    if isinstance(error, DataError):
        return error
    # An invalid argument is a place outside of the file, which damaged contents lead to.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return UnreadableError(printable(name), error.strerror or str(error))
    if isinstance(error, Image.UnidentifiedImageError):
        return DamagedError(printable(name), "no image, or of an unknown format")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DamagedError(printable(name), printable(reason))


def read_header(path: str, name: str) -> Header:
    """Reads what an image file says of itself.

    Args:
        path: the file.
        name: what an error calls the file.

    Returns:
        Its header.

    Raises:
        DamagedError: if it is no image, or has pixels other than integers of 1 to 16 bits.
        UnreadableError: if the system does not give its contents.
    """
    try:
        with Image.open(path, formats=formats()) as image:
            mode = _decoded_mode(image, name)
            raw_modes = str([tile.args for tile in image.tile])
            is_deep = is_deep_grey(image) or bool(_DEEP_RAW_MODE.search(raw_modes))
            height, width, has_alpha = image.height, image.width, image.has_transparency_data
            if header_orientation(image) in TURNED:
                height, width = width, height
            # Last, since it may go on to the second frame. Of layers (PSD) all are read.
            has_frames = image.format != "PSD" and getattr(image, "is_animated", False)
            return Header(mode, (height, width), is_deep, has_frames, has_alpha)
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow raises errors of any kind
        if isinstance(error, Image.UnidentifiedImageError) and not os.path.getsize(path):
            raise DamagedError(printable(name), "the file is empty") from error
        raise as_data_error(error, name) from error


def is_deep_grey(image: Image.Image) -> bool:
    """Whether an open image has one channel of 16 bits.

    Args:
        image: an open image.

    Returns:
        True for unsigned integers of 16 bits, also those that Pillow holds as integers of 32 (the
        modes `I;16...`; `I` of a PGM file, whose values Pillow has scaled to 16 bits).
    """
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def _decoded_mode(image: Image.Image, name: str) -> str:
    """The simplest mode that holds the pixels of an image that was not decoded yet."""
    if image.mode == "1":
        return "1"
    if image.mode in _GREY_MODES or is_deep_grey(image):
        return "L"
    if image.mode in _PALETTE_MODES:
        return "L" if _has_grey_palette(image) else "RGB"
    if image.mode in _COLOUR_MODES:
        return "RGB"
    raise DamagedError(
        printable(name),
        f"its pixels are of mode {image.mode}, expected grey or RGB of 1 to 16 bits",
    )


def _has_grey_palette(image: Image.Image) -> bool:
    """Whether every colour of the palette is a grey."""
    if image.palette is None:
        return False
    raw_mode, colours = image.palette.getdata()
    strip = Image.frombytes("P", (256, 1), bytes(range(256)))
    strip.putpalette(colours, raw_mode)
    rgb = np.array(strip.convert("RGB"))
    return bool((rgb == rgb[..., :1]).all())
