"""Metric rows that survive kills, and progress on terminals and in files."""

import errno
import io
import json
import logging
import os
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from jaxgen.training.metrics_log import MetricsLog, read_metrics
from jaxgen.training.output import LastingStream, outlive_readers
from jaxgen.training.progress import Progress


def strict_rows(path) -> list[dict]:
    """Rows as a parser reads them that knows no NaN."""

    def refuse(token):
        raise ValueError(token)

    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def read_events(file) -> list[Event]:
    """The events of one file, by its documented form: length, sum, content, sum."""
    content, found = file.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return found


def events(path) -> bytes:
    """Records of all event files, in their order."""
    return b"".join(file.read_bytes() for file in sorted(path.glob("events.*")))


def test_rows_are_on_disk_at_once(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(1, {"loss": jnp.float32(0.5), "n": np.int64(3), "lr": 0.1})
        assert strict_rows(tmp_path) == [{"step": 1, "loss": 0.5, "n": 3, "lr": 0.1}]
        log.write(2, {"params_sha256": "abc", "done": True, "nothing": None})
    assert read_metrics(tmp_path) == strict_rows(tmp_path)
    assert strict_rows(tmp_path)[1] == {
        "step": 2,
        "params_sha256": "abc",
        "done": True,
        "nothing": None,
    }


def test_numbers_that_json_does_not_know(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(1, {"a": jnp.nan, "b": jnp.float32(jnp.inf), "c": -np.inf, "d": 1.0})
    (row,) = strict_rows(tmp_path)
    assert row["a"] is row["b"] is row["c"] is None and row["d"] == 1.0
    assert row["non_finite"] == {"a": "nan", "b": "inf", "c": "-inf"}


def test_what_json_cannot_hold_is_an_error_and_no_half_row(tmp_path):
    with MetricsLog(tmp_path) as log:
        with pytest.raises((TypeError, ValueError)):
            log.write(1, {"a": np.zeros(3)})
        log.write(1, {"a": 1})
    assert strict_rows(tmp_path) == [{"step": 1, "a": 1}]


def test_resuming_drops_later_rows(tmp_path):
    with MetricsLog(tmp_path) as log:
        for step in (10, 20, 30):
            log.write(step, {"loss": step / 10})
    with MetricsLog(tmp_path, 20) as log:
        assert [row["step"] for row in read_metrics(tmp_path)] == [10, 20]
        log.write(30, {"loss": 4.0})
    assert [row["loss"] for row in strict_rows(tmp_path)] == [1.0, 2.0, 4.0]
    with MetricsLog(tmp_path, 0):
        assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', "{", '{"step": 3, "a": "\xe9', "\n\n"])
def test_torn_last_line(tmp_path, torn, caplog):
    path = tmp_path / "metrics.jsonl"
    good = '{"step": 1, "a": 0.10}\n{"step": 2}\n'
    path.write_bytes(good.encode() + torn.encode("latin-1"))
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
    with MetricsLog(tmp_path, 5) as log:
        assert path.read_text() == good
        log.write(6, {})
    assert [row["step"] for row in strict_rows(tmp_path)] == [1, 2, 6]
    assert not caplog.text


def test_torn_line_in_the_middle_is_told(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n[2]\n{"step": 3}\n')
    with caplog.at_level(logging.WARNING):
        assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3]
    assert "line 2" in caplog.text and "line 3" in caplog.text


def test_complete_last_line_without_its_end_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}')
    with MetricsLog(tmp_path, 2) as log:
        log.write(3, {})
    assert [row["step"] for row in strict_rows(tmp_path)] == [1, 2, 3]


def test_no_file_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_events_hold_the_numbers_and_pictures(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(3, {"train/loss": 0.625, "name": "x", "flag": True})
        for name, channels in (("gray", 1), ("colour", 3), ("clear", 4)):
            log.image(3, name, np.full((4, 4, channels), 7, np.uint8))
    content = events(tmp_path)
    assert b"train/loss" in content and struct.pack("<f", 0.625) in content
    assert content.count(b"\x89PNG") == 3
    assert b"flag" not in content and b"name" not in content
    with MetricsLog(tmp_path, 3) as log:
        log.write(4, {"train/loss": 0.5})
    assert len(list(tmp_path.glob("events.*"))) == 2
    assert events(tmp_path).startswith(content)
    last = sorted(tmp_path.glob("events.*"))[-1]
    start, row = [event for event in read_events(last) if event.step]
    assert (start.step, start.session_log.status) == (4, SessionLog.START)
    assert (row.step, row.summary.value[0].simple_value) == (4, 0.5)


def test_events_reach_the_disk_while_training(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgen.training.metrics_log._SECONDS_PER_FLUSH", -1.0)
    with MetricsLog(tmp_path) as log:
        log.write(1, {"train/loss": 0.625})
        assert b"train/loss" in events(tmp_path)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8)]
)
def test_pictures_are_checked(tmp_path, image):
    with MetricsLog(tmp_path) as log, pytest.raises(ValueError, match="uint8"):
        log.image(1, "x", image)


def test_others_than_the_writer_and_closed_logs_do_nothing(tmp_path):
    with MetricsLog(tmp_path, is_writer=False) as log:
        log.write(1, {"a": 1})
        log.image(1, "x", np.zeros((2, 2, 1), np.uint8))
    assert not list(tmp_path.iterdir())
    log = MetricsLog(tmp_path)
    log.close()
    log.close()
    log.write(1, {"a": 1})
    assert read_metrics(tmp_path) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(stream, seconds_per_step=1.0, **kwargs):
    """The last fifty of a hundred steps, ten at a time, by a clock that the test turns."""
    now = [0.0]
    with Progress(100, 50, stream=stream, clock=lambda: now[0], **kwargs) as progress:
        for step in range(60, 101, 10):
            now[0] += 10 * seconds_per_step
            progress.update(step, {"loss": jnp.float32(1.23456), "[x]": 2})
            if step == 80:
                progress.message("saved [80]")


def test_lines_without_a_terminal(capsys):
    stream = io.StringIO()
    run(stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6 and "\x1b" not in stream.getvalue()
    assert lines[0] == "step 60/100  1 steps/s  0:00:40 left  loss 1.235  [x] 2"
    assert lines[3] == "saved [80]"
    assert lines[-1].startswith("step 100/100") and "0:00:00 left" in lines[-1]
    run(None)
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_lines_are_at_least_some_seconds_apart():
    stream = io.StringIO()
    run(stream, seconds_per_step=0.25, seconds_per_line=5.0)
    shown = [line.split()[1] for line in stream.getvalue().splitlines() if line.startswith("step")]
    assert shown == ["60/100", "80/100", "100/100"]


def test_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    run(stream)
    text = stream.getvalue()
    assert "\x1b" in text and "step 100/100" in text and "[x] 2" in text and "saved [80]" in text
    assert text.count("\x1b[?25h") == 1  # The cursor is back.


def test_what_is_waited_for_is_said_once(monkeypatch):
    stream = io.StringIO()
    with Progress(100, 50, stream=stream) as progress:
        progress.waiting("compiling")
        progress.update(60)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 50/100  compiling" and len(lines) == 2
    monkeypatch.setenv("TERM", "xterm")
    with Progress(100, stream=(stream := Terminal())) as progress:
        progress.waiting("compiling")
        progress.update(60)
    first, last = stream.getvalue().rsplit("compiling", 1)
    assert "step 0/100" in first and "step 60/100" in last


def test_output_that_closes_ends_nothing(capfd):
    read, write = os.pipe()
    with open(write, "w") as stream, Progress(2, stream=stream, seconds_per_line=0.0) as progress:
        progress.message("read")
        assert os.read(read, 100) == b"read\n"
        os.close(read)
        for step in (1, 2):
            progress.update(step)
        print("also others", file=stream, flush=True)
    assert capfd.readouterr() == ("", "")


def test_a_stream_that_fails_is_left_at_once():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "the terminal is gone")

    stream = LastingStream(Full())
    assert stream.write("text") == 4
    print("text", file=stream, flush=True)
    assert stream.getvalue() == ""


def test_standard_streams_outlive_their_readers(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", None)
    outlive_readers()
    outlive_readers()
    assert isinstance(sys.stdout, LastingStream)
    assert isinstance(sys.stdout.stream, io.StringIO)
    assert sys.stderr is None
    with Progress(1) as progress:
        progress.update(1)
    assert "step 1/1" in sys.stdout.getvalue()


def test_others_than_the_writer_show_nothing():
    stream = io.StringIO()
    run(stream, is_writer=False)
    assert stream.getvalue() == ""


def test_speed_leaves_out_the_first_compilation():
    now = [0.0]
    stream = io.StringIO()
    with Progress(1000, stream=stream, clock=lambda: now[0], seconds_per_line=0.0) as progress:
        for step, seconds in ((10, 100.0), (20, 1.0), (30, 1.0)):
            now[0] += seconds
            progress.update(step)
    assert "10 steps/s  0:01:37 left" in stream.getvalue().splitlines()[-1]
