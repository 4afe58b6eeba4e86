"""The convolutions under every transformation of JAX, beside those of lax, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from jaxgen import nn as jnn

ORDER = ("NHWC", "HWIO", "NHWC")


def lax_conv(x, w, stride):
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=ORDER)


def lax_conv_transpose(y, w, stride, size):
    x = jnp.zeros((y.shape[0], *size, w.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: lax_conv(x, w, stride), x)(y)[0]


def lax_conv_kernel_gradient(x, y, stride, size):
    w = jnp.zeros((size, size, x.shape[3], y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda w: lax_conv(x, w, stride), w)(y)[0]


def values(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


# Each function by its own form on a CPU: a product of one channel, without dilation, dilated.
FUNCTIONS = {
    "conv": (
        functools.partial(jnn.conv, stride=2),
        functools.partial(lax_conv, stride=2),
        [(2, 5, 4, 1), (3, 3, 1, 3)],
    ),
    "conv_transpose": (
        functools.partial(jnn.conv_transpose, stride=2, output_size=(5, 6)),
        functools.partial(lax_conv_transpose, stride=2, size=(5, 6)),
        [(2, 3, 3, 3), (4, 4, 4, 3)],
    ),
    "conv_kernel_gradient": (
        functools.partial(jnn.conv_kernel_gradient, kernel_size=3, stride=2),
        functools.partial(lax_conv_kernel_gradient, size=3, stride=2),
        [(2, 5, 4, 4), (2, 3, 2, 3)],
    ),
}
each_function = pytest.mark.parametrize("ours, theirs, shapes", FUNCTIONS.values(), ids=FUNCTIONS)


def assert_equal(compute, ours, theirs, *arrays):
    """Results of `compute(function, *arrays)` for two functions, compiled as one program."""
    with jax.enable_x64(True):
        found, expected = jax.jit(lambda *a: (compute(ours, *a), compute(theirs, *a)))(*arrays)
    for value, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-9)


def loss_of(function):
    return lambda *arrays: jnp.sum(jnp.sin(function(*arrays)))


@each_function
def test_derivatives_of_every_mode_and_order(ours, theirs, shapes):
    def derivatives(function, a, b, da, db):
        primals, tangents, loss = (a, b), (da, db), loss_of(function)
        gradient = jax.grad(loss, argnums=(0, 1))

        def slope(*primals):
            return jax.jvp(loss, primals, tangents)[1]

        def penalty(b):
            return jnp.sum(jax.grad(loss)(a, b) ** 2)

        return {
            "jvp": jax.jvp(function, primals, tangents),
            "grad": gradient(*primals),
            "forward over reverse": jax.jvp(gradient, primals, tangents)[1],
            "reverse over forward": jax.grad(slope, argnums=(0, 1))(*primals),
            "forward over forward": jax.jvp(slope, primals, tangents)[1],
            "gradient penalty": jax.grad(penalty)(b),
        }

    assert_equal(derivatives, ours, theirs, *values(0, *shapes, *shapes))


@each_function
@pytest.mark.parametrize("axes", [(2, None), (None, 1), (1, 3)], ids=str)
def test_every_vmap_and_its_gradients(ours, theirs, shapes, axes):
    def mapped(function, a, b):
        each = jax.vmap(function, axes, 1)
        return each(a, b), jax.grad(loss_of(each), argnums=(0, 1))(a, b)

    shapes = [
        shape if axis is None else (*shape[:axis], 3, *shape[axis:])
        for shape, axis in zip(shapes, axes, strict=True)
    ]
    assert_equal(mapped, ours, theirs, *values(1, *shapes))


@each_function
@pytest.mark.parametrize("outer", [(0, None), (None, 0), (0, 0)], ids=str)
def test_vmap_of_a_vmap_of_both(ours, theirs, shapes, outer):
    def mapped(function, a, b):
        return jax.vmap(jax.vmap(function), outer)(a, b)

    shapes = [
        (3, *shape) if axis is None else (2, 3, *shape)
        for shape, axis in zip(shapes, outer, strict=True)
    ]
    assert_equal(mapped, ours, theirs, *values(2, *shapes))


def test_scan_gradients_of_examples_remat_and_transposition():
    def transformed(function, x, w):
        loss = loss_of(function)

        def step(total, image):
            return total + jax.grad(loss, argnums=1)(image[None], w), None

        return (
            lax.scan(step, jnp.zeros_like(w), x)[0],
            jax.vmap(jax.grad(loss, argnums=1), (0, None))(x[:, None], w),
            jax.grad(jax.checkpoint(loss), argnums=(0, 1))(x, w),
            jax.linear_transpose(lambda x: function(x, w), x)(function(x, w)),
            jax.linearize(function, x, w)[1](x, w),
        )

    ours, theirs, shapes = FUNCTIONS["conv"]
    assert_equal(transformed, ours, theirs, *values(3, *shapes))


@pytest.mark.parametrize("check_vma", [False, True])
def test_images_may_lie_on_several_devices(check_vma):
    mesh = Mesh(np.array(jax.devices()[:2]), ("device",))

    def mean(x, w, bias):
        y = jnn.add_bias(jnn.conv(x, w, stride=2), bias)
        return lax.pmean(jnp.sum(jnp.sin(jnn.conv_transpose(y, w, stride=2))), "device")

    def whole(x, w, bias):
        y = lax_conv(x, w, 2) + bias.reshape(1, 1, 1, -1)
        return 0.5 * jnp.sum(jnp.sin(lax_conv_transpose(y, w, 2, (4, 4))))

    parts, everywhere = PartitionSpec("device"), PartitionSpec()
    sharded = jax.shard_map(
        mean,
        mesh=mesh,
        in_specs=(parts, everywhere, everywhere),
        out_specs=everywhere,
        check_vma=check_vma,
    )

    def derivatives(function, *arrays):
        return jax.value_and_grad(function, argnums=(0, 1, 2))(*arrays)

    arrays = values(4, (4, 4, 4, 2), (4, 4, 2, 3), (3,))
    with jax.enable_x64(True):
        found = jax.jit(functools.partial(derivatives, sharded))(*arrays)
        expected = jax.jit(functools.partial(derivatives, whole))(*arrays)
    for value, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-9)
