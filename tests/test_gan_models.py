"""GAN networks: shapes, references, labels, norms, devices, precision and second derivatives."""

import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxgen.gan import layers
from jaxgen.gan.models import DCGANCritic, DCGANGenerator, MLPCritic, MLPGenerator
from jaxgen.gan.resnet import ResNetCritic, ResNetGenerator
from jaxgen.nn import Conv, average_pool, upsample_nearest

B, D = 4, 5
SHAPES = (
    (8, 8, 1),
    (7, 5, 3),
    (28, 28, 1),
    (28, 20, 4),
    (32, 32, 3),
    (64, 48, 3),
    (128, 128, 3),
    (3, 40, 1),
)
GENERATORS = {
    "mlp": functools.partial(MLPGenerator, hidden_sizes=(6, 6)),
    "dcgan": functools.partial(DCGANGenerator, width=4),
    "resnet": functools.partial(ResNetGenerator, width=4),
}
CRITICS = {
    "mlp": functools.partial(MLPCritic, hidden_sizes=(6, 6)),
    "dcgan": functools.partial(DCGANCritic, width=4),
    "resnet": functools.partial(ResNetCritic, width=4),
}
each_kind = pytest.mark.parametrize("kind", GENERATORS)
LABEL = jnp.array([0, 2, 1, 2])


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def shapes(module, x, label=None):
    """The variables of a module, traced: a compiled initialization takes a second each."""
    return jax.eval_shape(lambda key: module.init(key, x, label, train=False), jax.random.key(0))


def init(module, x, label=None):
    """Variables of a module with every entry away from the special values of a start."""
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        name, noise = path[-1].key.split("/")[-1], generator.normal(size=leaf.shape)
        if name in ("kernel", "embedding"):
            noise /= math.sqrt(max(1, leaf.size // leaf.shape[-1]))
        elif name in ("scale", "var", "sigma"):
            noise = 1.0 + 0.1 * np.abs(noise)
        elif name in ("bias", "mean"):
            noise *= 0.1
        return jnp.asarray(noise, jnp.float32)

    return jax.tree.map_with_path(fill, shapes(module, x, label))


@functools.partial(jax.jit, static_argnums=0)
def train(module, variables, x, label=None):
    """The result, and all variables afterwards."""
    y, new = module.apply(variables, x, label, train=True, mutable=["batch_stats"])
    return y, {**variables, **new}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(module, variables, x, label=None):
    return module.apply(variables, x, label, train=False)


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


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


def float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


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
    """Two after each of the two (generator) and the one (critic) that resize; without their last layer, nothing."""
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
        with pytest.raises(ValueError, match="label: given, but the model has num_classes=None"):
            network(*first).init(key, argument, LABEL, train=False)
        for label in (LABEL[:2], LABEL.astype(jnp.float32)):
            with pytest.raises(AssertionError):
                network(*first, num_classes=3).init(key, argument, label, train=False)


def test_other_wrong_settings_are_refused():
    key, z = jax.random.key(0), draw(0, B, D)
    for generator in (DCGANGenerator((8,)), ResNetGenerator((8, 8)), DCGANGenerator((8, 0, 1))):
        with pytest.raises(ValueError, match="shape: .* needs images"):
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


# --- Spectral norm ---


@each_kind
def test_largest_singular_value_becomes_one(kind):
    """Of every kernel and embedding as its layer sees it; the vectors move in training alone."""
    critic = CRITICS[kind](num_classes=3, spectral=True)
    x = draw(0, B, 8, 8, 1)
    variables = init(critic, x, LABEL)
    plain = shapes(critic.clone(spectral=False), x, LABEL)
    chex.assert_trees_all_equal_shapes(variables["params"], plain["params"])
    matrices = []

    def record(next_method, args, kwargs, context):
        result = next_method(*args, **kwargs)
        is_layer = isinstance(context.module, Conv | nn.Dense | nn.Embed)
        if is_layer and context.method_name == "__call__":
            params = context.module.variables["params"]
            kernel = params["kernel"] if "kernel" in params else params["embedding"]
            matrices.append(kernel.reshape(-1, kernel.shape[-1]))
        return result

    @jax.jit
    def run(variables):
        def body(variables, _):
            _, new = critic.apply(variables, x, LABEL, train=True, mutable=["batch_stats"])
            return {**variables, **new}, None

        later, _ = jax.lax.scan(body, variables, None, length=1000)
        with nn.intercept_methods(record):
            _, still = critic.apply(later, x, LABEL, train=False, mutable=["batch_stats"])
        return later["batch_stats"], still["batch_stats"], matrices

    later, still, applied = run(variables)
    chex.assert_trees_all_equal(still, later)
    for old, new in zip(*map(jax.tree.leaves, (variables["batch_stats"], later)), strict=True):
        assert not np.array_equal(old, new)
    assert len(applied) == sum(w.ndim > 1 for w in jax.tree.leaves(variables["params"]))
    for matrix in applied:
        np.testing.assert_allclose(np.linalg.norm(float64(matrix), 2), 1.0, rtol=1e-3)


def test_a_spectrally_normalized_mlp_is_a_contraction():
    """``norm(D(x) - D(y)) <= norm(x - y)``, however large its kernels are."""
    critic = MLPCritic(hidden_sizes=(8, 8), spectral=True)
    x, y = draw(0, 64, D), draw(1, 64, D)
    variables = init(critic, x)
    variables = {**variables, "params": jax.tree.map(lambda w: 50.0 * w, variables["params"])}
    for _ in range(50):
        _, variables = train(critic, variables, x)
    rise = np.abs(evaluate(critic, variables, x) - evaluate(critic, variables, y))
    slopes = rise / np.linalg.norm(x - y, axis=1)
    assert 0.01 < np.max(slopes) <= 1.0 + 1e-4


# --- Norms ---


class Normalized(nn.Module):
    norm: str

    @nn.compact
    def __call__(self, x, label=None, *, train):
        return layers.normalize(self.norm, x, train=train)


def test_batch_norm_keeps_nine_tenths_of_its_statistics():
    """One step by hand, on a channel whose mean is a thousand deviations."""
    x = 3.0 * draw(0, 64, 4, 4, 2) + jnp.array([3000.0, 0.0]).reshape(1, 1, 1, 2)
    module = Normalized("batch")
    variables = module.init(jax.random.key(0), x, train=False)
    y, new = train(module, variables, x)
    exact = np.asarray(x, np.float64)
    mean, var = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    stats = new["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-4)
    np.testing.assert_allclose(y, (exact - mean) / np.sqrt(var + 1e-5), atol=1e-3)
    running = float64(stats)
    expected = (exact - running["mean"]) / np.sqrt(running["var"] + 1e-5)
    np.testing.assert_allclose(evaluate(module, new, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["mlp", "resnet"])
def test_shards_of_a_batch_make_the_images_of_the_batch(kind):
    generator = GENERATORS[kind]((8, 8, 1), norm="batch")
    many = generator.clone(axis_name="shards")
    z = draw(0, 8, D)
    variables = init(generator, z)
    chex.assert_trees_all_equal(shapes(many, z), shapes(generator, z))

    @functools.partial(jax.vmap, axis_name="shards")
    def shard(z):
        return many.apply(variables, z, train=True, mutable=["batch_stats"])

    images, stats = jax.jit(shard)(z.reshape(4, 2, D))
    x, new = train(generator, variables, z)
    np.testing.assert_allclose(images.reshape(x.shape), x, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(
        jax.tree.map(lambda leaf: leaf[3], stats["batch_stats"]), new["batch_stats"], rtol=1e-5
    )


def test_one_device_and_eight_agree_on_a_generator():
    """Synchronised batch norm: images, gradient and new statistics are those of one batch."""
    generator = GENERATORS["dcgan"]((8, 8, 1))
    many = generator.clone(axis_name="devices")
    z = draw(0, 16, D)
    target = jnp.cos(jnp.arange(16 * 64.0)).reshape(16, 8, 8, 1)
    variables = init(generator, z)

    def loss(params, module, z, target):
        state = {**variables, "params": params}
        x, new = module.apply(state, z, train=True, mutable=["batch_stats"])
        return jnp.mean((x - target) ** 2), (x, new)

    gradient = jax.grad(loss, has_aux=True)
    slope, (x, new) = jax.jit(lambda p: gradient(p, generator, z, target))(variables["params"])

    def shard(params, z, target):
        slope, (x, new) = gradient(params, many, z, target)
        return jax.lax.pmean(slope, "devices"), x, new

    run = jax.pmap(shard, axis_name="devices", in_axes=(None, 0, 0))
    parts = run(variables["params"], z.reshape(8, 2, D), target.reshape(8, 2, 8, 8, 1))
    slopes, images, stats = parts
    np.testing.assert_allclose(images.reshape(x.shape), x, rtol=1e-4, atol=1e-5)
    for device in (0, 7):
        first = jax.tree.map(lambda leaf, device=device: leaf[device], (slopes, stats))
        chex.assert_trees_all_close(first, (slope, new), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "norm"), [("dcgan", "none"), ("dcgan", "batch"), ("resnet", "layer"), ("mlp", "layer")]
)
def test_only_batch_norm_couples_the_examples_of_a_critic(kind, norm):
    critic = CRITICS[kind](norm=norm)
    x = draw(0, B, 8, 8, 1)
    variables = init(critic, x)
    changed = x.at[1:].set(draw(1, B - 1, 8, 8, 1))
    first, second = (train(critic, variables, images)[0] for images in (x, changed))
    assert (abs(float(first[0] - second[0])) < 1e-5) == (norm != "batch")
    assert np.all(np.asarray(first[1:] != second[1:]))


# --- Precision and derivatives ---


@each_kind
def test_bfloat16_networks_keep_float32_parameters(kind):
    generator = GENERATORS[kind]((8, 8, 1), norm="batch", num_classes=3, dtype=jnp.bfloat16)
    critic = CRITICS[kind](spectral=True, norm="layer", num_classes=3, dtype=jnp.bfloat16)
    for module, x in ((generator, draw(0, B, D)), (critic, draw(0, B, 8, 8, 1))):
        variables = shapes(module, x, LABEL)
        results = jax.eval_shape(functools.partial(train, module), variables, x, LABEL)
        dtypes = {leaf.dtype for leaf in jax.tree.leaves((variables, results))}
        assert dtypes == {jnp.dtype(jnp.float32)}


def test_bfloat16_networks_compute_about_the_same():
    generator = GENERATORS["dcgan"]((8, 8, 1))
    critic = CRITICS["dcgan"](spectral=True, norm="layer")
    for module, x in ((generator, draw(0, B, D)), (critic, draw(0, B, 8, 8, 1))):
        variables = init(module, x)
        half, _ = train(module.clone(dtype=jnp.bfloat16), variables, x)
        exact, _ = train(module, variables, x)
        assert not np.array_equal(half, exact)
        np.testing.assert_allclose(half, exact, atol=0.05 * float(jnp.max(jnp.abs(exact))))


def with_exact_vectors(variables):
    """Puts the singular vector of every kernel where the power iteration keeps its own."""

    def replace(path, leaf):
        *modules, name = (entry.key for entry in path)
        if not name.endswith("/u"):
            return leaf
        parts = [part for part in modules[1:] if not part.startswith("SpectralNorm")]
        kernel = variables["params"]
        for part in (*parts, *name.split("/")[:-1]):
            kernel = kernel[part]
        return jnp.asarray(np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]))[2][:1])

    return jax.tree.map_with_path(replace, variables)


@pytest.mark.parametrize(
    ("kind", "norm", "spectral"),
    [
        ("mlp", "layer", False),
        ("dcgan", "none", False),
        ("dcgan", "layer", True),
        ("resnet", "none", False),
    ],
)
def test_gradient_of_a_gradient_penalty(kind, norm, spectral):
    """``d/dw mean (norm(grad_x D) - 1)^2`` against central differences in float64.

    The power iteration is held fixed by the gradient, which is exact once it has converged.
    """
    with jax.enable_x64(True):
        critic = CRITICS[kind](norm=norm, spectral=spectral, dtype=jnp.float64)
        x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1), jnp.float64)
        variables = jax.tree.map(lambda w: w.astype(jnp.float64), init(critic, x))
        variables = with_exact_vectors(variables)
        params = variables.pop("params")
        direction = jax.tree.map(lambda w: jnp.sin(3.0 * w), params)

        def penalty(params):
            state = {**variables, "params": params}
            slope = jax.grad(lambda x: jnp.sum(critic.apply(state, x, train=False)))(x)
            norms = jnp.sqrt(jnp.sum(slope**2, axis=(1, 2, 3)))
            return jnp.mean((norms - 1.0) ** 2)

        @jax.jit
        def both(params):
            value, slopes = jax.value_and_grad(penalty)(params)
            return value, sum(map(jnp.vdot, *map(jax.tree.leaves, (slopes, direction))))

        _, slope = both(params)
        step = 1e-7
        ahead, behind = (
            both(jax.tree.map(lambda w, d, s=s: w + s * d, params, direction))[0]
            for s in (step, -step)
        )
        assert abs(slope) > 1e-6
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-4)
