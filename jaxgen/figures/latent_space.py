"""The latent space seen as a plane: what it decodes to, and where the images lie in it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen import latents, plots
from jaxgen.figures.reconstructions import Decode, decode_table, signed


def manifold(
    path: plots.PathLike,
    decode: Decode,
    *,
    levels: int,
    latent_dim: int = 2,
    coordinates: tuple[int, int] = (0, 1),
    size: int = 15,
) -> None:
    """Draws the images decoded from a lattice of a plane of the latent space.

    Coordinates are the quantiles ``(i - 1/2) / size`` of the standard normal, so that every image
    stands for the same share of the prior. The first coordinate grows to the right, the second one
    upwards; all others are 0, the middle of the prior.

    Args:
        path: the PNG file.
        decode: see `Decode`.
        levels: number of pixel values of the data, 2 to 256.
        latent_dim: number of latents D, at least 2.
        coordinates: the two of the plane, 0 to D - 1, such as those with the largest KL.
        size: images along each side, at least 1.

    Raises:
        ValueError: if a number is out of its range.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", figure 4.
    """
    if size < 1:
        raise ValueError(f"size: {size}, expected at least 1")
    first, second = coordinates
    if first == second or not (0 <= first < latent_dim and 0 <= second < latent_dim):
        raise ValueError(f"coordinates: {coordinates}, expected two of 0 to {latent_dim - 1}")
    plane = np.asarray(latents.normal_grid(size, size)).reshape(size, size, 2)
    z = np.zeros((size, size, latent_dim), np.float32)
    z[..., first], z[..., second] = plane[..., 0], plane[..., 1]
    every = math.ceil(size / 15)  # labels of smaller tiles would touch
    names = [
        signed(round(float(value), 1)) if i % every == 0 else ""
        for i, value in enumerate(plane[0, :, 0])
    ]
    rest = "; the others are 0" if latent_dim > 2 else ""
    plots.labelled_grid(
        path,
        decode_table(decode, z),
        row_labels=names[::-1],
        column_labels=names,
        title=f"Decoded latent plane: coordinate {first} across, {second} up{rest}",
        levels=levels,
        padding=0,
        tile=48,
    )


def latent_comparison(
    path: plots.PathLike,
    latent_means: Mapping[str, np.ndarray],
    label: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Draws the latent means of several models side by side, such as an autoencoder beside a VAE.

    More than two dimensions are projected on the two principal components of their own model, which
    the title says with their share of the variance. Both axes of a panel have equal units; panels
    have scales of their own.

    Args:
        path: the PNG file.
        latent_means: name of the model to its latent means `[N, D]`, `D >= 1`.
        label: int classes `[N]` of the encoded images, which give the colours, -1 for none; None
            for one colour.
        class_names: one name for every class.

    Raises:
        ValueError: if there is no model or the arrays do not fit together.
    """
    if not latent_means:
        raise ValueError("latent_means: 0 models, expected at least 1")
    figure = plots.new_figure(4.6 * len(latent_means) + (0.0 if label is None else 0.9), 4.8)
    panels = figure.subplots(1, len(latent_means), squeeze=False)[0]
    for axes, (name, z) in zip(panels, latent_means.items(), strict=True):
        points, note, axis_name = _to_plane(np.asarray(z))
        plots.draw_latents(
            axes,
            points,
            label,
            class_names,
            title=f"{name}{note}",
            xlabel=f"first {axis_name}",
            ylabel=f"second {axis_name}",
            legend=axes is panels[-1],
        )
    plots.save_figure(path, figure)


def _to_plane(z: np.ndarray) -> tuple[np.ndarray, str, str]:
    """Latents `[N, D]` as points `[N, 2]`, what the title says of it, and the name of the axes."""
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"latent_means: shape {z.shape}, expected non-empty arrays [N, D]")
    if z.shape[1] == 1:
        return np.pad(z, ((0, 0), (0, 1))), ": one latent dimension", "latent coordinate"
    if z.shape[1] == 2 or np.ptp(z, axis=0).max() == 0:  # equal points have no components
        return z[:, :2], "", "latent coordinate"
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(z)
    share = pca.explained_variance_ratio_.sum()
    note = f": projected by PCA from {z.shape[1]} dimensions\n({share:.0%} of the variance)"
    return pca.transform(z), note, "principal component"
