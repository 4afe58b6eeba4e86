"""Pictures of classification: which classes are mixed up, how sure, and the surest errors."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.classify.answers import Answers, Examples
from experiments.densities import ClassPrior
from experiments.experiment import Trained
from jaxgen import plots

_MAX_NAMED = 20
_NUM_WRONG = 8
_NUM_SHOWN = 3
_SHORT = 10


def draw(trained: Trained, prior: ClassPrior, examples: Examples, answers: list[Answers]) -> None:
    """Draws the pictures into the run's `samples` folder."""
    folder = trained.directory.samples
    plots.save_figure(folder / "confusion.png", _confusion(prior, examples, answers))
    plots.save_figure(folder / "reliability.png", _reliability(answers))
    wrong = _surest_errors(answers[0])
    path = folder / "surest_errors.png"
    path.unlink(missing_ok=True)  # That of an earlier state, where there is none now.
    if trained.dataset.levels is not None and len(wrong):
        _draw_errors(trained, prior, examples, answers[0], wrong)


def confusion_matrix(answers: Answers, label: np.ndarray) -> np.ndarray:
    """How many examples of each class (rows) were given each class (columns), `[K, K]`."""
    num_classes = answers.log_posterior.shape[1]
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (label, answers.log_posterior.argmax(axis=1)), 1)
    return counts


def _confusion(prior: ClassPrior, examples: Examples, answers: list[Answers]) -> Figure:
    figure = plots.new_figure(0.6 + 4.4 * len(answers), 4.6)
    for i, each in enumerate(answers):
        counts = confusion_matrix(each, examples.label)
        axes = figure.add_subplot(1, len(answers), i + 1)
        title = f"{each.name}: accuracy {each.summaries['correct']:.3f}"
        plots.style_axes(axes, title=title, xlabel="class given", ylabel="true class")
        axes.grid(visible=False)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        if len(counts) <= _MAX_NAMED:
            _write_counts(axes, prior, counts, shares)
    return figure


def _write_counts(axes: Axes, prior: ClassPrior, counts: np.ndarray, shares: np.ndarray) -> None:
    names = [plots.printable(name[:_SHORT]) for name in prior.names]
    longest = max(map(len, names))
    axes.set_xticks(range(len(names)), names, rotation=90 if longest > 2 else 0, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else plots.INK
        text = f"{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def _reliability(answers: list[Answers]) -> Figure:
    """Confidence beside accuracy; the area of a dot grows with the number of its examples."""
    figure = plots.new_figure(5.0, 5.4)
    axes = figure.add_subplot()
    title = "How often answers of some confidence are right"
    plots.style_axes(axes, title=title, xlabel="confidence", ylabel="accuracy")
    axes.plot([0, 1], [0, 1], color=plots.INK, linewidth=1, linestyle=":")
    names, handles = ["perfect calibration"], [Line2D([], [], color=plots.INK, linestyle=":")]
    for each, colour in zip(answers, plots.LINE_COLOURS, strict=False):
        curve = each.reliability
        x, y, area = curve.confidence, curve.accuracy, 400 * curve.num / curve.num.sum()
        bars: dict[str, Any] = {"fmt": "none", "ecolor": colour, "elinewidth": 1.2, "capsize": 2}
        axes.errorbar(x, y, curve.chance_error, **bars)
        axes.scatter(x, y, np.maximum(area, 12), color=colour, alpha=0.7, linewidths=0)
        handles.append(Line2D([], [], color=colour, marker="o", linestyle=""))
        names.append(f"{each.name}, expected calibration error {curve.expected_error:.3f}")
    handles.append(Line2D([], [], color=plots.INK, marker="|", linestyle="", markersize=9))
    names.append("standard error by chance, if calibrated")
    axes.set_xlim(-0.04, 1.06)
    axes.set_ylim(-0.06, 1.06)
    axes.set_aspect("equal")
    plots.draw_legend(axes, handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure


def _surest_errors(answers: Answers) -> np.ndarray:
    """Numbers of the wrong answers, the surest first."""
    wrong = np.flatnonzero(answers.scores.correct == 0)
    return wrong[np.argsort(-answers.log_posterior[wrong].max(axis=1), kind="stable")]


def _draw_errors(
    trained: Trained,
    prior: ClassPrior,
    examples: Examples,
    answers: Answers,
    wrong: np.ndarray,
) -> None:
    """The surest errors beside train images of the class that was given, and of the true one."""
    shown = wrong[:_NUM_WRONG]
    given, true = answers.log_posterior[shown].argmax(axis=1), examples.label[shown]
    of_class = {
        place: _of_class(trained, prior, place) for place in np.unique(np.append(given, true))
    }
    images = [
        np.concatenate([examples.x[i][None], of_class[g], of_class[t]])
        for i, g, t in zip(shown, given, true, strict=True)
    ]
    rows = [
        f"{prior.names[g][:_SHORT]} ({np.exp(answers.log_posterior[i, g]):.3g}), true "
        f"{prior.names[t][:_SHORT]} ({np.exp(answers.log_posterior[i, t]):.2g})"
        for i, g, t in zip(shown, given, true, strict=True)
    ]
    columns = ["test", *["given"] * _NUM_SHOWN, *["true"] * _NUM_SHOWN]
    plots.labelled_grid(
        trained.directory.samples / "surest_errors.png",
        np.stack(images),
        row_labels=rows,
        column_labels=columns,
        title=f"The surest of {len(wrong):,} wrong answers of Bayes' rule, beside train images of "
        "the class given and of the true one",
        levels=trained.info.image_levels,
    )


def _of_class(trained: Trained, prior: ClassPrior, place: int) -> np.ndarray:
    """The first train images of a class, repeated where there are fewer than are shown."""
    labels = trained.dataset.train.labels()
    found = np.flatnonzero(labels == prior.classes[place])
    return trained.dataset.train.gather(np.resize(found, _NUM_SHOWN))["x"]
