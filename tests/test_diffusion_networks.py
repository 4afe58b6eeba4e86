"""Networks of diffusion models: any size, what they are told, and their arithmetic in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from scipy import special

from jaxgen import nn as jnn
from jaxgen.diffusion import MLP, DiT, UNet, grids, schedules
from jaxgen.diffusion.attention import SelfAttention
from jaxgen.diffusion.embedding import Embedding, log_snr_features
from jaxgen.diffusion.unet import _Upsample

NETWORKS = {
    "unet": functools.partial(UNet, (12, 16), num_blocks=1, num_heads=2),
    "dit": functools.partial(DiT, 16, num_layers=2, num_heads=2),
    "mlp": functools.partial(MLP, 16, num_layers=2),
}
SMALL = {
    "unet": {"num_blocks": 1},
    "dit": {"features": 8, "num_heads": 2},
    "mlp": {"features": 8},
}
"""Settings of networks that compile fast, for what does not depend on their size."""
SHAPES = {"unet": (8, 6, 2), "dit": (8, 6, 2), "mlp": (5,)}
LOG_SNR = np.array([-3.0, 0.5, 7.0], np.float32)
CONDITION = np.eye(3, 4, dtype=np.float32)

each_network = pytest.mark.parametrize("name", NETWORKS)
each_image_network = pytest.mark.parametrize("name", ["unet", "dit"])


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)


def filled(module, *inputs):
    """Random parameters, for fresh ones make a network that is 0."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))
    return jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32), shapes)


@functools.cache
def variables_of(name, num_channels=None):
    shape = SHAPES[name] if num_channels is None else (4, 4, num_channels)
    return filled(NETWORKS[name](), images(*shape), LOG_SNR, CONDITION)


@functools.cache
def gradients(name):
    """``(x, log_snr, condition) -> (y, gradients of a sum by parameters and x)``."""
    module, variables = NETWORKS[name](), variables_of(name)
    weights = images(*SHAPES[name], seed=2)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1), has_aux=True)
    def run(variables, x, log_snr, condition):
        y = module.apply(variables, x, log_snr, condition)
        return jnp.sum(weights * jnp.sin(y)), y

    def call(x, log_snr=LOG_SNR, condition=CONDITION):
        slopes, y = run(variables, x, log_snr, condition)
        return np.asarray(y), slopes

    return call


@functools.cache
def program(name, **settings):
    """``(x, log_snr, condition, dropout_keys) -> y`` with random parameters."""
    module = NETWORKS[name](**settings)

    @jax.jit
    def run(variables, x, log_snr, condition, dropout_keys):
        return module.apply(variables, x, log_snr, condition, dropout_keys=dropout_keys)

    def call(x, log_snr=LOG_SNR, condition=CONDITION, dropout_keys=None):
        if not settings and x.shape[1:] == SHAPES[name] and condition is not None:
            return gradients(name)(x, log_snr, condition)[0]
        num_channels = None if x.shape[-1] == SHAPES[name][-1] else x.shape[-1]
        variables = variables_of(name, num_channels)
        return np.asarray(run(variables, x, log_snr, condition, dropout_keys))

    return call


# --- What all networks keep to ---


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *(("unet", shape) for shape in [(8, 8, 1), (20, 37, 5), (1, 1, 3), (7, 5, 2)]),
        *(("dit", shape) for shape in [(20, 37, 5), (1, 1, 3), (7, 5, 2)]),
    ],
)
def test_images_of_any_size_and_channels(name, shape):
    x = images(*shape)
    y = program(name)(x)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert np.all(np.isfinite(y))
    assert np.std(y) > 0.0


@each_network
def test_a_fresh_network_predicts_zeros(name):
    smaller = {"channels": (8,)} if name == "unet" else {"num_layers": 1}
    x, module = images(*SHAPES[name]), NETWORKS[name].func(**smaller, **SMALL[name])

    @jax.jit
    def fresh(key):
        variables = module.init(key, x, LOG_SNR, CONDITION)
        return variables, module.apply(variables, x, LOG_SNR, CONDITION)

    variables, y = fresh(jax.random.key(0, impl="rbg"))  # It compiles in a third of the time.
    np.testing.assert_array_equal(y, np.zeros_like(x))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}


@each_network
def test_the_log_snr_is_all_that_is_known_of_the_process(name):
    """Whether a schedule is cut into 100 or 1,000 steps makes no difference; the level does."""
    x, schedule = images(*SHAPES[name]), schedules.Cosine()
    levels = [grids.bound_grid(schedule, num).log_snr(num // 4) for num in (100, 1000)]
    same, again = (program(name)(x, np.full(3, level, np.float32)) for level in levels)
    np.testing.assert_allclose(same, again, rtol=1e-5, atol=1e-6)
    other = program(name)(x, np.full(3, levels[0] + 0.1, np.float32))
    assert np.max(np.abs(other - same)) > 1e-3
    ends = program(name)(x, np.array([-np.inf, np.inf, 0.0], np.float32))
    assert np.all(np.isfinite(ends))


@each_network
def test_a_condition_of_zeros_means_none(name):
    x = images(*SHAPES[name])
    without, zeros, one_hot = (
        program(name)(x, LOG_SNR, condition) for condition in (None, 0.0 * CONDITION, CONDITION)
    )
    np.testing.assert_allclose(zeros, without, rtol=1e-4, atol=1e-5)
    assert np.all(np.abs(one_hot - without).reshape(3, -1).max(axis=1) > 1e-3)


@each_network
def test_dropout_is_that_of_the_example_whatever_its_batch(name):
    x, keys = images(*SHAPES[name]), jax.random.split(jax.random.key(0), 3)
    run = functools.partial(program(name, dropout_rate=0.5), dropout_keys=keys)
    dropped = run(x)
    beside_others = run(np.concatenate([-x[:1], x[1:2], 9.0 * x[2:]]))
    np.testing.assert_allclose(beside_others[1], dropped[1], rtol=1e-5, atol=1e-6)
    other = run(x, dropout_keys=jax.random.split(jax.random.key(1), 3))
    for changed in (other, program(name)(x)):
        assert np.all(np.abs(changed - dropped).reshape(3, -1).max(axis=1) > 1e-3)


@each_network
def test_bfloat16_computes_near_float32_and_returns_it(name):
    x = images(*SHAPES[name])
    exact, found = program(name)(x), program(name, dtype=jnp.bfloat16)(x)
    assert found.dtype == np.float32
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 0.05


@each_network
def test_every_parameter_and_input_matters(name):
    """All but the bias of the keys, which moves all logits alike."""
    _, (of_variables, of_x) = gradients(name)(images(*SHAPES[name]))
    assert np.all(of_x != 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(of_variables):
        assert np.all(np.isfinite(leaf)), path
        if "['k']['bias']" not in jax.tree_util.keystr(path):
            assert np.max(np.abs(leaf)) > 1e-6, path


@each_image_network
def test_odd_sides_are_continued_and_cropped(name):
    x = images(7, 5, 2)
    even = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    found, expected = program(name)(x), program(name)(even)
    np.testing.assert_allclose(found, expected[:, :7, :5], rtol=1e-4, atol=1e-5)


@each_image_network
def test_every_pixel_sees_every_other(name):
    """By attention, however far: a change of a corner changes the opposite one."""
    x = images(20, 37, 5)
    moved = x.copy()
    moved[:, 0, 0] += 1.0
    difference = np.abs(program(name)(moved) - program(name)(x))
    assert np.all(difference[:, -1, -1].max(axis=-1) > 0.0)


def test_the_larger_image_is_the_convolution_of_repeated_pixels():
    x, module = images(3, 4, 2), _Upsample(5, jnp.float32)
    variables = filled(module, x)
    kernel, bias = (variables["params"][name] for name in ("kernel", "bias"))
    repeated = x.repeat(2, axis=1).repeat(2, axis=2)
    expected = references.convolution(repeated, kernel, (1, 1), ((1, 1), (1, 1))) + bias
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-4, atol=1e-5)


def test_tokens_know_their_place():
    """Two patches in each other's place do not only change places in the result."""
    x = images(*SHAPES["dit"])
    moved = x.copy()
    moved[:, :2, :2], moved[:, 6:, 4:] = x[:, 6:, 4:], x[:, :2, :2]
    y, other = program("dit")(x), program("dit")(moved)
    assert np.max(np.abs(other[:, :2, :2] - y[:, 6:, 4:])) > 1e-3


# --- Arithmetic in NumPy ---


def dense(p, x):
    return x @ np.asarray(p["kernel"], np.float64) + np.asarray(p.get("bias", 0.0), np.float64)


def silu(x):
    return x * special.expit(x)


def features(log_snr):
    frequencies = np.geomspace(0.02, 4.0, 32)
    angles = np.clip(np.asarray(log_snr, np.float64), -50.0, 50.0)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def embedding(p, log_snr, condition):
    h = dense(p["Dense_1"], silu(dense(p["Dense_0"], features(log_snr))))
    return silu(h + dense(p["condition"], condition))


def attention(p, x, num_heads):
    """Head by head."""
    q, k, v = (dense(p[name], x) for name in "qkv")
    size = x.shape[-1] // num_heads
    heads = []
    for i in range(num_heads):
        part = slice(i * size, (i + 1) * size)
        logits = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(size)
        heads.append(special.softmax(logits, axis=-1) @ v[..., part])
    return dense(p["out"], np.concatenate(heads, axis=-1))


def normed(x):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-6)


def gelu(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def test_the_features_of_a_log_snr():
    log_snr = np.array([-np.inf, -50.0, -3.3, 0.0, 8.0, 13.3, np.inf], np.float32)
    found = log_snr_features(log_snr)
    np.testing.assert_allclose(found, features(log_snr), atol=2e-4)
    np.testing.assert_array_equal(found[0], found[1])
    # Levels apart by a tenth are told apart, and far ones are not confused.
    many = np.asarray(log_snr_features(np.arange(-14.0, 14.0, 0.1, dtype=np.float32)))
    distance = np.linalg.norm(many[:, None] - many[None], axis=-1)
    assert np.min(distance + 9.0 * np.eye(len(many))) > 0.3


def test_the_embedding_adds_the_condition():
    module = Embedding(6)
    variables = filled(module, LOG_SNR, CONDITION)
    found = module.apply(variables, LOG_SNR, CONDITION)
    expected = embedding(variables["params"], LOG_SNR, CONDITION)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_heads", [1, 2, 3])
def test_attention_is_a_softmax_of_products_head_by_head(num_heads):
    x, module = images(7, 6), SelfAttention(num_heads)
    variables = filled(module, x)
    found = jax.jit(module.apply)(variables, x)
    expected = attention(variables["params"], x, num_heads)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_network_of_vectors():
    x, p = images(5), variables_of("mlp")["params"]
    told = embedding(p["Embedding_0"], LOG_SNR, CONDITION)
    h = dense(p["Dense_0"], x)
    for first in (1, 4):
        modulate, inner, outer = (p[f"Dense_{first + i}"] for i in range(3))
        scale, shift = np.split(dense(modulate, told), 2, axis=1)
        h = h + dense(outer, silu(dense(inner, h) * (1.0 + scale) + shift))
    expected = dense(p["Dense_7"], silu(h))
    found = program("mlp")(x, LOG_SNR, CONDITION)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def places(height, width, num):
    """Sines and cosines of the row, then of the column, token by token."""
    rows = []
    for i in range(height):
        for j in range(width):
            angles = [
                np.array([place / 1e4 ** (4 * k / num) for k in range(num // 4)])
                for place in (i, j)
            ]
            rows.append(np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)]))
    return np.array(rows)


def test_the_transformer():
    x, p = images(8, 6, 2), variables_of("dit")["params"]
    told = embedding(p["Embedding_0"], LOG_SNR, CONDITION)
    patches = x.reshape(3, 4, 2, 3, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(3, 12, 8)
    h = dense(p["Dense_0"], patches) + places(4, 3, 16)

    def rows(layer, num):
        return np.split(dense(layer, told)[:, None], num, axis=-1)

    for layer in range(2):
        block = jax.tree.map(lambda leaf, i=layer: leaf[i], p["_Block_0"])
        shift, scale, gate, shift_2, scale_2, gate_2 = rows(block["Dense_0"], 6)
        h = h + gate * attention(block["SelfAttention_0"], normed(h) * (1.0 + scale) + shift, 2)
        y = gelu(dense(block["Dense_1"], normed(h) * (1.0 + scale_2) + shift_2))
        h = h + gate_2 * dense(block["Dense_2"], y)
    shift, scale = rows(p["Dense_1"], 2)
    h = dense(p["Dense_2"], normed(h) * (1.0 + scale) + shift)
    expected = h.reshape(3, 4, 3, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)
    found = program("dit")(x, LOG_SNR, CONDITION)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


# --- Dropout ---


def test_dropout_keeps_the_mean_and_belongs_to_key_and_layer():
    keys, x = jax.random.split(jax.random.key(0), 500), 1.0 + jnp.zeros((500, 4, 5))
    y = np.asarray(jnn.dropout(keys, x, rate=0.3, layer=2))
    np.testing.assert_allclose(np.unique(y), [0.0, 1.0 / 0.7], rtol=1e-6)
    # A share of 0.7 of 10,000 numbers.
    assert abs(y.mean() - 1.0) < 5.0 * np.sqrt(0.3 / 0.7) / 100.0
    np.testing.assert_array_equal(jnn.dropout(keys[3:4], x[3:4], rate=0.3, layer=2)[0], y[3])
    assert np.any(np.asarray(jnn.dropout(keys, x, rate=0.3, layer=1)) != y)
    assert len(np.unique(y.reshape(500, -1), axis=0)) > 490
    half = jnn.dropout(keys, x.astype(jnp.bfloat16), rate=0.3, layer=2)
    assert half.dtype == jnp.bfloat16


def test_nothing_is_dropped_without_keys_or_rate():
    keys, x = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 3))
    np.testing.assert_array_equal(jnn.dropout(None, x, rate=0.9, layer=0), x)
    np.testing.assert_array_equal(jnn.dropout(keys, x, rate=0.0, layer=0), x)
    for rate in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match=r"^dropout_rate: .*, expected in \[0, 1\)$"):
            jnn.dropout(None, x, rate=rate, layer=0)
