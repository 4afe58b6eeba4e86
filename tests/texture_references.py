"""Textures in float64 NumPy, by matrices over all pixels: nothing here may import jax or jaxgen."""

import itertools

import numpy as np
from scipy import linalg


def exemplar(shape, seed=0):
    """An image with some correlation, `[H, W, C]`."""
    u = np.random.default_rng(seed).normal(size=shape)
    return 3.0 + u + 0.7 * np.roll(u, 1, axis=0) + 0.4 * np.roll(u, (1, 1), axis=(1, 2))


def spot(u):
    return (u - u.mean(axis=(0, 1))) / np.sqrt(u.shape[0] * u.shape[1])


def shifts_covariance(h):
    """The covariance of all circular shifts of a spot, `[H W C, H W C]`."""
    shifts = itertools.product(*map(range, h.shape[:2]))
    rows = np.stack([np.roll(h, shift, axis=(0, 1)).ravel() for shift in shifts])
    return rows.T @ rows


def plane_covariance(h):
    """The same where nothing comes back from beyond the border."""
    height, width, channels = h.shape
    around = np.pad(h, ((0, 2 * height), (0, 2 * width), (0, 0)))
    whole = shifts_covariance(around).reshape(2 * (*around.shape,))
    part = whole[:height, :width, :, :height, :width]
    return part.reshape(2 * (height * width * channels,))


def log_density(x, mean, covariance):
    """Of each row of `x [B, n]`."""
    factor = np.linalg.cholesky(covariance)
    z = linalg.solve_triangular(factor, (x - mean).T, lower=True)
    log_det = 2.0 * np.log(np.diag(factor)).sum()
    return -0.5 * ((z**2).sum(axis=0) + log_det + len(mean) * np.log(2.0 * np.pi))


def conditional(x, mean, covariance, known):
    """Mean `[n]` and covariance `[n, n]` given the known numbers of `x [n]`."""
    gain = linalg.solve(covariance[np.ix_(known, known)], covariance[known], assume_a="pos").T
    filled = mean + gain @ (x - mean)[known]
    return filled, covariance - gain @ covariance[known]


def wasserstein(mean_p, cov_p, mean_q, cov_q):
    """The distance of two Gaussians by roots of matrices."""
    root = psd_root(cov_q)
    cross = psd_root(root @ cov_p @ root)
    square = ((mean_p - mean_q) ** 2).sum() + np.trace(cov_p + cov_q - 2.0 * cross)
    return np.sqrt(max(square, 0.0))


def psd_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def circular_autocovariance(u):
    """`[H, W, C, C]`, of the deviations from the mean, by sums over the pixels."""
    h = spot(u)
    found = np.zeros((*u.shape[:2], u.shape[2], u.shape[2]))
    for shift in itertools.product(*map(range, u.shape[:2])):
        moved = np.roll(h, (-shift[0], -shift[1]), axis=(0, 1))
        found[shift] = np.einsum("hwc,hwd->cd", h, moved)
    return found
