"""Pictures of what an autoencoder or a VAE has learned, from arrays and plain functions.

`encode_mean(x)` maps uint8 images `[B, H, W, C]` to latent means `[B, D]`; `decode_mean(z)` maps
latents `[B, D]` to uint8 images. Nothing here knows of a network, a data set or a training run.
Every function writes one PNG.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from sklearn.decomposition import PCA

from jaxgen import latents, plots
from jaxgen.vae.diagnostics import ACTIVITY_THRESHOLD, describe_collapse

ArrayFunction = Callable[[np.ndarray], np.ndarray | jax.Array]

INACTIVE_COLOUR = "#b5bac1"


def _decode_table(decode_mean: ArrayFunction, z: np.ndarray) -> np.ndarray:
    """Decodes a table of latents `[R, K, D]` in one call to images `[R, K, H, W, C]`."""
    images = np.asarray(decode_mean(z.reshape(-1, z.shape[-1])))
    return images.reshape(*z.shape[:2], *images.shape[1:])


def _signed(value: float) -> str:
    """A coordinate for a label of at most five characters: `-1.5`, `0`, `+0.75`."""
    return f"{value:+.2g}" if abs(value) > 1e-6 else "0"


def manifold(
    path: plots.PathLike, decode_mean: ArrayFunction, *, size: int = 15, levels: int = 256
) -> None:
    """Draws the images decoded from a lattice of a two-dimensional latent space.

    Coordinates are the quantiles `(i - 1/2) / size` of the standard normal, so that every image
    stands for the same share of the prior. The first coordinate grows to the right, the second one
    upwards.

    Args:
        path: the PNG file.
        decode_mean: latents `[B, 2]` to uint8 images `[B, H, W, C]`.
        size: images along each side, at least 1.
        levels: grey levels per channel of the images, 2 to 256.

    Raises:
        ValueError: if `size` is below 1 or the images are not uint8 with values below `levels`.

    Source:
        D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes" (2014).
    """
    if size < 1:
        raise ValueError(f"size: expected at least 1, got {size}")
    z = np.asarray(latents.normal_grid(size, size)).reshape(size, size, 2)
    every = math.ceil(size / 15)  # labels of smaller tiles would touch
    names = [
        _signed(round(float(value), 1)) if i % every == 0 else ""
        for i, value in enumerate(z[0, :, 0])
    ]
    plots.labelled_grid(
        path,
        _decode_table(decode_mean, z),
        row_labels=names[::-1],
        column_labels=names,
        title="Decoded latent plane: first coordinate across, second up",
        levels=levels,
        padding=0,
        tile=48,
    )


def reconstructions(
    path: plots.PathLike,
    x: np.ndarray,
    encode_mean: ArrayFunction,
    decode_mean: ArrayFunction,
    *,
    columns: int = 10,
    levels: int = 256,
) -> None:
    """Draws originals, each above its reconstruction `decode_mean(encode_mean(x))`.

    Args:
        path: the PNG file.
        x: uint8 images `[N, H, W, C]`; the last ones are left out where they do not fill a row.
        encode_mean: images to latent means `[B, D]`.
        decode_mean: latents to uint8 images.
        columns: images in a row, at least 1.
        levels: grey levels per channel, 2 to 256.

    Raises:
        ValueError: if `columns` is below 1 or the images are not uint8 with values below `levels`.
    """
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    x = np.asarray(x)
    columns = min(columns, len(x))
    blocks = len(x) // columns
    x = x[: blocks * columns]
    reconstructed = np.asarray(decode_mean(np.asarray(encode_mean(x))))
    block_shape = (blocks, columns, *x.shape[1:])
    table = np.stack([x.reshape(block_shape), reconstructed.reshape(block_shape)], axis=1)
    plots.labelled_grid(
        path,
        table.reshape(2 * blocks, columns, *x.shape[1:]),
        row_labels=["original", "reconstruction"] * blocks,
        title="Test images and their reconstructions",
        levels=levels,
        rows_per_group=2,
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
        label: int classes `[N]` of the encoded images, which give the colours; None for one colour.
        class_names: one name for every class.

    Raises:
        ValueError: if there is no model or the arrays do not fit together.
    """
    if not latent_means:
        raise ValueError("latent_means: expected at least one model, got none")
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
        raise ValueError(f"latent_means: expected non-empty arrays [N, D], got shape {z.shape}")
    if z.shape[1] == 1:
        return np.pad(z, ((0, 0), (0, 1))), ": one latent dimension", "latent coordinate"
    if z.shape[1] == 2 or np.ptp(z, axis=0).max() == 0:  # equal points have no components
        return z[:, :2], "", "latent coordinate"
    pca = PCA(2, svd_solver="full").fit(z)
    share = pca.explained_variance_ratio_.sum()
    note = f": projected by PCA from {z.shape[1]} dimensions\n({share:.0%} of the variance)"
    return pca.transform(z), note, "principal component"


def interpolations(
    path: plots.PathLike,
    x_start: np.ndarray,
    x_end: np.ndarray,
    encode_mean: ArrayFunction,
    decode_mean: ArrayFunction,
    *,
    num_steps: int = 9,
    levels: int = 256,
) -> None:
    """Draws the way from one image to another through the latent space, straight and along an arc.

    Two rows for every pair: linear and spherical interpolation of the latent means. The ends, `t =
    0` and `t = 1`, are the reconstructions of the two originals, which stand beside them.

    Args:
        path: the PNG file.
        x_start: uint8 images `[N, H, W, C]`.
        x_end: uint8 images `[N, H, W, C]`.
        encode_mean: images to latent means `[B, D]`.
        decode_mean: latents to uint8 images.
        num_steps: decoded images in a row, at least 2.
        levels: grey levels per channel, 2 to 256.

    Raises:
        ValueError: if `num_steps` is below 2 or the images differ in shape.

    Source:
        K. Shoemake, "Animating rotation with quaternion curves" (1985), for the spherical way.
    """
    x_start, x_end = np.asarray(x_start), np.asarray(x_end)
    if x_start.shape != x_end.shape:
        raise ValueError(f"x_end: expected shape {x_start.shape}, got {x_end.shape}")
    if num_steps < 2:
        raise ValueError(f"num_steps: expected at least 2, got {num_steps}")
    t = np.linspace(0.0, 1.0, num_steps, dtype=np.float32)
    z_start, z_end = jnp.asarray(encode_mean(x_start)), jnp.asarray(encode_mean(x_end))
    ways = np.stack(
        [way(z_start, z_end, jnp.asarray(t)) for way in (latents.lerp, latents.slerp)], 1
    )
    decoded = _decode_table(decode_mean, ways.reshape(-1, *ways.shape[2:]))
    ends = [x.repeat(2, axis=0)[:, None] for x in (x_start, x_end)]
    plots.labelled_grid(
        path,
        np.concatenate([ends[0], decoded, ends[1]], axis=1),
        row_labels=["linear", "spherical"] * len(x_start),
        column_labels=["original", *(f"t = {value:.3g}" for value in t), "original"],
        title="Interpolation between test images in the latent space",
        levels=levels,
        rows_per_group=2,
    )


def traversals(
    path: plots.PathLike,
    x: np.ndarray,
    kl_per_dimension: np.ndarray,
    encode_mean: ArrayFunction,
    decode_mean: ArrayFunction,
    *,
    num_dimensions: int = 8,
    num_steps: int = 9,
    limit: float = 3.0,
    levels: int = 256,
) -> None:
    """Draws what each of the most active latent coordinates does to one image.

    A row sets one coordinate of `encode_mean(x)` to values from `-limit` to `limit` and keeps the
    others.

    Args:
        path: the PNG file.
        x: one uint8 image, `[1, H, W, C]`.
        kl_per_dimension: `[D]`, nats; rows are sorted by it, the largest first.
        encode_mean: images to latent means `[B, D]`.
        decode_mean: latents to uint8 images.
        num_dimensions: rows at most, at least 1.
        num_steps: decoded images in a row, at least 2.
        limit: the largest value, in standard deviations of the prior, above 0.
        levels: grey levels per channel, 2 to 256.

    Raises:
        ValueError: if `x` is not one image or a setting is out of its range.

    Source:
        I. Higgins et al., "beta-VAE" (2017).
    """
    x, kl = np.asarray(x), np.asarray(kl_per_dimension)
    if x.ndim != 4 or len(x) != 1:
        raise ValueError(f"x: expected one image [1, H, W, C], got shape {x.shape}")
    if num_dimensions < 1 or num_steps < 2 or limit <= 0:
        raise ValueError(
            "num_dimensions, num_steps, limit: expected at least 1, at least 2 and above 0, "
            f"got {num_dimensions}, {num_steps}, {limit}"
        )
    z = jnp.asarray(encode_mean(x))
    if kl.shape != z.shape[1:]:
        raise ValueError(f"kl_per_dimension: expected shape {z.shape[1:]}, got {kl.shape}")
    chosen = np.argsort(-kl, kind="stable")[:num_dimensions]
    values = np.linspace(-limit, limit, num_steps, dtype=np.float32)
    rows = [latents.traversal(z, int(index), jnp.asarray(values)) for index in chosen]
    plots.labelled_grid(
        path,
        _decode_table(decode_mean, np.concatenate(rows)),
        row_labels=[f"coordinate {index}\nKL {kl[index]:.2f} nats" for index in chosen],
        column_labels=[_signed(value) for value in values],
        title="Latent traversals: one coordinate changed, the others kept",
        levels=levels,
    )


def attribute_arithmetic(
    path: plots.PathLike,
    x: np.ndarray,
    label: np.ndarray,
    encode_mean: ArrayFunction,
    decode_mean: ArrayFunction,
    *,
    source_class: int,
    target_class: int,
    class_names: Sequence[str] | None = None,
    strengths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    num_sources: int = 6,
    levels: int = 256,
) -> None:
    """Draws images of one class moved towards another one by an attribute vector.

    A row shows an image of the source class and `decode_mean(z + t a)`, where `z` is its latent
    mean and `a` the mean latent of the target class minus that of the source class.

    Args:
        path: the PNG file.
        x: uint8 images `[N, H, W, C]` with both classes among them.
        label: int classes `[N]`.
        encode_mean: images to latent means `[B, D]`.
        decode_mean: latents to uint8 images.
        source_class: class that the images of the rows have.
        target_class: class that the attribute vector leads to.
        class_names: one name for every class; by default the numbers.
        strengths: values of `t`, at least one.
        num_sources: rows at most, at least 1.
        levels: grey levels per channel, 2 to 256.

    Raises:
        ValueError: if a class has no image in `x` or there is nothing to draw.

    Source:
        A. B. L. Larsen et al., "Autoencoding beyond pixels using a learned similarity
        metric" (2016).
    """
    x, label = np.asarray(x), np.asarray(label)
    for argument, index in (("source_class", source_class), ("target_class", target_class)):
        if not np.any(label == index):
            raise ValueError(f"{argument}: expected a class that label has, got {index}")
    if not strengths or num_sources < 1:
        raise ValueError(
            "strengths, num_sources: expected at least one of each, "
            f"got {len(strengths)}, {num_sources}"
        )
    z = np.asarray(encode_mean(x))
    either = (label == source_class) | (label == target_class)
    attribute = latents.attribute_vector(jnp.asarray(z[either]), label[either] == target_class)
    rows = np.flatnonzero(label == source_class)[:num_sources]
    t = np.asarray(strengths, z.dtype)
    moved = _decode_table(decode_mean, z[rows, None, :] + t[None, :, None] * np.asarray(attribute))
    source_name, target_name = (
        str(index) if class_names is None else class_names[index]
        for index in (source_class, target_class)
    )
    plots.labelled_grid(
        path,
        np.concatenate([x[rows, None], moved], axis=1),
        row_labels=[source_name] * len(rows),
        column_labels=["original", *(f"t = {value:.3g}" for value in t)],
        title=f"Latent + t (mean of {target_name} - mean of {source_name})",
        levels=levels,
    )


def latent_health(
    path: plots.PathLike,
    kl_per_dimension: np.ndarray,
    mean_variance: np.ndarray,
    *,
    threshold: float = ACTIVITY_THRESHOLD,
) -> None:
    """Draws which latent dimensions carry information; the title says whether they collapsed.

    Above the mean KL of each dimension, sorted; below, in the same order, the variance of its
    posterior mean over the images, and the threshold above which it counts as active. Inactive
    dimensions are grey.

    Args:
        path: the PNG file.
        kl_per_dimension: `[D]`, mean over images of the KL to the prior, nats per image, at least
            0.
        mean_variance: `[D]`, variance over images of the posterior mean, as `active_units` returns.
        threshold: variance that an active dimension exceeds, above 0.

    Raises:
        ValueError: if the arrays are not `[D]` of one length or the threshold is not above 0.

    Source:
        Y. Burda et al., "Importance Weighted Autoencoders" (2016), for active units.
    """
    kl, variance = np.asarray(kl_per_dimension), np.asarray(mean_variance)
    if kl.ndim != 1 or not len(kl) or kl.shape != variance.shape:
        raise ValueError(
            "kl_per_dimension, mean_variance: expected two arrays [D] of one length, "
            f"got shapes {kl.shape} and {variance.shape}"
        )
    if threshold <= 0:
        raise ValueError(f"threshold: expected above 0, got {threshold}")
    order = np.argsort(-kl, kind="stable")
    active = variance[order] > threshold
    figure = plots.new_figure(7.2, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True)
    summary = describe_collapse(int(active.sum()), len(kl))
    title = textwrap.fill(f"{summary[0].upper()}{summary[1:]}", 84, break_on_hyphens=False)
    title = f"{title}\nTotal KL {kl.sum():.2f} nats per image"
    plots.style_axes(upper, title=title, ylabel="KL (nats per image)")
    _draw_bars(upper, kl[order], active, floor=1e-3)
    few = len(kl) <= 32  # the numbers of more dimensions would touch
    plots.style_axes(
        lower,
        xlabel="latent dimension, largest KL first" if few else "latent dimensions in order of KL",
        ylabel="variance of the\nposterior mean",
    )
    _draw_bars(lower, variance[order], active, floor=threshold / 10)
    _draw_threshold(lower, threshold)
    if few:
        lower.set_xticks(range(len(kl)), [str(index) for index in order])
    margin = 0.6 + max(0, 8 - len(kl)) / 2  # a few bars need not fill the picture
    lower.set_xlim(-margin, len(kl) - 1 + margin)
    plots.save_figure(path, figure)


def _draw_bars(axes: Axes, values: np.ndarray, active: np.ndarray, *, floor: float) -> None:
    """Bars on a log axis from `floor`; what is lower keeps a stub, so that it can be counted."""
    colours = [plots.LINE_COLOURS[0] if is_active else INACTIVE_COLOUR for is_active in active]
    width = 0.8 if len(values) <= 64 else 1.0
    axes.bar(np.arange(len(values)), np.maximum(values, floor * 1.2), width=width, color=colours)
    axes.set_yscale("log")
    axes.set_ylim(floor, max(float(values.max()) * 1.6, floor * 100))
    axes.grid(visible=False, axis="x")


def _draw_threshold(axes: Axes, threshold: float) -> None:
    """A dashed line with its meaning written on it."""
    colour = plots.LINE_COLOURS[1]
    axes.axhline(threshold, color=colour, linewidth=1.4, linestyle="--")
    axes.annotate(
        f"active\nabove {threshold:g}",
        (1.0, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
        annotation_clip=False,
    )


def rate_distortion(
    path: plots.PathLike, steps: np.ndarray, rate: np.ndarray, distortion: np.ndarray
) -> None:
    """Draws rate and distortion against the training step and against each other.

    In the plane of both, points of one negative ELBO `rate + distortion` lie on a falling line.

    Args:
        path: the PNG file.
        steps: `[T]`, training steps, increasing, `T >= 1`.
        rate: `[T]`, KL of the posterior to the prior, nats per image.
        distortion: `[T]`, negative log-likelihood of the image given its latent, nats per image.

    Raises:
        ValueError: if the arrays are not `[T]` of one length.

    Source:
        A. Alemi et al., "Fixing a Broken ELBO" (2018).
    """
    steps, rate, distortion = (np.asarray(values, float) for values in (steps, rate, distortion))
    if steps.ndim != 1 or not len(steps) or not steps.shape == rate.shape == distortion.shape:
        raise ValueError(
            "steps, rate, distortion: expected three arrays [T] of one length, "
            f"got shapes {steps.shape}, {rate.shape}, {distortion.shape}"
        )
    figure = plots.new_figure(9.6, 4.2)
    panels = figure.subplot_mosaic([["distortion", "plane"], ["rate", "plane"]])
    curves = {
        "distortion": {
            "negative ELBO": (steps, rate + distortion),
            "distortion": (steps, distortion),
        },
        "rate": {"rate": (steps, rate)},
    }
    for name, series in curves.items():
        plots.draw_curves(
            panels[name],
            series,
            ylabel="nats per image",
            xlabel="training step" if name == "rate" else "",
            title="Rate" if name == "rate" else "Distortion and negative ELBO",
        )
    _draw_plane(panels["plane"], steps, rate, distortion)
    plots.save_figure(path, figure)


def _draw_plane(axes: Axes, steps: np.ndarray, rate: np.ndarray, distortion: np.ndarray) -> None:
    """The way of the run through the plane of rate and distortion, its end marked."""
    plots.style_axes(
        axes,
        title="Distortion against rate",
        xlabel="rate (nats per image)",
        ylabel="distortion (nats per image)",
    )
    axes.plot(rate, distortion, color=INACTIVE_COLOUR, linewidth=1.2, zorder=1)
    points = axes.scatter(rate, distortion, c=steps, cmap="viridis", s=18, zorder=2)
    bar = axes.figure.colorbar(points, ax=axes, format="{x:,.0f}", pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, labelcolor=plots.INK, color=INACTIVE_COLOUR)
    bar.set_label("training step", fontsize=9, color=plots.INK)
