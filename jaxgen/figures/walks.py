"""Ways through the latent space: between two latents, along one coordinate, towards the origin."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import latents, plots
from jaxgen.figures.reconstructions import Decode, decode_table, signed


def walks(
    path: plots.PathLike,
    start: np.ndarray,
    end: np.ndarray,
    decode: Decode,
    *,
    levels: int,
    num_steps: int = 9,
    originals: tuple[np.ndarray, np.ndarray] | None = None,
    label: np.ndarray | None = None,
) -> None:
    """Draws the ways from some latents to others, straight and along an arc: two rows a pair.

    Args:
        path: the PNG file.
        start: latents `[N, D]`, N at least 1: posterior means or draws of the prior.
        end: latents `[N, D]`.
        decode: see `Decode`; given labels where there are some.
        levels: number of pixel values of the data, 2 to 256.
        num_steps: decoded images in a row, at least 2.
        originals: the images `[N, H, W, C]` that were encoded as `start` and as `end`, to stand
            beside the two ends of a row, which are their reconstructions.
        label: int classes `[N]` of the pairs for a conditional decoder.

    Raises:
        ValueError: if `num_steps` is below 2, there is no pair or the latents differ in shape.

    Source:
        Shoemake 1985, "Animating rotation with quaternion curves"; White 2016, "Sampling generative
        networks".
    """
    start, end = np.asarray(start), np.asarray(end)
    if start.ndim != 2 or start.shape != end.shape or not len(start):
        raise ValueError(f"start, end: {start.shape} and {end.shape}, expected one shape [N, D]")
    if num_steps < 2:
        raise ValueError(f"num_steps: {num_steps}, expected at least 2")
    t = jnp.linspace(0.0, 1.0, num_steps)
    pairs = jnp.asarray(start), jnp.asarray(end), t
    ways = np.stack([way(*pairs) for way in (latents.lerp, latents.slerp)], axis=1)
    num_rows = 2 * len(start)
    if label is not None:
        label = np.repeat(label, 2 * num_steps).reshape(num_rows, num_steps)
    images = decode_table(decode, ways.reshape(num_rows, num_steps, -1), label)
    names = [f"t = {value:.3g}" for value in t]
    if originals is not None:
        first, last = (np.repeat(x, 2, axis=0)[:, None] for x in originals)
        images = np.concatenate([first, images, last], axis=1)
        names = ["original", *names, "original"]
    plots.labelled_grid(
        path,
        images,
        row_labels=["linear", "spherical"] * len(start),
        column_labels=names,
        title="Ways between latents",
        levels=levels,
        rows_per_group=2,
    )


def traversals(
    path: plots.PathLike,
    z: np.ndarray,
    decode: Decode,
    *,
    levels: int,
    kl_per_dimension: np.ndarray | None = None,
    num_dimensions: int = 8,
    num_steps: int = 9,
    limit: float = 3.0,
) -> None:
    """Draws what some coordinates of a latent do, one row each, while the others are kept.

    Args:
        path: the PNG file.
        z: one latent, `[D]`.
        decode: see `Decode`.
        levels: number of pixel values of the data, 2 to 256.
        kl_per_dimension: `[D]`, nats; its largest come first. None for the coordinates in order.
        num_dimensions: rows at most, at least 1.
        num_steps: decoded images in a row, at least 2.
        limit: the largest value, in standard deviations of the prior, above 0.

    Raises:
        ValueError: if `z` is not one latent or a setting is out of its range.

    Source:
        Higgins et al. 2017, "beta-VAE: learning basic visual concepts with a constrained
        variational framework", figures 1 to 4.
    """
    z = np.asarray(z)
    if z.ndim != 1:
        raise ValueError(f"z: shape {z.shape}, expected one latent [D]")
    for name, value, least in (("num_dimensions", num_dimensions, 1), ("num_steps", num_steps, 2)):
        if value < least:
            raise ValueError(f"{name}: {value}, expected at least {least}")
    if not limit > 0.0:
        raise ValueError(f"limit: {limit}, expected above 0")
    order, notes = np.arange(len(z)), [""] * len(z)
    if kl_per_dimension is not None:
        kl = np.asarray(kl_per_dimension)
        if kl.shape != z.shape:
            raise ValueError(f"kl_per_dimension: shape {kl.shape}, expected {z.shape}")
        order, notes = np.argsort(-kl, kind="stable"), [f"\nKL {value:.2f} nats" for value in kl]
    chosen = order[:num_dimensions]
    values = jnp.linspace(-limit, limit, num_steps)
    rows = [latents.traversal(jnp.asarray(z)[None], int(index), values)[0] for index in chosen]
    plots.labelled_grid(
        path,
        decode_table(decode, np.stack(rows)),
        row_labels=[f"coordinate {index}{notes[index]}" for index in chosen],
        column_labels=[signed(float(value)) for value in values],
        title="Latent traversals: one coordinate changed, the others kept",
        levels=levels,
    )


def truncation(
    path: plots.PathLike,
    decode: Decode,
    latent_dim: int,
    *,
    levels: int,
    thresholds: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    num: int = 10,
    label: np.ndarray | None = None,
) -> None:
    """Draws samples of normal latents within a threshold: the lower, the less variety.

    Args:
        path: the PNG file.
        decode: see `Decode`; given labels where there are some.
        latent_dim: number of latents, at least 1.
        levels: number of pixel values of the data, 2 to 256.
        thresholds: one row each, above 0.
        num: samples in a row, at least 1; those of a column come from the same random numbers.
        label: int classes `[num]` of the columns for a conditional decoder.

    Raises:
        ValueError: if a number is below 1 or a threshold is not above 0.

    Source:
        Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis",
        section 3.1.
    """
    for name, value in (
        ("latent_dim", latent_dim),
        ("thresholds", len(thresholds)),
        ("num", num),
    ):
        if value < 1:
            raise ValueError(f"{name}: {value}, expected at least 1")
    key, shape = jax.random.key(0), (num, latent_dim)
    z = [latents.truncated_normal(key, shape, threshold=threshold) for threshold in thresholds]
    labels = None if label is None else np.tile(label, (len(thresholds), 1))
    plots.labelled_grid(
        path,
        decode_table(decode, np.stack(z), labels),
        row_labels=[f"within {threshold:g}" for threshold in thresholds],
        title="Truncation: latents drawn within a threshold",
        levels=levels,
    )
