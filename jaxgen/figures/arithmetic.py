"""Sums of latents: from one class to another along the difference of their means."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from jaxgen import latents, plots
from jaxgen.figures.reconstructions import Decode, decode_table
from jaxgen.types import Array

# A mean of fewer still shows the exemplars (Radford et al. 2016, section 6.3.2).
_LEAST_EXEMPLARS = 3


def arithmetic(
    path: plots.PathLike,
    z: np.ndarray,
    label: np.ndarray,
    decode: Decode,
    *,
    levels: int,
    way: Callable[[Array, Array, Array], Array] = latents.shift,
    class_names: Sequence[str] | None = None,
    originals: np.ndarray | None = None,
    num_pairs: int = 5,
    strengths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25),
) -> None:
    """Draws latents that move from a class to the next, by multiples of the mean difference.

    Classes with three examples or more are paired in order, the first with the second, the third
    with the fourth, an odd last one with the first; a row starts at the first example of the
    former. Nothing is written where there is no pair.

    Args:
        path: the PNG file.
        z: latents `[N, D]`.
        label: int classes `[N]`, from 0; -1 for an example that has none, which is left out.
        decode: see `Decode`.
        levels: number of pixel values of the data, 2 to 256.
        way: ``(z [D], direction [D], weights [T]) -> [T, D]``: `latents.shift`, or `latents.move`,
            which keeps the length, for latents that a generator knows in one length alone.
        class_names: one name for every class; by default the numbers.
        originals: the images `[N, H, W, C]` of the latents, to stand beside the rows.
        num_pairs: rows at most, at least 1.
        strengths: multiples of the difference, at least one.

    Raises:
        ValueError: if latents, labels and names do not fit together, or a number is below 1.

    Source:
        Radford et al. 2016, "Unsupervised representation learning with deep convolutional
        generative adversarial networks", section 6.3.2; Larsen et al. 2016, "Autoencoding beyond
        pixels using a learned similarity metric".
    """
    z, label = np.asarray(z), np.asarray(label)
    if z.ndim != 2 or label.shape != z.shape[:1]:
        raise ValueError(f"z, label: {z.shape} and {label.shape}, expected [N, D] and [N]")
    for name, value in (("num_pairs", num_pairs), ("strengths", len(strengths))):
        if value < 1:
            raise ValueError(f"{name}: {value}, expected at least 1")
    pairs = _class_pairs(label)[:num_pairs]
    if not pairs:
        return
    highest = max(max(pair) for pair in pairs)
    names = [str(index) for index in range(highest + 1)] if class_names is None else class_names
    if highest >= len(names):
        raise ValueError(f"class_names: {len(names)} names, expected {highest + 1} or more")
    weights = jnp.asarray(strengths, jnp.float32)
    starts = [int(np.flatnonzero(label == source)[0]) for source, _ in pairs]
    rows = [
        way(jnp.asarray(z[start]), _direction(z, label, *pair), weights)
        for start, pair in zip(starts, pairs, strict=True)
    ]
    images = decode_table(decode, np.stack(rows))
    columns = [f"t = {value:g}" for value in strengths]
    if originals is not None:
        images = np.concatenate([np.asarray(originals)[starts][:, None], images], axis=1)
        columns = ["original", *columns]
    plots.labelled_grid(
        path,
        images,
        row_labels=[f"{names[source]} to {names[target]}" for source, target in pairs],
        column_labels=columns,
        title="A latent plus t times the difference of the mean latents of two classes",
        levels=levels,
    )


def _class_pairs(label: np.ndarray) -> list[tuple[int, int]]:
    """The classes with enough examples, two by two; an odd last one beside the first."""
    classes, counts = np.unique(label[label >= 0], return_counts=True)
    known = [int(index) for index in classes[counts >= _LEAST_EXEMPLARS]]
    odd = [(known[-1], known[0])] if len(known) % 2 and len(known) > 1 else []
    return [*zip(known[::2], known[1::2], strict=False), *odd]


def _direction(z: np.ndarray, label: np.ndarray, source: int, target: int) -> Array:
    either = (label == source) | (label == target)
    return latents.attribute_vector(jnp.asarray(z[either]), jnp.asarray(label[either] == target))
