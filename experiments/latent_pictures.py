"""Pictures of latents that families share: of encoded test images, and of sampled latents."""

from collections.abc import Mapping

import jax
import numpy as np

from experiments.experiment import Trained
from experiments.film import labels_in_turn
from jaxgen import figures

_NUM_PAIRS = 4
_NUM_COLUMNS = 10


def draw_encoded(
    trained: Trained,
    batch: Mapping[str, np.ndarray],
    kl: np.ndarray | None,
    encode_mean: figures.EncodeMean,
    decode: figures.Decode,
) -> None:
    """Reconstructions, ways between test images, single latents, the plane of two, and arithmetic.

    Args:
        trained: the run.
        batch: test images.
        kl: nats of each latent, by which they are sorted, `[D]`; None where there are no such: by
            their variance then.
        encode_mean: images to latents.
        decode: latents to images.
    """
    folder, x = trained.directory.samples, np.asarray(batch["x"])
    levels, names = trained.info.image_levels, trained.info.class_names
    figures.reconstructions(
        folder / "reconstructions.png", x[:20], encode_mean, decode, levels=levels
    )
    z = np.asarray(encode_mean(x))
    figures.traversals(folder / "traversals.png", z[0], decode, levels=levels, kl_per_dimension=kl)
    num = min(_NUM_PAIRS, len(x) // 2)
    if num:
        starts, ends = slice(0, num), slice(num, 2 * num)
        path, originals = folder / "interpolations.png", (x[starts], x[ends])
        figures.walks(path, z[starts], z[ends], decode, levels=levels, originals=originals)
    if "label" in batch:
        label = np.asarray(batch["label"])
        path = folder / "arithmetic.png"
        figures.arithmetic(path, z, label, decode, levels=levels, class_names=names, originals=x)
    num_latents = z.shape[1]
    if num_latents > 1:
        use = z.var(axis=0) if kl is None else kl
        first, second = (int(index) for index in np.sort(np.argsort(use)[-2:]))
        name = "manifold" if num_latents == 2 else "manifold_of_the_two_most_used_latents"
        path, plane = folder / f"{name}.png", (first, second)
        figures.manifold(path, decode, levels=levels, latent_dim=num_latents, coordinates=plane)


def draw_walks(trained: Trained, latent_dim: int, decode: figures.Decode) -> None:
    """Ways between normal latents, and truncation; of a class for each pair and column."""
    folder, levels = trained.directory.samples, trained.info.image_levels
    keys = jax.random.split(jax.random.key(2))
    start, end = (np.asarray(jax.random.normal(key, (_NUM_PAIRS, latent_dim))) for key in keys)
    num_classes = trained.info.num_classes
    label = labels_in_turn(trained.method, num_classes, _NUM_PAIRS)
    figures.walks(folder / "interpolations.png", start, end, decode, levels=levels, label=label)
    label = labels_in_turn(trained.method, num_classes, _NUM_COLUMNS)
    path = folder / "truncation.png"
    figures.truncation(path, decode, latent_dim, levels=levels, num=_NUM_COLUMNS, label=label)
