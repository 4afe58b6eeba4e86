"""Convolutions: references, equality with lax to second order, adjointness, modules."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from jax import lax

from jaxgen import nn as jnn

ORDER = ("NHWC", "HWIO", "NHWC")
# (image size, kernel size, stride, padding): odd and even kernels, sizes that the stride does and
# does not divide, strides larger than the kernel, pixels that no window reaches, one-sided padding.
CASES = [
    ((6, 5), (3, 3), (1, 1), "SAME"),
    ((8, 6), (4, 4), (2, 2), "SAME"),
    ((7, 5), (4, 3), (2, 3), "SAME"),
    ((8, 7), (3, 2), (2, 2), "VALID"),
    ((7, 6), (1, 1), (2, 2), "SAME"),
    ((7, 9), (2, 1), (3, 2), "VALID"),
    ((5, 6), (4, 2), (1, 2), ((2, 1), (0, 3))),
    ((4, 4), (5, 5), (2, 1), "SAME"),
    ((7, 9), (4, 6), (2, 3), ((0, 3), (2, 1))),
    ((9, 7), (4, 3), (2, 3), "VALID"),
    ((1, 1), (5, 5), (1, 1), ((5, 0), (5, 0))),
    ((2, 3), (4, 4), (1, 1), "SAME"),
]
CHANNELS = pytest.mark.parametrize("channels", [1, 4])


def lax_padding(size, kernel, stride, padding):
    if not isinstance(padding, str):
        return padding
    return tuple(lax.padtype_to_pads(size, kernel, stride, padding))


def lax_conv(x, w, stride, padding):
    return lax.conv_general_dilated(x, w, stride, padding, dimension_numbers=ORDER)


def draw(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


def trilinear_arguments(size, kernel, stride, padding, *, channels=4):
    x, w = (2, *size, channels), (*kernel, channels, 5)
    y = jax.eval_shape(
        lambda x, w: lax_conv(x, w, stride, padding),
        jax.ShapeDtypeStruct(x, jnp.float32),
        jax.ShapeDtypeStruct(w, jnp.float32),
    )
    return draw(0, x, w, y.shape)


def derivatives(function, arguments, cotangent, directions):
    """Value, gradient and gradient of a directional derivative: orders 0, 1 and 2."""

    def loss(*arguments):
        return jnp.sum(cotangent * jnp.sin(function(*arguments)))

    gradient = jax.grad(loss, argnums=(0, 1))

    def directional(*arguments):
        return sum(jnp.vdot(g, d) for g, d in zip(gradient(*arguments), directions, strict=True))

    second = jax.grad(directional, argnums=(0, 1))
    return function(*arguments), gradient(*arguments), second(*arguments)


@CHANNELS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_equal_references(case, channels):
    size, kernel, stride, padding = case
    x, w, y = trilinear_arguments(*case, channels=channels)
    explicit = lax_padding(size, kernel, stride, padding)
    settings = {"stride": stride, "padding": padding}
    with jax.enable_x64(True):
        xs, ws, ys = (jnp.asarray(value) for value in (x, w, y))
        got = (
            jnn.conv(xs, ws, **settings),
            jnn.conv_transpose(ys, ws, output_size=size, **settings),
            jnn.conv_kernel_gradient(xs, ys, kernel_size=kernel, **settings),
            jnn.plain_conv(xs, ws, **settings),
            jnn.plain_conv_transpose(ys, ws, output_size=size, **settings),
        )
        inner = [jnp.vdot(got[0], ys), jnp.vdot(xs, got[1]), jnp.vdot(ws, got[2])]
    image = references.convolution_transpose(y, w, stride, explicit, size)
    feature = references.convolution(x, w, stride, explicit)
    gradient = references.convolution_kernel_gradient(x, y, kernel, stride, explicit)
    for value, expected in zip(got, (feature, image, gradient, feature, image), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
    # The three are gradients of one trilinear form: <conv(x, w), y> = <x, conv_transpose(y, w)>.
    np.testing.assert_allclose(inner[1:], [inner[0]] * 2, rtol=1e-12)


@CHANNELS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_first_and_second_derivatives_equal_lax(case, channels):
    size, kernel, stride, padding = case
    with jax.enable_x64(True):
        arguments = trilinear_arguments(*case, channels=channels)
        x, w, y = (jnp.asarray(value) for value in arguments)
        settings = {"stride": stride, "padding": padding}
        transpose = jax.linear_transpose
        pairs = [
            (
                lambda x, w: jnn.conv(x, w, **settings),
                lambda x, w: lax_conv(x, w, stride, padding),
                (x, w),
                y,
            ),
            (
                lambda y, w: jnn.conv_transpose(y, w, output_size=size, **settings),
                lambda y, w: transpose(lambda x: lax_conv(x, w, stride, padding), x)(y)[0],
                (y, w),
                x,
            ),
            (
                lambda x, y: jnn.conv_kernel_gradient(x, y, kernel_size=kernel, **settings),
                lambda x, y: transpose(lambda w: lax_conv(x, w, stride, padding), w)(y)[0],
                (x, y),
                w,
            ),
        ]

        @jax.jit
        def both():
            results = []
            for ours, theirs, arguments, like in pairs:
                cotangent, directions = jnp.cos(3 * like), [jnp.sin(2 * a) for a in arguments]
                results.append(
                    [derivatives(f, arguments, cotangent, directions) for f in (ours, theirs)]
                )
            return results

        for ours, theirs in both():
            for got, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (4, 4), (5, 2), (1, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_default_output_size_is_that_of_lax(kernel, stride, padding):
    y, w = jnp.ones((1, 3, 4, 2)), jnp.ones((*kernel, 3, 2))
    shape = jax.eval_shape(lambda: jnn.conv_transpose(y, w, stride=stride, padding=padding)).shape
    expected = jax.eval_shape(
        lambda: lax.conv_transpose(y, w, stride, padding, transpose_kernel=True)
    ).shape
    assert shape == expected
    if padding == "SAME":
        assert shape[1:3] == (3 * stride[0], 4 * stride[1])


MODULES = [
    (jnn.Conv, nn.Conv, {"kernel_size": (3, 3)}),
    (jnn.Conv, nn.Conv, {"kernel_size": (4, 3), "strides": (2, 2), "use_bias": False}),
    (jnn.Conv, nn.Conv, {"kernel_size": (1, 1)}),
    (jnn.Conv, nn.Conv, {"kernel_size": (1, 1), "padding": ((1, 0), (0, 1))}),
    (jnn.Conv, nn.Conv, {"kernel_size": (3, 3), "strides": 2, "dtype": jnp.bfloat16}),
    (jnn.ConvTranspose, nn.ConvTranspose, {"kernel_size": (4, 4), "strides": (2, 2)}),
    (jnn.ConvTranspose, nn.ConvTranspose, {"kernel_size": (3, 2), "strides": (2, 3)}),
    (
        jnn.ConvTranspose,
        nn.ConvTranspose,
        {"kernel_size": (3, 5), "strides": (2, 1), "padding": "VALID"},
    ),
    (
        jnn.ConvTranspose,
        nn.ConvTranspose,
        {"kernel_size": (3, 4), "strides": (2, 2), "padding": ((1, 2), (0, 2))},
    ),
]


@pytest.mark.parametrize("ours, theirs, settings", MODULES)
def test_modules_equal_flax(ours, theirs, settings, key):
    x = jax.random.normal(key, (2, 5, 6, 3))
    models = [module(4, **settings) for module in (ours, theirs)]
    variables = models[0].init(key, x)
    jax.tree.map(np.testing.assert_array_equal, variables, models[1].init(key, x))
    variables = jax.tree.map(lambda p: p + 0.1, variables)

    @jax.jit
    def evaluate(variables, x):
        def loss(model):
            return lambda variables, x: jnp.sum(jnp.sin(model.apply(variables, x)))

        return [
            (model.apply(variables, x), jax.grad(loss(model), argnums=(0, 1))(variables, x))
            for model in models
        ]

    got, expected = evaluate(variables, x)
    tolerance = 0.1 if settings.get("dtype") == jnp.bfloat16 else 2e-5
    assert jax.tree.map(lambda a: a.dtype, got) == jax.tree.map(lambda a: a.dtype, expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance
        )


class Autoencoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.tanh(jnn.Conv(4, (3, 3), strides=2)(x))
        h = nn.tanh(jnn.Conv(4, (1, 1))(h))
        return jnn.ConvTranspose(1, (4, 4), strides=2)(h)[:, : x.shape[1], : x.shape[2]]


def test_vmap_and_jit_in_scan_equal_plain_evaluation(key):
    model = Autoencoder()
    x = jax.random.normal(key, (3, 5, 6, 1))
    variables = model.init(key, x)

    def loss(variables, x):
        return jnp.sum((model.apply(variables, x) - x) ** 2)

    whole = jax.jit(jax.grad(loss))(variables, x)
    rows = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(variables, x[:, None])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b.sum(0), rtol=1e-4, atol=1e-5), whole, rows
    )

    @jax.jit
    def scanned(variables):
        def step(total, image):
            gradient = jax.jit(jax.grad(loss))(variables, image[None])
            return jax.tree.map(jnp.add, total, gradient), None

        return lax.scan(step, jax.tree.map(jnp.zeros_like, variables), x)[0]

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        whole,
        scanned(variables),
    )

    # Both arguments batched, as per-example kernels have it.
    kernels = jax.random.normal(key, (3, 3, 3, 1, 2))
    each = jax.vmap(jax.grad(lambda w, x: jnp.sum(jnn.conv(x, w, stride=2) ** 2)))
    np.testing.assert_allclose(
        each(kernels, x[:, None])[1],
        jax.grad(lambda w: jnp.sum(jnn.conv(x[1:2], w, stride=2) ** 2))(kernels[1]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_forward_mode_opens_jvp_and_equals_reverse_mode(key):
    model = Autoencoder()
    x, direction = jax.random.normal(key, (2, 1, 5, 6, 1))
    variables = model.init(key, x)
    apply = jnn.forward_mode(model.apply)

    @jax.jit
    def values():
        y, tangent = jax.jvp(lambda x: apply(variables, x), (x,), (direction,))
        expected, pullback = jax.vjp(lambda x: model.apply(variables, x), x)
        return y, expected, jnp.vdot(tangent, y), jnp.vdot(direction, pullback(y)[0])

    y, expected, forward, reverse = values()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(forward, reverse, rtol=1e-4)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: model.apply(variables, x), (x,), (direction,))


def test_accelerators_get_the_patterns_of_lax():
    """Lowered for CUDA, a training step has the convolutions that autodiff of lax has."""
    x, w = jnp.ones((2, 6, 6, 3)), jnp.ones((4, 4, 3, 5))

    def convolutions(function):
        step = jax.jit(jax.grad(lambda x, w: jnp.sum(function(x, w) ** 2), argnums=(0, 1)))
        text = step.trace(x, w).lower(lowering_platforms=("cuda",)).as_text()
        return sorted(re.findall(r"dim_numbers = .*?feature_group", text))

    expected = convolutions(lambda x, w: lax_conv(x, w, (2, 2), "SAME"))
    assert len(set(expected)) == 3
    assert convolutions(lambda x, w: jnn.conv(x, w, stride=2)) == expected


def test_second_derivative_in_scan_is_that_of_a_gradient_penalty(key):
    model = Autoencoder()
    x = jax.random.normal(key, (2, 5, 6, 1))
    variables = model.init(key, x)

    def penalty(apply, variables):
        gradient = jax.grad(lambda x: jnp.sum(apply(variables, x) ** 2))(x)
        return jnp.sum(gradient**2)

    @jax.jit
    def both(variables):
        def step(carry, _):
            return jax.grad(lambda v: penalty(model.apply, v))(carry), None

        plain = jax.grad(lambda v: penalty(jnn.forward_mode(model.apply), v))(variables)
        return lax.scan(step, variables, None, length=1)[0], plain

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), *both(variables)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_channel_sum_and_add_bias(dtype, key):
    x = jax.random.normal(key, (4, 6, 6, 3), dtype)
    expected = np.asarray(x, np.float64).sum((0, 1, 2))
    np.testing.assert_allclose(
        np.asarray(jnn.channel_sum(x), np.float64), expected, rtol=1e-2, atol=1e-4
    )
    bias = jnp.arange(3, dtype=dtype)
    value, pullback = jax.vjp(jnn.add_bias, x, bias)
    np.testing.assert_array_equal(value, x + jnp.broadcast_to(bias, x.shape))
    to_x, to_bias = pullback(x)
    np.testing.assert_array_equal(to_x, x)
    assert to_bias.dtype == dtype
    np.testing.assert_allclose(np.asarray(to_bias, np.float64), expected, rtol=1e-2, atol=1e-4)
    # Linear, so the second derivative of a square is constant.
    curvature = jax.grad(lambda b: jnp.sum(jax.grad(lambda c: jnp.sum(jnn.add_bias(x, c) ** 2))(b)))
    np.testing.assert_allclose(np.asarray(curvature(bias), np.float64), 2.0 * 4 * 36, rtol=1e-2)


def test_resampling(key):
    x = jax.random.normal(key, (2, 4, 6, 3))
    up = jnn.upsample_nearest(x, 3)
    np.testing.assert_array_equal(up, np.asarray(x).repeat(3, 1).repeat(3, 2))
    np.testing.assert_allclose(jnn.average_pool(up, 3), x, rtol=1e-6)
    # Pooling is the adjoint of upsampling up to the area.
    y = jax.random.normal(key, up.shape)
    np.testing.assert_allclose(jnp.vdot(up, y), 9 * jnp.vdot(x, jnn.average_pool(y, 3)), rtol=1e-4)
    deep = jnn.space_to_depth(x, 2)
    assert deep.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(deep[1, 1, 2, 3:6], x[1, 2, 5])
    np.testing.assert_array_equal(jnn.depth_to_space(deep, 2), x)


def test_average_pool_of_any_size(key):
    x = jax.random.normal(key, (2, 5, 7, 3))
    pooled = jnn.average_pool(x, 2)
    expected = [
        [np.asarray(x)[:, i : i + 2, j : j + 2].mean((1, 2)) for j in range(0, 7, 2)]
        for i in range(0, 5, 2)
    ]
    np.testing.assert_allclose(pooled, np.moveaxis(np.array(expected), 2, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnn.average_pool(jnp.ones((1, 5, 7, 1)), 3), 1.0, rtol=1e-6)
    # The derivative spreads evenly over each block, and a block of the corner is one pixel.
    gradient = jax.grad(lambda x: jnp.sum(jnn.average_pool(x, 2)))(x)
    np.testing.assert_allclose(gradient[:, :4, :6], 0.25)
    np.testing.assert_allclose(gradient[:, 4, 6], 1.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, w: jnn.conv(x, w, stride=0), "stride .* got 0"),
        (lambda x, w: jnn.conv(x, w, padding="FULL"), "padding .* 'FULL'"),
        (lambda x, w: jnn.conv(x, jnp.ones((9, 9, 3, 4)), padding="VALID"), "no window"),
        (lambda x, w: jnn.conv_transpose(x, w, output_size=(9, 9)), "output_size"),
        (lambda x, w: jnn.conv_kernel_gradient(x, x, kernel_size=3, stride=2), "windows"),
        (lambda x, w: jnn.space_to_depth(x, 3), "factor 3 must divide"),
        (lambda x, w: jnn.depth_to_space(x, 2), "factor 2 squared"),
        (lambda x, w: jnn.upsample_nearest(x, 0), "factor .* got 0"),
    ],
)
def test_errors_name_the_setting(call, message):
    x, w = jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 3))
    with pytest.raises(ValueError, match=message):
        call(x, w)


def test_mismatched_arrays_are_refused():
    x, w = jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 2, 3))
    with pytest.raises(AssertionError):
        jnn.conv(x, w)
    with pytest.raises(AssertionError):
        jnn.conv(x.astype(jnp.bfloat16), jnp.ones((3, 3, 3, 2)))
    with pytest.raises(AssertionError):
        jnn.conv_transpose(x, jnp.ones((3, 3, 3, 2)))


@pytest.mark.parametrize(
    "num, size, channels", [(0, (5, 4), 2), (33, (65, 64), 4), (65, (5, 4), 2), (600, (5, 4), 2)]
)
def test_blocks_of_examples_change_no_kernel_gradient(num, size, channels):
    """None, and more examples than a block holds, of large and small images, in parts of unequal size."""
    windows = (-(-size[0] // 2), -(-size[1] // 2))
    x, y = (
        value.astype(np.float32) for value in draw(3, (num, *size, channels), (num, *windows, 3))
    )
    found = jnn.conv_kernel_gradient(jnp.asarray(x), jnp.asarray(y), kernel_size=(3, 3), stride=2)
    padding = lax_padding(size, (3, 3), (2, 2), "SAME")
    expected = references.convolution_kernel_gradient(x, y, (3, 3), (2, 2), padding)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "num, size, channels, features",
    [(71, (14, 13), 32, 128), (2, (50, 20), 3, 128), (200, (50, 20), 2, 5), (0, (6, 4), 2, 5)],
)
def test_products_in_blocks_change_no_transposed_convolution(num, size, channels, features):
    """Blocks of examples with and without a rest, for few channels and for many features."""
    x, y, w = (
        jnp.asarray(value, jnp.float32)
        for value in draw(
            4,
            (num, *size, channels),
            (num, -(-size[0] // 2), -(-size[1] // 2), features),
            (4, 4, channels, features),
        )
    )
    found, pull = jax.vjp(lambda y, w: jnn.conv_transpose(y, w, stride=2, output_size=size), y, w)
    expected, plain_pull = jax.vjp(
        lambda y, w: jnn.plain_conv_transpose(y, w, stride=2, output_size=size), y, w
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    for gradient, plain in zip(pull(x), plain_pull(x), strict=True):
        np.testing.assert_allclose(gradient, plain, rtol=1e-4, atol=0.01)
