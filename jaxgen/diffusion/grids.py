"""Grids: the noise levels that a sampler or a bound goes through, apart from the schedule.

The tables are made in float64 on the host and cast last. They are padded, and the number of steps
is a value of its own: one program serves every number of steps.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxgen.types import Array

_LENGTH = 1024  # Steps that a table has room for; longer ones take the next power of two.


class Grid(NamedTuple):
    """Noise levels from noise (i = 0) to data (i = `num_steps`); a step takes the pair i, i + 1.

    Attributes:
        t: times, `[M + 1]`, M at least `num_steps`; the rest repeats the last.
        log_a: ln of the factor of the signal, `[M + 1]`.
        log_s: ln of the deviation of the noise, `[M + 1]`; -inf where there is none.
        num_steps: N, an integer. As a Python integer a sampler or a bound has gradients in reverse
            mode; as an array, such as an argument of a jitted function, any number runs through one
            program.
    """

    t: Any
    log_a: Any
    log_s: Any
    num_steps: Any

    def log_snr(self, i: Array | int) -> Array:
        """Returns the log-SNR of level `i`; inf where there is no noise."""
        return 2.0 * (self.log_a[i] - self.log_s[i])


def sampling_grid(
    schedule: Callable[[Array], Array],
    num_steps: int,
    *,
    spacing: Literal["time", "log_snr"] = "time",
) -> Grid:
    """Cuts a schedule into steps whose last one ends without noise.

    Args:
        schedule: log-SNR of times, such as those of `schedules`.
        num_steps: N, at least 1, which is also how often the noise is estimated by first order
            samplers.
        spacing: whether the levels before the last are even in time, ``t = 1 - i / N``, or in
            log-SNR from the schedule's one end to the other.

    Returns:
        The grid.

    Raises:
        ValueError: if `num_steps` is below 1, or the spacing unknown.
    """
    _check(num_steps)
    _check_spacing(spacing, "time", "log_snr")
    t, log_snr = _levels(schedule, 1.0 - np.arange(num_steps) / num_steps)
    if spacing == "log_snr":
        ends = _levels(schedule, np.array([1.0, 0.0]))[1]
        log_snr = np.linspace(ends[0], ends[1], num_steps)
        fine = _levels(schedule, np.linspace(1.0, 0.0, 10_001))
        t = np.interp(log_snr, fine[1], fine[0])
    return _grid(np.append(t, 0.0), np.append(log_snr, np.inf))


def bound_grid(schedule: Callable[[Array], Array], num_steps: int) -> Grid:
    """Cuts a schedule into steps even in time, from its one end to its other, ``t = 1 - i / N``.

    Args:
        schedule: log-SNR of times.
        num_steps: N, at least 1.

    Returns:
        The grid, which ends at the noise level that the schedule has at t = 0.

    Raises:
        ValueError: if `num_steps` is below 1.
    """
    _check(num_steps)
    return _grid(*_levels(schedule, 1.0 - np.arange(num_steps + 1) / num_steps))


def linear_betas(num_steps: int, *, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """Makes the variances that each of T steps adds, growing linearly.

    They belong to T = 1,000; with fewer steps some signal is left at the end (a share of .364 of
    the variance for 100).

    Args:
        num_steps: T, at least 1.
        first: of the first step, in (0, 1).
        last: of the last step, in (0, 1).

    Returns:
        float64 `[T]`, from data to noise.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", section 4.
    """
    _check(num_steps)
    return np.linspace(first, last, num_steps)


def cosine_betas(num_steps: int, *, offset: float = 0.008, most: float = 0.999) -> np.ndarray:
    """Makes the variances whose remaining signal is a squared cosine of the step.

    Args:
        num_steps: T, at least 1.
        offset: keeps the first of them from being tiny.
        most: bound on each, which the last one meets.

    Returns:
        float64 `[T]`, from data to noise.

    Source:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", equation 17.
    """
    _check(num_steps)
    angle = (np.arange(num_steps + 1) / num_steps + offset) / (1.0 + offset) * np.pi / 2.0
    signal = np.cos(angle) ** 2
    return np.minimum(1.0 - signal[1:] / signal[:-1], most)


def grid_of_betas(
    betas: np.ndarray,
    num_steps: int,
    *,
    spacing: Literal["trailing", "linspace"] = "trailing",
) -> Grid:
    """Chooses some of the steps of a discrete process; the last one ends without noise.

    "trailing" takes ``round(T - i T / N) - 1``, which begins at the last step and ends before the
    first; "linspace" takes both ends in.

    Args:
        betas: variances that the T steps add, `[T]`, from data to noise, in (0, 1].
        num_steps: N, 1 to T.
        spacing: which steps are chosen.

    Returns:
        The grid.

    Raises:
        ValueError: if a number is out of its range.

    Source:
        Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", section
        3.3, of the spacings.
    """
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or not np.all((betas > 0.0) & (betas <= 1.0)):
        raise ValueError(f"betas: {betas.shape}, expected a row of numbers above 0, at most 1")
    _check_spacing(spacing, "trailing", "linspace")
    total = len(betas)
    if not 1 <= num_steps <= total:
        raise ValueError(f"num_steps: {num_steps}, expected 1 to {total}")
    if spacing == "trailing":
        chosen = np.round(total - np.arange(num_steps) * total / num_steps).astype(int) - 1
    else:
        chosen = np.round(np.linspace(total - 1, 0, num_steps)).astype(int)
    with np.errstate(divide="ignore"):
        log_signal = np.cumsum(np.log1p(-betas))  # ln of the product: T factors lose no digits.
        log_snr = log_signal - np.log(-np.expm1(log_signal))
    return _grid(np.append((chosen + 1) / total, 0.0), np.append(log_snr[chosen], np.inf))


def static_steps(grid: Grid) -> int | None:
    """The number of steps where it is known before a program runs.

    Args:
        grid: noise levels.

    Returns:
        N, or None if it is an array.
    """
    return int(grid.num_steps) if isinstance(grid.num_steps, int | np.integer) else None


def _check(num_steps: int) -> None:
    if num_steps != int(num_steps) or num_steps < 1:
        raise ValueError(f"num_steps: {num_steps}, expected an integer, at least 1")


def _check_spacing(spacing: str, *known: str) -> None:
    if spacing not in known:
        raise ValueError(f"spacing: {spacing!r}, expected {' or '.join(known)}")


def _levels(schedule: Callable[[Any], Array], t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and their log-SNR in float64, also within a function that is traced."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        return t, np.asarray(schedule(t), np.float64)


def _grid(t: np.ndarray, log_snr: np.ndarray) -> Grid:
    num_steps = len(t) - 1
    room = max(_LENGTH, 2 ** (num_steps - 1).bit_length()) - num_steps
    t, log_snr = (np.pad(row, (0, room), mode="edge") for row in (t, log_snr))
    log_a, log_s = (-0.5 * np.logaddexp(0.0, sign * log_snr) for sign in (-1.0, 1.0))
    return Grid(t, log_a, log_s, num_steps)
