"""Builds the network and the algorithm of a diffusion run."""

import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial

from experiments.diffusion.guides import Guide, make_guide
from experiments.diffusion.settings import Evaluation, Sampling, Settings
from experiments.experiment import Features, Method, RunSettings
from experiments.optimizers import make_optimizer
from experiments.ranges import require, require_default
from experiments.settings import DataInfo
from experiments.sown_features import pooled, sown
from jaxgen import diffusion
from jaxgen.diffusion import grids, models, process, samplers, schedules
from jaxgen.inverse.image_priors import DiffusionPrior
from jaxgen.training.state import TrainState
from jaxgen.types import Array

DiffusionSettings = RunSettings[Settings, Sampling, Evaluation]

_SCHEDULES: dict[str, Any] = {
    "linear": schedules.Linear(),
    "cosine": schedules.Cosine(),
    "log_snr": schedules.LogSnrLinear(),
}
_SAMPLERS = {
    "ancestral": samplers.ancestral,
    "ddim": samplers.ddim,
    "plms": samplers.plms,
    "dpm_solver": samplers.dpm_solver,
    "heun": samplers.heun,
}
_NUM_FRAMES = 11
_MOST_EXACT = 16  # Numbers of an example whose derivatives are taken one by one.
_FEATURE_LOG_SNR = 4.0  # Of the features: noise of a seventh of the signal's deviation.


def build_model(settings: DiffusionSettings, info: DataInfo) -> diffusion.Diffusion:
    """Builds the network of a run, or raises ValueError if a setting does not fit the data."""
    own, network = settings.model, _network(settings, info)
    expected = "a model without classes, since the data have no labels"
    require(not own.conditional or info.num_classes is not None, "conditional", True, expected)
    if info.levels is None:
        require_default(own, "pixel_phases", "the data are vectors")
    elif own.pixel_phases:
        network = diffusion.PixelPhases(network, info.levels)
    return diffusion.Diffusion(
        network,
        _SCHEDULES[own.schedule],
        own.prediction,
        info.levels,
        info.num_classes if own.conditional else None,
    )


def _network(settings: DiffusionSettings, info: DataInfo) -> Any:
    own, is_image = settings.model, info.levels is not None
    backbone = own.backbone
    if backbone == "auto":
        backbone = "unet" if is_image else "mlp"
        unused = ("features", "num_layers") if is_image else ("channels", "num_blocks", "num_heads")
        for name in unused:
            require_default(own, name, f"the network of these data is {backbone}")
    expected = "unet or dit for images" if is_image else "mlp for vectors"
    require((backbone == "mlp") != is_image, "backbone", backbone, expected)
    common: dict[str, Any] = {
        "dropout_rate": own.dropout_rate,
        "dtype": jnp.dtype(settings.training.dtype),
    }
    if backbone == "mlp":
        return diffusion.MLP(own.features, own.num_layers, **common)
    if backbone == "dit":
        is_good = own.features % (4 * own.num_heads) == 0
        require(is_good, "features", own.features, f"a multiple of 4 times {own.num_heads} heads")
        return diffusion.DiT(own.features, own.num_layers, own.num_heads, own.patch_size, **common)
    levels = range(len(own.channels))
    is_good = all(level in levels for level in own.attention_levels)
    require(is_good, "attention_levels", own.attention_levels, f"0 to {len(levels) - 1}")
    attending = {own.channels[level] for level in own.attention_levels} | {own.channels[-1]}
    is_good = all(channels % own.num_heads == 0 for channels in attending)
    require(is_good, "num_heads", own.num_heads, f"a divisor of the channels {sorted(attending)}")
    return diffusion.UNet(
        own.channels, own.num_blocks, own.attention_levels, own.num_heads, **common
    )


def build(settings: DiffusionSettings, info: DataInfo, path: pathlib.Path | None) -> Method:
    """Builds the algorithm; a finished run samples as its settings say."""
    own, model = settings.model, build_model(settings, info)
    guide = make_guide(settings, model, info, path)
    algorithm = diffusion.diffusion_algorithm(
        model,
        make_optimizer(settings.optimizer, settings.plan.steps),
        _sample(settings, model, info, guide, num_frames=0),
        weighting=own.weighting,
        label_dropout=own.label_dropout if own.conditional else 0.0,
        ema_decay=settings.training.ema_decay,
        bounds=_bounds(settings, model, info),
    )
    network = type(_network(settings, info)).__name__
    words = f"{own.prediction} prediction, {network}, {own.schedule} schedule"
    return Method(
        algorithm,
        words,
        is_conditional=own.conditional or settings.sampling.classifier_scale > 0.0,
        film=_sample(settings, model, info, guide, num_frames=_NUM_FRAMES),
        features=_features(settings, model),
        prior=_prior(settings, model, info),
    )


def _prior(
    settings: DiffusionSettings, model: diffusion.Diffusion, info: DataInfo
) -> Callable[[TrainState], DiffusionPrior] | None:
    """The denoiser as it samples; guidance comes before the bounds, which have no gradient."""
    own = settings.model
    if model.levels is None or (own.conditional and not own.label_dropout):
        return None
    chosen = settings.sampling
    grid = grids.sampling_grid(model.schedule, chosen.num_sampling_steps, spacing=chosen.spacing)
    nothing = None if model.num_classes is None else jnp.zeros(model.num_classes)

    if isinstance(model.network, diffusion.PixelPhases):
        model = model._replace(network=model.network.clone(is_smooth=True))

    def prior(state: TrainState) -> DiffusionPrior:
        denoise = models.bind(model, state.eval_variables)
        return DiffusionPrior(denoise, grid, nothing, (-1.0, 1.0))

    return prior


def _features(settings: DiffusionSettings, model: diffusion.Diffusion) -> Features | None:
    """The middle layer at little noise: none of vectors, or of a model that must know the class."""
    own = settings.model
    if model.levels is None or (own.conditional and not own.label_dropout):
        return None
    is_transformer = own.backbone == "dit"

    def extract(state: TrainState, x: Array) -> Array:
        variables, log_snr = state.eval_variables, jnp.full(len(x), _FEATURE_LOG_SNR)
        x = models.scale(model, variables["batch_stats"], x)
        x_t = process.diffuse(x, jnp.zeros_like(x), log_snr)  # Its mean: the same every time.
        nothing = None if model.num_classes is None else jnp.zeros((len(x), model.num_classes))
        params = {"params": variables["params"]}
        found = sown(model.network, params, x_t, log_snr, nothing)
        return pooled(found[(len(found) - 1) // 2] if is_transformer else found)

    name = "middle transformer block" if is_transformer else "middle of the U-Net"
    return Features(f"{name}, mean over its places, log-SNR {_FEATURE_LOG_SNR:g}", extract)


def _sample(
    settings: DiffusionSettings,
    model: diffusion.Diffusion,
    info: DataInfo,
    guide: Guide | None,
    *,
    num_frames: int,
) -> Any:
    """The sampler: of its settings those that are numbers are arguments of the program."""
    own = settings.sampling
    grid = grids.sampling_grid(model.schedule, own.num_sampling_steps, spacing=own.spacing)
    process.check_grid(grid, model.kind)
    sample = diffusion.sampler(
        model,
        _SAMPLERS[own.sampler],
        info.shape,
        num_classes=info.num_classes if guide else model.num_classes,
        guide=guide.function if guide else None,
        is_clipped=own.clip,
        num_frames=num_frames,
    )
    knobs = {"eta": own.eta} if own.sampler == "ddim" else {}
    return Partial(sample, grid=grid, knobs=knobs, inputs=guide.inputs if guide else None)


def _bounds(
    settings: DiffusionSettings, model: diffusion.Diffusion, info: DataInfo
) -> diffusion.Bounds:
    own, schedule = settings.evaluation, model.schedule
    is_exact = own.trace == "exact" or math.prod(info.shape) <= _MOST_EXACT
    return diffusion.Bounds(
        own.bound_samples,
        grids.bound_grid(schedule, own.bound_steps) if own.bound_steps else None,
        _even_in_log_snr(schedule, own.ode_steps) if own.ode else None,
        is_exact and own.trace != "hutchinson",
    )


def _even_in_log_snr(schedule: Any, num_steps: int) -> grids.Grid:
    """A grid between the ends of a schedule."""
    low, high = (float(schedule(jnp.asarray(t))) for t in (1.0, 0.0))
    return grids.bound_grid(schedules.LogSnrLinear(low, high), num_steps)
