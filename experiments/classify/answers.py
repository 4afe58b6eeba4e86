"""The probabilities that Bayes' rule and a plain classifier give, and how good they are."""

from typing import Any, NamedTuple

import numpy as np
import rich.table
from rich.text import Text

from experiments.densities import ClassPrior, Density, class_log_likelihoods
from jaxgen import metrics
from jaxgen.data import Dataset
from jaxgen.metrics.features import outputs
from jaxgen.training.evaluation import Summary, summarize

_SURE = 2.0  # Standard errors.
_ROWS = {
    "correct": "accuracy",
    "log_loss": "log-loss (nats)",
    "brier": "Brier score",
    "lead": "best class before the second (nats)",
}


class Examples(NamedTuple):
    """Test examples `[N, ...]` and the places of their classes in the prior, `[N]`."""

    x: np.ndarray
    label: np.ndarray


class Answers(NamedTuple):
    """What one classifier says.

    Attributes:
        name: of the classifier.
        log_posterior: `ln p(y|x)`, `[N, K]`.
        scores: of each example.
        summaries: name to mean and standard error.
        reliability: confidence beside accuracy.
        notes: what else there is to say, a line each.
        numbers: the same for `classification.json`.
    """

    name: str
    log_posterior: np.ndarray
    scores: metrics.ClassificationScores
    summaries: dict[str, Summary]
    reliability: metrics.Reliability
    notes: tuple[str, ...]
    numbers: dict[str, float]


def bayes_answers(
    density: Density, prior: ClassPrior, examples: Examples, num_draws: int
) -> Answers:
    """Evaluates every example under every class, as often as there are draws of the noise.

    Raises:
        NonFiniteMetricError: if a likelihood is not finite.
    """
    log_prior = np.log(prior.frequency)
    draws = np.stack(
        [
            class_log_likelihoods(density, examples.x, prior.classes, draw=draw)
            for draw in range(num_draws)
        ]
    )
    log_posterior = metrics.bayes_posterior(draws.mean(axis=0), log_prior)
    answers = _answers("Bayes' rule", log_posterior, examples)
    if num_draws == 1:
        return answers
    error = metrics.lead_standard_error(draws, log_prior)
    unsure = float(np.mean(answers.scores.lead < _SURE * error))
    note = (
        f"noise of {num_draws} draws: standard error of an example's lead {error.mean():.3f} nats "
        f"in the mean; {unsure:.1%} of the leads are within {_SURE:g} of theirs"
    )
    numbers = {"lead_standard_error": float(error.mean()), "share_of_unsure_leads": unsure}
    return answers._replace(notes=(note,), numbers=numbers)


def plain_answers(dataset: Dataset, prior: ClassPrior, examples: Examples) -> list[Answers]:
    """Asks the feature network of the data, which was trained to tell classes; none if there is
    none.
    """
    net = metrics.cached_features(dataset)
    if net.module is None or net.levels is None or not net.is_classifier:
        print(f"no plain classifier beside it: {net.note}")
        return []
    logits = np.zeros((len(examples.x), len(dataset.class_names or ())))
    for rows, part in outputs(net.module, net.variables, net.levels, examples.x, part=1):
        logits[rows] = part
    # Logits are log-probabilities up to a constant, which the rule takes out.
    log_posterior = metrics.bayes_posterior(logits[:, prior.classes], np.zeros(len(prior.classes)))
    answers = _answers("plain classifier", log_posterior, examples)
    return [answers._replace(notes=(f"plain classifier: {net.note}",))]


def _answers(name: str, log_posterior: np.ndarray, examples: Examples) -> Answers:
    scores = metrics.classification_scores(log_posterior, examples.label)
    curve = metrics.reliability_curve(log_posterior, examples.label)
    return Answers(name, log_posterior, scores, summarize(scores._asdict()), curve, (), {})


def accuracy_difference(answers: list[Answers]) -> Summary | None:
    """Of Bayes' rule before the plain classifier, on the same examples; None without the latter."""
    if len(answers) < 2:
        return None
    bayes, plain = (each.scores.correct for each in answers)
    return summarize({"difference": bayes - plain})["difference"]


def table_of(answers: list[Answers]) -> rich.table.Table:
    """Makes the table: a row for each score, a column for each classifier."""
    num = len(answers[0].log_posterior)
    title = f"{num:,} random test examples, mean ± standard error"
    table = rich.table.Table("", title=Text(title), title_justify="left")
    for each in answers:
        table.add_column(each.name, justify="right")
    for name, words in _ROWS.items():
        table.add_row(words, *(f"{each.summaries[name]:.4f}" for each in answers))
    errors = (f"{each.reliability.expected_error:.4f}" for each in answers)
    table.add_row("expected calibration error", *errors)
    difference = accuracy_difference(answers)
    if difference is not None:
        caption = f"accuracy of Bayes' rule less that of the plain classifier: {difference:.4f}"
        table.caption = Text(caption)
    return table


def record_of(
    density: Density, prior: ClassPrior, examples: Examples, answers: list[Answers]
) -> dict[str, Any]:
    """Makes what `classification.json` holds."""
    difference = accuracy_difference(answers)
    return {
        "step": density.restored.step,
        "num_examples": len(examples.x),
        "split": "test",
        "likelihood": density.bound.name,
        "kind": density.bound.kind,
        "is_exact": density.is_exact,
        "prior": dict(zip(prior.names, map(float, prior.frequency), strict=True)),
        "classifiers": {each.name: _numbers(each) for each in answers},
        "accuracy_difference": None if difference is None else difference._asdict(),
    }


def _numbers(answers: Answers) -> dict[str, Any]:
    curve = answers.reliability
    scores = {name: summary._asdict() for name, summary in answers.summaries.items()}
    return {
        "accuracy": scores.pop("correct"),
        **scores,
        "expected_calibration_error": curve.expected_error,
        "reliability": {
            name: getattr(curve, name).tolist()
            for name in ("confidence", "accuracy", "chance_error", "num")
        },
        **answers.numbers,
        "notes": list(answers.notes),
    }
