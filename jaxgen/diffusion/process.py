"""The diffusion process ``x_t = a x + s noise``, ``a^2 + s^2 = 1``, and what networks predict.

All of it is a function of the log-SNR, ``ln(a^2 / s^2)``. Other processes are this one on another
scale: ``x_t / a`` has the noise added to the data themselves, ``x_t / (a + s)`` goes from data to
noise in a straight line. Data are a pytree of arrays `[B, ...]`; a log-SNR is `[B]`, or a number
for all.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import at_least_float32, example_keys, sample_by_example
from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.trees import combine
from jaxgen.types import Array, Key, PyTree

Kind = Literal["noise", "x0", "v", "velocity"]
"""What a network predicts: the noise, the data, ``v = a noise - s x``, or the ``velocity``
``noise - x`` of the straight line from data to noise."""
Denoiser = Callable[[PyTree, Array, Any], PyTree]
"""``(x_t, log_snr [B], condition) -> estimate of x``, of the structure of `x_t`."""
Predictor = Callable[[PyTree, Array, Any], PyTree]
"""``(x_t, log_snr [B], condition) -> prediction`` of some `Kind`."""

_MOST_AMPLIFIED = 1e4


def amplitudes(log_snr: Array) -> tuple[Array, Array]:
    """The factors of signal and noise.

    Args:
        log_snr: of any shape.

    Returns:
        ``(a, s)``, at least float32, of the shape of `log_snr`.
    """
    log_snr = at_least_float32(jnp.asarray(log_snr))
    # By logarithms: 1 - a^2 has no digits left where there is little noise.
    return jnp.exp(0.5 * jax.nn.log_sigmoid(log_snr)), jnp.exp(0.5 * jax.nn.log_sigmoid(-log_snr))


def diffuse(x: PyTree, noise: PyTree, log_snr: Array) -> PyTree:
    """Mixes data and noise to ``x_t = a x + s noise``.

    Args:
        x: data, arrays `[B, ...]`.
        noise: of the structure of `x`.
        log_snr: `[B]` or a number.

    Returns:
        Arrays of the shapes of `x`.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", equation 4.
    """
    a, s = amplitudes(log_snr)
    return combine((a, x), (s, noise))


def draw_noise(key: Key, like: PyTree) -> PyTree:
    """Draws standard normal noise of which that of each example comes from a key of its own.

    Args:
        key: one key, or keys `[B]`.
        like: arrays `[B, ...]`, whose shapes the noise has.

    Returns:
        float32 arrays.
    """
    leaves = jax.tree.leaves(like)
    keys = example_keys(key, len(leaves[0]))
    if len(leaves) == 1:
        return jax.tree.map(lambda x: sample_by_example(jax.random.normal, keys, x.shape), like)
    numbers = iter(range(len(leaves)))

    def draw(x: Array) -> Array:
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, next(numbers))
        return sample_by_example(jax.random.normal, own, x.shape)

    return jax.tree.map(draw, like)


def target(x: PyTree, noise: PyTree, log_snr: Array, kind: Kind) -> PyTree:
    """What a network of a kind should predict.

    Args:
        x: data, arrays `[B, ...]`.
        noise: of the structure of `x`.
        log_snr: `[B]` or a number.
        kind: what is predicted.

    Returns:
        Arrays of the shapes of `x`.

    Source:
        Salimans & Ho 2022, "Progressive distillation for fast sampling of diffusion models",
        section 4 (v); Liu et al. 2023, "Flow straight and fast: learning to generate and transfer
        data with rectified flow", equation 1 (velocity, here from data to noise).
    """
    a, s = amplitudes(log_snr)
    of_noise, of_x = {"noise": (1.0, 0.0), "x0": (0.0, 1.0), "v": (a, -s), "velocity": (1.0, -1.0)}[
        kind
    ]
    return combine((of_noise, noise), (of_x, x))


def x0_of(prediction: PyTree, x_t: PyTree, log_snr: Array, kind: Kind) -> PyTree:
    """The estimate of the data that a prediction means.

    Args:
        prediction: of the structure of `x_t`.
        x_t: noisy data, arrays `[B, ...]`.
        log_snr: `[B]` or a number; with "noise" above -inf, where nothing of the data is left.
        kind: what is predicted.

    Returns:
        Arrays of the shapes of `x_t`.
    """
    a, s = amplitudes(log_snr)
    of_x_t, of_prediction = {
        "noise": (1.0 / a, -s / a),
        "x0": (0.0, 1.0),
        "v": (a, -s),
        "velocity": (1.0 / (a + s), -s / (a + s)),
    }[kind]
    return combine((of_x_t, x_t), (of_prediction, prediction))


def noise_of(x0: PyTree, x_t: PyTree, log_snr: Array) -> PyTree:
    """The noise that an estimate of the data leaves, ``(x_t - a x0) / s``.

    Args:
        x0: estimate of the data, of the structure of `x_t`.
        x_t: noisy data, arrays `[B, ...]`.
        log_snr: `[B]` or a number, below inf.

    Returns:
        Arrays of the shapes of `x_t`.
    """
    a, s = amplitudes(log_snr)
    return combine((1.0 / s, x_t), (-a / s, x0))


def denoiser(predict: Predictor, kind: Kind) -> Denoiser:
    """Makes the denoiser that samplers and bounds ask for, of a network of any kind.

    Args:
        predict: ``(x_t, log_snr [B], condition) -> prediction``.
        kind: what it predicts.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x``.

    Raises:
        ValueError: if the kind is unknown.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind: {kind!r}, expected {', '.join(get_args(Kind))}")

    def denoise(x_t: PyTree, log_snr: Array, condition: Any = None) -> PyTree:
        return x0_of(predict(x_t, log_snr, condition), x_t, log_snr, kind)

    return denoise


def check_grid(grid: Grid, kind: Kind) -> None:
    """Checks that a prediction still says something of the data at the noisiest level.

    An error of the predicted noise reaches the data ``s / a`` times as large: 157 times under the
    usual linear betas, 20,000 times under the cosine ones, without bound where no signal is left.

    Args:
        grid: the noise levels.
        kind: what is predicted.

    Raises:
        ValueError: if an error grows by more than 10,000.
    """
    a, s = (float(np.exp(row[0])) for row in (grid.log_a, grid.log_s))
    factor = {
        "noise": s / a if a else np.inf,
        "x0": 1.0,
        "v": s,
        "velocity": s / (a + s),
    }[kind]
    if factor > _MOST_AMPLIFIED:
        raise ValueError(
            f"grid: begins at a log-SNR of {2.0 * (grid.log_a[0] - grid.log_s[0]):g}, where an "
            f"error of the predicted {kind} is {factor:.3g} times as large in the data; expected "
            f"at most {_MOST_AMPLIFIED:g}: predict x0 or v, or begin with more signal"
        )
