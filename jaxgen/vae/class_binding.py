"""The one way between images, classes and latents of M2, used by its algorithms and pictures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.arrays import example_keys, split_keys
from jaxgen.pixels import dequantized_to_model_range, to_model_range
from jaxgen.training.state import TrainState
from jaxgen.types import Array, Key, PyTree
from jaxgen.vae.class_models import ClassVAE
from jaxgen.vae.decoding import expected_pixels, to_pixels
from jaxgen.vae.posteriors import Posterior
from jaxgen.vae.priors import Prior


class BoundClassModel(NamedTuple):
    """A model with its variables: the callables that the losses of M2 take.

    Attributes:
        encode: pixels in [0, levels) and one-hot classes `[B, C]` to q(z|x, y).
        decode: latents `[B, D]` and classes to p(x|y, z) over pixels.
        classify: pixels to the logits `[B, C]` of q(y|x).
        prior: p(z).
    """

    encode: Callable[[Array, Array], Posterior]
    decode: Callable[[Array, Array], Any]
    classify: Callable[[Array], Array]
    prior: Prior


class ClassCodec(NamedTuple):
    """What a model makes of images, classes and latents, compiled once for all its variables.

    Attributes:
        encode: ``(variables, x) -> z [B, D]`` of uint8 images: the posterior mean by their
            likeliest class.
        decode: ``(variables, z, label) -> x``: the expected images of latents and labels `[B]`,
            rounded to uint8 in 0 to levels - 1.
    """

    encode: Callable[[PyTree, Array], Array]
    decode: Callable[[PyTree, Array, Array], Array]


def bind_classes(
    model: ClassVAE,
    variables: PyTree,
    *,
    levels: int,
    dropout_keys: Sequence[Array | None] = (None, None, None),
) -> BoundClassModel:
    """Joins a model with its variables.

    Args:
        model: see `ClassVAE`.
        variables: of the model.
        levels: number of pixel values of the data.
        dropout_keys: for the dropout of encoder, decoder and classifier in training, `[B]` each;
            None without.

    Returns:
        The callables.
    """
    apply: Any = model.apply
    of_encoder, of_decoder, of_classifier = dropout_keys

    def encode(x: Array, y: Array) -> Posterior:
        x = dequantized_to_model_range(x, levels)
        return apply(variables, x, y, method="encode", dropout_keys=of_encoder)

    def decode(z: Array, y: Array) -> Any:
        return apply(variables, z, y, method="decode", dropout_keys=of_decoder)

    def classify(x: Array) -> Array:
        x = dequantized_to_model_range(x, levels)
        return apply(variables, x, method="classify", dropout_keys=of_classifier)

    return BoundClassModel(encode, decode, classify, apply(variables, method="prior"))


def class_codec(model: ClassVAE, *, levels: int) -> ClassCodec:
    """Makes the functions between images, classes and latents.

    Args:
        model: see `ClassVAE`.
        levels: number of pixel values of the data.

    Returns:
        Functions of the variables, such as `TrainState.eval_variables`.
    """
    apply: Any = model.apply

    @jax.jit
    def encode(variables: PyTree, x: Array) -> Array:
        scaled = to_model_range(x, levels)
        logits = apply(variables, scaled, method="classify")
        y = jax.nn.one_hot(jnp.argmax(logits, axis=-1), model.num_classes)
        return apply(variables, scaled, y, method="encode").mean

    @jax.jit
    def decode(variables: PyTree, z: Array, label: Array) -> Array:
        y = jax.nn.one_hot(label, model.num_classes)
        distribution = apply(variables, z, y, method="decode")
        return expected_pixels(model.likelihood, distribution, levels)

    return ClassCodec(encode, decode)


def class_sampler(model: ClassVAE, *, levels: int) -> Callable[..., Array]:
    """Makes the `sample` of an `Algorithm`: class and latents of the prior, then pixels.

    Args:
        model: see `ClassVAE`.
        levels: number of pixel values of the data.

    Returns:
        ``(state, key, num, label=None) -> x``: uint8 images `[num, H, W, C]` by one key or keys
        `[num]`; without labels the classes are drawn, all equally likely.
    """

    def sample(state: TrainState, key: Key, num: int, label: Array | None = None) -> Array:
        bound = bind_classes(model, state.eval_variables, levels=levels)
        latent_keys, pixel_keys, class_keys = split_keys(example_keys(key, num), 3)
        if label is None:
            label = jax.vmap(lambda key: jax.random.randint(key, (), 0, model.num_classes))(
                class_keys
            )
        y = jax.nn.one_hot(label, model.num_classes)
        z = bound.prior.sample(latent_keys, num)
        return to_pixels(bound.decode(z, y).sample(pixel_keys), levels)

    return sample
