"""One door to every data set: `load(name)`."""

from jaxgen.data.dataset import FOLDER_PREFIX, OWN_NAMES, DataError, Dataset


def load(
    name: str,
    *,
    data_dir: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    levels: int | None = None,
    memory_limit: int = 4 * 2**30,
) -> Dataset:
    """Loads a data set by name.

    Args:
        name: `digits` (8x8 images, no file needed), a toy density in the plane (`ring`, `grid`,
            `moons`, `checkerboard`), `folder:PATH` (image files), or the name of a
            tensorflow-datasets image data set, as `mnist` or `celeb_a/config:2.1.0`.
        data_dir: where prepared tensorflow-datasets lie; None for their usual place
            (`TFDS_DATA_DIR` or `~/tensorflow_datasets`).
        image_size: `(height, width)`, or one number for a square, at least 1: the shorter side is
            resized, the centre cut out. Needed where images differ in size. None keeps the size.
        levels: number of values a pixel takes, 2 to 256. None: 2 if no train pixel exceeds 1, else
            256 (and 17 for `digits`).
        memory_limit: bytes. A set whose decoded pixels take at most this much is read once into
            memory; a larger one is decoded while it is used.

    Returns:
        The data set.

    Raises:
        DataError: if there is no such data set, it cannot be read, or a setting does not fit it.
    """
    size = _checked_size(image_size)
    if levels is not None and not 2 <= levels <= 256:
        raise DataError(f"levels must be between 2 and 256, got {levels}")
    if memory_limit < 0:
        raise DataError(f"memory_limit must be at least 0 bytes, got {memory_limit}")
    if name in OWN_NAMES:
        return _load_own(name, size=size, levels=levels)
    if name.startswith(FOLDER_PREFIX):
        from jaxgen.data import folder

        return folder.load_folder(
            name.removeprefix(FOLDER_PREFIX), size=size, levels=levels, memory_limit=memory_limit
        )
    from jaxgen.data import tfds

    return tfds.load_tfds(
        name, data_dir=data_dir, size=size, levels=levels, memory_limit=memory_limit
    )


def _checked_size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """The image size as (height, width)."""
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < 1:
        raise DataError(
            f"image_size must be one number or (height, width), at least 1, got {image_size}"
        )
    return size[0], size[1]


def _load_own(name: str, *, size: tuple[int, int] | None, levels: int | None) -> Dataset:
    """A data set that needs no file; its shape and levels are fixed."""
    if name == "digits":
        from jaxgen.data import digits

        dataset = digits.load_digits()
    else:
        from jaxgen.data import toy

        dataset = toy.load_toy(name)
    if size is not None and size != dataset.shape[:2]:
        raise DataError(f"image_size cannot be set for {name}, whose shape is {dataset.shape}")
    if levels not in (None, dataset.levels):
        raise DataError(
            f"levels cannot be set for {name}, which has {dataset.levels}; got {levels}"
        )
    return dataset
