"""How good restored images are, and whether their draws know how uncertain they are."""

from typing import NamedTuple

import dm_pix
import jax.numpy as jnp
import numpy as np

from experiments.restore.solving import Problem
from jaxgen.pixels import from_model_range

_WINDOW = 11  # Of SSIM, in pixels; less for small images.


class Scores(NamedTuple):
    """Numbers of each image, `[N]`, and two of all.

    Attributes:
        psnr: of the mean of the draws, in dB, of images that go from 0 to 1.
        psnr_of_draws: of single draws, averaged.
        ssim: of the mean.
        misfit: of draws: root mean square of ``y - H x`` over the noise, 1 where they fit as the
            truth does; NaN without noise.
        spread: root mean square of the error of the mean over what the draws' spread says it is;
            1 where the draws are calibrated, more where they are too sure.
        coverage: share of the pixels whose truth lies between the lowest and the highest draw, ties
            ordered by lot.
        expected_coverage: what it would be of draws of the posterior.
    """

    psnr: np.ndarray
    psnr_of_draws: np.ndarray
    ssim: np.ndarray
    misfit: np.ndarray
    spread: float
    coverage: float
    expected_coverage: float


def score(problem: Problem, draws: np.ndarray, levels: int) -> Scores:
    """Compares draws `[D, N, H, W, C]` with the truth, whose pixels have so many values."""
    num = len(draws)
    truth, mean = _shown(problem.x), _shown(draws.mean(axis=0))
    window = min(_WINDOW, 2 * ((min(truth.shape[1:3]) - 1) // 2) + 1)
    rest = problem.y - np.stack([np.asarray(problem.operator(jnp.asarray(d))) for d in draws])
    with np.errstate(divide="ignore", invalid="ignore"):
        misfit = np.sqrt(np.mean(np.square(rest), axis=(0, *range(2, rest.ndim))))
        misfit = misfit / problem.noise_std if problem.noise_std else np.full(len(truth), np.nan)
    ssim = dm_pix.ssim(jnp.asarray(mean), jnp.asarray(truth), filter_size=window)
    spread = coverage = np.nan
    if num > 1:
        variance = draws.var(axis=0, ddof=1)
        error = np.square(problem.x - draws.mean(axis=0))
        spread = float(np.sqrt(error.mean() / max((1.0 + 1.0 / num) * variance.mean(), 1e-12)))
        # As pixels: a draw of 1.004 is no other than the truth of 1.
        pixels = [np.asarray(from_model_range(jnp.asarray(x), levels)) for x in (problem.x, draws)]
        coverage = float(_between(*pixels).mean())
    each = [_psnr(_shown(d), truth) for d in draws]
    return Scores(
        _psnr(mean, truth),
        np.mean(each, axis=0),
        np.asarray(ssim),
        misfit,
        spread,
        coverage,
        (num - 1) / (num + 1) if num > 1 else np.nan,
    )


def _between(x: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The chance that x is neither the lowest nor the highest, where ties are ordered by lot."""
    ties = np.sum(draws == x[None], axis=0)
    is_lowest = np.all(draws >= x[None], axis=0) / (ties + 1.0)
    is_highest = np.all(draws <= x[None], axis=0) / (ties + 1.0)
    return 1.0 - is_lowest - is_highest


def _shown(x: np.ndarray) -> np.ndarray:
    """Images from 0 to 1."""
    return np.clip(0.5 * (x + 1.0), 0.0, 1.0).astype(np.float32)


def _psnr(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    # An image that is met to the last digit would have no bound; 60 dB is a part in a thousand.
    return np.minimum(np.asarray(dm_pix.psnr(jnp.asarray(x), jnp.asarray(truth))), 60.0)
