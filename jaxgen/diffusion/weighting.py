"""How errors at different noise levels count in a loss."""

import math
from typing import Literal

import jax.numpy as jnp

from jaxgen.diffusion.process import Kind, amplitudes
from jaxgen.types import Array

Weighting = Literal["simple", "snr", "min_snr", "bound"]
"""How errors at different noise levels count. "simple": the squared error of the prediction as it
is; the others are the same for every kind of prediction at an equal error of the data: "snr" that
times the SNR, which is "simple" for noise; "min_snr" times the smaller of SNR and 5; "bound" as in
the variational bound."""

MIN_SNR_CAP = 5.0


def weight(log_snr: Array, slope: Array, kind: Kind, weighting: Weighting) -> Array:
    """The factor of the squared error of a prediction.

    Args:
        log_snr: of any shape.
        slope: derivative of the log-SNR in time, of the same shape; counts for "bound".
        kind: what is predicted.
        weighting: see `Weighting`.

    Returns:
        Factors of the shape of `log_snr`, finite at every SNR where the kind can be.

    Source:
        Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy", section
        3.4; Kingma & Gao 2023, "Understanding diffusion objectives as the ELBO with simple data
        augmentation", section 3.
    """
    if weighting == "simple":
        return jnp.ones_like(log_snr)
    log_cap = math.log(MIN_SNR_CAP)
    # In terms of the noise's error; a limit times one over it would be 0 / 0 at either end.
    a, s = amplitudes(log_snr)
    of_noise = {
        "snr": jnp.ones_like(log_snr),
        "min_snr": jnp.exp(jnp.minimum(log_cap - log_snr, 0.0)),
        "bound": -0.5 * slope,
    }[weighting]
    if kind == "x0":
        capped = jnp.exp(jnp.minimum(log_snr, log_cap))
        return capped if weighting == "min_snr" else of_noise * jnp.exp(log_snr)
    # The noise's error per that of the prediction.
    factors: dict[str, Array | float] = {"noise": 1.0, "v": a, "velocity": a / (a + s)}
    return of_noise * jnp.square(factors[kind])
