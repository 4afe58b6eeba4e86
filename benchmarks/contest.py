"""The machinery of a speed benchmark: processes that take turns, and a table of their medians."""

import contextlib
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.contestants import Contestant, Worker, WorkerError

JAXGEN = "jaxgen"
"""The contestant that is compared with the fastest of the others."""

ONE_DEVICE = "jaxgen, one device"
"""The same on one device of all cores, where the first has a device for each core."""

BASELINE = "jaxgen, baseline"
"""The same of another checkout."""

_WARM_UP = 2
"""Turns that are not counted: one to warm up, one to learn how many steps fill a window."""


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
        batch_sizes: examples that a network sees at once, by workload.
        step: what is counted.
        loss: what the last column shows.
        min_steps: least number of steps in a turn.
        num_drawn: examples of one draw, by workload, where drawing is measured too.
        is_same_size: whether all must have as many parameters; if not, the table tells them.
    """

    titles: Mapping[str, str]
    contestants: Mapping[str, Contestant]
    batch_sizes: Mapping[str, int]
    step: str
    loss: str
    min_steps: int
    num_drawn: Mapping[str, int] = {}
    is_same_size: bool = True


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
        if contest.is_same_size:
            _check_same_size(workers)
        yield workers


def _check_same_size(workers: list[Worker]) -> None:
    sizes = {worker.name: worker.start["num_parameters"] for worker in workers}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the contestants' networks differ in parameters: {sizes}")


def measure(
    contest: Contest, workload: str, settings: Settings, console: Console
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs all contestants of a workload in turn: first they train, then they draw.

    Args:
        contest: the benchmark.
        workload: what they train.
        settings: of the benchmark.
        console: for progress.

    Returns:
        one record a contestant, with the steps/s of every window; and the same of the draws of
        those that can.

    Raises:
        ValueError: if the contestants' networks differ in size, but should not.
    """
    with _workers(contest, workload, settings, console) as workers:
        runs = {worker.name: worker.run for worker in workers}
        speeds = _take_turns(runs, contest.min_steps, settings, f"{workload}: window", console)
        workers = [worker for worker in workers if worker.name in speeds]
        trained = [
            _record(
                worker,
                speeds[worker.name],
                worker.start["first_step_seconds"],
                worker.start["step_multiple"],
            )
            for worker in workers
        ]
        draws = {worker.name: worker.draw for worker in workers if worker.can_draw}
        if workload not in contest.num_drawn or not draws:
            return trained, []
        speeds = _take_turns(draws, 1, settings, f"{workload}: draws, window", console)
        return trained, [
            # The first turn, of one draw, compiles.
            _record(worker, speeds[worker.name], 1 / speeds[worker.name][0], 1)
            for worker in workers
            if worker.name in speeds
        ]


def _take_turns(
    runs: Mapping[str, Callable[[int], float]],
    min_steps: int,
    settings: Settings,
    what: str,
    console: Console,
) -> dict[str, list[float]]:
    """Steps/s of each contestant: `_WARM_UP` turns, then the windows; without those that fail."""
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for window in range(-_WARM_UP, settings.windows):
        for name, own in list(speeds.items()):
            num_steps = round(settings.seconds * own[-1]) if window >= 0 else min_steps
            try:
                own.append(runs[name](max(min_steps, num_steps)))
            except WorkerError as error:
                console.print(f"left out: {error}", style="red", markup=False)
                del speeds[name]
        if window >= 0:
            console.print(f"{what} {window + 1} of {settings.windows}", style="dim")
    return speeds


def _record(
    worker: Worker, speeds: list[float], first_seconds: float, first_steps: int
) -> dict[str, Any]:
    windows = speeds[_WARM_UP:]
    median = statistics.median(windows)
    return {
        "name": worker.name,
        "num_parameters": worker.start["num_parameters"],
        "steps_per_second": median,
        "windows": windows,
        "compile_seconds": max(0.0, first_seconds - first_steps / median),
        "peak_mib": worker.last["peak_mib"],
        "loss": worker.last["loss"],
    }


def fastest_peer(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of the fastest contestant other than jaxgen (or jaxgen's, if it ran alone)."""
    own = (JAXGEN, ONE_DEVICE)
    peers = [record for record in records if record["name"] not in own] or records
    return max(peers, key=lambda record: record["steps_per_second"])


def ratios(record: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Speed of one contestant over that of another, window by window."""
    return [a / b for a, b in zip(record["windows"], other["windows"], strict=True)]


def table(contest: Contest, workload: str, records: list[dict[str, Any]], threads: int) -> Table:
    """The results of a workload's training, fastest first."""
    size = fastest_peer(records)["num_parameters"]
    title = contest.titles[workload] + (f" of {size:,} parameters" if contest.is_same_size else "")
    return _table(
        contest,
        records,
        f"{title}, batch {contest.batch_sizes[workload]}, float32, {threads} cores",
        Columns(contest.step, "loss", contest.loss),
    )


def draws_table(
    contest: Contest, workload: str, records: list[dict[str, Any]], threads: int
) -> Table:
    """The results of a workload's draws, fastest first."""
    return _table(
        contest,
        records,
        f"{contest.titles[workload]}, draws of {contest.num_drawn[workload]:,}, float32, "
        f"{threads} cores",
        Columns("draw", "rms", "root mean square of the last draw"),
    )


class Columns(NamedTuple):
    """What the columns of a table show.

    Attributes:
        step: what is counted.
        last: heading of the last column.
        meaning: of that column.
    """

    step: str
    last: str
    meaning: str


def _table(contest: Contest, records: list[dict[str, Any]], title: str, columns: Columns) -> Table:
    peer = fastest_peer(records)
    result = Table(
        title=title,
        caption=f"ratio: speed over that of the fastest peer, {peer['name']}; "
        f"{columns.last}: {columns.meaning}",
    )
    result.add_column("contestant", no_wrap=True)
    sizes = () if contest.is_same_size else ("parameters",)
    names = (f"{columns.step}s/s", "ratio", "range", *sizes, "compile s", "peak MiB", columns.last)
    for name in names:
        result.add_column(name, justify="right", no_wrap=True)
    for record in sorted(records, key=lambda record: -record["steps_per_second"]):
        speed, ratio = record["steps_per_second"], ratios(record, peer)
        result.add_row(
            record["name"],
            f"{speed:.1f}" if speed >= 10 else f"{speed:.2f}",
            f"{statistics.median(ratio):.2f}",
            f"{min(ratio):.2f} to {max(ratio):.2f}",
            *(f"{record['num_parameters']:,}" for _ in sizes),
            f"{record['compile_seconds']:.1f}",
            f"{record['peak_mib']:.0f}",
            f"{record['loss']:.1f}" if abs(record["loss"]) >= 10 else f"{record['loss']:.2f}",
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
    """Runs a benchmark and prints one table a workload, and one of its draws if it has them.

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
        records, draws = measure(contest, workload, settings, console)
        results[workload] = records
        if records:
            console.print(table(contest, workload, records, settings.threads))
        if draws:
            results[f"{workload} draws"] = draws
            console.print(draws_table(contest, workload, draws, settings.threads))
    if settings.json_out is not None:
        settings.json_out.write_text(json.dumps(results, indent=2) + "\n")
