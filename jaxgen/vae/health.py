"""Pictures of the health of a latent space: latents in use, rate and distortion."""

import textwrap

import numpy as np
from matplotlib.axes import Axes

from jaxgen import plots
from jaxgen.vae.diagnostics import ACTIVITY_THRESHOLD, describe_collapse

INACTIVE_COLOUR = "#b5bac1"


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
        kl_per_dimension: `[D]`, mean over images of ``KL(q(z|x) || p(z))``, nats per image, at
            least 0.
        mean_variance: `[D]`, variance over images of the posterior mean, as `active_units` returns.
        threshold: variance that an active dimension exceeds, above 0.

    Raises:
        ValueError: if the arrays are not `[D]` of one length or the threshold is not above 0.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", section 5.2, for active units.
    """
    kl, variance = np.asarray(kl_per_dimension), np.asarray(mean_variance)
    if kl.ndim != 1 or not len(kl) or kl.shape != variance.shape:
        raise ValueError(
            f"kl_per_dimension, mean_variance: shapes {kl.shape} and {variance.shape}, "
            "expected two arrays [D] of one length"
        )
    if threshold <= 0:
        raise ValueError(f"threshold: {threshold}, expected above 0")
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
        rate: `[T]`, ``KL(q(z|x) || p(z))``, nats per image.
        distortion: `[T]`, ``-ln p(x|z)``, nats per image.

    Raises:
        ValueError: if the arrays are not `[T]` of one length.

    Source:
        Alemi et al. 2018, "Fixing a broken ELBO".
    """
    steps, rate, distortion = (np.asarray(values, float) for values in (steps, rate, distortion))
    if steps.ndim != 1 or not len(steps) or not steps.shape == rate.shape == distortion.shape:
        raise ValueError(
            f"steps, rate, distortion: shapes {steps.shape}, {rate.shape}, {distortion.shape}, "
            "expected three arrays [T] of one length"
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
