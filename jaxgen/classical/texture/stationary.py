"""The stationary Gaussian model of a texture: density, draws, denoising and conditionals."""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxgen.arrays import at_least_float32, example_keys
from jaxgen.classical.texture import kriging
from jaxgen.classical.texture.decomposition import periodic_plus_smooth
from jaxgen.classical.texture.draws import random_phase_noise, spot_noise
from jaxgen.classical.texture.spots import enlarge_spot, make_masked_spot, make_spot, pad_spot
from jaxgen.types import Array, Key


@struct.dataclass
class StationaryGaussian:
    """A Gaussian over images `[H, W, C]` whose covariance is the same at all places of a torus.

    ``x = m + h * X + sqrt(v) N`` with one field X of white noise for all channels and N for each
    number. At frequency k the covariance of the channels is ``h^ h^* + v I``: one exemplar gives
    it rank 1, and none at frequency 0, so that without the white noise there were no density.

    Args:
        mean: m of each channel, `[C]`.
        spot: h, `[H, W, C]`, as `make_spot` gives it.
        noise_variance: v, above 0, in squared units of the spot: the floor of the spectrum. 1/12 is
            what rounding to whole pixel values adds.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """

    mean: Array
    spot: Array
    noise_variance: Array

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.spot.shape[0], self.spot.shape[1]

    @jax.jit
    def log_prob(self, x: Array) -> Array:
        """Log-density of ``x [B, H, W, C]``, `[B]` in nats, in ``O(n log n)``.

        ``-1/2 sum_k [C ln 2 pi + ln det S_k + y^* S_k^-1 y^ / (H W)]`` with ``S_k = h^ h^* + v I``
        and ``y = x - m``: for one channel ``ln 2 pi s + |y^|^2 / (H W s)``, ``s = |h^|^2 + v``.
        """
        chex.assert_shape(x, (None, *self.spot.shape))
        y_hat = jnp.fft.fft2(self._centred(x), axes=(-3, -2))
        direction, power = self._direction(jnp.fft.fft2(self.spot, axes=(-3, -2)))
        along, across = _split(direction, y_hat)
        v, num_channels = self.noise_variance, len(self.mean)
        num = self.spot.shape[0] * self.spot.shape[1]
        distance = jnp.sum(jnp.abs(along[..., 0]) ** 2 / (power[None] + v), axis=(1, 2))
        distance += jnp.sum(jnp.abs(across) ** 2, axis=(1, 2, 3)) / v
        log_det = jnp.sum(jnp.log(power + v)) + num * (num_channels - 1) * jnp.log(v)
        constant = num * num_channels * math.log(2.0 * math.pi)
        return -0.5 * (distance / num + log_det + constant)

    @functools.partial(jax.jit, static_argnames="num")
    def sample(self, key: Key, num: int) -> Array:
        """Samples `[num, H, W, C]` by one key or keys `[num]`."""
        return jax.lax.map(self._draw, example_keys(key, num))

    @functools.partial(jax.jit, static_argnames="num")
    def sample_random_phases(self, key: Key, num: int) -> Array:
        """Textures of `random_phase_noise`, `[num, H, W, C]`, by one key or keys `[num]`."""

        def draw(key: Key) -> Array:
            return self.mean[None, None] + random_phase_noise(key, self.spot)

        return jax.lax.map(draw, example_keys(key, num))

    @jax.jit
    def multiply(self, x: Array) -> Array:
        """The covariance times each of ``x [..., H, W, C]``."""
        x_hat, h_hat = jnp.fft.rfft2(x, axes=(-3, -2)), jnp.fft.rfft2(self.spot, axes=(-3, -2))
        h_hat = _like(h_hat, x_hat)
        product = h_hat * jnp.sum(jnp.conj(h_hat) * x_hat, axis=-1, keepdims=True)
        return jnp.fft.irfft2(product + self.noise_variance * x_hat, s=self.size, axes=(-3, -2))

    @jax.jit
    def solve(self, x: Array) -> Array:
        """The inverse of the covariance times each of ``x [..., H, W, C]``."""
        x_hat = jnp.fft.rfft2(x, axes=(-3, -2))
        direction, power = self._direction(jnp.fft.rfft2(self.spot, axes=(-3, -2)))
        along, across = _split(direction, x_hat)
        v = self.noise_variance
        along = along / _like((power + v)[..., None], x_hat)
        solved = _like(direction, x_hat) * along + across / v
        return jnp.fft.irfft2(solved, s=self.size, axes=(-3, -2))

    def denoise(self, y: Array, noise_variance: Array | float) -> Array:
        """The expectation of x given ``y = x + noise``, ``[B, H, W, C]``: the Wiener filter.

        ``m + S_k (S_k + t I)^-1 (y - m)`` at each frequency, for white noise of variance t; raises
        ValueError for t below 0.
        """
        if isinstance(noise_variance, float | int) and not noise_variance >= 0.0:
            raise ValueError(f"noise_variance: {noise_variance}, expected at least 0")
        noisy = dataclasses.replace(self, noise_variance=self.noise_variance + noise_variance)
        return at_least_float32(y) - noise_variance * noisy.solve(self._centred(y))

    def condition(
        self, x: Array, observed: np.ndarray, *, max_steps: int = kriging.MAX_STEPS
    ) -> kriging.Conditional:
        """The distribution given some of the sites, on the torus: the border goes on opposite.

        Args:
            x: `[H, W, C]`; what is not observed of it may be anything.
            observed: booleans `[H, W]`, a NumPy array, true where a site is known.
            max_steps: of the conjugate gradients that are used where many sites are known.
        """
        return kriging.make_conditional(self, x, observed, size=self.size, max_steps=max_steps)

    def condition_on_plane(
        self, x: Array, observed: np.ndarray, *, max_steps: int = kriging.MAX_STEPS
    ) -> kriging.Conditional:
        """The distribution given some of the sites, where opposite borders do not meet.

        The image is a part of a canvas of twice its size, on which the covariance is the plain
        autocovariance of the spot, and nothing beyond the image is known. The arguments are those
        of `condition`.
        """
        size = (2 * self.size[0], 2 * self.size[1])
        return kriging.make_conditional(
            self.padded(size), x, observed, size=self.size, max_steps=max_steps
        )

    def enlarged(self, size: tuple[int, int]) -> "StationaryGaussian":
        """The model on a larger canvas, for new textures; see `enlarge_spot`."""
        return dataclasses.replace(self, spot=enlarge_spot(self.spot, size))

    def padded(self, size: tuple[int, int]) -> "StationaryGaussian":
        """The model on a larger canvas with the plain autocovariance of the spot."""
        return dataclasses.replace(self, spot=pad_spot(self.spot, size))

    def _draw(self, key: Key) -> Array:
        spot_key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, self.spot.shape, self.spot.dtype)
        texture = spot_noise(spot_key, self.spot) + jnp.sqrt(self.noise_variance) * noise
        return self.mean[None, None] + texture

    def _centred(self, x: Array) -> Array:
        return at_least_float32(x) - self.mean.reshape((1,) * (x.ndim - 1) + (-1,))

    def _direction(self, spectrum: Array) -> tuple[Array, Array]:
        """The unit vector of the channels at each frequency, `[..., C]`, and their power."""
        power = jnp.sum(jnp.abs(spectrum) ** 2, axis=-1)
        norm = jnp.sqrt(power)[..., None]
        first = jnp.zeros_like(spectrum).at[..., 0].set(1.0)
        # Where there is no power any direction will do; 0 / 0 would not.
        return jnp.where(norm > 0.0, spectrum / jnp.where(norm > 0.0, norm, 1.0), first), power


def fit(u: Array, *, noise_variance: float = 1e-6) -> StationaryGaussian:
    """The model of a texture, of the periodic part of the exemplar: `periodic_plus_smooth`.

    The spectrum of the image itself would show the jumps between opposite borders, which draw
    streaks into a texture.

    Args:
        u: exemplar `[H, W, C]`, of any range.
        noise_variance: of the white noise, above 0; see `StationaryGaussian`.

    Returns:
        The model, of images of the size of `u`, in its units.

    Raises:
        ValueError: if the noise variance is not above 0.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    return fit_periodic(periodic_plus_smooth(u).periodic, noise_variance=noise_variance)


def fit_periodic(u: Array, *, noise_variance: float = 1e-6) -> StationaryGaussian:
    """The model of an exemplar that tiles, or whose own spectrum is wanted.

    It is the Gaussian of all ``H W`` circular shifts of the exemplar.

    Args:
        u: exemplar `[H, W, C]`, of any range.
        noise_variance: of the white noise, above 0; see `StationaryGaussian`.

    Returns:
        The model, of images of the size of `u`, in its units.

    Raises:
        ValueError: if the noise variance is not above 0.

    Source:
        Galerne, Gousseau & Morel 2011, "Random phase textures: theory and synthesis".
    """
    mean, spot = make_spot(u)
    return _model(mean, spot, noise_variance)


def fit_masked(u: Array, known: np.ndarray, *, noise_variance: float = 1e-6) -> StationaryGaussian:
    """The model of the known sites of an exemplar, of which others are hidden.

    Args:
        u: exemplar `[H, W, C]`; what is not known of it may be anything.
        known: booleans `[H, W]`, a NumPy array: at least one is true.
        noise_variance: of the white noise, above 0; see `StationaryGaussian`.

    Returns:
        The model, of images of the size of `u`, in its units.

    Raises:
        ValueError: if the mask has another size or hides everything, or the noise variance is not
            above 0.

    Source:
        Galerne & Leclaire 2017, "Texture inpainting using efficient Gaussian conditional
        simulation".
    """
    return _model(*make_masked_spot(u, known), noise_variance)


def _model(mean: Array, spot: Array, noise_variance: float) -> StationaryGaussian:
    if not noise_variance > 0.0:
        raise ValueError(f"noise_variance: {noise_variance}, expected above 0")
    return StationaryGaussian(mean, spot, jnp.asarray(noise_variance, spot.dtype))


def _like(x: Array, y: Array) -> Array:
    """Leading axes of length 1 as far as `y` has more."""
    return x.reshape((1,) * (y.ndim - x.ndim) + x.shape)


def _split(direction: Array, x: Array) -> tuple[Array, Array]:
    """What of `x` lies along a direction, its coefficient `[..., 1]`, and what across."""
    direction = _like(direction, x)
    along = jnp.sum(jnp.conj(direction) * x, axis=-1, keepdims=True)
    # Of one channel nothing lies across: what rounding leaves would be divided by v.
    across = x - direction * along if x.shape[-1] > 1 else jnp.zeros_like(x)
    return along, across
