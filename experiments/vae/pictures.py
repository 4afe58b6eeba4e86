"""The pictures of a VAE run: samples, reconstructions, and what its latents mean."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.settings import DataInfo
from jaxgen import plots, vae
from jaxgen.data.dataset import Dataset, Split
from jaxgen.distributions import Normal, normal_kl_per_dimension
from jaxgen.pixels import to_model_range
from jaxgen.training.logging import read_metrics
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Array, PyTree
from jaxgen.vae import figures
from jaxgen.vae.diagnostics import active_units, describe_collapse
from jaxgen.vae.priors import Prior

_NUM_CODES = 10_000
_BLOCK_SIZE = 500
_NUM_SAMPLES = 64


class Codec(NamedTuple):
    """A trained model for pictures: images in and out are uint8 with values 0 to 255.

    Attributes:
        encode: images `[B, H, W, C]` to posterior mean and log-variance, `[B, D]` each.
        decode_mean: latents `[B, D]` to the expected images.
        prior: over the latents.
    """

    encode: Callable[[np.ndarray], tuple[Array, Array]]
    decode_mean: Callable[[np.ndarray], Array]
    prior: Prior

    def encode_mean(self, x: np.ndarray) -> Array:
        """Images to posterior means `[B, D]`."""
        return self.encode(x)[0]


def make_codec(model: vae.VAE, variables: PyTree, info: DataInfo) -> Codec:
    """Binds a model to its trained variables."""
    brightest = info.levels if model.likelihood.is_density else info.levels - 1

    apply: Any = model.apply

    @jax.jit
    def encode(x: Array) -> tuple[Array, Array]:
        posterior = apply(variables, to_model_range(x, 256), method="encode")
        return posterior.mean, posterior.log_var

    @jax.jit
    def decode_mean(z: Array) -> Array:
        pixels = apply(variables, z, method="decode").expectation()
        return jnp.clip(jnp.round(pixels * (255.0 / brightest)), 0, 255).astype(jnp.uint8)

    return Codec(encode, decode_mean, apply(variables, method="prior"))


def to_display(x: np.ndarray, levels: int) -> np.ndarray:
    """Pixel values 0 to `levels - 1` spread over 0 to 255, uint8."""
    return np.round(x * (255.0 / (levels - 1))).astype(np.uint8)


def encode_split(codec: Codec, split: Split, info: DataInfo) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and log-variances `[N, D]` of the first examples of a split."""
    blocks = []
    for start in range(0, min(len(split), _NUM_CODES), _BLOCK_SIZE):
        numbers = np.arange(start, min(start + _BLOCK_SIZE, len(split)))
        x = to_display(split.gather(numbers)["x"], info.levels)
        blocks.append([np.asarray(value) for value in codec.encode(x)])
    mean, log_var = (np.concatenate(values) for values in zip(*blocks, strict=True))
    return mean, log_var


def draw(
    run: RunDirectory,
    dataset: Dataset,
    info: DataInfo,
    codec: Codec,
    mixture: Prior,
    twin: Codec | None,
) -> None:
    """Draws every picture of a run into its `samples` folder.

    Args:
        run: the run directory.
        dataset: whose test images are encoded.
        info: about it.
        codec: the trained model.
        mixture: the density fitted to its codes.
        twin: an autoencoder of the same shape to compare the latents with, or None.
    """
    folder = run.samples
    batch = dataset.test.gather(np.arange(min(len(dataset.test), 2000)))
    x, label = to_display(batch["x"], info.levels), batch.get("label")
    mean, log_var = encode_split(codec, dataset.test, info)
    kl = _mean_kl(mean, log_var)
    _draw_samples(run, codec, mixture)
    figures.reconstructions(folder / "reconstructions.png", x[:20], *_callables(codec))
    latents = {"VAE" if twin else "codes": mean[: len(x)]}
    if twin is not None:
        latents = {"autoencoder": np.asarray(twin.encode_mean(x)), **latents}
    figures.latent_comparison(folder / "latents.png", latents, label, info.class_names)
    _draw_manifold(run, codec, kl)
    pairs = min(4, len(x) // 2)
    if pairs:
        ends = x[:pairs], x[pairs : 2 * pairs]
        figures.interpolations(folder / "interpolations.png", *ends, *_callables(codec))
    figures.traversals(folder / "traversals.png", x[:1], kl, *_callables(codec))
    if label is not None and len(np.unique(label)) > 1:
        source, target = np.unique(label)[:2]
        figures.attribute_arithmetic(
            folder / "attribute_arithmetic.png",
            x,
            label,
            *_callables(codec),
            source_class=int(source),
            target_class=int(target),
            class_names=info.class_names,
        )


def draw_health(run: RunDirectory, dataset: Dataset, info: DataInfo, codec: Codec) -> str:
    """Draws rate, distortion and the use of each latent; returns a sentence on posterior collapse."""
    mean, log_var = encode_split(codec, dataset.test, info)
    kl = _mean_kl(mean, log_var)
    variance, is_active = active_units(jnp.asarray(mean))
    figures.latent_health(run.samples / "latent_health.png", kl, np.asarray(variance))
    rows = [row for row in read_metrics(run.path) if "rate" in row]
    if rows:
        steps, rate, distortion = (
            np.array([row[name] for row in rows]) for name in ("step", "rate", "distortion")
        )
        figures.rate_distortion(run.samples / "rate_distortion.png", steps, rate, distortion)
    return describe_collapse(int(is_active.sum()), len(kl))


def _mean_kl(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    posterior = Normal(jnp.asarray(mean), jnp.asarray(log_var))
    return np.asarray(normal_kl_per_dimension(posterior)).mean(axis=0)


def _callables(
    codec: Codec,
) -> tuple[Callable[[np.ndarray], Array], Callable[[np.ndarray], Array]]:
    return codec.encode_mean, codec.decode_mean


def _draw_samples(run: RunDirectory, codec: Codec, mixture: Prior) -> None:
    key = jax.random.key(0)
    for name, density in (("samples_of_prior", codec.prior), ("samples_of_mixture", mixture)):
        z = np.asarray(density.sample(key, _NUM_SAMPLES))
        x = np.asarray(codec.decode_mean(z))
        plots.save_grid(run.samples / f"{name}.png", x)


def _draw_manifold(run: RunDirectory, codec: Codec, kl: np.ndarray) -> None:
    """The plane of the two latents with the highest rate; the others are 0, the middle of the prior."""
    if len(kl) < 2:
        return
    first, second = np.sort(np.argsort(kl)[-2:])
    name = "manifold" if len(kl) == 2 else "manifold_of_the_two_most_used_latents"

    def decode_plane(z: np.ndarray) -> Array:
        full = np.zeros((len(z), len(kl)), np.float32)
        full[:, first], full[:, second] = z.T
        return codec.decode_mean(full)

    figures.manifold(run.samples / f"{name}.png", decode_plane)
