"""Samples as files: sheets, arrays and folders, written a block at a time; what is refused before."""

import pathlib

import numpy as np
import PIL.Image
import pytest

from experiments.sample_files import check_out, write_samples
from experiments.settings import DataInfo

INFO = DataInfo((5, 4, 1), 17, ("cat", "a/b"), 10, 10, None)
VECTORS = DataInfo((2,), None, None, 10, 10, None)
X = np.random.default_rng(0).integers(0, 17, (7, 5, 4, 1)).astype(np.uint8)
LABEL = np.array([0, 1, 0, 1, 0, 1, 0], np.int32)


def write(out: pathlib.Path, x=X, label=LABEL, info=INFO) -> None:
    check_out(out, len(x), info)
    write_samples(out, iter((x[:3], x[3:6], x[6:])), len(x), label, info)


def test_arrays_hold_every_sample_and_its_label(tmp_path):
    out = tmp_path / "new" / "x.npz"
    write(out)
    with np.load(out, allow_pickle=False) as arrays:
        assert set(arrays) == {"x", "levels", "label"} and arrays["levels"] == 17
        np.testing.assert_array_equal(arrays["x"], X)
        assert arrays["x"].dtype == np.uint8 and arrays["label"].dtype == np.int32
        np.testing.assert_array_equal(arrays["label"], LABEL)
    assert [path.name for path in out.parent.iterdir()] == ["x.npz"]


def test_vectors_are_arrays_without_labels(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    write(tmp_path / "x.npz", x, None, VECTORS)
    with np.load(tmp_path / "x.npz") as arrays:
        assert set(arrays) == {"x"}
        np.testing.assert_array_equal(arrays["x"], x)
    write(tmp_path / "x.png", x, None, VECTORS)
    with PIL.Image.open(tmp_path / "x.png") as picture:
        assert len(picture.getcolors(2**20)) > 2


def test_a_folder_has_an_image_each_in_a_folder_for_each_class(tmp_path):
    write(tmp_path / "images")
    found = sorted(str(p.relative_to(tmp_path / "images")) for p in tmp_path.rglob("*.png"))
    assert found == sorted(f"{('cat', 'a_b')[c]}/{i:06d}.png" for i, c in enumerate(LABEL))
    with PIL.Image.open(tmp_path / "images/a_b/000003.png") as picture:
        np.testing.assert_array_equal(picture, np.round(X[3, ..., 0] * (255 / 16)))


def test_a_sheet_shows_all(tmp_path):
    write(tmp_path / "x.png")
    with PIL.Image.open(tmp_path / "x.png") as picture:
        shown = np.asarray(picture)
    tiles = {tuple(np.round(image.ravel() * (255 / 16)).astype(int)) for image in X}
    found = {
        tuple(shown[y : y + 60 : 12, x : x + 48 : 12].ravel().astype(int))
        for y in range(1, shown.shape[0] - 59, 61)
        for x in range(1, shown.shape[1] - 47, 49)
    }
    assert tiles <= found


def test_a_failed_write_leaves_no_part(tmp_path):
    def failing():
        yield X[:3]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_samples(tmp_path / "x.npz", failing(), 7, None, INFO)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "num", "info", "message"),
    [
        ("x.jpg", 5, INFO, r"out: .*x.jpg, expected FILE.png, FILE.npz or FOLDER/"),
        ("x.npz", 10**14, INFO, "num: 100000000000000, expected at most .* free on the disk"),
        ("images", 10**14, INFO, "num: 100000000000000, expected at most .* free on the disk"),
        ("x.PNG", 1025, INFO, "num: 1025, expected at most 1,024"),
        ("x.png", 1025, INFO, "num: 1025, expected at most 1,024 on a sheet; use --out FILE.npz"),
        ("full", 5, INFO, "out: .*full, expected a new or empty folder"),
        ("images", 5, VECTORS, "out: .*images, expected FILE.png or FILE.npz, since vectors"),
        ("dir.npz", 5, INFO, "out: .*dir.npz, expected a new or empty folder"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, num, info, message):
    for full in ("full", "dir.npz"):
        (tmp_path / full).mkdir()
        (tmp_path / full / "file").touch()
    with pytest.raises(ValueError, match=message):
        check_out(tmp_path / name, num, info)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dir.npz", "full"]
