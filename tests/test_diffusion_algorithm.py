"""Diffusion models as algorithms: they learn, sample in few programs, and their bounds are true."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from jaxgen import diffusion
from jaxgen.diffusion import grids, guidance, noisy_classifier, samplers, schedules
from jaxgen.training.parallel import sample_blocks

LEVELS, SHAPE, NUM, CLASSES = 5, (4, 4, 1), 64, 2
SCHEDULE = schedules.Cosine(-8.0, 8.0)
NETWORK = diffusion.UNet((8,), num_blocks=1)


@pytest.fixture(scope="module")
def images():
    """Left halves bright, or right ones, by class, with a little noise."""
    rng = np.random.default_rng(0)
    label = np.arange(NUM) % CLASSES
    x = np.where((np.arange(4) < 2)[None, :] == (label[:, None] == 0), 4, 0)[:, None, :, None]
    x = np.abs(x - rng.integers(0, 2, (NUM, *SHAPE)))
    return {"x": jnp.asarray(x, jnp.uint8), "label": jnp.asarray(label, jnp.int32)}


def make(model, *, num_steps=8, method=samplers.ddim, **settings):
    grid = grids.sampling_grid(model.schedule, num_steps)
    guide = lambda denoise, scale: guidance.classifier_free(  # noqa: E731
        denoise, scale, without=jnp.zeros((1, CLASSES))
    )
    sample = diffusion.sampler(
        model,
        method,
        SHAPE,
        num_classes=model.num_classes,
        guide=guide if model.num_classes else None,
    )
    knobs = {"eta": 0.0} if method is samplers.ddim else {}
    sample = Partial(sample, grid=grid, knobs=knobs, inputs=1.0)
    return diffusion.diffusion_algorithm(model, optax.adam(5e-3), sample, **settings)


@pytest.fixture(scope="module")
def trained(images):
    model = diffusion.Diffusion(NETWORK, SCHEDULE, "v", LEVELS, CLASSES)
    bounds = diffusion.Bounds(
        8,
        grids.bound_grid(SCHEDULE, 30),
        grids.bound_grid(schedules.LogSnrLinear(-8.0, 8.0), 20),
        is_trace_exact=False,
    )
    algorithm = make(model, label_dropout=0.2, ema_decay=0.9, bounds=bounds)
    state = jax.jit(algorithm.init)(jax.random.key(0), images)

    @jax.jit
    def train(state):
        def step(state, t):
            return algorithm.step(state, images, jax.random.fold_in(jax.random.key(1), t))

        return jax.lax.scan(step, state, jnp.arange(300))

    state, metrics = train(state)
    return algorithm, state, metrics


def test_training_lowers_the_loss(trained):
    loss = np.asarray(trained[2]["loss"])
    assert np.mean(loss[:5]) > 0.5
    assert np.mean(loss[-20:]) < 0.5 * np.mean(loss[:5])


def test_samples_are_of_their_class(trained):
    algorithm, state, _ = trained
    label = jnp.arange(40, dtype=jnp.int32) % CLASSES
    x = jax.jit(algorithm.sample, static_argnums=2)(state, jax.random.key(2), 40, label)
    assert x.dtype == jnp.uint8 and x.shape == (40, *SHAPE)
    assert int(x.max()) < LEVELS
    brightness = np.asarray(x, float).mean(axis=(1, 3)).reshape(40, 2, 2).mean(axis=-1)
    assert np.mean(brightness.argmax(axis=1) == np.asarray(label)) > 0.9


def test_the_bounds_agree_and_are_made_of_their_terms(trained, images):
    algorithm, state, _ = trained
    values = jax.jit(algorithm.evaluate)(state, images, jax.random.key(3))
    assert {value.shape for value in values.values()} == {(NUM,)}
    terms = sum(values[name] for name in ("prior", "diffusion", "reconstruction"))
    np.testing.assert_allclose(values["elbo"], -terms, rtol=1e-6)
    bits = np.log(2.0) * np.prod(SHAPE)
    np.testing.assert_allclose(values["elbo_bits_per_dim"], -values["elbo"] / bits, rtol=1e-5)
    np.testing.assert_allclose(
        values["diffusion_bits_per_dim"], values["diffusion"] / bits, rtol=1e-5
    )
    mean = {name: float(value.mean()) for name, value in values.items()}
    # Fewer steps cost something; the density of the flow is about that of the bound.
    assert mean["elbo30"] < mean["elbo"]
    assert abs(mean["ode"] - mean["elbo"]) < 0.4 * abs(mean["elbo"])


def test_every_number_of_steps_and_scale_runs_through_one_program(trained):
    algorithm, state, _ = trained
    model = diffusion.Diffusion(NETWORK, SCHEDULE, "v", LEVELS, CLASSES)
    function = algorithm.sample.func
    counted = jax.jit(
        chex.assert_max_traces(
            lambda sample, state, key: sample(state, key, 2, jnp.zeros(2, jnp.int32)), 1
        )
    )
    found = []
    for num_steps, eta, scale in ((3, 0.0, 1.0), (5, 0.0, 1.0), (5, 1.0, 1.0), (5, 1.0, 4.0)):
        grid = grids.sampling_grid(model.schedule, num_steps)
        sample = Partial(function, grid=grid, knobs={"eta": eta}, inputs=scale)
        found.append(np.asarray(counted(sample, state, jax.random.key(0))))
    assert len({x.tobytes() for x in found}) > 1


def test_samples_do_not_depend_on_the_number_of_devices(trained):
    algorithm, state, _ = trained
    run = sample_blocks(algorithm, 2)
    devices = jax.local_device_count()
    numbers = np.arange(devices, dtype=np.int32)[:, None]
    label = np.zeros((devices, 1, 2), np.int32)
    x = np.asarray(run(state, jax.random.key(5), 1, numbers, label))
    alone = jax.jit(algorithm.sample, static_argnums=2)
    for block in (0, devices - 1):
        key = jax.random.fold_in(jax.random.key(5), block)
        expected = np.asarray(alone(state, key, 2, label[0, 0]), int)
        # A pixel may round the other way.
        assert np.max(np.abs(expected - x[block, 0])) <= 1
        assert np.mean(expected != x[block, 0]) < 0.05


def test_vectors_have_the_density_of_a_normal_that_is_learned():
    """Of a normal with two deviations far from 1, whose entropy is known."""
    std = np.array([0.05, 20.0])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4096, 2)) * std + 3.0, jnp.float32)
    schedule = schedules.LogSnrLinear(-8.0, 8.0)
    model = diffusion.Diffusion(diffusion.MLP(16, 1), schedule, "v")
    bounds = diffusion.Bounds(16, None, grids.bound_grid(schedule, 24))
    sample = diffusion.sampler(model, samplers.dpm_solver, (2,))
    sample = Partial(sample, grid=grids.sampling_grid(schedule, 20), knobs={})
    algorithm = diffusion.diffusion_algorithm(model, optax.adam(3e-3), sample, bounds=bounds)
    state = jax.jit(algorithm.init)(jax.random.key(0), {"x": x})

    @jax.jit
    def train(state):
        def step(state, t):
            key = jax.random.fold_in(jax.random.key(1), t)
            batch = {"x": x[jax.random.randint(key, (256,), 0, len(x))]}
            return algorithm.step(state, batch, key)

        return jax.lax.scan(step, state, jnp.arange(400))[0]

    state = train(state)
    values = jax.jit(algorithm.evaluate)(state, {"x": x[:1024]}, jax.random.key(2))
    entropy = np.sum(0.5 * np.log(2.0 * np.pi * np.e * std**2))
    assert abs(float(values["ode"].mean()) + entropy) < 0.15
    assert -entropy - 0.5 < float(values["elbo"].mean()) < -entropy + 0.15
    y = np.asarray(jax.jit(algorithm.sample, static_argnums=2)(state, jax.random.key(3), 2000))
    np.testing.assert_allclose(y.std(axis=0) / std, 1.0, atol=0.15)
    np.testing.assert_allclose((y.mean(axis=0) - 3.0) / std, 0.0, atol=0.15)


def test_a_classifier_of_noisy_images_learns_their_class_and_guides_to_it(images, trained):
    model = diffusion.Diffusion(NETWORK, SCHEDULE, "v", LEVELS)
    network = noisy_classifier.NoisyClassifier(CLASSES, (4, 4))
    algorithm = noisy_classifier.classifier_algorithm(model, network, optax.adam(1e-2))
    state = jax.jit(algorithm.init)(jax.random.key(0), images)

    @jax.jit
    def train(state):
        def step(state, t):
            return algorithm.step(state, images, jax.random.fold_in(jax.random.key(1), t))

        return jax.lax.scan(step, state, jnp.arange(60))[0]

    state = train(state)
    values = jax.jit(algorithm.evaluate)(state, images, jax.random.key(3))
    assert float(values["clean_accuracy"].mean()) > 0.95
    assert float(values["accuracy"].mean()) > 0.7
    log_prob = noisy_classifier.class_log_prob(network, state.eval_variables)
    x, log_snr = jnp.zeros((2, *SHAPE)), jnp.zeros(2)
    shares = [jnp.exp(log_prob(x, log_snr, row)) for row in jnp.eye(2)[:, None].repeat(2, 1)]
    np.testing.assert_allclose(shares[0] + shares[1], 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="a classifier has no samples"):
        algorithm.sample(state, jax.random.key(0), 1)


def test_what_does_not_fit_is_refused(images):
    model = diffusion.Diffusion(NETWORK, SCHEDULE, "noise", LEVELS)
    with pytest.raises(ValueError, match=r"label_dropout: 0.1, expected .* 0 for a model without"):
        make(model, label_dropout=0.1)
    conditional = make(model._replace(num_classes=CLASSES))
    with pytest.raises(ValueError, match="label: none, expected a class 0 to 1"):
        jax.eval_shape(conditional.init, jax.random.key(0), {"x": images["x"]})
