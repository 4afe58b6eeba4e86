"""Convolutions: values against references, the forms of each platform, refusals."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from jax import export, lax

from jaxgen import nn as jnn
from jaxgen.nn import cpu, windows
from jaxgen.nn.geometry import convolution_geometry

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


def draw(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


def explicit_padding(size, kernel, stride, padding):
    if not isinstance(padding, str):
        return padding
    return tuple(lax.padtype_to_pads(size, kernel, stride, padding))


def expected_values(x, w, y, stride, padding):
    return (
        references.convolution(x, w, stride, padding),
        references.convolution_transpose(y, w, stride, padding, x.shape[1:3]),
        references.convolution_kernel_gradient(x, y, w.shape[:2], stride, padding),
    )


def three(x, w, y, stride, padding):
    """What each of the three functions makes of the other two's results."""
    static = {"stride": stride, "padding": padding}
    return (
        jnn.conv(x, w, **static),
        jnn.conv_transpose(y, w, output_size=x.shape[1:3], **static),
        jnn.conv_kernel_gradient(x, y, kernel_size=w.shape[:2], **static),
    )


@pytest.mark.parametrize(("channels", "features"), [(1, 5), (4, 5), (15, 5), (5, 15), (17, 43)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_equal_references(case, channels, features):
    """So they are adjoint: the references are gradients of one trilinear form."""
    size, kernel, stride, padding = case
    pads = explicit_padding(*case)
    output = convolution_geometry(size, kernel, stride, padding).output
    arrays = draw(0, (2, *size, channels), (*kernel, channels, features), (2, *output, features))
    with jax.enable_x64(True):
        found = jax.jit(lambda *arrays: three(*arrays, stride, padding))(*arrays)
    for value, expected in zip(found, expected_values(*arrays, stride, pads), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (4, 4), (5, 2), (1, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_default_output_size_is_that_of_lax(kernel, stride, padding):
    y, w = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 3, 4, 2), (*kernel, 3, 2)))
    shape = jax.eval_shape(
        lambda y, w: jnn.conv_transpose(y, w, stride=stride, padding=padding), y, w
    ).shape
    expected = jax.eval_shape(
        lambda y, w: lax.conv_transpose(y, w, stride, padding, transpose_kernel=True), y, w
    ).shape
    assert shape == expected
    if padding == "SAME":
        assert shape[1:3] == (3 * stride[0], 4 * stride[1])


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 0.02)])
def test_results_have_the_type_of_the_arguments(dtype, tolerance):
    """In each form: products, without dilation, dilated, from many channels to few and back."""
    for channels, kernel, stride in ((1, 3, 2), (4, 4, 2), (4, 3, 2), (15, 3, 1), (2, 3, 1)):
        side, steps = 6 // stride, (stride, stride)
        arrays = [
            jnp.asarray(a, dtype)
            for a in draw(1, (2, 6, 6, channels), (kernel, kernel, channels, 5), (2, side, side, 5))
        ]
        pads = explicit_padding((6, 6), (kernel, kernel), steps, "SAME")
        exact = expected_values(*(np.asarray(a, np.float64) for a in arrays), steps, pads)
        found = jax.jit(lambda *arrays, s=steps: three(*arrays, s, "SAME"))(*arrays)
        for value, expected in zip(found, exact, strict=True):
            assert value.dtype == dtype
            error = np.abs(np.asarray(value, np.float64) - expected).max()
            assert error < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("most", [0, 10**9])
def test_how_many_windows_fit_changes_nothing(most, monkeypatch):
    """From few channels to many, back, and the kernel's gradient: with windows and without."""
    for name in ("_SMALL_WINDOW", "_CACHED_WINDOWS", "_MOST_WINDOWS"):
        monkeypatch.setattr(cpu, name, most)
    for channels, features in ((3, 8), (8, 3)):
        arrays = draw(4, (3, 6, 5, channels), (3, 2, channels, features), (3, 6, 5, features))
        pads = explicit_padding((6, 5), (3, 2), (1, 1), "SAME")
        with jax.enable_x64(True):
            found = jax.jit(lambda *arrays: three(*arrays, 1, "SAME"))(*arrays)
        for value, expected in zip(found, expected_values(*arrays, (1, 1), pads), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "features", "kernel"), [(12, 3, 7), (1, 1, 15), (3, 3, 7)])
def test_windows_of_large_images_take_no_memory(channels, features, kernel):
    x = jax.ShapeDtypeStruct((1, 512, 512, channels), jnp.float32)
    w = jax.ShapeDtypeStruct((kernel, kernel, channels, features), jnp.float32)
    y = jax.ShapeDtypeStruct((1, 512, 512, features), jnp.float32)
    for function in (
        jax.jit(jnn.conv).lower(x, w),
        jax.jit(jnn.conv_transpose).lower(y, w),
        jax.jit(lambda x, y: jnn.conv_kernel_gradient(x, y, kernel_size=kernel)).lower(x, y),
    ):
        memory = function.compile().memory_analysis()
        assert memory.temp_size_in_bytes <= 4 * (x.size + y.size) * 4


def test_half_precision_sums_what_would_overflow():
    """A column of 60 times 100, one of -60 times 100: infinity less infinity in float16."""
    x = jnp.full((1, 9, 9, 12), 100.0, jnp.float16)
    rows = jnp.asarray([60.0, -60.0, 0.0], jnp.float16).reshape(3, 1, 1, 1)
    y = jnn.conv(x, jnp.broadcast_to(rows, (3, 3, 12, 3)))
    np.testing.assert_array_equal(y[0, 4, 4], np.zeros(3))


@pytest.mark.parametrize("num", [0, 5, 11, 30])
def test_blocks_of_examples_change_nothing(num, monkeypatch):
    """None; more than a block holds, without and with a rest; more than there may be blocks."""
    monkeypatch.setattr(cpu, "_BLOCK_OF_SMALL", 5)
    monkeypatch.setattr(cpu, "_MAX_BLOCKS", 4)
    monkeypatch.setattr(windows, "_BLOCK_SIZE", 4 * 3 * 3 * 4 * 4 * 2)
    geometry = convolution_geometry((5, 6), (4, 4), 2, "SAME")
    x, w, y = (a.astype(np.float32) for a in draw(3, (num, 5, 6, 2), (4, 4, 2, 3), (num, 3, 3, 3)))
    found = jax.jit(
        lambda x, w, y: (
            cpu.conv_transpose(y, w, geometry),
            cpu.conv_kernel_gradient(x, y, geometry),
        )
    )(x, w, y)
    pads = tuple(zip(geometry.low, geometry.high, strict=True))
    for value, expected in zip(found, expected_values(x, w, y, (2, 2), pads)[1:], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_many_features_make_products():
    """The form for features that are worth the traffic of windows."""
    w, y = (a.astype(np.float32) for a in draw(4, (4, 2, 4, 100), (3, 3, 3, 100)))
    found = jnn.conv_transpose(y, w, stride=2, output_size=(6, 5))
    pads = explicit_padding((6, 5), (4, 2), (2, 2), "SAME")
    expected = references.convolution_transpose(y, w, (2, 2), pads, (6, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def lowered_for_cuda(function):
    x, w = jnp.ones((2, 6, 6, 3)), jnp.ones((4, 4, 3, 5))
    loss = jax.grad(lambda x, w: jnp.sum(function(x, w) ** 2), argnums=(0, 1))
    both_modes = jax.jit(lambda x, w: jax.jvp(loss, (x, w), (x, w)))
    return both_modes.trace(x, w).lower(lowering_platforms=("cuda",)).as_text()


def test_accelerators_get_the_patterns_of_lax():
    """Lowered for CUDA, two derivatives have the convolutions that autodiff of lax has."""

    def convolutions(function):
        text = lowered_for_cuda(function)
        return sorted(re.findall(r"dim_numbers = .*?feature_group", text))

    def plain(x, w):
        order = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=order)

    expected = convolutions(plain)
    assert len(set(expected)) == 3
    assert convolutions(lambda x, w: jnn.conv(x, w, stride=2)) == expected


def test_derivatives_keep_the_precision_of_products():
    def precise(x, w):
        with jax.default_matmul_precision("highest"):
            return jnn.conv(x, w, stride=2)

    def settings(function):
        return set(re.findall(r"precision_config = (.*?)\]", lowered_for_cuda(function)))

    (high,), (default,) = settings(precise), settings(lambda x, w: jnn.conv(x, w, stride=2))
    assert "HIGHEST" in high and "HIGHEST" not in default


@pytest.mark.parametrize("channels", [1, 4])
def test_export_with_any_number_of_examples(channels):
    """For two platforms at once."""
    (num,) = export.symbolic_shape("num")
    x, w = (a.astype(np.float32) for a in draw(5, (3, 6, 6, channels), (4, 4, channels, 5)))

    def autoencode(x):
        return jnn.conv_transpose(jnn.conv(x, w, stride=2), w, stride=2)

    shape = jax.ShapeDtypeStruct((num, *x.shape[1:]), jnp.float32)
    exported = export.export(jax.jit(autoencode), platforms=("cpu", "cuda"))(shape)
    np.testing.assert_allclose(exported.call(x), autoencode(x), rtol=1e-5, atol=1e-5)


def test_without_compilation():
    x, w = (a.astype(np.float32) for a in draw(6, (1, 4, 4, 3), (3, 3, 3, 2)))
    with jax.disable_jit():
        found = jnn.conv(x, w)
    expected = references.convolution(x, w, (1, 1), ((1, 1), (1, 1)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, w: jnn.conv(x, w, stride=0), "stride: 0, expected"),
        (lambda x, w: jnn.conv(x, w, padding="FULL"), "padding: 'FULL', expected"),
        (lambda x, w: jnn.conv(x, w, padding=1), "padding: 1, expected"),
        (lambda x, w: jnn.conv(x, w, padding=((1, 1), (1.5, 1))), "padding: .*1.5.*, expected"),
        (lambda x, w: jnn.conv(x, w, padding=((1, 1), 1)), "padding: .*, expected"),
        (lambda x, w: jnn.conv(x, jnp.ones((9, 9, 3, 4)), padding="VALID"), "padding: 'VALID'"),
        (lambda x, w: jnn.conv_transpose(x, w, output_size=(9, 9)), r"output_size: \(9, 9\)"),
        (lambda x, w: jnn.conv_kernel_gradient(x, x, kernel_size=3, stride=2), "y: .* windows"),
    ],
)
def test_errors_name_the_setting(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: jnn.conv(x, jnp.ones((3, 3, 2, 3))),
        lambda x: jnn.conv(x.astype(jnp.bfloat16), jnp.ones((3, 3, 3, 2))),
        lambda x: jnn.conv_transpose(x, jnp.ones((3, 3, 3, 2))),
    ],
)
def test_mismatched_arrays_are_refused(call):
    with pytest.raises(AssertionError):
        call(jnp.ones((1, 4, 4, 3)))
