"""Spectral, batch and layer norm in GAN networks, half precision and second derivatives."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gan_networks import (
    CRITICS,
    GENERATORS,
    LABEL,
    B,
    D,
    draw,
    each_kind,
    evaluate,
    float64,
    init,
    shapes,
    train,
)

from jaxgen.gan import layers
from jaxgen.gan.models import MLPCritic
from jaxgen.nn import Conv

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
    critic, x = CRITICS["dcgan"](spectral=True, norm="layer"), draw(0, B, 8, 8, 1)
    variables = init(critic, x)
    half, _ = train(critic.clone(dtype=jnp.bfloat16), variables, x)
    exact, _ = train(critic, variables, x)
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
