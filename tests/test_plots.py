"""Pictures have the right size and pixels; bad input is refused; files appear whole."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxgen import plots


def random_images(num, height, width, channels, levels=256):
    rng = np.random.default_rng(0)
    return rng.integers(0, levels, (num, height, width, channels)).astype(np.uint8)


def reference_grid(x, columns, padding, scale):
    """Places every image with `np.kron` and `np.pad` alone."""
    tiles = [
        np.pad(
            np.kron(image, np.ones((scale, scale, 1), np.uint8)),
            ((0, padding), (0, padding), (0, 0)),
            constant_values=255,
        )
        for image in x
    ]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.pad(np.concatenate(rows), ((padding, 0), (padding, 0), (0, 0)), constant_values=255)


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("num", "columns", "padding", "scale"), [(1, 1, 1, 1), (5, 2, 2, 3), (6, 3, 0, 2), (2, 7, 1, 1)]
)
def test_grid_places_every_pixel(num, columns, padding, scale, channels):
    x = random_images(num, 3, 5, channels)
    grid = plots.image_grid(x, columns=columns, padding=padding, scale=scale)
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid, reference_grid(x, min(num, columns), padding, scale))


def test_grid_defaults_enlarge_and_fill_a_square():
    assert plots.image_grid(random_images(9, 8, 8, 1)).shape == (3 * 65 + 1, 3 * 65 + 1, 1)
    assert plots.image_grid(random_images(1, 100, 70, 3)).shape == (102, 72, 3)
    height, width, _ = plots.image_grid(random_images(16, 8, 32, 1)).shape
    assert 0.5 < height / width < 2.0


@pytest.mark.parametrize(("levels", "expected"), [(2, [0, 255]), (17, [0, 16]), (256, [0, 1])])
def test_grid_spreads_levels(levels, expected):
    x = np.array([0, 1], np.uint8).reshape(1, 1, 2, 1)
    grid = plots.image_grid(x, levels=levels, padding=0, scale=1)
    np.testing.assert_array_equal(grid.ravel(), expected)
    top = np.full((1, 1, 1, 1), levels - 1, np.uint8)
    assert plots.image_grid(top, levels=levels, padding=0, scale=1).item() == 255


def test_four_channels_are_seen_on_white():
    x = np.array([[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]], np.uint8)
    grid = plots.image_grid(x.reshape(1, 1, 3, 4), padding=0, scale=1)
    np.testing.assert_array_equal(grid[0], [[200, 100, 0], [255, 255, 255], [244, 224, 204]])


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channels_stand_side_by_side(channels):
    x = random_images(1, 2, 3, channels)
    grid = plots.image_grid(x, padding=0, scale=1)
    assert grid.shape == (2, 3 * channels, 1)
    for c in range(channels):
        np.testing.assert_array_equal(grid[:, 3 * c : 3 * c + 3, 0], x[0, :, :, c])


@pytest.mark.parametrize(
    ("x", "settings", "message"),
    [
        (np.zeros((2, 4, 4), np.uint8), {}, r"x: shape \(.*\), expected a non-empty array"),
        (np.zeros((0, 4, 4, 1), np.uint8), {}, r"x: shape \(.*\), expected a non-empty array"),
        (np.zeros((1, 4, 4, 1), np.float32), {}, "x: float32, expected uint8 pixels 0 to 255"),
        (np.full((1, 4, 4, 1), 17, np.uint8), {"levels": 17}, "x: 17, expected pixels 0 to 16"),
        (np.zeros((1, 4, 4, 1), np.uint8), {"levels": 1}, "levels: 1, expected 2 to 256"),
        (np.zeros((1, 4, 4, 1), np.uint8), {"columns": 0}, "columns: 0, expected at least 1"),
        (np.zeros((1, 4, 4, 1), np.uint8), {"padding": -1}, "padding: -1, expected at least 0"),
        (np.zeros((1, 4, 4, 1), np.uint8), {"scale": 0}, "scale: 0, expected at least 1"),
    ],
)
def test_grid_refuses(x, settings, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(x, **settings)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
def test_saved_image_reads_back(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path / "new" / "image.png"
    plots.save_image(path, array)
    np.testing.assert_array_equal(read(path), array.reshape(shape[:2] if shape[-1] == 1 else shape))
    assert os.listdir(path.parent) == ["image.png"]


def test_saved_grid_is_the_grid(tmp_path):
    x = random_images(5, 4, 4, 3, levels=17)
    plots.save_grid(tmp_path / "grid.png", x, columns=2, levels=17, scale=2)
    expected = plots.image_grid(x, columns=2, levels=17, scale=2)
    np.testing.assert_array_equal(read(tmp_path / "grid.png"), expected)


def test_save_image_refuses_floats(tmp_path):
    with pytest.raises(ValueError, match=r"array: float64 \(2, 2\), expected uint8"):
        plots.save_image(tmp_path / "image.png", np.zeros((2, 2)))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_animation_keeps_frames_and_times(tmp_path, channels):
    frames = [np.full((4, 6, channels), 60 * i, np.uint8) for i in range(4)]
    plots.animation(tmp_path / "a.gif", iter(frames), milliseconds=50, last_milliseconds=700)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (4, (6, 4), 0)
        durations = []
        for i in range(4):
            image.seek(i)
            durations.append(image.info["duration"])
            np.testing.assert_array_equal(np.asarray(image.convert("L")), 60 * i)
    assert durations == [50, 50, 50, 700]


def test_animation_of_one_frame(tmp_path):
    plots.animation(tmp_path / "a.gif", [np.zeros((4, 6, 1), np.uint8)])
    assert read(tmp_path / "a.gif").shape == (4, 6)


@pytest.mark.parametrize(
    ("frames", "settings", "message"),
    [
        ([], {}, "frames: 0, expected at least 1"),
        (
            [np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)],
            {},
            "frames: 2 shapes, expected one",
        ),
        (
            [np.zeros((2, 2), np.uint8)],
            {"milliseconds": 5},
            "last_milliseconds: 5, 1500, expected at least 20",
        ),
    ],
)
def test_animation_refuses(tmp_path, frames, settings, message):
    with pytest.raises(ValueError, match=message):
        plots.animation(tmp_path / "a.gif", frames, **settings)


@pytest.mark.parametrize("yscale", ["linear", "log"])
@pytest.mark.parametrize("values", [[3.0, np.nan, -1.0], [np.inf, np.nan, -2.0], [5.0]])
def test_curves_are_drawn_whatever_the_values(tmp_path, yscale, values):
    steps = np.arange(len(values)) * 100
    plots.curves(tmp_path / "c.png", {"$a_b": (steps, values)}, "loss", yscale=yscale)
    image = read(tmp_path / "c.png")
    assert image.shape[:2] == (570, 960)
    assert image[..., :3].min() < 100 and image[0, 0, :3].tolist() == [255, 255, 255]


def test_only_several_curves_have_a_legend():
    line = (np.arange(3), np.arange(3.0))
    for names, expected in ((["a"], []), (["_a", "$b"], ["_a", "$b"])):
        axes = plots.new_figure(3, 2).add_subplot()
        plots.draw_curves(axes, dict.fromkeys(names, line), ylabel="nats per image")
        legend = axes.get_legend()
        assert [text.get_text() for text in (legend.get_texts() if legend else [])] == expected
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), line[1])
        assert axes.get_ylabel() == "nats per image"
        assert axes.get_xlabel() == "training step"


@pytest.mark.parametrize(
    ("series", "yscale", "message"),
    [
        ({}, "linear", "series: 0 curves, expected at least 1"),
        ({"a": ([1, 2], [1.0])}, "linear", r"\(2,\) and \(1,\), expected steps and values"),
        ({"a": ([1], [1.0])}, "logit", "yscale: 'logit', expected 'linear' or 'log'"),
    ],
)
def test_curves_refuse(tmp_path, series, yscale, message):
    with pytest.raises(ValueError, match=message):
        plots.curves(tmp_path / "c.png", series, "loss", yscale=yscale)


def test_latents_have_a_colour_and_marker_for_each_class():
    rng = np.random.default_rng(0)
    z, label = rng.normal(size=(60, 2)), np.arange(60) % 20
    axes = plots.new_figure(4, 4).add_subplot()
    plots.draw_latents(axes, z, label)
    looks = set()
    for group, points in enumerate(axes.collections):
        np.testing.assert_array_equal(points.get_offsets(), z[label // 10 == group])
        looks |= {(group, *colour) for colour in points.get_facecolors().tolist()}
    assert len(looks) == 20
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        str(i) for i in range(20)
    ]
    assert axes.get_aspect() == 1.0


def test_class_names_stand_at_the_medians():
    z = np.array([[0.0, 0.0], [2.0, 4.0], [10.0, 10.0]])
    axes = plots.new_figure(4, 4).add_subplot()
    plots.draw_latents(axes, z, np.array([0, 0, 1]), ["cat", "$dog"])
    placed = {text.get_text(): text.get_position() for text in axes.texts}
    assert placed == {"cat": (1.0, 2.0), "$dog": (10.0, 10.0)}


def test_points_without_a_label_lie_pale_behind_the_others():
    z = np.arange(10.0).reshape(5, 2)
    label = np.array([1, -1, 0, -1, 1])
    axes = plots.new_figure(4, 4).add_subplot()
    plots.draw_latents(axes, z, label, ["cat", "dog"])
    unknown, known = axes.collections
    np.testing.assert_array_equal(unknown.get_offsets(), z[[1, 3]])
    np.testing.assert_array_equal(known.get_offsets(), z[[0, 2, 4]])
    assert unknown.get_zorder() < known.get_zorder()
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["cat", "dog", "no label"]
    assert {text.get_text() for text in axes.texts} == {"cat", "dog"}


@pytest.mark.parametrize("num_classes", [None, 1, 3, 25, 100])
def test_latent_scatter_is_written(tmp_path, num_classes):
    z = np.random.default_rng(0).normal(size=(200, 2))
    label = None if num_classes is None else np.arange(200) % num_classes
    if num_classes == 3:
        label[::7] = -1
    plots.latent_scatter(tmp_path / "z.png", z, label, title="Latents")
    assert np.ptp(read(tmp_path / "z.png")[..., :3]) > 100


@pytest.mark.parametrize(
    ("z", "label", "names", "message"),
    [
        (np.zeros((3, 3)), None, None, r"z: shape \(3, 3\), expected a non-empty array \[N, 2\]"),
        (np.zeros((3, 2)), np.zeros(2, int), None, r"label: int64 \(2,\), expected 3 integers"),
        (np.zeros((3, 2)), np.zeros(3), None, "label: float64 .*, expected 3 integers"),
        (np.zeros((3, 2)), np.full(3, -2), None, "label: -2, expected classes from 0, or -1"),
        (np.zeros((3, 2)), np.full(3, 2), ["a"], "class_names: 1 names, expected 3 or more"),
    ],
)
def test_latent_scatter_refuses(tmp_path, z, label, names, message):
    with pytest.raises(ValueError, match=message):
        plots.latent_scatter(tmp_path / "z.png", z, label, names)


ODD_NAMES = {
    "a [bold]": "a [bold]",
    "$x_1$ \\alpha": "$x_1$ \\alpha",
    "é": "é",
    "cat\udcff": "cat\\udcff",
    "\u732b\U0001f408": "\\u732b\\U0001f408",
    "tab\tend\x00": "tab\\tend\\x00",
}


def test_names_that_no_font_has_are_escaped(tmp_path):
    """Undecodable bytes fail in Matplotlib, and each letter without a glyph is a warning."""
    for name, expected in ODD_NAMES.items():
        assert plots.printable(name) == expected == plots.printable(expected)
    name = " ".join(ODD_NAMES)
    z = np.arange(8.0).reshape(4, 2)
    plots.latent_scatter(
        tmp_path / "z.png", z, np.array([0, 1, 0, 1]), list(ODD_NAMES)[2:4], title=name, xlabel=name
    )
    steps = np.arange(3)
    plots.curves(tmp_path / "c.png", {name: (steps, steps), "b": (steps, steps)}, name, title=name)
    x = np.zeros((1, 1, 8, 8, 1), np.uint8)
    plots.labelled_grid(tmp_path / "t.png", x, row_labels=[name], column_labels=[name], title=name)
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_labelled_grid_has_its_images_pixel_for_pixel(tmp_path, channels):
    x = random_images(6, 48, 60, channels).reshape(3, 2, 48, 60, channels)
    plots.labelled_grid(
        tmp_path / "t.png",
        x,
        row_labels=["first", "second\nrow", "$third"],
        column_labels=["a", "b"],
        title="A title that is much wider than the pictures below it and must be broken",
        rows_per_group=2,
    )
    page = read(tmp_path / "t.png")[..., :3]
    found = [find(page, np.broadcast_to(image, (48, 60, 3))) for image in x.reshape(6, 48, 60, -1)]
    (top, left), height = found[0], 48 + 4
    rows = [top, top + height, top + 2 * height + 2 * 4 + 48 // 6 - 4]
    assert found == [(row, column) for row in rows for column in (left, left + 64)]


def find(page, tile):
    """Where the one exact copy of a tile lies in a page."""
    candidates = np.argwhere((page == tile[0, 0]).all(-1))
    height, width = tile.shape[:2]
    places = [
        (int(r), int(c))
        for r, c in candidates
        if np.array_equal(page[r : r + height, c : c + width], tile)
    ]
    (place,) = places
    return place


def test_labelled_grid_refuses_labels_that_do_not_fit(tmp_path):
    with pytest.raises(
        ValueError, match="row_labels, column_labels: 1 and 3 names, expected 2 and 3"
    ):
        plots.labelled_grid(
            tmp_path / "t.png",
            np.zeros((2, 3, 8, 8, 1), np.uint8),
            row_labels=["a"],
            column_labels=["a", "b", "c"],
        )
