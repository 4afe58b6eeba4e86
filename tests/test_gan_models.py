"""GAN networks: shapes, references in float64, labels."""

import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from gan_networks import (
    CRITICS,
    GENERATORS,
    LABEL,
    SHAPES,
    B,
    D,
    count,
    draw,
    each_kind,
    evaluate,
    float64,
    init,
    shapes,
    train,
)

from jaxgen.gan import layers
from jaxgen.gan.models import DCGANCritic, DCGANGenerator, MLPCritic, MLPGenerator
from jaxgen.gan.resnet import ResNetCritic, ResNetGenerator
from jaxgen.nn import Conv, average_pool, upsample_nearest

# --- Shapes and parameters ---


@each_kind
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(kind, shape):
    """Traced, not run; parameters are float32 and do not depend on `train`."""
    index = SHAPES.index(shape)
    norm, label = ("batch", "none", "layer")[index % 3], (LABEL, None)[index % 2]
    num_classes = None if label is None else 3

    def run(key):
        generator = GENERATORS[kind](shape, num_classes=num_classes, norm=norm)
        critic = CRITICS[kind](num_classes=num_classes, norm=norm)
        x, variables = generator.init_with_output(key, jnp.ones((B, D)), label, train=True)
        again = generator.init(key, jnp.ones((B, D)), label, train=False)
        return x, critic.init_with_output(key, x, label, train=True), variables, again

    x, (logits, critic_variables), variables, again = jax.eval_shape(run, jax.random.key(0))
    assert (x.shape, x.dtype) == ((B, *shape), jnp.float32)
    assert (logits.shape, logits.dtype) == ((B,), jnp.float32)
    assert variables == again
    for each in (variables, critic_variables):
        assert ("batch_stats" in each) == (norm == "batch")
        assert {leaf.dtype for leaf in jax.tree.leaves(each)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((8, 8), [(8, 8), (4, 4), (2, 2)]),
        ((28, 28), [(28, 28), (14, 14), (7, 7)]),
        ((28, 20), [(28, 20), (14, 10), (7, 5)]),
        ((32, 32), [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ((64, 48), [(64, 48), (32, 24), (16, 12), (8, 6)]),
        ((17, 19), [(17, 19), (9, 10), (5, 5)]),
        ((1, 3), [(1, 3), (1, 2), (1, 1)]),
    ],
)
def test_map_sizes(size, expected):
    assert layers.map_sizes(size) == expected


def test_parameters_of_a_small_dcgan_by_hand():
    """16x16x3: maps of 8x8 with 4 channels and 4x4 with 8; no bias where batch norm has one."""
    shape = (16, 16, 3)
    dense, first, last = D * 4 * 4 * 8 + 2 * 8, 4 * 4 * 8 * 4 + 2 * 4, 4 * 4 * 4 * 3 + 3
    assert count(shapes(DCGANGenerator(shape, width=4), draw(0, B, D))) == dense + first + last
    x = draw(0, B, *shape)
    convolutions, head = 4 * 4 * 3 * 4 + 4 + 4 * 4 * 4 * 8 + 8, 4 * 4 * 8 + 1
    assert count(shapes(DCGANCritic(width=4), x)) == convolutions + head
    labels = shapes(DCGANCritic(width=4, num_classes=3), x, LABEL)
    assert count(labels) == convolutions + head + 3 * 4 * 4 * 8


def test_channels_double_up_to_eightfold():
    params = shapes(DCGANCritic(width=2), jnp.ones((1, 128, 128, 3)))["params"]
    channels = [params[f"Conv_{stage}"]["kernel"].shape[3] for stage in range(5)]
    assert channels == [2, 4, 8, 16, 16]


def test_dcgan_kernels_start_with_a_deviation_of_one_fiftieth():
    start = jax.jit(functools.partial(DCGANCritic(width=8).init, train=False))
    params = start(jax.random.key(0), jnp.ones((1, 4, 4, 1)))["params"]
    kernel = np.asarray(params["Conv_1"]["kernel"])
    assert abs(kernel.std() - 0.02) < 5 * 0.02 / math.sqrt(2 * kernel.size)


@each_kind
def test_images_fill_the_range_of_tanh(kind):
    """Latents a thousand times too large saturate it; nothing leaves [-1, 1]."""
    generator = GENERATORS[kind]((8, 8, 1), norm="none")
    variables = init(generator, draw(0, B, D))
    x = evaluate(generator, variables, 0.1 * draw(0, B, D))
    assert 0.0 < float(jnp.max(jnp.abs(x))) < 1.0
    x = evaluate(generator, variables, 1000.0 * draw(0, B, D))
    np.testing.assert_allclose(jnp.max(jnp.abs(x)), 1.0)
    chex.assert_tree_all_finite(x)


def test_vectors_are_not_squashed():
    generator = MLPGenerator((2,), hidden_sizes=(6,))
    z = 100.0 * draw(0, B, D)
    variables = init(generator, z)
    x = evaluate(generator, variables, z)
    chex.assert_shape(x, (B, 2))
    assert float(jnp.max(jnp.abs(x))) > 2.0
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.maximum(np.asarray(z) @ first["kernel"] + first["bias"], 0.0)
    np.testing.assert_allclose(x, hidden @ second["kernel"] + second["bias"], rtol=1e-4)


# --- References in float64 ---


@pytest.mark.parametrize("activation", [None, jnp.tanh])
def test_dcgan_critic_equals_its_reference(activation):
    """Convolutions, slopes and the projection of labels; 9x7 is padded on one side."""
    chosen = {} if activation is None else {"activation": activation}
    critic = DCGANCritic(width=3, num_classes=3, **chosen)
    x = draw(1, B, 9, 10, 2)
    variables = init(critic, x, LABEL)
    params, h = float64(variables["params"]), np.asarray(x, np.float64)
    paddings = [((1, 2), (1, 1)), ((1, 2), (1, 2))]
    for stage, padding in enumerate(paddings):
        layer = params[f"Conv_{stage}"]
        h = references.convolution(h, layer["kernel"], (2, 2), padding) + layer["bias"]
        h = np.where(h > 0.0, h, 0.2 * h) if activation is None else np.tanh(h)
    h = h.reshape(B, -1)
    head = params["ProjectionHead_0"]
    psi = h @ head["Dense_0"]["kernel"][:, 0] + head["Dense_0"]["bias"]
    expected = psi + np.sum(head["Embed_0"]["embedding"][np.asarray(LABEL)] * h, 1)
    np.testing.assert_allclose(evaluate(critic, variables, x, LABEL), expected, rtol=1e-5)


def normalized(x, axes, layer):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * layer["scale"] + layer["bias"]


@pytest.mark.parametrize(("norm", "activation"), [("batch", None), ("layer", jnp.tanh)])
def test_dcgan_generator_equals_its_reference(norm, activation):
    """9x10 from maps of 5x5 cropped at the end; labels are appended to the latents."""
    chosen = {} if activation is None else {"activation": activation}
    generator = DCGANGenerator((9, 10, 2), width=3, num_classes=3, label_dim=2, norm=norm, **chosen)
    z = draw(1, B, D)
    variables = init(generator, z, LABEL)
    params = float64(variables["params"])
    name, axes = {"batch": ("BatchNorm", (0, 1, 2)), "layer": ("LayerNorm", (1, 2, 3))}[norm]
    embedding = params["Embed_0"]["embedding"][np.asarray(LABEL)]
    h = np.concatenate([np.asarray(z, np.float64), embedding], 1) @ params["Dense_0"]["kernel"]
    h = (h + params["Dense_0"].get("bias", 0.0)).reshape(B, 3, 3, 6)
    sizes = [(5, 5), (9, 10)]
    for stage, size in enumerate(sizes):
        h = normalized(h, axes, params[f"{name}_{stage}"])
        h = np.maximum(h, 0.0) if activation is None else np.tanh(h)
        layer = params[f"ConvTranspose_{stage}"]
        kernel = np.swapaxes(layer["kernel"][::-1, ::-1], 2, 3)
        double = (2 * h.shape[1], 2 * h.shape[2])
        h = references.convolution_transpose(h, kernel, (2, 2), ((1, 1), (1, 1)), double)
        h = h[:, : size[0], : size[1]] + layer.get("bias", 0.0)
    x, _ = train(generator, variables, z, LABEL)
    np.testing.assert_allclose(x, np.tanh(h), rtol=1e-4, atol=1e-5)


def test_residual_shortcuts_commute_with_the_change_of_size():
    x = draw(0, B, 7, 5, 3)
    conv = Conv(4, 1)
    variables = conv.init(jax.random.key(0), x)
    for change in (upsample_nearest, average_pool):
        first, second = (
            change(conv.apply(variables, x)),
            conv.apply(variables, change(x)),
        )
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "num_blocks"), [((8, 8), 2), ((32, 32), 3), ((28, 20), 2)])
def test_number_of_residual_blocks(size, num_blocks):
    """32x32: three that double; two that halve and two that do not, as in the paper."""
    generator = shapes(ResNetGenerator((*size, 1), width=2), jnp.ones((1, D)))
    critic = shapes(ResNetCritic(width=2), jnp.ones((1, *size, 1)))
    blocks = [name for name in generator["params"] if "Block" in name]
    halving = [name for name in critic["params"] if "DownBlock" in name]
    plain = [name for name in critic["params"] if "PlainBlock" in name]
    assert (len(blocks), len(halving), len(plain)) == (num_blocks, num_blocks - 1, 2)


def test_plain_blocks_add_a_residual_each():
    """Two after each block that resizes; with a last layer of zeros they change nothing."""
    z, x = draw(0, B, D), draw(1, B, 8, 8, 1)
    for short, deep, argument, num_blocks in (
        (
            ResNetGenerator((8, 8, 1), width=2),
            ResNetGenerator((8, 8, 1), width=2, num_plain_blocks=2),
            z,
            4,
        ),
        (ResNetCritic(width=2), ResNetCritic(width=2, num_plain_blocks=2), x, 4),
    ):
        variables = init(deep, argument)
        params = variables["params"]
        plain = [name for name in params if "PlainBlock" in name]
        assert len(plain) == num_blocks
        before = evaluate(deep, variables, argument)
        for name in plain:
            params[name]["Conv_1"] = jax.tree.map(jnp.zeros_like, params[name]["Conv_1"])
        after = evaluate(deep, variables, argument)
        assert float(jnp.max(jnp.abs(after - before))) > 1e-3
        # The critic of both has two plain blocks at its end, which were silenced too.
        kept = {name: params[name] for name in shapes(short, argument)["params"]}
        stats = variables.get("batch_stats", {})
        np.testing.assert_allclose(
            evaluate(short, {"params": kept, "batch_stats": stats}, argument),
            after,
            rtol=1e-4,
            atol=1e-5,
        )


# --- Labels ---


@pytest.mark.parametrize("kind", ["mlp", "resnet"])
def test_labels_change_what_a_generator_makes(kind):
    generator = GENERATORS[kind]((8, 8, 1), num_classes=3, norm="none")
    z = jnp.broadcast_to(draw(0, D), (B, D))
    x = evaluate(generator, init(generator, z, LABEL), z, LABEL)
    np.testing.assert_allclose(x[1], x[3], rtol=1e-5)
    assert float(jnp.max(jnp.abs(x[0] - x[1]))) > 1e-6


@pytest.mark.parametrize(("kind", "spectral"), [("mlp", True), ("dcgan", False), ("resnet", False)])
def test_logits_differ_between_labels_by_the_projection(kind, spectral):
    """``D(x, y) - D(x, y') = <embed(y) - embed(y'), h>``."""
    critic = CRITICS[kind](num_classes=3, spectral=spectral)
    x, other = draw(1, B, 8, 8, 1), (LABEL + 1) % 3
    variables = init(critic, x, LABEL)

    @jax.jit
    def run(label):
        features, tables = [], []

        def record(next_method, args, kwargs, context):
            result = next_method(*args, **kwargs)
            if context.method_name == "__call__":
                if isinstance(context.module, layers.ProjectionHead):
                    features.append(args[0])
                if isinstance(context.module, nn.Embed):
                    tables.append(context.module.variables["params"]["embedding"])
            return result

        with nn.intercept_methods(record):
            return critic.apply(variables, x, label, train=False), features, tables

    logits, (features,), (table,) = run(LABEL)
    difference = table[LABEL] - table[other]
    expected = np.sum(float64(difference) * float64(features), axis=1)
    np.testing.assert_allclose(logits - run(other)[0], expected, rtol=1e-3, atol=1e-5)
    assert np.max(np.abs(expected)) > 1e-3


@each_kind
def test_missing_and_superfluous_labels_are_refused(kind):
    key, z, x = jax.random.key(0), draw(0, B, D), draw(0, B, 8, 8, 1)
    shape = (8, 8, 1)
    for network, argument in ((GENERATORS[kind], z), (CRITICS[kind], x)):
        first = (shape,) if argument is z else ()
        with pytest.raises(ValueError, match="label: None, expected integers .* num_classes=3"):
            network(*first, num_classes=3).init(key, argument, train=False)
        with pytest.raises(ValueError, match="label: given, expected None for num_classes=None"):
            network(*first).init(key, argument, LABEL, train=False)
        for label in (LABEL[:2], LABEL.astype(jnp.float32)):
            with pytest.raises(AssertionError):
                network(*first, num_classes=3).init(key, argument, label, train=False)


def test_other_wrong_settings_are_refused():
    key, z = jax.random.key(0), draw(0, B, D)
    for generator in (DCGANGenerator((8,)), ResNetGenerator((8, 8)), DCGANGenerator((8, 0, 1))):
        with pytest.raises(ValueError, match=r"shape: .*, expected \(H, W, C\), positive"):
            generator.init(key, z, train=False)
    with pytest.raises(ValueError, match=r"shape: \(8, 8\), expected \(H, W, C\) or \(D,\)"):
        MLPGenerator((8, 8)).init(key, z, train=False)
    with pytest.raises(ValueError, match="norm: 'group', expected one of"):
        MLPCritic(norm="group").init(key, z, train=False)
    with pytest.raises(ValueError, match=r"size: \(0, 3\), expected a positive"):
        layers.map_sizes((0, 3))
    for critic in (DCGANCritic(), ResNetCritic()):
        with pytest.raises(AssertionError):
            critic.init(key, z, train=False)
