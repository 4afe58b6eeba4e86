"""Flows over the latents of another family's model: of its prior, and of its posterior.

The library's flows are imported where they are built: they would delay the first step of others.
"""

from typing import Any

from experiments.ranges import require

_NUM_LAYERS = 4
_HIDDEN_SIZES = (64,)


def prior_flow(latent_dim: int) -> Any:
    """Builds a density of latents by affine couplings; raises ValueError for a single latent."""
    from jaxgen import flows

    require(latent_dim > 1, "latent_dim", latent_dim, "at least 2 with prior flow")
    bijector = flows.vector_bijector(
        "real_nvp", latent_dim, num_layers=_NUM_LAYERS, hidden_sizes=_HIDDEN_SIZES
    )
    return flows.Flow(bijector, flows.make_base(latent_dim))


def posterior_flow(latent_dim: int) -> Any:
    """Builds an autoregressive flow whose fast way is that of draws; it starts as the identity."""
    from jaxgen import flows

    iaf = flows.vector_bijector(
        "iaf", latent_dim, num_layers=_NUM_LAYERS, hidden_sizes=_HIDDEN_SIZES
    )
    # Without the standardisation in front: a start for one example has no spread.
    return flows.chain(*iaf.bijectors[1:])
