"""Linear operators against dense float64 matrices, their algebra, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxgen.inverse import kernels, operators
from jaxgen.inverse.linear_operator import Operator, check_operator, regularized, stack

KEY = jax.random.key(3)
SHAPE = (6, 8, 3)
OPERATORS = {
    "identity": lambda shape: operators.identity(shape),
    "mask of pixels": lambda shape: operators.mask(
        np.random.default_rng(0).random(shape[:2]) > 0.5, shape
    ),
    "mask of numbers": lambda shape: operators.mask(
        np.random.default_rng(0).random(shape) > 0.5, shape
    ),
    "downsample": lambda shape: operators.downsample(2, shape),
    "grey": operators.grey,
    "gaussian blur": lambda shape: operators.blur(kernels.gaussian(0.6), shape),
    "motion blur": lambda shape: operators.blur(kernels.motion(KEY, 5), shape),
    "compressed sensing": lambda shape: operators.compressed_sensing(KEY, 20, shape),
    "matrix": lambda shape: operators.matrix(
        jnp.asarray(np.random.default_rng(0).normal(size=(7, np.prod(shape))), jnp.float32), shape
    ),
}
COMPOSED = {
    "a product": lambda: operators.downsample(2, SHAPE) @ OPERATORS["gaussian blur"](SHAPE),
    "a stack": lambda: stack(operators.grey(SHAPE), OPERATORS["mask of pixels"](SHAPE)),
}


def both(shape):
    return [(name, make(shape)) for name, make in OPERATORS.items()]


STRENGTHS = ((0.7, 0.04), (0.1, 1.0))


@jax.jit
def answers(operator: Operator, y):
    """The adjoint, the pseudo-inverse and the means under two priors."""
    eye = jnp.eye(int(np.prod(operator.shape))).reshape(-1, *operator.shape)
    columns = operator(eye).reshape(len(eye), -1)
    means = [regularized(operator, y, *strength) for strength in STRENGTHS]
    return columns, [x.reshape(2, -1) for x in (operator.adjoint(y), operator.pinv(y), *means)]


@pytest.mark.parametrize("shape", [SHAPE, (8, 6, 1)])
def test_operators_keep_to_their_matrices(shape):
    rng = np.random.default_rng(1)
    for name, operator in both(shape) + ([(n, m()) for n, m in COMPOSED.items()]):
        check_operator(KEY, operator)
        y = rng.normal(size=(2, int(np.prod(operator.out_shape))))
        given = np.asarray(y, np.float32).reshape(2, *operator.out_shape)
        columns, (back, shortest, *means) = answers(operator, given)
        matrix = np.asarray(columns, np.float64).T
        np.testing.assert_allclose(back, y @ matrix, atol=1e-5)
        inverse = np.linalg.pinv(matrix, rcond=1e-5)
        scale = np.abs(y @ inverse.T).max()
        np.testing.assert_allclose(shortest, y @ inverse.T, atol=2e-3 * scale, err_msg=name)
        for (r, v), mean in zip(STRENGTHS, means, strict=True):
            system = r * matrix @ matrix.T + v * np.eye(len(matrix))
            expected = r * np.linalg.solve(system, y.T).T @ matrix
            np.testing.assert_allclose(mean, expected, atol=2e-5, err_msg=name)


def test_blur_is_a_periodic_convolution():
    kernel = kernels.motion(jax.random.key(1), 5)
    x = np.random.default_rng(0).normal(size=(2, *SHAPE))
    found = operators.blur(kernel, SHAPE)(jnp.asarray(x, jnp.float32))
    expected = ndimage.convolve(x, kernel[None, :, :, None], mode="wrap")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_no_kernel_and_no_linear_function_is_refused():
    for deviation in (0.0, -1.0):
        with pytest.raises(ValueError, match="deviation: .*, expected above 0"):
            kernels.gaussian(deviation)
    with pytest.raises(ValueError, match="operator: expected a linear function"):
        check_operator(KEY, Operator(lambda x: x**2, SHAPE))


def test_measurements_in_words():
    x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    small = operators.downsample(2, SHAPE)(jnp.asarray(x))
    np.testing.assert_allclose(
        small[:, 1, 2], x[:, 2:4, 4:6].mean(axis=(1, 2)), rtol=1e-5, atol=1e-6
    )
    grey = operators.grey(SHAPE)(jnp.asarray(x))[..., 0]
    np.testing.assert_allclose(grey, x @ np.array([0.299, 0.587, 0.114], np.float32), atol=1e-6)
    known = np.zeros(SHAPE[:2], bool)
    known[1, 2] = True
    np.testing.assert_array_equal(operators.mask(known, SHAPE)(jnp.asarray(x)), x[:, 1, 2])


@pytest.mark.parametrize("size", [1, 3, 9])
def test_kernels_sum_to_one_and_are_drawn_once(size):
    kernel = kernels.motion(KEY, size)
    assert kernel.shape == (size, size) and kernel.min() >= 0.0
    np.testing.assert_allclose(kernel.sum(), 1.0)
    np.testing.assert_array_equal(kernel, kernels.motion(KEY, size))
    assert size == 1 or np.any(kernel != kernels.motion(jax.random.key(5), size))
    gaussian = kernels.gaussian(size)
    np.testing.assert_allclose(gaussian, gaussian.T)
    spread = np.arange(len(gaussian)) - len(gaussian) // 2
    deviation = np.sqrt((gaussian.sum(axis=0) * spread**2).sum())
    np.testing.assert_allclose(deviation, size, rtol=0.02)


def test_operators_are_arguments_of_jitted_functions():
    """Another mask of as many pixels, or another kernel, is served by the same program."""
    traces = []

    @jax.jit
    def measure(operator, x):
        traces.append(None)
        return operator.pinv(operator(x))

    x = jnp.ones((1, *SHAPE))
    for seed in (0, 1):
        known = np.random.default_rng(seed).permutation(48).reshape(6, 8) < 20
        measure(operators.mask(known, SHAPE), x)
    assert len(traces) == 1
    for seed in (0, 1):
        measure(operators.blur(kernels.motion(jax.random.key(seed), 3), SHAPE), x)
    assert len(traces) == 2


def test_a_function_that_is_not_linear_or_a_wrong_spectrum_is_found():
    class Bent:
        def __call__(self, x):
            return x + 1.0

    bent = Operator(jax.tree_util.Partial(Bent()), SHAPE)
    with pytest.raises(ValueError, match=r"operator: .* differ by"):
        check_operator(KEY, bent)
    right = operators.grey(SHAPE)
    wrong = right.replace(spectrum=operators.identity(SHAPE).spectrum)
    with pytest.raises(ValueError, match="V S"):
        check_operator(KEY, wrong)


REFUSED = {
    "known: bool of shape": lambda: operators.mask(np.ones((8, 6), bool), SHAPE),
    "known: int64": lambda: operators.mask(np.ones((6, 8), int), SHAPE),
    "0 true": lambda: operators.mask(np.zeros((6, 8), bool), SHAPE),
    "factor: 4, expected a divisor of 6 and 8": lambda: operators.downsample(4, SHAPE),
    r"kernel: of shape \(4, 4\)": lambda: operators.blur(np.ones((4, 4)), SHAPE),
    r"kernel: of shape \(7, 7\)": lambda: operators.blur(np.ones((7, 7)), SHAPE),
    "num: 145, expected 1 to 144": lambda: operators.compressed_sensing(KEY, 145, SHAPE),
    r"values: of shape \(3, 4\)": lambda: operators.matrix(jnp.ones((3, 4)), SHAPE),
    r"shape: \(8,\), expected that of images": lambda: operators.grey((8,)),
    "size: 4, expected an odd number": lambda: kernels.motion(KEY, 4),
    r"operator: takes \(6, 8, 3\)": lambda: operators.grey(SHAPE) @ operators.downsample(2, SHAPE),
    "operators: of shapes": lambda: stack(),
    r"x: of shape \(1, 8, 6, 3\), expected Bx6x8x3": lambda: operators.grey(SHAPE)(
        jnp.ones((1, 8, 6, 3))
    ),
    r"y: of shape \(1, 6, 8, 3\), expected Bx6x8x1": lambda: operators.grey(SHAPE).adjoint(
        jnp.ones((1, *SHAPE))
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_integers_are_measured_as_their_floats(kind):
    shape = (6, 6, 3)
    blur = operators.blur(kernels.gaussian(0.5), shape)
    made = (
        operators.grey(shape),
        operators.compressed_sensing(jax.random.key(0), 5, shape),
        stack(operators.identity(shape), operators.grey(shape)),
        operators.downsample(2, shape) @ blur,
    )
    x = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(kind)
    for operator in made:
        np.testing.assert_allclose(operator(x), operator(x.astype(np.float32)), rtol=1e-6)
        y = np.random.default_rng(1).integers(0, 256, (2, *operator.out_shape)).astype(kind)
        for back in (operator.adjoint, operator.pinv):
            np.testing.assert_allclose(back(y), back(y.astype(np.float32)), rtol=1e-6, atol=1e-4)
