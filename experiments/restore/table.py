"""The table of methods and runs, and its record."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np

from experiments.restore.quality import Scores
from experiments.restore.settings import Settings


class Row(NamedTuple):
    """What a method did with a task.

    Attributes:
        task: name.
        run: name, or that of the baseline.
        method: name.
        scores: of its images.
        seconds: that it took, compilation included.
    """

    task: str
    run: str
    method: str
    scores: Scores
    seconds: float


_HEAD = (
    "task",
    "run",
    "method",
    "PSNR of mean",
    "of a draw",
    "SSIM",
    "misfit",
    "error/spread",
    "coverage",
    "seconds",
)


def table_of(rows: list[Row]) -> str:
    """The rows in aligned columns, and what they mean."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    expected = np.nanmax([row.scores.expected_coverage for row in rows])
    return "\n".join(
        [
            *lines,
            "PSNR in dB, the mean of images and its standard error; misfit is 1 for the truth",
            "error/spread is 1 where the draws know their error, above 1 where they are too sure;",
            f"coverage, of pixels by the range of the draws, should be {expected:.2f}",
        ]
    )


def record_of(settings: Settings, rows: list[Row]) -> dict[str, Any]:
    """The numbers for a file."""
    given = {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in dataclasses.asdict(settings).items()
    }
    return {"settings": given, "rows": [_numbers(row) for row in rows]}


def _numbers(row: Row) -> dict[str, Any]:
    scores = {name: _finite(float(np.mean(value))) for name, value in row.scores._asdict().items()}
    return {"task": row.task, "run": row.run, "method": row.method, **scores} | {
        "psnr_standard_error": _finite(_error(row.scores.psnr)),
        "seconds": row.seconds,
    }


def _cells(row: Row) -> tuple[str, ...]:
    s = row.scores
    return (
        row.task,
        row.run,
        row.method,
        f"{s.psnr.mean():.2f} ± {_text(_error(s.psnr))}",
        f"{s.psnr_of_draws.mean():.2f}",
        f"{s.ssim.mean():.3f}",
        _text(float(s.misfit.mean())),
        _text(s.spread),
        _text(s.coverage),
        f"{row.seconds:.1f}",
    )


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _text(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
