"""What a texture keeps of its exemplar, in numbers: printed, and written into the run."""

import functools
import io
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from experiments.experiment import Trained
from experiments.texture.build import DRAWS
from experiments.texture.side_images import digest, read_other
from jaxgen.classical import texture
from jaxgen.files import write_atomically
from jaxgen.types import Array, Key

FILE = "texture.json"
COMPLETION = "completion.npz"
_NUM = 8
_MAX_STEPS = 200  # Some seconds for 512x512 pixels; what is left of the residual is not seen.


def diagnose(trained: Trained) -> None:
    """Measures draws, the structure that is lost, the distance of a mixture, and a completion.

    Raises:
        OSError: if a file cannot be written, after the table.
    """
    state, info = on_one_device(trained), trained.info
    key = jax.random.key(trained.settings.training.seed)
    u = jnp.asarray(exemplar(trained))
    report: dict[str, Any] = {
        name: measure_draws(draw, state.params, key, info.image_levels)
        for name, draw in DRAWS.items()
    }
    gap = jax.jit(texture.structure_gap)(key, u, state.params.spot, state.known)
    report["structure_gap"] = float(gap)
    other = other_model(trained)
    if other is not None:
        distance = texture.wasserstein_distance(state.params, other)
        report["wasserstein_per_number"] = float(distance) / np.sqrt(u.size)
    if trained.settings.model.mask is not None:
        report["kriging_residuals"] = _complete(trained, u, key)
    rich.console.Console().print(_table(report))
    write_atomically(trained.directory.path / FILE, json.dumps(report, indent=2) + "\n")


def on_one_device(trained: Trained) -> texture.TextureState:
    """The state, of which every device has a copy: each would do the same work."""
    state: texture.TextureState = jax.device_put(trained.state, jax.local_devices()[0])
    return state


def exemplar(trained: Trained) -> np.ndarray:
    """The image that the model was fitted to, uint8 `[H, W, C]`."""
    return trained.dataset.train.gather(np.zeros(1, int))["x"][0]


def other_model(trained: Trained) -> texture.StationaryGaussian | None:
    """The model to mix with; None if there is none, or its file is no longer what it was."""
    own = trained.settings.model
    if own.mix is None:
        return None
    try:
        if digest(own.mix) != own.mix_digest:
            raise ValueError(f"{own.mix} has changed since the run")
        other = read_other(own.mix, trained.info)
    except ValueError as error:
        print(f"left out: the mixture, since {error}")
        return None
    return jax.jit(functools.partial(texture.fit, noise_variance=texture.ROUNDING_VARIANCE))(other)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _measured(
    draw: texture.Draw, model: texture.StationaryGaussian, keys: Array, levels: int
) -> dict[str, Array]:
    """Of each draw on a torus of the exemplar's size."""
    expected = texture.autocovariance(model.spot)
    variance = jnp.sum(model.spot**2)

    def one(key: Key) -> dict[str, Array]:
        y = draw(key, model.spot)
        error = texture.autocovariance(texture.make_spot(y)[1]) - expected
        norm = jnp.linalg.norm(expected.ravel())
        return {
            "mean_error": jnp.max(jnp.abs(jnp.mean(y, axis=(0, 1)))),
            "variance_ratio": _ratio(jnp.sum(y**2) / (y.shape[0] * y.shape[1]), variance),
            "autocovariance_error": _ratio(jnp.linalg.norm(error.ravel()), norm),
            "clipped_fraction": texture.clipped_fraction(model.mean[None, None] + y, levels),
        }

    return jax.lax.map(one, keys)


def measure_draws(
    draw: texture.Draw, model: texture.StationaryGaussian, key: Key, levels: int
) -> dict[str, float]:
    """What draws keep of the model, on average over a few of them.

    Returns:
        The error of the mean in pixel values, the variance as a part of the model's, the error of
        the autocovariance as a part of it, all before clipping, and the share of clipped numbers.
    """
    found = _measured(draw, model, jax.random.split(key, _NUM), levels)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _ratio(part: Array, whole: Array) -> Array:
    """Of a flat exemplar 1 or 0, where 0 / 0 would be no number."""
    return jnp.where(whole > 0.0, part / jnp.where(whole > 0.0, whole, 1.0), part)


def _complete(trained: Trained, u: Array, key: Key) -> dict[str, float]:
    """Fills what is hidden, writes the fields into the run, and returns the residuals."""
    state = on_one_device(trained)
    model, known = state.params, np.asarray(state.known)
    is_periodic = trained.settings.sampling.periodic
    condition = model.condition if is_periodic else model.condition_on_plane
    conditional = condition(u, known, max_steps=_MAX_STEPS)
    fields: dict[str, texture.Kriged] = {
        "mean": jax.jit(texture.Conditional.krige_mean)(conditional),
        "completion": jax.jit(texture.Conditional.krige_draw)(conditional, key),
    }
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(field.x) for name, field in fields.items()}
    np.savez_compressed(buffer, known=known, **arrays)
    write_atomically(trained.directory.path / COMPLETION, buffer.getvalue())
    return {name: float(field.relative_residual) for name, field in fields.items()}


def _table(report: dict[str, Any]) -> rich.table.Table:
    table = rich.table.Table(
        "on a torus of the exemplar's size",
        title=f"What {_NUM} textures keep of the exemplar",
        title_justify="left",
        caption="\n".join(_captions(report)),
        caption_justify="left",
    )
    for name in DRAWS:
        table.add_column(name.upper(), justify="right")
    rows = {
        "error of the mean, in pixel values": ("mean_error", "{:.1e}"),
        "variance, of the model's": ("variance_ratio", "{:.4f}"),
        "error of the autocovariance, of its norm": ("autocovariance_error", "{:.1e}"),
        "numbers clipped to pixel values": ("clipped_fraction", "{:.2%}"),
    }
    for title, (name, form) in rows.items():
        table.add_row(title, *(form.format(report[method][name]) for method in DRAWS))
    return table


def _captions(report: dict[str, Any]) -> list[str]:
    lines = [
        f"structure that is lost: the kurtosis of differences is {report['structure_gap']:.1f} off"
        " (photographs of grass 2, of bricks 10)"
    ]
    if "wasserstein_per_number" in report:
        distance = report["wasserstein_per_number"]
        lines.append(
            f"Wasserstein distance to the other model: {distance:.1f} pixel values, root mean square"
        )
    if "kriging_residuals" in report:
        residuals = report["kriging_residuals"]
        words = ", ".join(f"{name} {value:.1e}" for name, value in residuals.items())
        lines.append(f"relative residual of the kriging: {words}")
    return lines
