"""Builds the model and the algorithm of a flow run."""

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial

from experiments.experiment import Features, Method, RunSettings
from experiments.flow.settings import Sampling, Settings
from experiments.optimizers import make_optimizer
from experiments.ranges import require, require_default
from experiments.settings import DataInfo, ImportanceSampling
from jaxgen import flows
from jaxgen.inverse.image_priors import LatentPrior
from jaxgen.pixels import dequantized_to_model_range
from jaxgen.training.state import TrainState
from jaxgen.types import Array

FlowSettings = RunSettings[Settings, Sampling, ImportanceSampling]
Model = flows.Flow | flows.ImageFlow


def build_model(settings: FlowSettings, info: DataInfo, *, inverse: str = "sequential") -> Model:
    """Builds the module of a run, or raises ValueError if a setting does not fit the data."""
    own, name = settings.model, model_name(settings.model, info)
    common: dict[str, Any] = {
        "inverse": inverse,
        "num_layers": own.num_layers,
        "hidden_sizes": own.hidden_sizes,
        "dtype": None if settings.training.dtype == "float32" else jnp.dtype("bfloat16"),
    }
    num_components = own.num_components if own.base == "mixture" else 0
    if info.levels is None:
        require(name != "glow", "model", name, "another for vectors: glow is for images")
        for unused in ("dequantization", "num_levels", "num_features"):
            require_default(own, unused, "the data are vectors")
        require_default(settings.evaluation, "importance_samples", "the data are vectors")
        bijector = flows.vector_bijector(name, info.shape[0], **common)
        return flows.Flow(bijector, flows.make_base(info.shape[0], num_components))
    is_vector = name in ("planar", "radial")
    require(not is_vector, "model", name, "another for images: this one is for vectors")
    if name in ("real_nvp", "glow", "spline"):
        require_default(own, "hidden_sizes", f"{name} of images is convolutional")
    scales: dict[str, Any] = {"num_levels": own.num_levels, "num_features": own.num_features}
    return flows.make_image_flow(
        flows.image_bijector(name, info.shape, **scales, **common),
        info.shape,
        levels=info.levels,
        num_components=num_components,
        is_variational=own.dequantization == "variational",
        dtype=common["dtype"],
    )


def model_name(own: Settings, info: DataInfo) -> Any:
    """The bijector that the settings mean for these data."""
    if own.model != "auto":
        return own.model
    return "spline" if info.levels is None else "glow"


def build(settings: FlowSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm, whose samples have the temperature of the settings."""
    own, model = settings.model, build_model(settings, info)
    num_classes = info.num_classes if own.conditional else None
    algorithm = flows.likelihood_algorithm(
        model,
        make_optimizer(settings.optimizer, settings.plan.steps),
        num_classes=num_classes,
        ema_decay=settings.training.ema_decay,
        num_importance_samples=0 if info.levels is None else settings.evaluation.importance_samples,
    )
    if model_name(own, info) != "maf":
        require_default(settings.sampling, "inverse", "only a maf has a choice")
    sampled = build_model(settings, info, inverse=settings.sampling.inverse)
    sample = Partial(
        flows.sampler(sampled, num_classes=num_classes), temperature=settings.sampling.temperature
    )
    words = f"maximum likelihood, {model_name(own, info)}, {own.num_layers} layers"
    if info.levels is not None:
        words += f", {own.dequantization} dequantization"
    algorithm, is_conditional = algorithm._replace(sample=sample), num_classes is not None
    features = None if is_conditional else Features("latents", functools.partial(_encode, model))
    has_prior = info.levels is not None and not is_conditional
    return Method(
        algorithm,
        words,
        is_conditional=is_conditional,
        features=features,
        prior=functools.partial(_prior, model, info) if has_prior else None,
    )


def _prior(model: Model, info: DataInfo, state: TrainState) -> LatentPrior:
    """The images of latents, each pixel in the middle of its bin."""

    def apply(method: str) -> Callable[[Array], Any]:
        return functools.partial(model.apply, state.eval_variables, method=method)

    def decode(z: Array) -> Array:
        values = apply("decode_dequantized")(z) - 0.5
        return dequantized_to_model_range(values, info.image_levels)

    return LatentPrior(decode, (math.prod(info.shape),), apply("log_prior"))


def _encode(model: Model, state: TrainState, x: Array) -> Array:
    """The latents `[B, D]` of images or vectors."""
    found: Any = model.apply(state.eval_variables, x, method="encode")
    return found[0] if isinstance(model, flows.Flow) else found
