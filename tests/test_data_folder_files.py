"""Which files below a folder are data."""

import os

import pytest
from image_files import load, make, save

from jaxgen import data
from jaxgen.data import folder_files
from jaxgen.data.folder_files import find_image_files
from jaxgen.training import run_directory


@pytest.fixture
def pets(tmp_path):
    make(tmp_path, "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    return tmp_path


def names_of(root):
    return find_image_files(str(root)).paths


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/0.png",
        "cat/.ipynb_checkpoints/0.png",
        "cat/.0.png",
        "cat/._0.png",
        "__MACOSX/cat/0.png",
        "cat/@eaDir/0.png/thumbnail.jpg",
        "lost+found/0.png",
        "dog/__pycache__/0.png",
        "dog/0.png~",
        "dog~/2.png",
        "#0.png#",
        "$RECYCLE.BIN/0.png",
        "cat/Thumbs.db",
        "DESKTOP.INI",
        ".DS_Store",
    ],
)
def test_what_is_hidden_or_made_by_a_system_is_no_data(pets, name):
    before = find_image_files(str(pets))
    (pets / name).parent.mkdir(parents=True, exist_ok=True)
    (pets / name).write_bytes(b"")
    assert find_image_files(str(pets)) == before
    assert load(pets).class_names == ("cat", "dog")


def test_names_that_are_data(tmp_path):
    names = ["#1.png", "a b.png", "a~b.png", "x.tar.png", "thumbs/0.png", "√©.png"]
    make(tmp_path, *names)
    assert names_of(tmp_path) == sorted(names)


def test_links_are_followed(tmp_path):
    make(tmp_path, "elsewhere/deep/dog/0.png", "elsewhere/1.png", "pets/cat/0.png")
    (tmp_path / "pets/dog").symlink_to("../elsewhere/deep/dog")
    (tmp_path / "pets/cat/1.png").symlink_to("../../elsewhere/1.png")
    found = find_image_files(str(tmp_path / "pets"))
    assert found.paths == ["cat/0.png", "cat/1.png", "dog/0.png"]
    assert found.notes == ["1 link followed (dog)"]
    assert load(tmp_path / "pets").class_names == ("cat", "dog")


def test_loops_of_links_end(pets):
    (pets / "cat/all").symlink_to(pets)
    (pets / "dog/self").symlink_to(".")
    (pets / "dog/endless").symlink_to("endless")  # leads nowhere
    found = find_image_files(str(pets))
    assert found.paths == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    assert found.notes == ["2 links to a folder around it not followed (cat/all, dog/self)"]
    assert list(found.unreadable) == ["dog/endless"]


def test_broken_links_are_refused_by_name(pets):
    (pets / "README").symlink_to("gone.txt")
    (pets / "notes.txt").symlink_to("gone.txt")
    (pets / "dog/2.png").symlink_to("gone.png")
    with pytest.raises(data.DataError) as error:
        load(pets)
    assert "2 paths below" in str(error.value) and "notes.txt" not in str(error.value)
    assert "README: a broken link to gone.txt" in str(error.value)
    assert "dog/2.png: a broken link to gone.png" in str(error.value)


def test_what_is_left_out_is_counted(pets):
    for name in ("cat/a.txt", "b.TXT", "labels.csv", "LICENSE", "dog/x.eps"):
        (pets / name).write_text("")
    text = data.describe(load(pets))
    assert "; 5 files left out (2 .txt, 1 without an extension, 1 .csv, 1 .eps)" in text
    for number in range(9):
        (pets / f"x.k{number}").write_text("")
    assert "1 .csv, 1 .eps, 1 .k0, 9 others)" not in data.describe(load(pets))
    assert ", 8 others)" in data.describe(load(pets))


def test_run_directories_are_no_data(pets):
    assert folder_files._RUN_CONFIG == run_directory.CONFIG_FILE
    with run_directory.open_run(pets / "runs/vae", {"seed": 0}) as run:
        make(run.samples, "1.png", "2.png")
        names = {path.name for path in (run.metrics, run.checkpoints)}
    assert names | {run_directory.LOCK_FILE} == folder_files._RUN_PARTS
    found = find_image_files(str(pets))
    assert [path.split("/")[0] for path in found.paths] == ["cat", "cat", "dog", "dog"]
    assert found.notes == ["1 run directory left out (runs/vae)"]
    # A file of that name alone makes no run, nor does the folder that was asked for.
    save(pets / "cat/config.json/0.png")
    assert "cat/config.json/0.png" in names_of(pets)
    assert names_of(pets / "runs/vae/samples") == ["1.png", "2.png"]


def test_unreadable_folders_and_files_are_refused_by_name(pets, monkeypatch):
    scandir, forbidden = os.scandir, {str(pets / "dog")}

    def checked(path):
        if str(path) in forbidden:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", checked)
    for settings in ({}, {"skip_damaged": True}):
        with pytest.raises(data.DataError, match=r"1 path .* cannot be read:\n  dog: Permission"):
            load(pets, **settings)
    forbidden.clear()

    def denied(*_, **__):
        raise PermissionError(13, "denied")

    monkeypatch.setattr("PIL.Image.open", denied)
    with pytest.raises(data.DataError, match=r"4 paths .*\n  cat/0\.png: denied\n"):
        load(pets, skip_damaged=True)


def test_many_unreadable_paths_are_counted(tmp_path):
    for number in range(13):
        (tmp_path / f"{number:02}.png").symlink_to("gone")
    with pytest.raises(data.DataError) as error:
        load(tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("13 paths below") and lines[11] == "  and 3 more"


def test_names_that_cannot_be_shown_are_escaped(tmp_path):
    root = os.fsencode(tmp_path) + b"/x[/raw]\xff"
    for folder in (b"caf\xe9", b"y[old]\n"):
        os.makedirs(os.path.join(root, folder))
        for name in (b"0.png", b"\xfe1.png"):
            save(tmp_path / "plain.png")
            os.rename(tmp_path / "plain.png", os.path.join(root, folder, name))
    with open(os.path.join(root, b"note.\xfd"), "wb"):
        pass
    dataset = load(os.fsdecode(root))
    text = data.describe(dataset)
    for shown in (text, *dataset.class_names, *dataset.notes):
        assert shown.isprintable()
        shown.encode()
    assert dataset.class_names == ("caf\\udce9", "y[old]\\n")
    assert "x[/raw]\\udcff: " in text and "(1 .\\udcfd)" in text
    assert data.load(dataset.name).digest == dataset.digest
    with open(os.path.join(root, b"caf\xe9", b"\xfe1.png"), "wb"):
        pass
    with pytest.raises(data.DataError) as error:
        load(os.fsdecode(root))
    str(error.value).encode()
    assert "caf\\udce9/\\udcfe1.png: " in str(error.value)
