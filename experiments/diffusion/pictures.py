"""The pictures of a diffusion run that only it has: both processes, errors and bound by level."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.diffusion.build import build_model
from experiments.experiment import Trained
from experiments.film import labels_in_turn
from experiments.sample_files import write_film
from experiments.sample_sheets import sheet
from jaxgen import plots
from jaxgen.arrays import example_keys
from jaxgen.conditions import one_hot_condition
from jaxgen.data import labelled, subset
from jaxgen.diffusion import guidance, models, process, variational
from jaxgen.diffusion.samplers import frame_steps

_NUM_ROWS = 6
_NUM_SHOWN = 64
_NUM_LEVELS = 24
_NUM_MEASURED = 256
_TIMES = np.linspace(0.0, 1.0, 11)


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`."""
    folder, info = trained.directory.samples, trained.info
    forward, reverse = _forward(trained), _reverse(trained)
    for name, frames in (("forward", forward), ("reverse", reverse)):
        write_film(folder / f"{name}_film.gif", frames, info)
    if info.levels is None:
        pairs = (forward[:: len(forward) // 5], reverse[:: len(reverse) // 5])
        for name, x in zip(("forward", "reverse"), pairs, strict=True):
            panels = [sheet(points, trained.dataset) for points in x]
            plots.save_image(folder / f"{name}_process.png", np.concatenate(panels, axis=1))
    else:
        signal = np.asarray(build_model(trained.settings, info).schedule(jnp.asarray(_TIMES)))
        grid = functools.partial(plots.labelled_grid, levels=info.image_levels)
        columns = [f"{value:.1f}" for value in signal]
        rows = ["test image"] * len(forward[0][:_NUM_ROWS])
        title = "From data to noise: log signal-to-noise ratio from left to right"
        x = np.swapaxes(forward[:, :_NUM_ROWS], 0, 1)
        grid(folder / "forward_process.png", x, row_labels=rows, column_labels=columns, title=title)
        own = trained.settings.sampling
        columns = [str(step) for step in frame_steps(own.num_sampling_steps, len(reverse))]
        title = f"From noise to samples: number of steps done ({own.sampler})"
        x = np.swapaxes(reverse[:, :_NUM_ROWS], 0, 1)
        rows = ["sample"] * len(x)
        grid(folder / "reverse_process.png", x, row_labels=rows, column_labels=columns, title=title)
    _draw_levels(trained)


def _forward(trained: Trained) -> np.ndarray:
    """Test examples with more and more of the same noise, `[levels, N, ...]`."""
    model = build_model(trained.settings, trained.info)
    statistics = trained.state.eval_variables["batch_stats"]
    x = models.scale(model, statistics, jnp.asarray(subset(trained.dataset.test, _NUM_SHOWN)["x"]))
    noise = process.draw_noise(jax.random.key(0), x)
    levels = model.schedule(jnp.asarray(_TIMES))
    states = [process.diffuse(x, noise, level) for level in levels]
    return np.asarray(models.unscale(model, statistics, jnp.stack(states)))


def _reverse(trained: Trained) -> np.ndarray:
    """Samples as they come to be, `[frames, N, ...]`."""
    film: Any = trained.method.film
    label = labels_in_turn(trained.method, trained.info.num_classes, _NUM_SHOWN)
    compiled = jax.jit(lambda film, state: film(state, jax.random.key(0), _NUM_SHOWN, label))
    return np.asarray(compiled(film, trained.state))


def _draw_levels(trained: Trained) -> None:
    """The errors of the estimates, and what they cost of the bound, over the log-SNR."""
    model = build_model(trained.settings, trained.info)
    variables, split = trained.state.eval_variables, trained.dataset.test
    batch = subset(split if model.num_classes is None else labelled(split), _NUM_MEASURED)
    label = None if model.num_classes is None else jnp.asarray(batch["label"])
    condition = one_hot_condition(label, model.num_classes)
    x = models.scale(model, variables["batch_stats"], jnp.asarray(batch["x"]))
    low, high = (float(model.schedule(jnp.asarray(t))) for t in (1.0, 0.0))
    levels = np.linspace(low, high, _NUM_LEVELS)

    @jax.jit
    def measure(variables: Any, levels: jax.Array) -> jax.Array:
        keys = example_keys(jax.random.key(0), len(x))

        def error(level: jax.Array) -> jax.Array:
            rows = jnp.full(len(x), level)
            denoise = models.bind(model, variables)
            if model.levels is not None:
                denoise = guidance.clip(denoise)  # As in the bound.
            each = variational.denoising_error(keys, denoise, x, rows, condition=condition)
            return jnp.mean(each) / x[0].size

        return jax.lax.map(error, levels)

    of_data = np.asarray(measure(variables, jnp.asarray(levels)))
    of_noise = of_data * np.exp(levels)
    figure = plots.new_figure(8.6, 3.4)
    left, right = figure.subplots(1, 2)
    series = {"data": (levels, of_data), "noise": (levels, of_noise)}
    plots.draw_curves(
        left,
        series,
        xlabel="log signal-to-noise ratio",
        ylabel="squared error of a number",
        title=f"{len(x)} test examples",
        yscale="log",
    )
    bits = 0.5 * of_noise / np.log(2.0)
    plots.draw_curves(
        right,
        {"diffusion": (levels, bits)},
        xlabel="log signal-to-noise ratio",
        ylabel="bits per dimension and unit",
        title=f"Cost of the noise: {np.trapezoid(bits, levels):.3f} bits per dimension",
    )
    plots.save_figure(trained.directory.samples / "noise_levels.png", figure)
