"""The machinery of a speed benchmark: processes that take turns, and a table of their medians."""

import contextlib
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.contestants import Contestant, Worker, WorkerError

JAXGEN = "jaxgen"
"""The contestant that is compared with the fastest of the others."""

BASELINE = "jaxgen, baseline"
"""The same of another checkout."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a benchmark."""

    contestants: tuple[str, ...] = ()
    """Names from the table's first column; all where none is given."""
    baseline: Path | None = None
    """Another checkout of jaxgen, say of an earlier commit, whose jaxgen runs beside this one's."""
    windows: int = 9
    """Turns of each contestant."""
    seconds: float = 4.0
    """Length of a turn, about."""
    threads: int = 2
    """Cores that a contestant may use."""
    json_out: Path | None = None
    """File for the numbers behind the table."""


class Contest(NamedTuple):
    """Who trains what.

    Attributes:
        titles: what each workload is called at the top of its table, by name.
        contestants: the programs, by name.
        batch_size: examples that a network sees at once.
        step: what is counted.
        loss: what the last column shows.
        min_steps: least number of steps in a turn.
    """

    titles: Mapping[str, str]
    contestants: Mapping[str, Contestant]
    batch_size: int
    step: str
    loss: str
    min_steps: int


@contextlib.contextmanager
def _workers(
    contest: Contest, workload: str, settings: Settings, console: Console
) -> Iterator[list[Worker]]:
    """Starts the contestants of a workload, one after another; those that fail are left out."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        workers = []
        for name in settings.contestants or contest.contestants:
            contestant = contest.contestants[name]
            if contestant.workloads is not None and workload not in contestant.workloads:
                continue
            console.print(f"{workload}: {name} compiles", style="dim")
            try:
                worker = Worker(name, contestant, workload, settings.threads, Path(directory))
            except WorkerError as error:
                console.print(f"left out: {error}", style="red", markup=False)
                continue
            stack.callback(worker.close)
            workers.append(worker)
        _check_same_size(workers)
        yield workers


def _check_same_size(workers: list[Worker]) -> None:
    sizes = {worker.name: worker.start["num_parameters"] for worker in workers}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the contestants' networks differ in parameters: {sizes}")


def measure(
    contest: Contest, workload: str, settings: Settings, console: Console
) -> list[dict[str, Any]]:
    """Runs all contestants of a workload in turn.

    Args:
        contest: the benchmark.
        workload: what they train.
        settings: of the benchmark.
        console: for progress.

    Returns:
        one record a contestant, with the steps/s of every window.

    Raises:
        ValueError: if the contestants' networks differ in size.
    """
    with _workers(contest, workload, settings, console) as workers:
        for worker in workers:
            # Once to warm up, once to learn how many steps fill a window.
            worker.run(contest.min_steps)
            worker.run(contest.min_steps)
        for window in range(settings.windows):
            for worker in workers:
                speed = worker.last["steps"] / worker.last["seconds"]
                num_steps = max(contest.min_steps, round(settings.seconds * speed))
                worker.speeds.append(worker.run(num_steps))
            console.print(f"{workload}: window {window + 1} of {settings.windows}", style="dim")
        return [_record(worker) for worker in workers]


def _record(worker: Worker) -> dict[str, Any]:
    median = statistics.median(worker.speeds)
    first_steps = worker.start["step_multiple"] / median
    return {
        "name": worker.name,
        "num_parameters": worker.start["num_parameters"],
        "steps_per_second": median,
        "windows": worker.speeds,
        "compile_seconds": max(0.0, worker.start["first_step_seconds"] - first_steps),
        "peak_mib": worker.last["peak_mib"],
        "loss": worker.last["loss"],
    }


def fastest_peer(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of the fastest contestant other than jaxgen (or jaxgen's, if it ran alone)."""
    peers = [record for record in records if record["name"] != JAXGEN] or records
    return max(peers, key=lambda record: record["steps_per_second"])


def ratios(record: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Speed of one contestant over that of another, window by window."""
    return [a / b for a, b in zip(record["windows"], other["windows"], strict=True)]


def table(contest: Contest, workload: str, records: list[dict[str, Any]], threads: int) -> Table:
    """The results of a workload, fastest first."""
    peer = fastest_peer(records)
    result = Table(
        title=f"{contest.titles[workload]} of {peer['num_parameters']:,} parameters, "
        f"batch {contest.batch_size}, float32, {threads} cores",
        caption=f"ratio: speed over that of the fastest peer, {peer['name']}; loss: {contest.loss}",
    )
    result.add_column("contestant", no_wrap=True)
    columns = (f"{contest.step}s/s", "ratio", "range", "compile s", "peak MiB", "loss")
    for column in columns:
        result.add_column(column, justify="right", no_wrap=True)
    for record in sorted(records, key=lambda record: -record["steps_per_second"]):
        speed, ratio = record["steps_per_second"], ratios(record, peer)
        result.add_row(
            record["name"],
            f"{speed:.1f}" if speed >= 10 else f"{speed:.2f}",
            f"{statistics.median(ratio):.2f}",
            f"{min(ratio):.2f} to {max(ratio):.2f}",
            f"{record['compile_seconds']:.1f}",
            f"{record['peak_mib']:.0f}",
            f"{record['loss']:.1f}",
            style="bold" if record["name"] == JAXGEN else None,
        )
    return result


def _with_baseline(
    contest: Contest, settings: Settings, checkout: Path
) -> tuple[Contest, Settings]:
    """The contest with the jaxgen of another checkout; against that one alone, if none is named."""
    if not (checkout / "benchmarks/peers/worker.py").is_file():
        raise ValueError(f"baseline: {checkout}, expected a checkout of jaxgen")
    old = dataclasses.replace(contest.contestants[JAXGEN], root=checkout)
    names = (*(settings.contestants or (JAXGEN,)), BASELINE)
    contest = contest._replace(contestants={**contest.contestants, BASELINE: old})
    return contest, dataclasses.replace(settings, contestants=names)


def run(contest: Contest, only: str | None, settings: Settings) -> None:
    """Runs a benchmark and prints one table a workload.

    Args:
        contest: the benchmark.
        only: one workload alone, or None for all.
        settings: of the benchmark.

    Raises:
        ValueError: if a setting is out of range or names no contestant.
    """
    unknown = set(settings.contestants) - set(contest.contestants)
    if unknown:
        expected = list(contest.contestants)
        raise ValueError(f"contestants: {sorted(unknown)}, expected some of {expected}")
    if settings.windows < 1 or settings.seconds <= 0 or settings.threads < 1:
        raise ValueError(f"windows, seconds and threads must be positive, got {settings}")
    if settings.baseline is not None:
        contest, settings = _with_baseline(contest, settings, settings.baseline)
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    results = {}
    for workload in (only,) if only else contest.titles:
        records = measure(contest, workload, settings, console)
        results[workload] = records
        if records:
            console.print(table(contest, workload, records, settings.threads))
    if settings.json_out is not None:
        settings.json_out.write_text(json.dumps(results, indent=2) + "\n")
