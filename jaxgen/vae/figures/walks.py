"""Ways through the latent space: interpolations, traversals and steps along an attribute."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxgen import latents, plots
from jaxgen.vae.figures.decoding import ArrayFunction, decode_table, signed


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
    decoded = decode_table(decode_mean, ways.reshape(-1, *ways.shape[2:]))
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
        decode_table(decode_mean, np.concatenate(rows)),
        row_labels=[f"coordinate {index}\nKL {kl[index]:.2f} nats" for index in chosen],
        column_labels=[signed(value) for value in values],
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
    moved = decode_table(decode_mean, z[rows, None, :] + t[None, :, None] * np.asarray(attribute))
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
