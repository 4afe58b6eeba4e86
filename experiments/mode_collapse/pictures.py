"""The table and the figures of adversarial methods: samples, modes found, gradients."""

import math
import statistics
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import rich.table
from matplotlib.axes import Axes

from experiments.mode_collapse.results import Result, samples_file
from experiments.mode_collapse.targets import NUM_STACKED, Target, examples
from jaxgen import plots
from jaxgen.gan import losses
from jaxgen.training.run_directory import RunDirectory

_COLUMNS = 5
_LARGEST_LOGIT = 15.0
_NUM_IMAGES = 16


def make_table(
    title: str, results: Mapping[str, Result], target: Target, num_samples: int
) -> rich.table.Table:
    """Makes the table: mean and standard deviation over the seeds of each method, below a draw of
    the data.

    Args:
        title: of the table.
        results: of the methods, by name.
        target: the data.
        num_samples: samples of each seed behind the counts.

    Returns:
        A table to print.
    """
    drawn = target.score(examples(target, num_samples))
    has_share = drawn.good_share is not None
    table = rich.table.Table(
        rich.table.Column("method", no_wrap=True),
        title=title,
        caption=f"{num_samples:,} samples a seed; mean ± standard deviation over the seeds. A perfect sampler finds "
        f"{target.perfect(num_samples)}.",
        title_justify="left",
        caption_justify="left",
    )
    shares = ("good (%)",) if has_share else ()
    for name in (f"modes of {target.num_modes}", *shares, "KL (nats)", "seconds"):
        table.add_column(name, justify="right")
    share = [f"{100 * drawn.good_share:.1f}"] if drawn.good_share is not None else []
    table.add_row("a draw of the data", str(drawn.num_found), *share, f"{drawn.kl:.4f}", "")
    for method, result in results.items():
        good = [_spread([100 * value for value in result.good_share[-1]], 1)] if has_share else []
        cells = (_spread(result.modes[-1], 1), *good, _spread(result.kl[-1], 3))
        table.add_row(method, *cells, f"{result.seconds:.0f}")
    return table


def _spread(values: Sequence[float | None], digits: int) -> str:
    """Mean and sample standard deviation of the values that there are, and their number if some are
    missing.
    """
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    std = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    of = "" if len(known) == len(values) else f" ({len(known)} of {len(values)})"
    return f"{statistics.mean(known):.{digits}f}{std}{of}"


def draw(run: RunDirectory, target: Target, results: Mapping[str, Result]) -> None:
    """Writes `samples.png`, `modes.png` and `gradients.png` into the pictures of a run.

    Args:
        run: whose methods are shown.
        target: the data.
        results: of the methods, by name.
    """
    samples = {name: np.load(samples_file(run, name)) for name in results}
    if target.centres is None:
        _draw_images(run, target, samples)
    else:
        _draw_points(run, target, target.centres, samples)
    modes = {
        name: (result.steps, np.mean(result.modes, axis=1)) for name, result in results.items()
    }
    figure = plots.new_figure(7.6, 4.4)
    axes = figure.add_subplot()
    total = target.num_modes
    title = "Modes with a sample, mean over the seeds"
    plots.draw_curves(axes, _as_arrays(modes), ylabel=f"modes found, of {total}", title=title)
    axes.set_ylim(-0.03 * total, 1.03 * total)
    plots.save_figure(run.samples / "modes.png", figure)
    _draw_gradients(run, results)


def _as_arrays(series: Mapping) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (np.asarray(x), np.asarray(y)) for name, (x, y) in series.items()}


def _draw_images(run: RunDirectory, target: Target, images: Mapping[str, np.ndarray]) -> None:
    """A row of data and a row of samples of each method, its first seed."""
    assert target.levels is not None
    rows = {name: samples[0, :_NUM_IMAGES] for name, samples in images.items()}
    num = min(len(row) for row in rows.values())
    rows = {"data": examples(target, num), **rows}
    plots.labelled_grid(
        run.samples / "samples.png",
        np.stack([_as_colours(x) for x in rows.values()]),
        row_labels=list(rows),
        title="Samples of the first seed",
        levels=target.levels,
    )


def _as_colours(x: np.ndarray) -> np.ndarray:
    """Stacked images as red, green and blue: of each the mean of its channels."""
    parts = np.split(x, NUM_STACKED, axis=-1)
    return np.stack([part.mean(axis=-1).round().astype(np.uint8) for part in parts], axis=-1)


def _draw_points(
    run: RunDirectory, target: Target, centres: np.ndarray, points: Mapping[str, np.ndarray]
) -> None:
    """The data and the first seed of every method, side by side in the same frame."""
    num = next(iter(points.values())).shape[1]
    panels = {"data": examples(target, num), **{name: runs[0] for name, runs in points.items()}}
    rows = math.ceil(len(panels) / _COLUMNS)
    columns = min(len(panels), _COLUMNS)
    figure = plots.new_figure(3.2 * columns, 3.3 * rows)
    for index, (name, x) in enumerate(panels.items()):
        count = target.score(x)
        title = f"{name}: {count.num_found} of {target.num_modes}, {count.good_share:.0%} good"
        axes = figure.add_subplot(rows, columns, index + 1)
        plots.style_axes(axes, title=title)
        axes.title.set_fontsize(8)
        _scatter(axes, x, centres)
    plots.save_figure(run.samples / "samples.png", figure)


def _scatter(axes: Axes, x: np.ndarray, centres: np.ndarray) -> None:
    """Those points that lie in the frame, over a cross at each centre."""
    reach = 1.4 * float(np.max(np.abs(centres)))
    seen = x[np.all(np.abs(x) <= reach, axis=1)]
    axes.plot(*centres.T, "+", color="#b5bac1", markersize=9, markeredgewidth=0.8)
    axes.scatter(seen[:, 0], seen[:, 1], s=4, alpha=0.5, linewidths=0, c=plots.LINE_COLOURS[0])
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)


def _draw_gradients(run: RunDirectory, results: Mapping[str, Result]) -> None:
    """The generator's gradient: in the logit of a fake, exactly, and in its parameters, as
    measured.
    """
    figure = plots.new_figure(10.0, 4.0)
    exact, measured = figure.subplots(1, 2)
    logits = np.linspace(-_LARGEST_LOGIT, _LARGEST_LOGIT, 301)
    plots.style_axes(
        exact,
        title="Gradient of a generator's loss in the logit of a fake",
        xlabel="logit of the fake (negative: the critic is sure that it is one)",
        ylabel="size of the gradient",
    )
    for index, (name, values) in enumerate(logit_gradients(logits).items()):
        exact.plot(logits, values, color=plots.LINE_COLOURS[index], linewidth=1.6, label=name)
    exact.set_yscale("log")
    exact.legend(fontsize=8, frameon=False, labelcolor=plots.INK)
    chosen = [name for name in ("minimax", "nonsaturating") if name in results] or list(results)
    series = {
        name: (results[name].steps, _mean_of_known(results[name].generator_gradient))
        for name in chosen
    }
    plots.draw_curves(
        measured,
        _as_arrays(series),
        ylabel="norm of the gradient",
        title="Gradient in the generator's parameters, mean over the seeds",
        yscale="log",
    )
    plots.save_figure(run.samples / "gradients.png", figure)


def _mean_of_known(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """The mean of the seeds that did not diverge, NaN where all did."""
    known = [[value for value in row if value is not None] for row in rows]
    return np.array([np.mean(row) if row else np.nan for row in known])


def logit_gradients(logits: np.ndarray) -> dict[str, np.ndarray]:
    """The sizes of the gradients of the minimax and the non-saturating generator's loss.

    Args:
        logits: of generated examples, `[N]`.

    Returns:
        `|dL/df|`, `[N]`, by name.
    """
    f = jnp.asarray(logits, jnp.float32)
    generators = {
        "minimax": losses.minimax_generator,
        "nonsaturating": losses.nonsaturating_generator,
    }
    return {
        name: np.abs(jax.grad(lambda f, loss=loss: jnp.sum(loss(f)))(f))
        for name, loss in generators.items()
    }
