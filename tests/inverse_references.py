"""Posterior samplers under a Gaussian prior in float64: each is affine, so its law is a recursion."""

import numpy as np
from scipy import linalg

NUM, SEEN, NOISE_STD = 8, 3, 0.1
COVARIANCE = 0.9 ** np.abs(np.subtract.outer(np.arange(NUM), np.arange(NUM)))
MATRIX = np.array(
    [
        [0.5, 0.3, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.4, -0.5, 0.0, 0.2, 0.0, 0.0],
        [0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.3, 0.4],
    ]
)
Y = np.array([0.5, -0.2, 0.3])


def levels(num_steps, total=1000):
    """``(a, s)`` of linear betas, trailing, ending clean."""
    signal = np.cumprod(1.0 - np.linspace(1e-4, 0.02, total))
    chosen = np.round(total - np.arange(num_steps) * total / num_steps).astype(int) - 1
    a = np.append(np.sqrt(signal[chosen]), 1.0)
    return a, np.sqrt(np.append(1.0 - signal[chosen], 0.0))


def exact():
    """Mean and covariance of the posterior."""
    seen = MATRIX @ COVARIANCE @ MATRIX.T + NOISE_STD**2 * np.eye(SEEN)
    gain = COVARIANCE @ MATRIX.T @ np.linalg.inv(seen)
    return gain @ Y, COVARIANCE - gain @ MATRIX @ COVARIANCE


def wasserstein(mean, covariance, other_mean, other_covariance):
    """W2 between Gaussians."""
    root = linalg.sqrtm(other_covariance).real
    both = linalg.sqrtm(root @ covariance @ root).real
    squared = np.sum((mean - other_mean) ** 2)
    squared += np.trace(covariance + other_covariance - 2.0 * both)
    return np.sqrt(max(squared, 0.0))


def denoiser_matrix(a, s, covariance):
    return a * covariance @ np.linalg.inv(a**2 * covariance + s**2 * np.eye(NUM))


def gain_of(method, a, s, covariance):
    """K of the guided estimate ``x0 + K (y - H x0)``."""
    D, H, v = denoiser_matrix(a, s, covariance), MATRIX, NOISE_STD**2
    if method == "prior":
        return np.zeros((NUM, SEEN))
    if method == "moment_matching":
        V = s**2 / a * D
        return V @ H.T @ np.linalg.inv(H @ V @ H.T + v * np.eye(SEEN))
    if method == "pigdm":
        r = s**2 / (a**2 + s**2)
        return s**2 / a * D.T @ H.T @ np.linalg.inv(r * H @ H.T + v * np.eye(SEEN))
    if method == "likelihood_gradient":
        return s**2 / a * D.T @ H.T / v
    if method == "diffpir":
        r = (s / a) ** 2
        return r * H.T @ np.linalg.inv(r * H @ H.T + v * np.eye(SEEN))
    raise ValueError(method)


def step_of(method, t, s, covariance, eta, zeta):
    """``(A, b, S)`` of ``x_s = A x_t + b + N(0, S)``."""
    (a_t, s_t), (a_s, s_s), eye = t, s, np.eye(NUM)
    D = denoiser_matrix(a_t, s_t, covariance)
    if method == "ddrm":
        return ddrm_step(t, s, D, eta)
    lost = 1.0 - a_t**2 / a_s**2
    fresh = eta * s_s / s_t * np.sqrt(lost)
    if method == "diffpir":
        fresh = np.sqrt(zeta) * s_s
    along = np.sqrt(max(s_s**2 - fresh**2, 0.0)) / s_t
    if method == "repaint":
        return repaint_step(t, s, D, fresh, along)
    K = gain_of(method, a_t, s_t, covariance)
    A0, b0 = D - K @ MATRIX @ D, K @ Y
    share = a_s - along * a_t
    return along * eye + share * A0, share * b0, fresh**2 * eye


def ddrm_step(t, s, D, eta):
    (a_t, s_t), (a_s, s_s) = t, s
    U, d, Vt = np.linalg.svd(MATRIX)
    d, z = np.append(d, np.zeros(NUM - SEEN)), np.append(U.T @ Y / d, np.zeros(NUM - SEEN))
    u, along = s_s / a_s, np.sqrt(1.0 - eta**2)
    of_x0, of_x, b, var = (np.zeros(NUM) for _ in range(4))
    for i in range(NUM):
        w = NOISE_STD / d[i] if d[i] else np.inf
        if d[i] == 0.0:  # x0 + along u (x / a - x0) / u_t
            of_x[i] = along * u / (s_t / a_t) / a_t
            of_x0[i] = 1.0 - along * u / (s_t / a_t)
            var[i] = eta**2 * u**2
        elif u < w:
            of_x0[i], b[i] = 1.0 - along * u / w, along * u / w * z[i]
            var[i] = eta**2 * u**2
        else:
            b[i], var[i] = z[i], u**2 - w**2
    A = Vt.T @ (of_x0[:, None] * (Vt @ D) + of_x[:, None] * Vt)
    return a_s * A, a_s * Vt.T @ b, a_s**2 * (Vt.T * var) @ Vt


def repaint_step(t, s, D, fresh, along, rounds=2):
    (a_t, _), (a_s, s_s), eye = t, s, np.eye(NUM)
    U, d, Vt = np.linalg.svd(MATRIX)
    known = NOISE_STD * a_s / d <= s_s
    V, d, z = Vt[:SEEN].T[:, known], d[known], (U.T @ Y)[known]
    hidden = eye - V @ V.T
    A1 = hidden @ (along * eye + (a_s - along * a_t) * D)
    b1 = a_s * V @ (z / d)
    var = np.maximum(s_s**2 - (a_s * NOISE_STD / d) ** 2, 0.0)
    S1 = fresh**2 * hidden + (V * var) @ V.T
    A, b, S = A1, b1, S1
    lost = 1.0 - a_t**2 / a_s**2
    for _ in range(rounds - 1):
        back = a_t / a_s
        A, b = A1 @ (back * A), A1 @ (back * b) + b1
        S = A1 @ (back**2 * S + lost * eye) @ A1.T + S1
    return A, b, S


def law(method, num_steps, *, eta=0.0, zeta=1.0, covariance=COVARIANCE):
    """Mean and covariance of what a sampler draws from N(0, I)."""
    a, s = levels(num_steps)
    mean, cov = np.zeros(NUM), np.eye(NUM)
    for i in range(num_steps):
        A, b, S = step_of(method, (a[i], s[i]), (a[i + 1], s[i + 1]), covariance, eta, zeta)
        mean, cov = A @ mean + b, A @ cov @ A.T + S
    return mean, cov
