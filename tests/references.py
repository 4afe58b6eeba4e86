"""Float64 references in NumPy, SciPy and scikit-learn: nothing here may import jax or jaxgen."""

import collections
import itertools
import math

import numpy as np
from scipy import integrate, linalg, optimize, special, stats
from scipy.spatial import distance

# --- Distributions: sums over all axes but the first ---


def sum_event(values):
    return values.reshape(len(values), -1).sum(axis=1)


def normal_log_prob(x, mean, log_var):
    x, mean, log_var = (np.asarray(a, np.float64) for a in (x, mean, log_var))
    return sum_event(stats.norm.logpdf(x, mean, np.exp(0.5 * log_var)))


def bernoulli_log_prob(x, logits):
    """The log-mass of the observed value itself, `log_expit` of the signed logit."""
    logits = np.asarray(logits, np.float64)
    return sum_event(special.log_expit(np.where(np.asarray(x) == 1, logits, -logits)))


def categorical_log_prob(x, logits):
    log_masses = special.log_softmax(np.asarray(logits, np.float64), axis=-1)
    index = np.asarray(x).astype(int)[..., None]
    return sum_event(np.take_along_axis(log_masses, index, axis=-1))


def discretized_logistic_log_masses(mean, log_scale, levels):
    """Log-mass of every x in 0 to levels - 1, from logs of the distribution function."""
    mean, scale = np.float64(mean), np.exp(np.float64(log_scale))
    edges = (np.arange(1, levels) - 0.5 - mean) / scale
    edges = np.concatenate([[-np.inf], edges, [np.inf]])
    # From the nearer tail: ln(F(u) - F(l)) = ln F(u) + ln(1 - F(l) / F(u)).
    below, above = special.log_expit(edges), special.log_expit(-edges)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = below[1:] + np.log1p(-np.exp(below[:-1] - below[1:]))
        right = above[:-1] + np.log1p(-np.exp(above[1:] - above[:-1]))
    return np.where(edges[1:] + edges[:-1] < 0, left, right)


def normal_mixture_log_prob(z, logits, mean, log_var):
    z, mean, log_var = (np.asarray(a, np.float64) for a in (z, mean, log_var))
    log_weights = special.log_softmax(np.asarray(logits, np.float64))
    components = [
        weight + stats.multivariate_normal(m, np.diag(np.exp(v))).logpdf(z)
        for weight, m, v in zip(log_weights, mean, log_var, strict=True)
    ]
    return special.logsumexp(components, axis=0)


def normal_kl(q_mean, q_log_var, p_mean, p_log_var):
    """KL between normals by its general matrix form, one example at a time."""
    result = []
    for mq, vq, mp, vp in zip(q_mean, q_log_var, p_mean, p_log_var, strict=True):
        sq, sp = (np.diag(np.exp(np.asarray(v, np.float64))) for v in (vq, vp))
        d = np.asarray(mp, np.float64) - np.asarray(mq, np.float64)
        log_ratio = np.linalg.slogdet(sp)[1] - np.linalg.slogdet(sq)[1]
        inverse = np.linalg.inv(sp)
        result.append(0.5 * (np.trace(inverse @ sq) + d @ inverse @ d - len(d) + log_ratio))
    return np.array(result)


def normal_kl_per_dimension(mean, log_var):
    """KL of each dimension to the standard normal, in plain terms of the variance."""
    mean, log_var = np.asarray(mean, np.float64), np.asarray(log_var, np.float64)
    return 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)


# --- Pixels ---


def logit_transform(x, levels, alpha):
    s = alpha + (1 - 2 * alpha) * np.asarray(x, np.float64) / levels
    derivative = (1 - 2 * alpha) / levels / (s * (1 - s))
    return special.logit(s), sum_event(np.log(derivative))


def bits_per_dim(nats, num_dims):
    return np.asarray(nats, np.float64) * math.log2(math.e) / num_dims


# --- Latents ---


def slerp(start, end, weight):
    """Spherical interpolation of two vectors by a rotation in the plane they span."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    start_length, end_length = np.linalg.norm(start), np.linalg.norm(end)
    first = start / start_length
    second = end - (end @ first) * first
    second /= np.linalg.norm(second)
    angle = weight * np.arctan2(end @ second, end @ first)
    length = (1 - weight) * start_length + weight * end_length
    return length * (np.cos(angle) * first + np.sin(angle) * second)


# --- Data ---


def gaussian_nats(train, test, floor):
    """Nats per row of `test` under the full-covariance Gaussian fitted to `train`."""
    covariance = np.cov(train.T, bias=True) + floor * np.eye(train.shape[1])
    return -stats.multivariate_normal(train.mean(0), covariance).logpdf(test)


def toy_log_prob(name, x):
    """Log-density of the toy densities, float64; the arcs of `moons` by adaptive quadrature."""
    x = np.asarray(x, np.float64)
    if name == "checkerboard":
        column, row = np.floor(x / 2).T
        inside = (np.abs(x) < 4).all(1) & ((column + row) % 2 == 0)
        return np.where(inside, -np.log(32), -np.inf)
    if name == "moons":
        return np.array([_moons_log_prob(point) for point in x])
    if name == "ring":
        angles = np.arange(8) * np.pi / 4
        centres, std = 4 / 1.414 * np.exp(1j * angles), 0.5 / 1.414
        centres = np.column_stack([centres.real, centres.imag])
    else:
        axis = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
        centres, std = np.array([(a, b) for a in axis for b in axis]), 0.05
    logs = [stats.norm.logpdf(x, centre, std).sum(1) for centre in centres]
    return special.logsumexp(logs, axis=0) - np.log(len(centres))


def _moons_log_prob(point):
    def distance(t):
        shift = -0.5 if t < np.pi else 0.5
        return np.hypot(point[0] - np.cos(t) - shift, point[1] - np.sin(t) - shift / 2)

    grid = np.linspace(1e-9, 2 * np.pi - 1e-9, 2000)
    nearest = min(distance(t) for t in grid) ** 2  # taken out, so that far points do not underflow
    parts = [
        integrate.quad(
            lambda t: np.exp(-(distance(t) ** 2 - nearest) / 0.02),
            low,
            low + np.pi * (1 - 1e-12),
            limit=200,
            points=[low + np.pi * part / 16 for part in range(1, 16)],
        )[0]
        for low in (0.0, np.pi)
    ]
    return np.log(sum(parts)) - nearest / 0.02 - np.log(2 * np.pi) - np.log(2 * np.pi * 0.01)


# --- Convolutions: kernels [kh, kw, C, O], padding ((top, bottom), (left, right)) ---


def _windows(x, kernel_size, stride, padding):
    """Yields (i, j, rows, columns) for each window of the padded image `[B, H, W, C]`."""
    height, width = (
        (size + sum(pad) - kernel) // step + 1
        for size, pad, kernel, step in zip(x.shape[1:3], padding, kernel_size, stride, strict=True)
    )
    for i in range(height):
        for j in range(width):
            top, left = i * stride[0], j * stride[1]
            yield i, j, slice(top, top + kernel_size[0]), slice(left, left + kernel_size[1])


def _padded(x, padding):
    return np.pad(np.asarray(x, np.float64), ((0, 0), *padding, (0, 0)))


def convolution(x, w, stride, padding):
    """Correlates images with a kernel, window by window, float64."""
    padded, entries = _padded(x, padding), {}
    for i, j, rows, columns in _windows(x, w.shape[:2], stride, padding):
        entries[i, j] = np.einsum("bijc,ijco->bo", padded[:, rows, columns], w)
    height, width = max(entries)
    y = [[entries[i, j] for j in range(width + 1)] for i in range(height + 1)]
    return np.moveaxis(np.array(y), 2, 0)


def convolution_transpose(y, w, stride, padding, size):
    """Adds each feature times the kernel to the window it came from, float64."""
    x = np.zeros((y.shape[0], *size, w.shape[2]))
    padded = _padded(x, padding)
    for i, j, rows, columns in _windows(x, w.shape[:2], stride, padding):
        padded[:, rows, columns] += np.einsum("bo,ijco->bijc", y[:, i, j], w)
    (top, _), (left, _) = padding
    return padded[:, top : top + size[0], left : left + size[1]]


def convolution_kernel_gradient(x, y, kernel_size, stride, padding):
    """Sums windows times features over images and windows, float64."""
    padded = _padded(x, padding)
    return sum(
        np.einsum("bijc,bo->ijco", padded[:, rows, columns], y[:, i, j])
        for i, j, rows, columns in _windows(x, kernel_size, stride, padding)
    )


# --- Probabilistic PCA: x = mean + weights z + noise, weights [n, q] ---


def ppca_fit(x, q):
    """Maximum-likelihood weights, mean and noise variance (Tipping & Bishop 1999, equations 7 and 8)."""
    x = np.asarray(x, np.float64)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    variance = values[q:].mean()
    return vectors[:, :q] * np.sqrt(values[:q] - variance), x.mean(0), variance


def ppca_log_likelihood(x, weights, mean, variance):
    covariance = weights @ weights.T + variance * np.eye(len(weights))
    return stats.multivariate_normal(mean, covariance).logpdf(np.asarray(x, np.float64))


def ppca_posterior(x, weights, mean, variance):
    """Posterior means `[B, q]` and the covariance `[q, q]` that all examples share."""
    inverse = np.linalg.inv(weights.T @ weights + variance * np.eye(weights.shape[1]))
    return (np.asarray(x, np.float64) - mean) @ weights @ inverse, variance * inverse


def pca_error(x, q):
    """Mean over examples of the squared error of the best projection to q dimensions."""
    x = np.asarray(x, np.float64)
    return np.linalg.eigvalsh(np.cov(x.T, bias=True))[:-q].sum()


# --- Adversarial losses and penalties ---


def cross_entropy(logits, target):
    """Nats of a Bernoulli target under logits."""
    logits = np.asarray(logits, np.float64)
    return -(target * special.log_expit(logits) + (1.0 - target) * special.log_expit(-logits))


def jensen_shannon(p, q):
    """Divergence in nats between two frozen distributions of SciPy, by adaptive quadrature."""

    def integrand(x):
        log_p, log_q = p.logpdf(x), q.logpdf(x)
        log_mixture = np.logaddexp(log_p, log_q) - np.log(2.0)
        half = np.exp(log_p) * (log_p - log_mixture) + np.exp(log_q) * (log_q - log_mixture)
        return 0.5 * half

    return integrate.quad(integrand, -30.0, 30.0, epsabs=1e-12, limit=200)[0]


def quantile_nodes(distribution, num):
    """Equally likely points, whose plain mean is a quadrature for bounded functions."""
    return distribution.ppf((np.arange(num) + 0.5) / num)


def tanh_critic_gradient(x, hidden, bias, readout):
    """Gradient in x `[B, N]` of ``readout . tanh(hidden x + bias)`` by the chain rule."""
    slope = 1.0 - np.tanh(x @ hidden.T + bias) ** 2
    return (readout * slope) @ hidden


def finite_difference(function, point, step=1e-5):
    """Central differences of a scalar function, one entry of the array at a time."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        change = np.zeros_like(point)
        change[index] = step
        gradient[index] = (function(point + change) - function(point - change)) / (2.0 * step)
    return gradient


# --- Metrics: points and features [N, D] ---


def frechet_distance(mean, covariance, other_mean, other_covariance):
    """By the matrix root of the product, which needs invertible covariances."""
    root = linalg.sqrtm(covariance @ other_covariance)
    trace = np.trace(covariance + other_covariance - 2 * root.real)
    return np.sum((mean - other_mean) ** 2) + trace


def frechet_noise(eigenvalues, num, other_num):
    """The expected distance of two samples of one normal law, to first order in 1 / N.

    For `S + A` and `S + B` the squared Bures distance is `sum_ij (A - B)_ij^2 / (2 (l_i + l_j))` to
    second order in the basis of S, and a Wishart has `E A_ij^2 = (1 + [i = j]) l_i l_j / (N - 1)`.
    """
    outer = np.multiply.outer(eigenvalues, eigenvalues)
    weights = outer / np.add.outer(eigenvalues, eigenvalues)
    means = eigenvalues.sum() * (1 / num + 1 / other_num)
    return means + (weights.sum() + np.trace(weights)) / 2 * (1 / (num - 1) + 1 / (other_num - 1))


def kernel_distance(x, y):
    """The unbiased estimate, one pair at a time."""

    def mean(pairs):
        return np.mean([(a @ b / len(a) + 1) ** 3 for a, b in pairs])

    within = mean(itertools.permutations(x, 2)) + mean(itertools.permutations(y, 2))
    return within - 2 * mean(itertools.product(x, y))


def transport_cost(x, y):
    """Least mean squared move between numbers: an assignment of enough copies of each."""
    size = math.lcm(len(x), len(y))
    x, y = np.repeat(x, size // len(x)), np.repeat(y, size // len(y))
    cost = np.subtract.outer(x, y) ** 2
    return cost[optimize.linear_sum_assignment(cost)].mean()


def precision_recall_density_coverage(real, fake, k):
    real_radius = np.sort(distance.cdist(real, real), axis=1)[:, k]
    fake_radius = np.sort(distance.cdist(fake, fake), axis=1)[:, k]
    between = distance.cdist(real, fake)
    inside = between <= real_radius[:, None]
    recall = (between <= fake_radius).any(axis=1).mean()
    coverage = (between.min(axis=1) <= real_radius).mean()
    return inside.any(axis=0).mean(), recall, inside.sum() / (k * len(fake)), coverage


def expected_coverage(num_real, num_fake, k):
    """That none of the k nearest others of a real, among all points, is fake: draws from an urn."""
    return 1 - stats.hypergeom(num_real + num_fake - 1, num_fake, k).pmf(0)


def mode_counts(points, centres, std):
    """Modes found, share of good points, and the divergence of their histogram from uniform."""
    between = distance.cdist(points, centres)
    good = between.min(axis=1) <= 3 * std
    counts = collections.Counter(between.argmin(axis=1)[good])
    histogram = [counts[mode] for mode in range(len(centres))]
    return len(counts), good.mean(), stats.entropy(histogram, np.ones(len(centres)))


def share_nearer(samples, train, test):
    """Mann and Whitney's statistic of the distances to the training data, as a probability."""
    sample_distance = distance.cdist(samples, train).min(axis=1)
    test_distance = distance.cdist(test, train).min(axis=1)
    larger = stats.mannwhitneyu(test_distance, sample_distance).statistic
    return larger / (len(samples) * len(test))


# --- Training steps ---


def least_squares_momentum_descent(x, y, start, rate, momentum, num_steps):
    """Yields weights after, and mean squared error and gradient norm before, each heavy-ball step."""
    weights, velocity = np.array(start, np.float64), np.zeros(len(start))
    for _ in range(num_steps):
        residual = x @ weights - y
        gradient = 2.0 * x.T @ residual / len(x)
        velocity = momentum * velocity + gradient
        weights = weights - rate * velocity
        yield weights, np.mean(residual**2), np.linalg.norm(gradient)


def exponential_moving_average(values, start, decay):
    """Averages with the decay ``min(decay, (1 + t) / (10 + t))`` at step t = 1, 2, ..."""
    average = start
    for step, value in enumerate(values, 1):
        current = min(decay, (1 + step) / (10 + step))
        average = current * average + (1 - current) * value
        yield average


# --- Normalizing flows: data to latents and the log-determinant, of one example ---


def planar(x, w, u, b):
    """Rezende & Mohamed 2015, equation 10 and appendix A.1; the determinant of the whole matrix."""
    raw = w @ u
    v = u + (-1.0 + 1e-3 + np.logaddexp(0.0, raw) - raw) * w / (w @ w)
    h = np.tanh(w @ x + b)
    jacobian = np.eye(len(x)) + np.outer(v, (1.0 - h * h) * w)
    return x + v * h, np.linalg.slogdet(jacobian)[1]


def radial(x, center, alpha, slope):
    """Rezende & Mohamed 2015, equation 14; the determinant of the whole matrix."""
    beta = np.logaddexp(0.0, slope) - np.logaddexp(0.0, alpha)
    alpha = np.logaddexp(0.0, alpha) + 1e-3
    d = x - center
    r = np.sqrt(d @ d)
    h = 1.0 / (alpha + r)
    jacobian = (1.0 + beta * h) * np.eye(len(x)) - beta * h * h * np.outer(d, d) / r
    return x + beta * h * d, np.linalg.slogdet(jacobian)[1]


def rational_quadratic(x, widths, heights, slopes, limit):
    """Durkan et al. 2019, equation 4, by Gregory and Delbourgo's form; slopes at all knots."""
    if abs(x) >= limit:
        return x
    knots_x = -limit + np.concatenate([[0.0], np.cumsum(widths)])
    knots_y = -limit + np.concatenate([[0.0], np.cumsum(heights)])
    k = min(int(np.searchsorted(knots_x, x, side="right")) - 1, len(widths) - 1)
    s = heights[k] / widths[k]
    t = (x - knots_x[k]) / widths[k]
    top = heights[k] * (s * t**2 + slopes[k] * t * (1.0 - t))
    return knots_y[k] + top / (s + (slopes[k + 1] + slopes[k] - 2.0 * s) * t * (1.0 - t))


# --- Diffusion: factors a of data and s of noise, from noise to data, x_t = a x + s noise ---


def amplitudes_of_betas(betas, steps):
    """Factors of the chosen steps, and of no noise at the end, by the plain product."""
    signal = np.append(np.cumprod(1.0 - betas)[steps], 1.0)
    return np.sqrt(signal), np.sqrt(1.0 - signal)


def trailing_steps(total, num):
    """Every (total / num)-th step counted from the noisy end, rounded half to even, from 0."""
    return [round(total - i * total / num) - 1 for i in range(num)]


def gaussian_steps(a, s, c, eta):
    """What each step multiplies x with and the deviation that it adds, for data N(0, c^2).

    Song et al. 2021 ("Denoising diffusion implicit models"), equations 12 and 16.
    """
    c = np.asarray(c)[:, None]
    a_t, a_s, s_t, s_s = a[:-1], a[1:], s[:-1], s[1:]
    added = np.minimum(eta * s_s / s_t * np.sqrt(1.0 - (a_t / a_s) ** 2), s_s)
    gain = a_t * c**2 / (a_t**2 * c**2 + s_t**2)
    factor = a_s * gain + np.sqrt(s_s**2 - added**2) * (1.0 - a_t * gain) / s_t
    return factor, np.broadcast_to(added, factor.shape)


def std_after(factor, added, start):
    """The deviation after all steps, by the linear recursion of the variance."""
    variance = np.square(start)
    for k, deviation in zip(factor.T, added.T, strict=True):
        variance = k**2 * variance + deviation**2
    return np.sqrt(variance)


def ddim(denoise, x, a, s):
    """Song et al. 2021, equation 13: the ODE of x / a in s / a, by Euler's method."""
    for i in range(len(a) - 1):
        x0 = denoise(x, a[i], s[i])
        x = a[i + 1] * x0 + s[i + 1] * (x - a[i] * x0) / s[i]
    return x


def heun(denoise, x, a, s):
    """Karras et al. 2022, algorithm 1, for x / a under noise of deviation s / a."""
    sigma, y = s / a, x / a[0]

    def slope(y, i):
        return (y - denoise(a[i] * y, a[i], s[i])) / sigma[i]

    for i in range(len(a) - 1):
        step, first = sigma[i + 1] - sigma[i], slope(y, i)
        euler = y + step * first
        y = euler if sigma[i + 1] == 0.0 else y + step * (first + slope(euler, i + 1)) / 2.0
    return y * a[-1]


def dpm_solver(denoise, x, a, s):
    """Lu et al. 2022 ("DPM-Solver++"), algorithm 2; first and last step of first order."""
    with np.errstate(divide="ignore"):
        half_log_snr = np.log(a) - np.log(s)
    estimates = []
    for i in range(len(a) - 1):
        estimates.append(denoise(x, a[i], s[i]))
        h, d = half_log_snr[i + 1] - half_log_snr[i], estimates[-1]
        if 0 < i < len(a) - 2:
            r = (half_log_snr[i] - half_log_snr[i - 1]) / h
            d = (1.0 + 1.0 / (2.0 * r)) * d - estimates[-2] / (2.0 * r)
        x = s[i + 1] / s[i] * x - a[i + 1] * np.expm1(-h) * d
    return x


def plms(denoise, x, a, s):
    """Liu et al. 2022, equations 11 and 12, begun with the formulas of lower order."""
    formulas = [(1,), (3, -1), (23, -16, 5), (55, -59, 37, -9)]
    noises = []
    for i in range(len(a) - 1):
        noises = [(x - a[i] * denoise(x, a[i], s[i])) / s[i], *noises[:3]]
        weights = formulas[len(noises) - 1]
        noise = sum(w * e for w, e in zip(weights, noises, strict=True)) / sum(weights)
        before, after = a[i] ** 2, a[i + 1] ** 2
        root = np.sqrt((1.0 - after) * before) + np.sqrt((1.0 - before) * after)
        x = a[i + 1] / a[i] * x - (after - before) / (a[i] * root) * noise
    return x
