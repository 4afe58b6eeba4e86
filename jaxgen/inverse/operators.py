"""The usual measurements of images, all with their singular values."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.fft import dctn
from jax.tree_util import Partial

from jaxgen.classical.products import einsum
from jaxgen.inverse import spectra
from jaxgen.inverse.linear_operator import Operator
from jaxgen.types import Array, Key

_LUMINANCE = (0.299, 0.587, 0.114)


def identity(shape: tuple[int, ...]) -> Operator:
    """Measures every number as it is; what is left is noise.

    Args:
        shape: of an example.

    Returns:
        The operator.
    """
    return Operator(
        Partial(_same), tuple(shape), spectra.of_frame(Partial(_same), Partial(_same), 1.0)
    )


def mask(known: Array | np.ndarray, shape: tuple[int, ...]) -> Operator:
    """Measures the numbers that are known, and leaves the others out.

    Args:
        known: booleans of the leading axes of the shape, such as `[H, W]` of `[H, W, C]`; at least
            one of them true. Concrete values, as they decide on the shape of the measurements.
        shape: of an example.

    Returns:
        The operator, to `[m]`.

    Raises:
        ValueError: if the shape is another, or nothing is known.
    """
    known, shape = np.asarray(known), tuple(shape)
    if known.dtype != np.bool_ or known.shape != shape[: known.ndim] or not known.any():
        raise ValueError(
            f"known: {known.dtype} of shape {known.shape}, {int(known.sum())} true; expected "
            f"booleans of the first axes of {shape}, at least one true"
        )
    whole = np.broadcast_to(known.reshape(known.shape + (1,) * (len(shape) - known.ndim)), shape)
    places = jnp.asarray(np.flatnonzero(whole))
    return _frame(Partial(_taken, places), shape, 1.0)


def downsample(factor: int, shape: tuple[int, ...]) -> Operator:
    """Averages blocks of pixels: the small image that super-resolution starts from.

    Args:
        factor: pixels on each side of a block, a divisor of height and width.
        shape: of an image, `[H, W, C]`.

    Returns:
        The operator, to `[H / factor, W / factor, C]`.

    Raises:
        ValueError: if the factor does not divide both.
    """
    height, width, _ = _image(shape)
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"factor: {factor}, expected a divisor of {height} and {width}")
    return _frame(Partial(_block_means, spectra.Sizes(factor, factor)), tuple(shape), 1.0 / factor)


def grey(shape: tuple[int, ...]) -> Operator:
    """Weighs the channels to one: the grey image that colorization starts from.

    Args:
        shape: of an image, `[H, W, C]`. Three channels have the weights of luminance (ITU-R
            BT.601), others equal ones.

    Returns:
        The operator, to `[H, W, 1]`.
    """
    channels = _image(shape)[2]
    weights = np.asarray(_LUMINANCE if channels == 3 else [1.0 / channels] * channels)
    length = float(np.sqrt(np.sum(np.square(weights))))
    return _frame(Partial(_weighed, jnp.asarray(weights)), tuple(shape), length)


def blur(kernel: Array | np.ndarray, shape: tuple[int, ...]) -> Operator:
    """Convolves with a kernel; the image goes on periodically at its borders.

    Args:
        kernel: `[h, w]`, of odd sizes no larger than the image, its middle at the origin.
        shape: of an image, `[H, W, C]`.

    Returns:
        The operator, to `[H, W, C]`.

    Raises:
        ValueError: if a size is even, or larger than the image.
    """
    kernel, (height, width, _) = np.asarray(kernel), _image(shape)
    is_good = kernel.ndim == 2 and all(
        size % 2 and size <= most for size, most in zip(kernel.shape, (height, width), strict=True)
    )
    if not is_good:
        raise ValueError(
            f"kernel: of shape {kernel.shape}, expected two odd sizes, at most {height} and {width}"
        )
    padded = np.zeros((height, width))
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    middle = tuple(-(size // 2) for size in kernel.shape)
    transfer = jnp.asarray(np.fft.rfft2(np.roll(padded, middle, axis=(0, 1))))
    sizes = spectra.Sizes(height, width)
    return Operator(
        Partial(_convolved, transfer, sizes=sizes),
        tuple(shape),
        spectra.of_convolution(transfer, tuple(shape)),
    )


def compressed_sensing(key: Key, num: int, shape: tuple[int, ...]) -> Operator:
    """Measures random ones of the cosine coefficients of an example whose signs were thrown.

    The rows are orthonormal, and no matrix is kept, so that it serves images of any size.

    Args:
        key: random key, of the signs and of the choice.
        num: of the measurements, 1 to the numbers of an example.
        shape: of an example.

    Returns:
        The operator, to `[num]`.

    Raises:
        ValueError: if `num` is out of its range.

    Source:
        Do et al. 2012, "Fast and efficient compressive sensing using structurally random matrices".
    """
    size = math.prod(shape)
    if not 1 <= num <= size:
        raise ValueError(f"num: {num}, expected 1 to {size}, the numbers of an example")
    of_signs, of_places = jax.random.split(key)
    signs = jax.random.rademacher(of_signs, tuple(shape), jnp.float32)
    places = jnp.sort(jax.random.permutation(of_places, size)[:num])
    return _frame(Partial(_thrown_cosines, signs, places), tuple(shape), 1.0)


def matrix(values: Array, shape: tuple[int, ...]) -> Operator:
    """Multiplies flattened examples by a matrix.

    Args:
        values: `[m, n]`.
        shape: of an example of n numbers.

    Returns:
        The operator, to `[m]`.

    Raises:
        ValueError: if n is another number.
    """
    if values.ndim != 2 or values.shape[1] != math.prod(shape):
        raise ValueError(
            f"values: of shape {values.shape}, expected (m, {math.prod(shape)}) for {tuple(shape)}"
        )
    return Operator(
        Partial(_multiplied, values), tuple(shape), spectra.of_matrix(values, tuple(shape))
    )


def _frame(apply: Partial, shape: tuple[int, ...], value: float) -> Operator:
    plain = Operator(apply, shape)
    return Operator(apply, shape, spectra.of_frame(apply, Partial(_adjoint_of, plain), value))


def _adjoint_of(operator: Operator, y: Array) -> Array:
    return operator.adjoint(y)


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ValueError(f"shape: {tuple(shape)}, expected that of images, (H, W, C)")
    return tuple(shape)


def _same(x: Array) -> Array:
    return x


def _taken(places: Array, x: Array) -> Array:
    return x.reshape(len(x), -1)[:, places]


def _block_means(sizes: spectra.Sizes, x: Array) -> Array:
    num, height, width, channels = x.shape
    h, w = sizes
    return jnp.mean(x.reshape(num, height // h, h, width // w, w, channels), axis=(2, 4))


def _weighed(weights: Array, x: Array) -> Array:
    return einsum("bhwc,c->bhw", x, weights.astype(x.dtype))[..., None]


def _convolved(transfer: Array, x: Array, *, sizes: spectra.Sizes) -> Array:
    return spectra.filtered(transfer, x, sizes)


def _thrown_cosines(signs: Array, places: Array, x: Array) -> Array:
    waves = dctn(x * signs[None].astype(x.dtype), axes=range(1, x.ndim), norm="ortho")
    return _taken(places, waves)


def _multiplied(values: Array, x: Array) -> Array:
    return einsum("mn,bn->bm", values, x.reshape(len(x), -1))
