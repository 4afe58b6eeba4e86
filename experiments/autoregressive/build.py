"""Builds the model and the algorithm of an autoregressive run."""

import functools
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.autoregressive.settings import Sampling, Settings
from experiments.experiment import Features, Method, NoSettings, RunSettings
from experiments.optimizers import make_optimizer
from experiments.ranges import require, require_default
from experiments.settings import DataInfo
from experiments.sown_features import pooled, sown
from jaxgen import autoregressive
from jaxgen.autoregressive import check_mask, heads, networks, orders, samplers
from jaxgen.autoregressive.models import PixelModel
from jaxgen.inverse.image_priors import CompletionPrior
from jaxgen.pixels import from_model_range, to_model_range

AutoregressiveSettings = RunSettings[Settings, Sampling, NoSettings]

_MAX_CATEGORICAL = 32
_METHODS: dict[str, samplers.Sampler] = {
    "cached": samplers.cached,
    "sequential": samplers.sequential,
    "jacobi": samplers.jacobi,
}


def likelihood_name(own: Settings, levels: int) -> str:
    """The likelihood that the settings mean for these data."""
    if own.likelihood != "auto":
        return own.likelihood
    if levels == 2:
        return "bernoulli"
    return "categorical" if levels <= _MAX_CATEGORICAL else "logistic_mixture"


def build_model(settings: AutoregressiveSettings, info: DataInfo) -> PixelModel:
    """Builds the module of a run, or raises ValueError if a setting does not fit the data."""
    own, levels = settings.model, info.image_levels
    height, width, channels = info.shape
    order = orders.make_order(own.order, height, width)
    is_good = order.is_raster or own.model == "transformer"
    expected = f"a raster order for {own.model}; snake and hilbert need --model transformer"
    require(is_good, "order", own.order, expected)
    name = likelihood_name(own, levels)
    require(name != "bernoulli" or levels == 2, "likelihood", name, f"another for {levels} levels")
    if name != "logistic_mixture":
        require_default(own, "num_components", f"the likelihood is {name}")
    head: Any = {
        "bernoulli": lambda: heads.Bernoulli(channels),
        "categorical": lambda: heads.Categorical(levels, channels),
        "logistic_mixture": lambda: heads.LogisticMixture(levels, channels, own.num_components),
    }[name]()
    return PixelModel(_network(settings, order), head, levels, order)


def _network(settings: AutoregressiveSettings, order: orders.Order) -> Any:
    own = settings.model
    common: dict[str, Any] = {
        "features": own.num_features,
        "dropout_rate": own.dropout_rate,
        "dtype": jnp.dtype(settings.training.dtype),
    }
    if own.model == "transformer":
        is_good = own.num_features % own.num_heads == 0
        require(is_good, "num_heads", own.num_heads, f"a divisor of {own.num_features} features")
        return networks.PixelTransformer(
            order.places(), num_layers=own.num_layers, num_heads=own.num_heads, **common
        )
    if own.model == "pixelcnn_plus_plus":
        return networks.PixelCNNPlusPlus(
            num_blocks=own.num_blocks, num_scales=own.num_scales, **common
        )
    require(own.kernel_size % 2 == 1, "kernel_size", own.kernel_size, "an odd number")
    network = {"pixelcnn": networks.PixelCNN, "gated": networks.GatedPixelCNN}[own.model]
    return network(num_layers=own.num_layers, kernel_size=own.kernel_size, **common)


def build(settings: AutoregressiveSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm, whose samples are written as the settings say."""
    own, model = settings.model, build_model(settings, info)
    height, width, channels = info.shape
    num_classes = info.num_classes if own.conditional else None
    sample = autoregressive.sampler(
        model,
        _METHODS[settings.sampling.method],
        (height, width, channels),
        num_classes=num_classes,
    )
    algorithm = autoregressive.autoregressive_algorithm(
        model,
        make_optimizer(settings.optimizer, settings.plan.steps),
        sample,
        num_classes=num_classes,
        ema_decay=settings.training.ema_decay,
    )
    name = likelihood_name(own, info.image_levels).replace("_", " ")
    words = f"{own.model.replace('_', ' ')}, {name} likelihood, {own.order} order"

    def extract(state: Any, x: Any) -> Any:
        return pooled(sown(model, {"params": state.eval_variables["params"]}, x))

    def film(state: Any, key: Any, num: int, label: Any = None) -> Any:
        return frames(sample(state, key, num, label), model.order)

    features = None if own.conditional else Features("middle layer, mean over pixels", extract)

    def prior(state: Any) -> CompletionPrior:
        variables = {"params": state.eval_variables["params"]}

        def complete(keys: Any, x: Any, known: Any) -> Any:
            given = samplers.Known(from_model_range(x, info.image_levels), jnp.asarray(known))
            drawn = samplers.cached(
                model, variables, keys, len(x), (height, width, channels), known=given
            )
            return to_model_range(drawn.x, info.image_levels)

        return CompletionPrior(complete, functools.partial(check_mask, order=model.order))

    return Method(
        algorithm,
        words,
        is_conditional=own.conditional,
        film=film,
        features=features,
        prior=None if own.conditional else prior,
    )


def frames(x: Any, order: orders.Order, num_frames: int = 32) -> Any:
    """Images `[F, num, H, W, C]` as they are being written: what is to come is black."""
    height, width = order.size
    place = np.empty(height * width, int)
    place[np.array(order.indices)] = np.arange(height * width)
    written = np.unique(np.linspace(0, height * width, num_frames).round().astype(int))
    shown = place.reshape(height, width)[None] < written[:, None, None]
    return jnp.where(jnp.asarray(shown)[:, None, :, :, None], x[None], 0).astype(jnp.uint8)
