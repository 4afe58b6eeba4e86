"""Decoding image files to uint8 arrays."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from jaxgen.data import formats
from jaxgen.data.dataset import DataError
from jaxgen.data.orientation import TURNS, orientation
from jaxgen.data.text import printable

CHANNELS = {"1": 1, "L": 1, "RGB": 3, "RGBA": 4}


def silence_warnings() -> None:
    """Lets no warning about an image file through any more, in this process.

    A file is decoded once an epoch, by many threads: a warning would be printed in every pass.
    What there is to say is said once, when a data set is loaded.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.|jaxgen\.data\.orientation")


def decode(
    source: bytes | str,
    *,
    mode: str,
    size: tuple[int, int] | None,
    name: str,
    is_turned: bool = True,
) -> np.ndarray:
    """Decodes one image file, of several frames the first.

    Of channels of 16 bits the high byte is kept: `x // 256`. Transparent parts are laid over white,
    unless the mode keeps alpha. With `size`, the image is resized (Lanczos), its aspect ratio
    kept, to just cover `size`, and the centre is cut out.

    Args:
        source: contents or path of the file.
        mode: `"1"` (black and white as 0 and 1), `"L"`, `"RGB"` or `"RGBA"`.
        size: `(height, width)`, or None to keep the size.
        name: what an error calls the image.
        is_turned: whether the image is turned as its EXIF orientation says.

    Returns:
        uint8 `[H, W, C]`, C of the mode.

    Raises:
        DataError: if the file cannot be read as an image.
    """
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=formats.formats()) as image:
            image.load()
            turn = TURNS.get(orientation(image)) if is_turned else None
            shallow = _high_byte(image) if formats.is_deep_grey(image) else image
            upright = shallow if turn is None else shallow.transpose(turn)
            return _pixels(upright, mode=mode, size=size)
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow raises errors of any kind
        raise formats.as_data_error(error, name) from error


def _pixels(image: Image.Image, *, mode: str, size: tuple[int, int] | None) -> np.ndarray:
    """The pixels of an upright image of 8 bits, as `decode` says."""
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    target = "L" if mode == "1" else mode
    if image.mode != target:
        image = image.convert(target)
    if size is not None and size != (image.height, image.width):
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.LANCZOS)
    pixels = np.array(image, np.uint8).reshape(image.height, image.width, CHANNELS[mode])
    return pixels // 128 if mode == "1" else pixels


def _high_byte(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits in 8, as Pillow itself makes them of colours."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def decode_all(
    sources: Sequence[bytes | str],
    names: Sequence[str],
    *,
    mode: str,
    size: tuple[int, int] | None,
    shape: tuple[int, int, int],
    is_turned: bool = True,
) -> np.ndarray:
    """Decodes several image files that must have the same shape.

    Args:
        sources: contents or paths of the files.
        names: what errors call the images.
        mode: as in `decode`.
        size: as in `decode`.
        shape: the `(H, W, C)` that every decoded image must have.
        is_turned: as in `decode`.

    Returns:
        uint8 `[b, H, W, C]`.

    Raises:
        DataError: if a file cannot be read or has another shape.
    """
    pixels = np.empty((len(sources), *shape), np.uint8)
    for row, source, name in zip(pixels, sources, names, strict=True):
        image = decode(source, mode=mode, size=size, name=name, is_turned=is_turned)
        if image.shape != shape:
            raise DataError(
                f"the image {printable(name)} has shape {image.shape}, expected {shape}; "
                "--image-size 64 64 resizes and crops all images"
            )
        row[...] = image
    return pixels
