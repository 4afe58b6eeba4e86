"""Float64 references in NumPy, SciPy and scikit-learn: nothing here may import jax or jaxgen."""

import math

import numpy as np
from scipy import integrate, special, stats

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
