"""Products of matrices in full precision, which accelerators round to fewer digits by default."""

import functools

import jax.numpy as jnp

einsum = functools.partial(jnp.einsum, precision="highest")
"""`jax.numpy.einsum` in the precision of its operands: covariances cannot spare digits."""
