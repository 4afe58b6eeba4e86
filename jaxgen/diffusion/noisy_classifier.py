"""A classifier of noisy data, whose gradient guides samples to a class."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgen.arrays import at_least_float32, example_keys, split_keys
from jaxgen.diffusion import process
from jaxgen.diffusion.embedding import Embedding
from jaxgen.diffusion.models import Diffusion, scale, statistics_of
from jaxgen.nn import Conv, GroupNorm
from jaxgen.training.state import TrainState, create_train_state
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree


class NoisyClassifier(nn.Module):
    """Logits of the classes of noisy images or vectors, told how noisy they are.

    Attributes:
        num_classes: number of logits.
        channels: of the convolutions of images, each at half the size of the one before; of vectors
            the widths of the layers.
        dtype: of the computation; norms, logits and parameters are float32.

    Source:
        Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", section 4.
    """

    num_classes: int
    channels: Sequence[int] = (32, 64)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        """Returns float32 `[B, num_classes]` of `x [B, ...]` and `log_snr [B]`."""
        embedding = Embedding(4 * self.channels[0], self.dtype)(log_snr, None)
        for level, features in enumerate(self.channels):
            told = nn.Dense(2 * features, dtype=self.dtype)(embedding)
            told = told.reshape(len(x), *(1,) * (x.ndim - 2), -1)
            shift, stretch = jnp.split(told, 2, axis=-1)
            if x.ndim == 4:
                x = Conv(features, 3, strides=2 if level else 1, dtype=self.dtype)(x)
                x = GroupNorm(dtype=self.dtype)(x)
            else:
                x = nn.Dense(features, dtype=self.dtype)(x)
            x = nn.silu(x * (1.0 + stretch) + shift)
        # All places and not their mean, since a class is where its strokes are.
        logits = nn.Dense(self.num_classes, dtype=self.dtype)(x.reshape(len(x), -1))
        return at_least_float32(logits)


def classifier_algorithm(
    model: Diffusion,
    network: NoisyClassifier,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float = 0.0,
) -> Algorithm:
    """A classifier trained on data at every noise level of a diffusion model.

    Args:
        model: whose schedule and scale of the data it shares.
        network: ``(x_t, log_snr [B]) -> logits [B, num_classes]``.
        optimizer: optax transformation.
        ema_decay: of the averaged parameters used for evaluation, in [0, 1); 0 keeps none.

    Returns:
        The algorithm. `evaluate` gives `cross_entropy` in nats and `accuracy` at a random level,
        and `clean_accuracy` at the least noise. It has no samples.

    Source:
        Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", section 4.
    """

    def init(key: Key, batch: Batch) -> TrainState:
        statistics = statistics_of(model, batch["x"])
        x = scale(model, statistics, batch["x"])
        params = network.init(key, x, jnp.zeros(len(x)))["params"]
        variables = {"params": params, "batch_stats": statistics}
        return create_train_state(network.apply, variables, optimizer, ema_decay=ema_decay)

    def logits_of(variables: PyTree, keys: Array, x: Array, log_snr: Array | None = None) -> Array:
        time_keys, noise_keys = split_keys(keys, 2)
        scaled = scale(model, variables["batch_stats"], x)
        if log_snr is None:
            log_snr = model.schedule(jax.vmap(jax.random.uniform)(time_keys))
        x_t = process.diffuse(scaled, process.draw_noise(noise_keys, scaled), log_snr)
        logits: Any = network.apply({"params": variables["params"]}, x_t, log_snr)
        return logits

    def step(
        state: TrainState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        keys = own_keys(key, len(batch["x"]), axis_name)

        def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            variables = {"params": params, "batch_stats": batch_stats}
            logits = logits_of(variables, keys, batch["x"])
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return loss, ({"accuracy": _is_right(logits, batch["label"])}, batch_stats)

        return gradient_step(state, loss_fn, axis_name=axis_name)

    def sample(state: TrainState, key: Key, num: int, label: Array | None = None) -> Array:
        raise ValueError("sample: a classifier has no samples")

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys, variables, label = (
            example_keys(key, len(batch["x"])),
            state.eval_variables,
            batch["label"],
        )
        noisy = logits_of(variables, keys, batch["x"])
        clean = logits_of(
            variables, keys, batch["x"], jnp.full(len(label), model.schedule(jnp.zeros(())))
        )
        return {
            "cross_entropy": optax.softmax_cross_entropy_with_integer_labels(noisy, label),
            "accuracy": _is_right(noisy, label),
            "clean_accuracy": _is_right(clean, label),
        }

    return Algorithm(init, step, sample, evaluate)


def class_log_prob(
    network: NoisyClassifier, variables: PyTree
) -> Callable[[Array, Array, Any], Array]:
    """Makes what `guidance.classifier` asks for of a trained classifier.

    Args:
        network: the classifier.
        variables: of the network.

    Returns:
        ``(x_t, log_snr [B], condition [B, num_classes]) -> ln p(class|x_t) [B]``, the condition in
        one-hot form.
    """

    def log_prob(x_t: Array, log_snr: Array, condition: Array) -> Array:
        logits: Any = network.apply({"params": variables["params"]}, x_t, log_snr)
        return jnp.sum(condition * jax.nn.log_softmax(logits), axis=-1)

    return log_prob


def _is_right(logits: Array, label: Array) -> Array:
    return at_least_float32(jnp.argmax(logits, axis=-1) == label)
