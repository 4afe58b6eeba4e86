"""The page on a run is well formed, holds the run's numbers and pictures, and escapes its texts."""

import base64
import html.parser
import io
import json

import numpy as np
import pytest
from PIL import Image

from experiments.page import label
from experiments.report import write_report
from jaxgen import plots
from jaxgen.training.run_directory import RunError

VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """Checks that tags nest and collects texts, table rows, captions and images."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.tags, self.images = [], [], set(), []
        self.captions, self.rows = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            kind, data = dict(attrs)["src"].split(",")
            assert dict(attrs)["alt"]
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                assert kind == f"data:image/{(image.format or '').lower()};base64"
                self.images.append(np.asarray(image))
        assert not any(value and value.startswith("http") for _, value in attrs)
        if tag == "th":
            self.scope = dict(attrs)["scope"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not data.strip():
            return
        self.texts.append(data.strip())
        where = self.open[-1] if self.open else ""
        if where == "figcaption":
            self.captions.append(data)
        if where == "th" and self.scope == "row":
            self.rows.append([data])
        if where == "td":
            self.rows[-1].append(data)


@pytest.fixture
def run_dir(tmp_path):
    path = tmp_path / "a <b>run & more"
    (path / "samples").mkdir(parents=True)
    config = {
        "data": {"dataset": "digits", "image_size": None},
        "settings": {"steps": 20000, "training": {"learning_rate": 0.001}},
        "hidden_sizes": [400, 200],
        "note": "<script>alert('x')</script> & \"quotes\"",
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


def write_metrics(run_dir, rows):
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def page_of(run_dir):
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_page_holds_numbers_pictures_curves_and_settings(run_dir):
    rows = [{"step": s, "loss": 1.0 / s, "rate": 2.5, "test/rate": None} for s in (100, 200)]
    write_metrics(run_dir, [*rows, {"step": 200, "params_sha256": "ab" * 32}])
    evaluation = {
        "num_examples": 397,
        "metrics": {
            "elbo": {"mean": -110.123456, "standard_error": 0.523},
            "elbo_bits_per_dim": 2.4,
            "iw100": -9,
        },
    }
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation))
    images = {}
    for step in (1000, 900, 20000):
        images[step] = np.full((4, 5), step % 251, np.uint8)
        plots.save_image(run_dir / "samples" / f"samples_step_{step}.png", images[step])
    (run_dir / "command.txt").write_text("python -m experiments.vae --run-dir runs/<x>\n")
    page = page_of(run_dir)
    assert page.texts.count("a <b>run & more") == 2
    assert "digits · 200 training steps" in page.texts
    assert "ab" * 32 in page.texts
    assert "python -m experiments.vae --run-dir runs/<x>" in page.texts
    assert page.rows == [
        ["num examples", "397"],
        ["ELBO (nats per example)", "-110.12 ± 0.52"],
        ["ELBO (bits per dimension)", "2.4"],
        ["IW bound, 100 draws (nats per example)", "-9"],
        ["data.dataset", "digits"],
        ["data.image_size", "none"],
        ["steps", "20000"],
        ["training.learning_rate", "0.001"],
        ["hidden_sizes", "400, 200"],
        ["note", "<script>alert('x')</script> & \"quotes\""],
    ]
    assert page.captions == [
        "samples step 20,000",
        "samples step 900",
        "samples step 1,000",
        "loss",
        "rate",
    ]
    assert "2 earlier" in page.texts
    for shown, step in zip(page.images, (20000, 900, 1000), strict=False):
        np.testing.assert_array_equal(shown, images[step])
    assert page.tags.isdisjoint({"script", "link", "b"})


def test_without_evaluation_the_last_training_metrics_are_shown(run_dir):
    write_metrics(run_dir, [{"step": 1, "loss": 3.0, "rate": 0.5}, {"step": 2, "loss": 1.25}])
    page = page_of(run_dir)
    assert "Last training metrics" in page.texts
    assert page.rows[:3] == [["step", "2"], ["loss", "1.25"], ["rate (nats per example)", "0.5"]]


def test_metrics_of_two_parts_share_a_curve(run_dir):
    row = {"train/loss": 3.0, "test/loss": 4.0, "accuracy": 1, "ok": True, "name": "x"}
    write_metrics(run_dir, [{"step": step, **row} for step in range(3)])
    assert page_of(run_dir).captions == ["loss", "accuracy"]


def test_sample_metrics_and_films_are_shown(run_dir):
    columns = {"samples": {"recall": 0.5}, "train examples": {"recall": 0.75}}
    values = {"num": 20, "metrics": columns}
    (run_dir / "sample_metrics.json").write_text(json.dumps(values))
    frames = [np.full((4, 5, 1), value, np.uint8) for value in (0, 200)]
    plots.animation(run_dir / "samples" / "film.gif", frames, milliseconds=100)
    page = page_of(run_dir)
    assert "Samples beside test examples" in page.texts
    assert page.rows[:2] == [["recall", "0.5", "0.75"], ["num", "20"]]
    assert page.captions == ["film"] and page.images[0].shape[:2] == (4, 5)
    (run_dir / "sample_metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"sample_metrics\.json is damaged"):
        write_report(run_dir)


def test_numbers_of_other_commands_are_shown(run_dir):
    found = {"recall": {"mean": 0.5, "standard_error": 0.1}, "classes": ["cat", "dog"]}
    found |= {"confusion": [[1, 2], [3, 4]], "layers": [{"name": "a"}, {"name": "b", "gap": 2.0}]}
    (run_dir / "found_later.json").write_text(json.dumps(found))
    page = page_of(run_dir)
    assert {"Further numbers", "found later", "layers"} <= set(page.texts)
    expected = [["recall", "0.50 ± 0.10"], ["classes", "cat, dog"], ["a", "none"], ["b", "2"]]
    assert [row for row in page.rows if row in expected] == expected
    assert not any("confusion" in row for row in page.rows)
    (run_dir / "found_later.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"found_later\.json"):
        write_report(run_dir)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("metrics.elbo1000", "ELBO of 1,000 steps (nats per example)"),
        ("elbo50_bits_per_dim", "ELBO of 50 steps (bits per dimension)"),
        ("metrics.ode", "density of the probability flow (nats per example)"),
        ("ode_bits_per_dim", "density of the probability flow (bits per dimension)"),
        ("metrics.iw10_bits_per_dim", "IW bound, 10 draws (bits per dimension)"),
        ("iw5000", "IW bound, 5,000 draws (nats per example)"),
        ("dequantized_bits_per_dim", "density of dequantized pixels (bits per dimension)"),
        ("train/bits_per_dim", "train bits per dimension"),
        ("good_modes", "good modes"),
    ],
)
def test_metrics_are_shown_in_words(name, expected):
    assert label(name) == expected


def test_a_run_that_has_only_begun(run_dir):
    page = page_of(run_dir)
    assert page.images == [] and "Settings" in page.texts and "Curves" not in page.texts
    assert "Command" not in page.texts


def test_page_is_replaced_and_nothing_else_written_or_printed(run_dir, capsys):
    before = sorted(path.name for path in run_dir.iterdir())
    page_of(run_dir)
    write_metrics(run_dir, [{"step": 7, "loss": 0.5}])
    assert ["step", "7"] in page_of(run_dir).rows
    names = sorted(path.name for path in run_dir.iterdir())
    assert names == sorted([*before, "metrics.jsonl", "report.html"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ((-110.123456, 0.523), "-110.12 ± 0.52"),
        ((12345.6, 321.0), "12346 ± 321"),
        ((2.5, 0.0), "2.5 ± 0"),
        ((None, None), "none"),
    ],
)
def test_means_have_as_many_digits_as_their_error_allows(run_dir, summary, expected):
    values = dict(zip(("mean", "standard_error"), summary, strict=True))
    (run_dir / "evaluation.json").write_text(json.dumps({"score": values}))
    assert page_of(run_dir).rows[0] == ["score", expected]


def test_refuses_what_is_no_run_and_damaged_results(tmp_path, run_dir):
    with pytest.raises(RunError, match="there is no run directory"):
        write_report(tmp_path / "absent")
    for text in ("{", "[1]"):
        (run_dir / "evaluation.json").write_text(text)
        with pytest.raises(ValueError, match=r"evaluation\.json is damaged"):
            write_report(run_dir)
