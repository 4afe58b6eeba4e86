"""Autoencoders and VAEs as `Algorithm`s: an objective, a model and an optimizer made into four functions."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.distributions import Normal, normal_kl_per_dimension
from jaxgen.pixels import bits_per_dim, dequantize, to_model_range
from jaxgen.training.state import TrainState, create_train_state
from jaxgen.training.step import gradient_step
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree
from jaxgen.vae import losses
from jaxgen.vae.models import VAE
from jaxgen.vae.priors import Prior


class _BoundModel(NamedTuple):
    """A model with its variables: the callables that losses take."""

    encode: Callable[[Array], Normal]
    decode: Callable[[Array], Any]
    prior: Prior

    def encode_mean(self, x: Array) -> Array:
        return self.encode(x).mean


_Objective = Callable[[Key, _BoundModel, Array, TrainState, str | None], tuple[Array, Metrics]]


def elbo_algorithm(
    model: VAE,
    optimizer: optax.GradientTransformation,
    *,
    levels: int,
    beta: optax.Schedule | float = 1.0,
    kl: Literal["closed_form", "monte_carlo"] = "closed_form",
    free_bits: float = 0.0,
    prior: Prior | None = None,
    ema_decay: float = 0.0,
    num_importance_samples: int = 0,
) -> Algorithm:
    """The VAE: minimises ``distortion + beta * rate``, the negative ELBO at ``beta = 1``.

    Whatever the training objective, `evaluate` reports the ELBO at ``beta = 1``, without free bits.

    Args:
        model: see `VAE`.
        optimizer: optax transformation.
        levels: number of pixel values of the data.
        beta: weight of the rate, or a schedule of it over steps (KL warm-up).
        kl: rate in closed form, which needs the standard normal prior, or by the posterior draw.
        free_bits: nats below which the batch mean rate of a latent is not pressed further; needs the closed form.
        prior: a density to install in place of the model's own prior, such as a fitted mixture.
        ema_decay: of the averaged parameters used for sampling and evaluation, in [0, 1); 0 keeps none.
        num_importance_samples: K of the bound ``iw<K>`` that `evaluate` adds; 0 adds none.

    Returns:
        The algorithm. `evaluate` gives `elbo`, `rate`, `distortion` and maybe `iw<K>` in nats, with its standard error,
        and the bounds in bits per dimension.

    Raises:
        ValueError: if the closed form or free bits are asked for under a prior that has none.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes".
    """
    closed_form = kl == "closed_form"
    has_closed_form = prior is None and model.pseudo_inputs_shape is None
    if closed_form and not has_closed_form:
        raise ValueError(
            "kl: 'closed_form' needs the standard normal prior; use 'monte_carlo' with a VampPrior or a mixture"
        )
    if free_bits < 0.0 or (free_bits and not closed_form):
        raise ValueError(
            f"free_bits: {free_bits}, expected at least 0, and 0 unless kl is 'closed_form'"
        )

    def objective(
        key: Key, bound: _BoundModel, x: Array, state: TrainState, axis_name: str | None
    ) -> tuple[Array, Metrics]:
        if closed_form:
            terms = losses.negative_elbo(key, bound.encode, bound.decode, x)
        else:
            terms = losses.negative_elbo_monte_carlo(
                key, bound.encode, bound.decode, bound.prior, x
            )
        metrics = {"elbo": -terms.distortion - terms.rate, **terms._asdict()}
        if free_bits:
            rates = normal_kl_per_dimension(bound.encode(x))
            floored = losses.free_bits_batch(rates, minimum=free_bits, axis_name=axis_name)
            terms = terms._replace(rate=floored)
        weight = beta(state.step) if callable(beta) else beta
        return losses.beta_weighted(terms, beta=weight), metrics

    return _algorithm(
        model,
        optimizer,
        objective,
        _evaluate_bounds(closed_form, num_importance_samples),
        levels=levels,
        prior=prior,
        ema_decay=ema_decay,
    )


def importance_weighted_algorithm(
    model: VAE,
    optimizer: optax.GradientTransformation,
    *,
    levels: int,
    num_samples: int,
    prior: Prior | None = None,
    ema_decay: float = 0.0,
    num_importance_samples: int = 0,
) -> Algorithm:
    """The importance-weighted autoencoder: minimises the negative bound with `num_samples` draws.

    Args:
        model: see `VAE`.
        optimizer: optax transformation.
        levels: number of pixel values of the data.
        num_samples: draws of the training bound, at least 1.
        prior: a density to install in place of the model's own prior.
        ema_decay: of the averaged parameters, in [0, 1); 0 keeps none.
        num_importance_samples: K of the bound ``iw<K>`` that `evaluate` adds; 0 adds none.

    Returns:
        The algorithm; `evaluate` is that of `elbo_algorithm`.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", equation 8.
    """

    def objective(
        key: Key, bound: _BoundModel, x: Array, state: TrainState, axis_name: str | None
    ) -> tuple[Array, Metrics]:
        loss = losses.importance_weighted(
            key, bound.encode, bound.decode, bound.prior, x, num_samples=num_samples
        )
        return loss, {f"iw{num_samples}": -loss}

    closed_form = prior is None and model.pseudo_inputs_shape is None
    return _algorithm(
        model,
        optimizer,
        objective,
        _evaluate_bounds(closed_form, num_importance_samples),
        levels=levels,
        prior=prior,
        ema_decay=ema_decay,
    )


def autoencoder_algorithm(
    model: VAE,
    optimizer: optax.GradientTransformation,
    *,
    levels: int,
    masking_probability: float = 0.0,
    activity_weight: float = 0.0,
    prior: Prior | None = None,
    ema_decay: float = 0.0,
) -> Algorithm:
    """The autoencoder, plain, denoising or sparse: its code is the posterior mean of the model.

    It has no likelihood bound, and its samples mean little until a density of the codes is installed as the prior.

    Args:
        model: see `VAE`; the log-variance head is not trained.
        optimizer: optax transformation.
        levels: number of pixel values of the data.
        masking_probability: share of input pixels set to 0, in [0, 1): a denoising autoencoder.
        activity_weight: nats per unit of ``sum |z|``, at least 0: a sparse autoencoder.
        prior: density of the codes to sample from.
        ema_decay: of the averaged parameters, in [0, 1); 0 keeps none.

    Returns:
        The algorithm; `evaluate` gives the `distortion` in nats and the squared error per pixel value.

    Raises:
        ValueError: if a setting is out of range, or both are given.

    Source:
        Hinton & Salakhutdinov 2006; Vincent et al. 2008; Olshausen & Field 1996.
    """
    if activity_weight < 0.0 or (activity_weight and masking_probability):
        raise ValueError(
            f"activity_weight: {activity_weight}, expected at least 0, and 0 in a denoising autoencoder"
        )
    if not 0.0 <= masking_probability < 1.0:
        raise ValueError(f"masking_probability: {masking_probability}, expected in [0, 1)")

    def objective(
        key: Key, bound: _BoundModel, x: Array, state: TrainState, axis_name: str | None
    ) -> tuple[Array, Metrics]:
        if activity_weight:
            terms = losses.sparse(bound.encode_mean, bound.decode, x)
            return terms.distortion + activity_weight * terms.activity, terms._asdict()
        corrupted = losses.masking_noise(key, x, probability=masking_probability)
        distortion = losses.denoising(
            bound.encode_mean, bound.decode, corrupted, x.astype(jnp.float32)
        )
        return distortion, {"distortion": distortion}

    def evaluate(key: Key, bound: _BoundModel, x: Array) -> Metrics:
        distribution = bound.decode(bound.encode_mean(x))
        error = jnp.mean((distribution.expectation() - x) ** 2, axis=range(1, x.ndim))
        return {"distortion": -distribution.log_prob(x), "squared_error": error}

    return _algorithm(
        model, optimizer, objective, evaluate, levels=levels, prior=prior, ema_decay=ema_decay
    )


def _evaluate_bounds(
    closed_form: bool, num_importance_samples: int
) -> Callable[[Key, _BoundModel, Array], Metrics]:
    def evaluate(key: Key, bound: _BoundModel, x: Array) -> Metrics:
        elbo_key, iw_key = jax.random.split(key)
        if closed_form:
            terms = losses.negative_elbo(elbo_key, bound.encode, bound.decode, x)
        else:
            terms = losses.negative_elbo_monte_carlo(
                elbo_key, bound.encode, bound.decode, bound.prior, x
            )
        num_dims = x[0].size
        elbo = -(terms.distortion + terms.rate)
        metrics = {"elbo": elbo, **terms._asdict()}
        metrics["elbo_bits_per_dim"] = bits_per_dim(-elbo, num_dims)
        if num_importance_samples:
            name = f"iw{num_importance_samples}"
            estimate = losses.log_likelihood(
                iw_key,
                bound.encode,
                bound.decode,
                bound.prior,
                x,
                num_samples=num_importance_samples,
            )
            metrics[name] = estimate.log_likelihood
            metrics[f"{name}_standard_error"] = estimate.standard_error
            metrics[f"{name}_bits_per_dim"] = bits_per_dim(-estimate.log_likelihood, num_dims)
        return metrics

    return evaluate


def _algorithm(
    model: VAE,
    optimizer: optax.GradientTransformation,
    objective: _Objective,
    evaluate_bound: Callable[[Key, _BoundModel, Array], Metrics],
    *,
    levels: int,
    prior: Prior | None,
    ema_decay: float,
) -> Algorithm:
    def bind(variables: PyTree, **train: Any) -> _BoundModel:
        apply: Any = model.apply

        def encode(x: Array) -> Normal:
            return apply(variables, to_model_range(x, levels), method="encode", **train)

        def decode(z: Array) -> Any:
            return apply(variables, z, method="decode", **train)

        own_prior = apply(variables, method="prior") if prior is None else prior
        return _BoundModel(encode, decode, own_prior)

    def pixels(key: Key, x: Array) -> Array:
        return dequantize(key, x) if model.likelihood.is_density else x

    def init(key: Key, batch: Batch) -> TrainState:
        variables = model.init(key, to_model_range(batch["x"][:1], levels))
        return create_train_state(model.apply, variables, optimizer, ema_decay=ema_decay)

    def step(
        state: TrainState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        noise_key, objective_key, dropout_key = jax.random.split(key, 3)
        x = pixels(noise_key, batch["x"])

        def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            bound = bind({"params": params}, train=True, rngs={"dropout": dropout_key})
            loss, metrics = objective(objective_key, bound, x, state, axis_name)
            return loss, (metrics, batch_stats)

        return gradient_step(state, loss_fn, ema_decay=ema_decay, axis_name=axis_name)

    def sample(state: TrainState, key: Key, num: int, label: Array | None = None) -> Array:
        if label is not None:
            raise ValueError("label: this model is not conditional; leave it None")
        latent_key, pixel_key = jax.random.split(key)
        bound = bind(state.eval_variables)
        x = bound.decode(bound.prior.sample(latent_key, num)).sample(pixel_key)
        return jnp.clip(jnp.floor(x), 0, levels - 1).astype(jnp.uint8)

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        noise_key, bound_key = jax.random.split(key)
        x = pixels(noise_key, batch["x"])
        return evaluate_bound(bound_key, bind(state.eval_variables), x)

    return Algorithm(init, step, sample, evaluate)
