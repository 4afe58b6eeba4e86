"""The pictures of a Gaussian run: eigen-images, reconstructions, the spectrum, strange images."""

import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.experiment import Trained
from experiments.gaussian.calibration import score
from jaxgen import plots
from jaxgen.classical import gaussian
from jaxgen.classical.vectors import from_vectors, to_vectors
from jaxgen.data import subset

_MAX_EXAMPLES = 4000  # Behind the eigen-images.
_MAX_COMPONENTS = 64
_NUM_COLUMNS = 10
_NUM_STRANGE = 8
_SPREAD = 2.0  # Standard deviations to either side.
_SCALE = 6.0  # Standard deviations at which a map of z-scores is full red or blue.


def draw(trained: Trained) -> None:
    """Draws every picture into `samples`."""
    if trained.info.levels is None:
        return
    folder = trained.directory.samples
    x = np.asarray(subset(trained.dataset.train, _MAX_EXAMPLES)["x"])
    num = min(_MAX_COMPONENTS, len(x) - 1, x[0].size)
    if num:
        parts = gaussian.principal_components(to_vectors(jnp.asarray(x), trained.info.levels), num)
        note = f"eigenvectors of {len(x):,} train images"
        _draw_eigen_images(folder / "eigen_images.png", trained, parts, note)
        _draw_reconstructions(folder / "reconstructions.png", trained, parts, note)
        _draw_spectrum(folder / "spectrum.png", parts, note)
    _draw_strangest(folder / "strangest.png", trained)


def _images(trained: Trained, vectors: Any) -> np.ndarray:
    """Vectors `[..., n]` as images `[..., H, W, C]`."""
    return np.asarray(
        from_vectors(jnp.asarray(vectors), trained.info.shape, trained.info.image_levels)
    )


def _draw_eigen_images(
    path: pathlib.Path, trained: Trained, parts: gaussian.PrincipalComponents, note: str
) -> None:
    """The mean moved along each of the first eigenvectors, to either side."""
    num = min(_NUM_COLUMNS, parts.basis.shape[1])
    mean, basis, variances = (np.asarray(v) for v in (parts.mean, parts.basis, parts.variances))
    moves = (basis * np.sqrt(variances)[None])[:, :num].T
    rows = [mean[None] + shift * moves for shift in (-_SPREAD, 0.0, _SPREAD)]
    shares = variances / max(float(parts.total), 1e-30)
    plots.labelled_grid(
        path,
        _images(trained, np.stack(rows)),
        row_labels=[f"-{_SPREAD:g} sd", "mean", f"+{_SPREAD:g} sd"],
        column_labels=[f"{share:.1%}" for share in shares[:num]],
        title=f"The mean along eigen-images, and their share of the variance ({note})",
        levels=trained.info.image_levels,
    )


def _draw_reconstructions(
    path: pathlib.Path, trained: Trained, parts: gaussian.PrincipalComponents, note: str
) -> None:
    """Test images by more and more components."""
    x = np.asarray(subset(trained.dataset.test, _NUM_COLUMNS)["x"])
    z = parts.project(to_vectors(jnp.asarray(x), trained.info.levels))
    nums = sorted({q for q in (1, 2, 4, 8, 16, 32, 64) if q < z.shape[1]} | {z.shape[1]})
    rebuilt = [
        parts.reconstruct(jnp.where(jnp.arange(z.shape[1])[None] < num, z, 0.0)) for num in nums
    ]
    plots.labelled_grid(
        path,
        np.concatenate([_images(trained, np.stack(rebuilt)), x[None]]),
        row_labels=[*map(str, nums), "test"],
        title=f"Test images by their first components ({note})",
        levels=trained.info.image_levels,
    )


def _draw_spectrum(path: pathlib.Path, parts: gaussian.PrincipalComponents, note: str) -> None:
    shares = np.cumsum(np.asarray(parts.variances)) / max(float(parts.total), 1e-30)
    figure = plots.new_figure(5.0, 3.2)
    axes = figure.add_subplot()
    numbers = np.arange(1, len(shares) + 1)
    plots.draw_curves(
        axes,
        {"share": (numbers, shares)},
        xlabel="components",
        ylabel="share of the variance",
        title=note,
    )
    axes.set_ylim(0.0, 1.02)
    plots.save_figure(path, figure)


def _draw_strangest(path: pathlib.Path, trained: Trained) -> None:
    """The test images farthest from the mean, and where each is not what its other pixels tell."""
    scores = score(trained)
    chosen = np.argsort(-scores.distance)[:_NUM_STRANGE]
    x, levels = scores.x[chosen], trained.info.image_levels
    to_grey = 255.0 / (levels - 1)
    shown = np.round(np.broadcast_to(x, (*x.shape[:-1], _colours(x))) * to_grey).astype(np.uint8)
    z = scores.z[chosen].reshape(len(x), *trained.info.shape).mean(axis=-1)
    z = z * np.sqrt(trained.info.shape[-1])  # The mean of independent channels, rescaled.
    plots.labelled_grid(
        path,
        np.stack([np.broadcast_to(shown[..., :3], (*z.shape, 3)), _heat(z)]),
        row_labels=["image", "z-scores"],
        column_labels=[f"{value / scores.z.shape[1]:.2f}" for value in scores.distance[chosen]],
        title=(
            "The strangest test images by squared distance over numbers (1 for draws of the "
            f"Gaussian), and pixels given all others: red brighter, blue darker, full at {_SCALE:g}"
            " standard deviations"
        ),
    )


def _colours(x: np.ndarray) -> int:
    return 3 if x.shape[-1] in (1, 3) else x.shape[-1]


def _heat(z: np.ndarray) -> np.ndarray:
    """Red above 0, blue below, white at 0: uint8 `[..., 3]`."""
    share = np.clip(z / _SCALE, -1.0, 1.0)
    fade = 1.0 - np.abs(share)
    red, blue = np.where(share > 0, 1.0, fade), np.where(share < 0, 1.0, fade)
    return np.round(255 * np.stack([red, fade, blue], axis=-1)).astype(np.uint8)
