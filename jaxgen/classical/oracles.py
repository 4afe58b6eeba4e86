"""Exact answers where the data are Gaussian or a mixture: denoiser, score, posterior.

Networks, samplers and solvers of inverse problems are measured by them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.gaussian.protocol import Gaussian
from jaxgen.classical.mixture.density import Mixture
from jaxgen.classical.products import einsum
from jaxgen.types import Array


@jax.jit
def denoise(density: Gaussian | Mixture, x_t: Array, log_snr: Array) -> Array:
    """Expectation of the data given noisy ones, ``E[x | x_t]`` of ``x_t = a x + s eps``.

    ``a^2 = sigmoid(log_snr)`` and ``s^2 = 1 - a^2``. Of a Gaussian it is
    ``m + a C (a^2 C + s^2 I)^-1 (x_t - a m)``; of a mixture the average by the responsibilities of
    the noisy components.

    Args:
        density: of x.
        x_t: `[B, n]`.
        log_snr: ``ln(a^2 / s^2)``, `[B]` or a scalar.

    Returns:
        `[B, n]`: what the best denoiser of images predicts.

    Source:
        Efron 2011, "Tweedie's formula and selection bias", section 2, worked out for Gaussians.
    """

    def one(x_t: Array, log_snr: Array) -> Array:
        scale, variance = jnp.sqrt(jax.nn.sigmoid(log_snr)), jax.nn.sigmoid(-log_snr)
        if not isinstance(density, Mixture):
            return _denoise(density, x_t[None], scale, variance)[0]
        weights = _noisy_weights(density, x_t[None], scale, variance)[0]
        means = density.over_components(lambda g: _denoise(g, x_t[None], scale, variance)[0])
        return einsum("k,kn->n", weights, means)

    return _by_example(one, x_t, log_snr)


@jax.jit
def score(density: Gaussian | Mixture, x_t: Array, log_snr: Array) -> Array:
    """Gradient of the log-density of noisy data, ``grad ln p_t(x_t)``; see `denoise`.

    Args:
        density: of x.
        x_t: `[B, n]`.
        log_snr: ``ln(a^2 / s^2)``, `[B]` or a scalar; infinity for data without noise.

    Returns:
        `[B, n]`.

    Source:
        Song et al. 2021, "Score-based generative modeling through stochastic differential
        equations", section 3.3, of the score of the kernel, averaged over the data.
    """

    def one(x_t: Array, log_snr: Array) -> Array:
        scale, variance = jnp.sqrt(jax.nn.sigmoid(log_snr)), jax.nn.sigmoid(-log_snr)

        def of_component(gaussian: Gaussian) -> Array:
            noisy = gaussian.scaled(scale, variance)
            return -noisy.solve((x_t - noisy.mean)[None])[0]

        if not isinstance(density, Mixture):
            return of_component(density)
        weights = _noisy_weights(density, x_t[None], scale, variance)[0]
        return einsum("k,kn->n", weights, density.over_components(of_component))

    return _by_example(one, x_t, log_snr)


@jax.jit
def linear_posterior(
    density: Gaussian | Mixture, matrix: Array, y: Array, noise_variance: Array | float
) -> FullGaussian | Mixture:
    """The distribution of x given a noisy linear measurement ``y = A x + noise``.

    Of each component the mean is ``m + K (y - A m)`` and the covariance
    ``(I - K A) C (I - K A)' + v K K'`` with ``K = C A' (A C A' + v I)^-1``; weights go with the
    densities of y.

    Args:
        density: of x, over n numbers.
        matrix: A, `[m, n]`.
        y: a measurement, `[m]`.
        noise_variance: v, above 0.

    Returns:
        A Gaussian for a Gaussian, a mixture with full covariances for a mixture.

    Source:
        Bishop 2006, "Pattern recognition and machine learning", equation 2.116, with the covariance
        in the form of Joseph, which stays positive under rounding.
    """

    def of_component(gaussian: Gaussian) -> tuple[Array, Array, Array]:
        covariance = gaussian.covariance()
        cross = einsum("ij,mj->im", covariance, matrix)
        noise = noise_variance * jnp.eye(len(y), dtype=covariance.dtype)
        seen = FullGaussian(
            einsum("mi,i->m", matrix, gaussian.mean),
            jnp.linalg.cholesky(einsum("mi,ik->mk", matrix, cross) + noise),
        )
        gain = seen.solve(cross)
        mean = gaussian.mean + einsum("im,m->i", gain, y - seen.mean)
        kept = jnp.eye(len(mean), dtype=covariance.dtype) - einsum("im,mj->ij", gain, matrix)
        after = einsum("ij,jk,lk->il", kept, covariance, kept)
        after += noise_variance * einsum("im,jm->ij", gain, gain)
        return mean, jnp.linalg.cholesky(after), seen.log_prob(y[None])[0]

    if not isinstance(density, Mixture):
        return FullGaussian(*of_component(density)[:2])
    mean, cholesky, log_prob = density.over_components(of_component)
    logits = jax.nn.log_softmax(density.logits) + log_prob
    return Mixture(logits, FullGaussian(mean, cholesky), "full")


def _by_example(one: Callable[[Array, Array], Array], x_t: Array, log_snr: Array) -> Array:
    x_t = at_least_float32(x_t)
    log_snr = jnp.broadcast_to(at_least_float32(jnp.asarray(log_snr)), (len(x_t),))
    return jax.vmap(one)(x_t, log_snr)


def _denoise(gaussian: Gaussian, x_t: Array, scale: Array, variance: Array) -> Array:
    noisy = gaussian.scaled(scale, variance)
    return gaussian.mean[None] + scale * gaussian.multiply(noisy.solve(x_t - noisy.mean[None]))


def _noisy_weights(mixture: Mixture, x_t: Array, scale: Array, variance: Array) -> Array:
    log_probs = mixture.over_components(lambda g: g.scaled(scale, variance).log_prob(x_t))
    return jax.nn.softmax(jax.nn.log_softmax(mixture.logits)[None] + log_probs.T, axis=1)
