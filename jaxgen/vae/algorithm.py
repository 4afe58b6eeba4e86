"""Autoencoders and VAEs as `Algorithm`s: an objective, a model and an optimizer made into one."""

from collections.abc import Callable
from typing import cast

import jax.numpy as jnp
import optax

from jaxgen.arrays import example_keys, split_keys
from jaxgen.distributions import Normal
from jaxgen.pixels import bits_per_dim, dequantize, pixel_values, to_model_range
from jaxgen.training.state import TrainState, create_train_state
from jaxgen.training.step import gradient_step, own_keys
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics, PyTree
from jaxgen.vae import losses
from jaxgen.vae.decoding import BoundModel, bind, sampler
from jaxgen.vae.models import VAE
from jaxgen.vae.priors import ClosedFormPrior, Prior

_Objective = Callable[[Array, BoundModel, Array, TrainState, str | None], tuple[Array, Metrics]]
_Bound = Callable[[Array, BoundModel, Array], Metrics]


def elbo_algorithm(
    model: VAE,
    optimizer: optax.GradientTransformation,
    *,
    levels: int,
    beta: optax.Schedule | float = 1.0,
    free_bits: float = 0.0,
    prior: Prior | None = None,
    ema_decay: float = 0.0,
    num_importance_samples: int = 0,
) -> Algorithm:
    """The VAE: minimises ``distortion + beta * rate``, the negative ELBO at ``beta = 1``.

    The rate is ``KL(q(z|x) || p(z))`` in closed form where the prior has one, as the standard
    normal does, and otherwise estimated by the posterior draw. Whatever the training objective,
    `evaluate` reports the ELBO at ``beta = 1``, without free bits.

    Args:
        model: see `VAE`.
        optimizer: optax transformation.
        levels: number of pixel values of the data.
        beta: weight of the rate, or a schedule of it over steps (KL warm-up).
        free_bits: nats below which the batch mean rate of a latent is not pressed further, at least
            0; needs a prior with a closed form, and a normal posterior.
        prior: a density to install in place of the model's own prior, such as a fitted mixture.
        ema_decay: of the averaged parameters used for sampling and evaluation, in [0, 1); 0 keeps
            none.
        num_importance_samples: K of the bound ``iw<K>`` that `evaluate` adds; 0 adds none.

    Returns:
        The algorithm. `evaluate` gives `elbo`, `rate`, `distortion` and maybe `iw<K>` in nats, with
        its standard error, and the bounds in bits per dimension.

    Raises:
        ValueError: if free bits are negative or asked for under a prior without a closed form.

    Source:
        Kingma & Welling 2014, "Auto-Encoding Variational Bayes", algorithm 1.
    """
    if free_bits < 0.0:
        raise ValueError(f"free_bits: {free_bits}, expected at least 0")
    if free_bits and not _has_closed_form(model, prior):
        raise ValueError(
            f"free_bits: {free_bits}, expected 0 for this prior and posterior: KL(q(z|x) || p(z)) "
            "has no closed form for each latent; only that of two normals has"
        )

    def objective(
        keys: Array, bound: BoundModel, x: Array, state: TrainState, axis_name: str | None
    ) -> tuple[Array, Metrics]:
        terms = losses.negative_elbo(keys, bound.encode, bound.decode, bound.prior, x)
        metrics = {"elbo": -terms.distortion - terms.rate, **terms._asdict()}
        if free_bits and isinstance(bound.prior, ClosedFormPrior):
            rates = bound.prior.kl_per_dimension(cast(Normal, bound.encode(x)))
            floored = losses.free_bits_batch(rates, minimum=free_bits, axis_name=axis_name)
            terms = terms._replace(rate=floored)
        weight = beta(state.step) if callable(beta) else beta
        return losses.beta_weighted(terms, beta=weight), metrics

    return _algorithm(
        model,
        optimizer,
        objective,
        _evaluate_bounds(num_importance_samples),
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

    Raises:
        ValueError: if `num_samples` is below 1.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", equation 8.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: {num_samples}, expected at least 1")

    def objective(
        keys: Array, bound: BoundModel, x: Array, state: TrainState, axis_name: str | None
    ) -> tuple[Array, Metrics]:
        loss = losses.importance_weighted(
            keys, bound.encode, bound.decode, bound.prior, x, num_samples=num_samples
        )
        return loss, {f"iw{num_samples}": -loss}

    return _algorithm(
        model,
        optimizer,
        objective,
        _evaluate_bounds(num_importance_samples),
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

    It has no likelihood bound, and its samples mean little until a density of the codes is
    installed as the prior.

    Args:
        model: see `VAE`; the log-variance head is not trained.
        optimizer: optax transformation.
        levels: number of pixel values of the data.
        masking_probability: share of input pixels set to 0, in [0, 1): a denoising autoencoder.
        activity_weight: nats per unit of ``sum |z|``, at least 0: a sparse autoencoder.
        prior: density of the codes to sample from.
        ema_decay: of the averaged parameters, in [0, 1); 0 keeps none.

    Returns:
        The algorithm; `evaluate` gives the `distortion` in nats and the squared error per pixel
        value.

    Raises:
        ValueError: if a setting is out of range, or both are given.

    Source:
        Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks";
        Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders";
        Olshausen & Field 1996, "Emergence of simple-cell receptive field properties by learning a
        sparse code for natural images".
    """
    if activity_weight < 0.0 or (activity_weight and masking_probability):
        raise ValueError(
            f"activity_weight: {activity_weight}, expected at least 0, and 0 in a denoising "
            "autoencoder"
        )
    if not 0.0 <= masking_probability < 1.0:
        raise ValueError(f"masking_probability: {masking_probability}, expected in [0, 1)")

    def objective(
        keys: Array, bound: BoundModel, x: Array, state: TrainState, axis_name: str | None
    ) -> tuple[Array, Metrics]:
        if activity_weight:
            terms = losses.sparse(bound.encode_mean, bound.decode, x)
            return terms.distortion + activity_weight * terms.activity, terms._asdict()
        corrupted = x
        if masking_probability:
            corrupted = losses.masking_noise(keys, x, probability=masking_probability)
        distortion = losses.denoising(bound.encode_mean, bound.decode, corrupted, x)
        return distortion, {"distortion": distortion}

    def evaluate(keys: Array, bound: BoundModel, x: Array) -> Metrics:
        distribution = bound.decode(bound.encode_mean(x))
        error = jnp.mean((distribution.expectation() - x) ** 2, axis=range(1, x.ndim))
        return {"distortion": -distribution.log_prob(x), "squared_error": error}

    return _algorithm(
        model, optimizer, objective, evaluate, levels=levels, prior=prior, ema_decay=ema_decay
    )


def _has_closed_form(model: VAE, prior: Prior | None) -> bool:
    if model.posterior_bijector is not None:
        return False
    if prior is None:
        return model.pseudo_inputs_shape is None and model.prior_module is None
    return isinstance(prior, ClosedFormPrior)


def _evaluate_bounds(num_importance_samples: int) -> _Bound:
    def evaluate(keys: Array, bound: BoundModel, x: Array) -> Metrics:
        elbo_keys, iw_keys = split_keys(keys, 2)
        terms = losses.negative_elbo(elbo_keys, bound.encode, bound.decode, bound.prior, x)
        num_dims = x[0].size
        elbo = -(terms.distortion + terms.rate)
        metrics = {"elbo": elbo, **terms._asdict()}
        metrics["elbo_bits_per_dim"] = bits_per_dim(-elbo, num_dims)
        if num_importance_samples:
            name = f"iw{num_importance_samples}"
            estimate = losses.log_likelihood(
                iw_keys,
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
    evaluate_bound: _Bound,
    *,
    levels: int,
    prior: Prior | None,
    ema_decay: float,
) -> Algorithm:
    def data(keys: Array, x: Array) -> Array:
        return (
            dequantize(keys, x, levels) if model.likelihood.is_density else pixel_values(x, levels)
        )

    def init(key: Key, batch: Batch) -> TrainState:
        variables = model.init(key, to_model_range(batch["x"][:1], levels))
        return create_train_state(model.apply, variables, optimizer, ema_decay=ema_decay)

    def step(
        state: TrainState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        noise_keys, objective_keys, encoder_keys, decoder_keys = own_keys(
            key, len(batch["x"]), axis_name, parts=4
        )
        x = data(noise_keys, batch["x"])

        def loss_fn(params: PyTree, batch_stats: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            bound = bind(
                model,
                {"params": params},
                levels=levels,
                prior=prior,
                encoder_keys=encoder_keys,
                decoder_keys=decoder_keys,
            )
            loss, metrics = objective(objective_keys, bound, x, state, axis_name)
            return loss, (metrics, batch_stats)

        return gradient_step(state, loss_fn, axis_name=axis_name)

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        noise_keys, bound_keys = split_keys(example_keys(key, len(batch["x"])), 2)
        bound = bind(model, state.eval_variables, levels=levels, prior=prior)
        return evaluate_bound(bound_keys, bound, data(noise_keys, batch["x"]))

    return Algorithm(init, step, sampler(model, levels=levels, prior=prior), evaluate)
