"""Formats, modes, depths, frames and orientations of image files."""

import io
import struct
import zlib

import numpy as np
import pytest
from image_files import load, make, png, random_pixels, save, whole
from PIL import Image, ImageSequence

from jaxgen import data
from jaxgen.data import images
from jaxgen.data.formats import extensions, read_header

# Of a file of Pillow's own making; others it reads only.
WRITTEN = sorted(
    {"avif", "bmp", "dib", "gif", "j2k", "jfif", "jpe", "jpf", "pcx", "png", "pnm"}
    | {"apng", "ppm", "qoi", "sgi", "tga", "tiff", "vst", "webp", "jpeg", "JPG"}
)
ORIENTATION = 0x0112


def decode(source, mode="RGB", size=None, **settings):
    return images.decode(source, mode=mode, size=size, name="x", **settings)


def pair(root, pixels, *, suffix="png", **settings):
    """The only train image of a folder of two equal files, and the data set."""
    root.mkdir(exist_ok=True)
    for name in ("0", "1"):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(root / f"{name}.{suffix}", **settings)
    dataset = load(root)
    return whole(dataset.train)["x"][0], dataset


@pytest.mark.parametrize("suffix", WRITTEN)
def test_every_format_that_pillow_reads(tmp_path, suffix):
    pixels = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    _, dataset = pair(tmp_path, pixels, suffix=suffix)
    assert (dataset.shape, dataset.notes) == ((16, 24, 3), ())
    x = np.concatenate([whole(split)["x"] for split in (dataset.train, dataset.test)])
    assert len(x) == 2 and np.abs(x.astype(int) - pixels).max() < 8


def test_what_pillow_only_knows_by_name_is_left_out():
    assert not {".eps", ".ps", ".h5", ".pdf", ".mpg", ".wmf", ".txt"} & extensions()
    assert {".jfif", ".mpo", ".psd", ".xpm"} <= extensions()


@pytest.mark.parametrize(
    ("modes", "channels"),
    [
        (("L", "LA"), 1),
        (("1", "L"), 1),
        (("L", "RGB"), 3),
        (("RGBA", "P"), 3),
        (("CMYK",), 3),
        (("I;16", "L"), 1),
    ],
)
def test_modes_are_brought_to_one(tmp_path, modes, channels):
    for number in range(4):
        mode = modes[number % len(modes)]
        suffix = "tif" if mode == "CMYK" else "png"
        image = Image.fromarray(random_pixels(6, 6, 3))
        image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
        image.save(tmp_path / f"{number}.{suffix}")
    assert load(tmp_path).shape == (6, 6, channels)


def test_black_and_white_becomes_two_levels(tmp_path):
    pixels = random_pixels(6, 6, high=2)
    x, dataset = pair(tmp_path, Image.fromarray(pixels * 255).convert("1"))
    assert dataset.levels == 2
    np.testing.assert_array_equal(x[..., 0], pixels)


@pytest.mark.parametrize("suffix", ["png", "gif", "tiff", "bmp"])
def test_a_palette_of_greys_is_one_channel(tmp_path, suffix):
    indices = random_pixels(8, 8)
    indices[0, 0] = 0
    greys = np.random.default_rng(1).permutation(256).astype(np.uint8)
    palette = Image.frombytes("P", (8, 8), indices.tobytes())
    palette.putpalette(np.repeat(greys, 3).tobytes())
    x, dataset = pair(tmp_path / "grey", palette, suffix=suffix)
    assert dataset.shape == (8, 8, 1)
    np.testing.assert_array_equal(x[..., 0], greys[indices])
    colours = np.repeat(greys, 3)
    colours[0] ^= 128
    palette.putpalette(colours.tobytes())
    assert pair(tmp_path / "colour", palette, suffix=suffix)[1].shape == (8, 8, 3)


def deep_png(values):
    """A PNG of 16 bits in colour, which Pillow does not write."""
    height, width, channels = values.shape

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_high_byte_is_kept_in_grey_as_in_colour(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 2**16, (5, 7, channels))
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(deep_png(values))
    dataset = load(tmp_path)
    assert dataset.shape == (5, 7, channels)
    np.testing.assert_array_equal(whole(dataset.train)["x"][0], values // 256)
    assert dataset.notes == ("16-bit pixels scaled to 8 bits (2 files)",)


@pytest.mark.parametrize("suffix", ["tif", "pgm", "jp2", "png"])
def test_grey_of_16_bits_in_other_formats(tmp_path, suffix):
    values = np.random.default_rng(0).integers(0, 2**16, (8, 8)).astype(np.uint16)
    x, dataset = pair(tmp_path, values, suffix=suffix)
    np.testing.assert_array_equal(x[..., 0], values // 256)
    assert dataset.notes == ("16-bit pixels scaled to 8 bits (2 files)",)
    x = decode(str(tmp_path / f"0.{suffix}"), mode="L", size=(4, 4))
    assert x.shape == (4, 4, 1)


def test_pixels_that_are_no_integers_are_refused(tmp_path):
    make(tmp_path, "0.png", "1.png", "2.png")
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "3.tif")
    with pytest.raises(data.DataError, match=r"1 of 4 .*\n.*3\.tif: its pixels are of mode F"):
        load(tmp_path)
    assert "1 damaged image left out" in data.describe(load(tmp_path, skip_damaged=True))


def test_it_is_said_what_becomes_of_transparent_and_grey_pixels(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "0.png")
    Image.new("L", (4, 4), 7).save(tmp_path / "1.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "2.png")
    assert load(tmp_path).notes == (
        "transparent pixels laid over white (1 file)",
        "grey pixels read as colours (1 file)",
    )


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_read_and_it_is_said(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    settings = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"0.{suffix}", save_all=True, append_images=frames[1:], **settings)
    frames[0].save(tmp_path / f"1.{suffix}", **settings)
    with Image.open(tmp_path / f"0.{suffix}") as image:
        assert len(list(ImageSequence.Iterator(image))) == 2
    dataset = load(tmp_path)
    assert dataset.notes == ("1 file of several frames: first frame only",)
    for split in (dataset.train, dataset.test):
        assert (whole(split)["x"] == [255, 0, 0]).all()


def test_transparent_parts_are_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    file = png(pixels)
    image = decode(file)
    np.testing.assert_array_equal(image[0, 0], [10, 20, 30])
    assert (image.reshape(4, 3)[1:] == 255).all()
    np.testing.assert_array_equal(decode(file, mode="RGBA"), pixels)
    deep = io.BytesIO()
    values = np.array([[1000, 2000], [3000, 1000]], np.uint16)
    Image.fromarray(values).save(deep, "PNG", transparency=1000)
    np.testing.assert_array_equal(decode(deep.getvalue(), "L")[..., 0], [[255, 7], [11, 255]])


def upright(pixels, orientation):
    """The definition of the eight orientations by where the first row and column are shown."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_photographs_are_turned_upright(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = random_pixels(24, 40, 3)
    settings = {"lossless": True} if suffix == "webp" else {}
    x, dataset = pair(tmp_path, pixels, suffix=suffix, exif=exif, **settings)
    assert dataset.shape == x.shape == ((40, 24, 3) if orientation > 4 else (24, 40, 3))
    np.testing.assert_array_equal(x, upright(pixels, orientation))
    np.testing.assert_array_equal(whole(load(tmp_path, memory_limit=0).train)["x"][0], x)


def test_orientation_behind_the_pixels_of_a_png(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    pixels = random_pixels(4, 6, 3)
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    content = file.getvalue()
    first, last = content.index(b"eXIf") - 4, content.index(b"IDAT") - 4
    late = content[:first] + content[last:-12] + content[first:last] + content[-12:]
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(late)
    np.testing.assert_array_equal(whole(load(tmp_path).train)["x"][0], np.rot90(pixels, -1))


def test_headers_of_png_are_read_without_decoding(tmp_path, monkeypatch):
    save(tmp_path / "0.png", random_pixels(4, 6))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert read_header(str(tmp_path / "0.png"), "0.png").size == (4, 6)


@pytest.mark.parametrize(
    ("suffix", "exif"),
    [("jpg", b"II*\0\x08\0\0\0\x05\0\x12\x01"), ("png", b"no EXIF data at all")],
)
def test_damaged_exif_data_are_one_line_a_run(tmp_path, suffix, exif, recwarn):
    make(tmp_path, "0.png", "1.png", "2.png")
    image = Image.fromarray(random_pixels(2, 2))
    image.save(tmp_path / f"3.{suffix}", exif=b"Exif\0\0" + exif)
    for limit in (0, 1000):
        dataset = load(tmp_path, memory_limit=limit)
        for _ in range(2):
            whole(dataset.train), whole(dataset.test)
        assert len(dataset.notes) == 1
        assert dataset.notes[0].startswith(f"1 file read with a warning (3.{suffix}): ")
        assert dataset.notes[0].isprintable()
    assert len(recwarn) == 0


@pytest.mark.parametrize(("height", "width"), [(8, 16), (16, 8), (8, 8)])
def test_resize_is_that_of_the_whole_image_and_a_centre_crop(height, width):
    pixels = random_pixels(height, width)
    image = decode(png(pixels[..., None]), mode="L", size=(4, 4))
    halved = Image.fromarray(pixels).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    top, left = (height // 2 - 4) // 2, (width // 2 - 4) // 2
    expected = np.array(halved)[top : top + 4, left : left + 4]
    # Cutting before or after the second pass rounds differently: one level.
    np.testing.assert_allclose(image[..., 0], expected.astype(float), atol=1)


@pytest.mark.parametrize("shape", [(3, 5), (7, 2), (40, 30)])
@pytest.mark.parametrize("size", [(4, 4), (2, 9)])
def test_resize_to_any_shape_keeps_a_constant(shape, size):
    image = decode(png(np.full((*shape, 3), 200, np.uint8)), size=size)
    assert image.shape == (*size, 3) and (image == 200).all()


def test_sizes_that_differ(tmp_path):
    save(tmp_path / "a.png", random_pixels(5, 7))
    save(tmp_path / "b.png", random_pixels(9, 6))
    message = r"a\.png is 5x7, .*b\.png is 9x6 \(height x width\); --image-size 64 64 resizes"
    with pytest.raises(data.DataError, match=message):
        load(tmp_path)
    dataset = load(tmp_path, image_size=(3, 4))
    assert dataset.shape == (3, 4, 1) and whole(dataset.train)["x"].shape == (1, 3, 4, 1)
    assert load(tmp_path, image_size=4).shape == (4, 4, 1)
