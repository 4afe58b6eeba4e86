"""The one way from a latent to an example: the averaged generator with statistics of its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.gan.game import Game, GanState
from jaxgen.gan.moves import apply_in_training
from jaxgen.pixels import from_model_range
from jaxgen.types import Array, Key, PyTree

_STATISTICS_PASSES = 64
_STATISTICS_BATCH = 64


def decoder(game: Game, state: GanState) -> Callable[..., Array]:
    """Makes the function that turns latents into examples.

    It is compiled once for all states of a game, and is a pytree of the generator's variables: as
    the argument of a jitted function it retraces for no new state.

    Args:
        game: whose generator it is.
        state: of both networks.

    Returns:
        ``(z [B, D], label=None) -> x [B, ...]``: uint8 images in 0 to levels - 1, or float32
        vectors where levels is None. A game with classes asks for labels, int32 `[B]`.
    """
    return jax.tree_util.Partial(_decode, game, standing_variables(game, state))


@jax.jit
def standing_variables(game: Game, state: GanState) -> dict[str, PyTree]:
    """The averaged generator with batch statistics of its own.

    Those of training belong to other parameters. They are those of normal latents also where
    samples are truncated: statistics of truncated latents would scale the first layer back.

    Args:
        game: whose generator it is.
        state: of both networks.

    Returns:
        The variables for `train=False`; a function of the state alone.

    Source:
        Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis", on
        standing statistics.
    """
    variables = state.generator.eval_variables
    if not variables["batch_stats"]:
        return variables
    num_classes = game.num_classes

    def one_pass(batch_stats: PyTree, key: Key) -> tuple[PyTree, PyTree]:
        latent_key, label_key = jax.random.split(key)
        label = None
        if num_classes is not None:
            label = jax.random.randint(label_key, (_STATISTICS_BATCH,), 0, num_classes)
        z = jax.random.normal(latent_key, (_STATISTICS_BATCH, game.latent_dim))
        _, new_stats = apply_in_training(game.generator, variables["params"], batch_stats, z, label)
        return new_stats, new_stats

    keys = jax.random.split(jax.random.key(0), _STATISTICS_PASSES)
    _, running = jax.lax.scan(one_pass, variables["batch_stats"], keys)
    # After three quarters less than 1 % of the statistics of training is left; the mean over the
    # rest has less noise than its last value.
    kept = 3 * _STATISTICS_PASSES // 4
    batch_stats = jax.tree.map(lambda x: jnp.mean(x[kept:], axis=0), running)
    return {**variables, "batch_stats": batch_stats}


def generate(game: Game, variables: PyTree, z: Array, label: Array | None) -> Array:
    """Applies a generator as it is evaluated.

    Args:
        game: whose generator it is.
        variables: from `standing_variables`.
        z: latents, `[B, D]`.
        label: int32 `[B]`, or None in a game without classes.

    Returns:
        Examples as the critic sees them, float32 `[B, ...]`.

    Raises:
        ValueError: if labels are missing or superfluous.
    """
    if label is not None and game.num_classes is None:
        raise ValueError("label: given, expected None, since this model is not conditional")
    if label is None and game.num_classes is not None:
        raise ValueError(f"label: None, expected int32 [{len(z)}], the classes to generate")
    x: Array = game.generator.apply(variables, z, label, train=False)  # type: ignore[assignment]
    return x


@jax.jit
def _decode(game: Game, variables: PyTree, z: Array, label: Array | None = None) -> Array:
    x = generate(game, variables, z, label)
    return x if game.levels is None else from_model_range(x, game.levels)
