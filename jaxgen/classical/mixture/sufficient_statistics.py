"""Sufficient statistics of a mixture: averages about their own means, which can be merged.

Merging a data set's parts is exact; with a weight that forgets, it is stepwise EM on batches.
"""

import jax.numpy as jnp
from flax import struct

from jaxgen.classical.mixture.density import Mixture
from jaxgen.classical.mixture.expected_sums import Sums
from jaxgen.classical.products import einsum
from jaxgen.types import Array


@struct.dataclass
class Statistics:
    """Of each of K components, with x its numbers and z the expected scores of its q factors.

    Attributes:
        share: of all weight, `[K]`; sums to 1.
        x: mean, `[K, n]`.
        z: mean, `[K, q]`.
        xx: covariance of x, `[K, n, n]` for full covariances; otherwise variances, `[K, n]`.
        xz: covariances of x and z, `[K, n, q]`.
        zz: covariance of z, `[K, q, q]`.
    """

    share: Array
    x: Array
    z: Array
    xx: Array
    xz: Array
    zz: Array


def average(mixture: Mixture, sums: Sums, *, is_complete: bool = True) -> Statistics:
    """Makes statistics of the sums of an E step.

    Args:
        mixture: that the step began with.
        sums: over all examples.
        is_complete: whether no number was missing. The scores are then those about the new means,
            and so zero on average.

    Returns:
        The statistics. A component without weight keeps its mean, has no variance and scores of
        variance 1.
    """
    is_empty = sums.count == 0.0
    count = jnp.where(is_empty, 1.0, sums.count)
    x, z = sums.x / count[:, None], sums.z / count[:, None]
    xz = sums.xz / count[:, None, None] - x[:, :, None] * z[:, None, :]
    zz = sums.zz / count[:, None, None] - z[:, :, None] * z[:, None, :]
    zz += is_empty[:, None, None] * jnp.eye(zz.shape[-1], dtype=zz.dtype)[None]
    if sums.xx.ndim == 3:
        xx = sums.xx / count[:, None, None] - x[:, :, None] * x[:, None, :]
    else:
        xx = sums.xx / count[:, None] - x**2
    share = sums.count / jnp.sum(sums.count)
    z = jnp.zeros_like(z) if is_complete else z
    return Statistics(share, mixture.components.mean + x, z, xx, xz, zz)


def merge(old: Statistics, new: Statistics, step_size: Array | float) -> Statistics:
    """Merges statistics with weights ``1 - s`` and s, as those of one data set of two parts.

    Args:
        old: before.
        new: of another batch.
        step_size: s in [0, 1]; 1 forgets the old ones.

    Returns:
        The statistics of both.

    Source:
        Cappe & Moulines 2009, "On-line expectation-maximization algorithm for latent data models",
        equation 12; merged about their means by Chan et al. 1983, "Algorithms for computing the
        sample variance".
    """
    share = (1.0 - step_size) * old.share + step_size * new.share
    part = step_size * new.share / jnp.maximum(share, jnp.finfo(share.dtype).tiny)

    def mix(a: Array, b: Array) -> Array:
        weight = part.reshape(-1, *[1] * (a.ndim - 1))
        return (1.0 - weight) * a + weight * b

    between = part * (1.0 - part)
    x, z = new.x - old.x, new.z - old.z
    xx = mix(old.xx, new.xx)
    if xx.ndim == 3:
        xx += einsum("k,ki,kj->kij", between, x, x)
    else:
        xx += between[:, None] * x**2
    xz = mix(old.xz, new.xz) + einsum("k,kn,kq->knq", between, x, z)
    zz = mix(old.zz, new.zz) + einsum("k,kq,kp->kqp", between, z, z)
    return Statistics(share, mix(old.x, new.x), mix(old.z, new.z), xx, xz, zz)
