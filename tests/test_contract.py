"""What every loss and penalty of every family keeps to: `CALLS` holds them all.

The losses are compiled together: one program of all values and gradients serves all tests.
"""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxgen.diffusion import likelihood, variational
from jaxgen.diffusion import losses as diffusion_losses
from jaxgen.diffusion.grids import bound_grid
from jaxgen.diffusion.schedules import LogSnrLinear
from jaxgen.distributions import Normal, NormalMixture, bound_log_var, normal_kl_per_dimension
from jaxgen.flows import losses as flow_losses
from jaxgen.gan import losses as gan_losses
from jaxgen.gan import penalties
from jaxgen.vae import losses, semi_supervised

B, N, D = 3, 5, 2


def encode(parameters, x):
    raw = x @ parameters["encoder"]
    return Normal(raw[:, :D], bound_log_var(raw[:, D:], low=-20.0, high=10.0))


def encode_code(parameters, x):
    return encode(parameters, x).mean


def decode(parameters, z):
    mean = z @ parameters["decoder"]
    return Normal(mean, jnp.zeros_like(mean))


def model(parameters):
    return Partial(encode, parameters), Partial(decode, parameters)


def autoencoder(parameters):
    return Partial(encode_code, parameters), Partial(decode, parameters)


def prior(parameters):
    return NormalMixture(jnp.zeros(2), parameters["prior"], jnp.zeros((2, D)))


def rates(parameters, x):
    return normal_kl_per_dimension(encode(parameters, x))


def critic(parameters, x):
    """A linear part, for extreme logits, and one that bends."""
    hidden = jnp.tanh(x @ parameters["critic_hidden"])
    return x @ parameters["critic_linear"] + hidden @ parameters["critic_readout"]


def generate(parameters, x):
    return x @ parameters["generator"]


def adversaries(parameters, x):
    """Logits of the reals x and of fakes, row by row."""
    return critic(parameters, x), critic(parameters, generate(parameters, x))


def of_both(loss, **settings):
    return lambda key, p, x: loss(*adversaries(p, x), **settings)


def of_fakes(loss):
    return lambda key, p, x: loss(adversaries(p, x)[1])


def encode_class(parameters, x, y):
    q = encode(parameters, x)
    return Normal(q.mean + y, q.log_var)


def decode_class(parameters, z, y):
    return decode(parameters, z + y)


def classify(parameters, x):
    return x @ parameters["critic_hidden"]


def class_model(parameters):
    return tuple(Partial(part, parameters) for part in (encode_class, decode_class, classify))


def unknown_where_negative(x):
    return jnp.where(x[:, 0] > 0.0, 1, -1)


VAE_CALLS = {
    "reconstruction": lambda key, p, x: losses.reconstruction(*autoencoder(p), x),
    "denoising": lambda key, p, x: losses.denoising(*autoencoder(p), x + 1.0, x),
    "sparse": lambda key, p, x: losses.sparse(*autoencoder(p), x),
    "negative_elbo": lambda key, p, x: losses.negative_elbo(key, *model(p), prior(p), x),
    "beta_weighted": lambda key, p, x: losses.beta_weighted(
        losses.ElboTerms(x[:, 0] ** 2, rates(p, x)[:, 0]), beta=p["beta"]
    ),
    "free_bits": lambda key, p, x: losses.free_bits(rates(p, x), minimum=p["beta"]),
    "free_bits_batch": lambda key, p, x: losses.free_bits_batch(rates(p, x), minimum=p["beta"]),
    "importance_weighted": lambda key, p, x: losses.importance_weighted(
        key, *model(p), prior(p), x, num_samples=2
    ),
    "log_likelihood": lambda key, p, x: losses.log_likelihood(
        key, *model(p), prior(p), x, num_samples=2, chunk_size=1
    ),
    "labelled": lambda key, p, x: semi_supervised.labelled(
        key, *class_model(p), x, label=jnp.abs(unknown_where_negative(x)), prior=prior(p)
    ),
    "unlabelled": lambda key, p, x: semi_supervised.unlabelled(
        key, *class_model(p), x, prior=prior(p)
    ),
    "partly_labelled": lambda key, p, x: semi_supervised.partly_labelled(
        key, *class_model(p), x, label=unknown_where_negative(x), prior=prior(p)
    ),
    "classification_weighted": lambda key, p, x: semi_supervised.classification_weighted(
        semi_supervised.SemiSupervisedTerms(*rates(p, x).T, *rates(p, x).T), weight=p["beta"]
    ),
}

GAN_CALLS = {
    "minimax_critic": of_both(gan_losses.minimax_critic, positive_target=0.9),
    "minimax_generator": of_fakes(gan_losses.minimax_generator),
    "nonsaturating_generator": of_fakes(gan_losses.nonsaturating_generator),
    "least_squares_critic": of_both(gan_losses.least_squares_critic),
    "least_squares_generator": of_fakes(gan_losses.least_squares_generator),
    "wasserstein_critic": of_both(gan_losses.wasserstein_critic),
    "wasserstein_generator": of_fakes(gan_losses.wasserstein_generator),
    "hinge_critic": of_both(gan_losses.hinge_critic),
    "relativistic_critic": of_both(gan_losses.relativistic_critic),
    "relativistic_generator": of_both(gan_losses.relativistic_generator),
    "gradient_penalty": lambda key, p, x: penalties.gradient_penalty(
        key, Partial(critic, p), x, generate(p, x), target=0.5
    ),
    "zero_centered": lambda key, p, x: penalties.zero_centered(Partial(critic, p), x),
    "noisy_gradient_penalty": lambda key, p, x: penalties.noisy_gradient_penalty(
        key, Partial(critic, p), x, target=0.5, noise_scale=0.1
    ),
    "safe_norm": lambda key, p, x: penalties.safe_norm(generate(p, x)),
}


def flow_log_prob(parameters, x):
    """A normal with a linear part for its precision."""
    z = x @ parameters["generator"]
    return -0.5 * jnp.sum(z * z, axis=1)


def flow_draw(parameters, key, num):
    z = Normal(jnp.zeros((num, N)), jnp.zeros((num, N))).sample(key)
    return z @ parameters["generator"], -0.5 * jnp.sum(z * z, axis=1)


def flow_noise(keys, x):
    noise = Normal(x, jnp.zeros_like(x))
    y = noise.sample(keys)
    return y, noise.log_prob(y)


FLOW_CALLS = {
    "negative_log_likelihood": lambda key, p, x: flow_losses.negative_log_likelihood(
        Partial(flow_log_prob, p), x
    ),
    "reverse_kl": lambda key, p, x: flow_losses.reverse_kl(
        key, Partial(flow_draw, p), Partial(flow_log_prob, p), num=B
    ),
    "dequantized": lambda key, p, x: flow_losses.dequantized(
        key, flow_noise, Partial(flow_log_prob, p), x
    ),
    "log_likelihood": lambda key, p, x: flow_losses.log_likelihood(
        key, flow_noise, Partial(flow_log_prob, p), x, num_samples=2
    ),
}

SCHEDULE = LogSnrLinear(-4.0, 4.0)
GRID = bound_grid(SCHEDULE, 2)


def denoise(parameters, x_t, log_snr, condition):
    return jnp.tanh(log_snr)[:, None] * (x_t @ parameters["generator"])


def denoise_and_fraction(parameters, x_t, log_snr, condition):
    estimate = denoise(parameters, x_t, log_snr, condition)
    return estimate, jnp.tanh(estimate)


def estimate_beside(parameters, x, x_t, log_snr, condition):
    """Far from pixels where x is."""
    return denoise(parameters, x_t, log_snr, condition) + generate(parameters, x)


DIFFUSION_CALLS = {
    "noise_prediction": lambda key, p, x: diffusion_losses.noise_prediction(
        key, Partial(denoise, p), x, SCHEDULE
    ),
    "x0_prediction": lambda key, p, x: diffusion_losses.x0_prediction(
        key, Partial(denoise, p), x, SCHEDULE, weighting="min_snr"
    ),
    "v_prediction": lambda key, p, x: diffusion_losses.v_prediction(
        key, Partial(denoise, p), x, SCHEDULE, weighting="bound"
    ),
    "velocity_prediction": lambda key, p, x: diffusion_losses.velocity_prediction(
        key, Partial(denoise, p), x, SCHEDULE, weighting="snr"
    ),
    "hybrid": lambda key, p, x: diffusion_losses.hybrid(
        key, Partial(denoise_and_fraction, p), x, GRID
    ),
    "denoising_error": lambda key, p, x: variational.denoising_error(
        key, Partial(denoise, p), x, jnp.full(B, p["beta"])
    ),
    "prior_term": lambda key, p, x: variational.prior_term(x, -p["beta"]),
    "discrete_terms": lambda key, p, x: jnp.sum(
        variational.discrete_terms(key, Partial(denoise, p), x, GRID), axis=1
    ),
    "continuous_term": lambda key, p, x: variational.continuous_term(
        key, Partial(denoise, p), x, SCHEDULE, num_samples=2
    ),
    "gaussian_reconstruction": lambda key, p, x: variational.gaussian_reconstruction(
        key, Partial(denoise, p), x, p["beta"]
    ),
    "discretized_reconstruction": lambda key, p, x: variational.discretized_reconstruction(
        key, Partial(estimate_beside, p, x), (x > 0.0).astype(jnp.int32), p["beta"], levels=3
    ),
    "ode_log_prob": lambda key, p, x: likelihood.ode_log_prob(
        Partial(denoise, p), x, GRID, trace=likelihood.hutchinson_trace(key, x)
    ),
}

FAMILIES = {
    "diffusion": ([diffusion_losses, likelihood, variational], DIFFUSION_CALLS),
    "flows": ([flow_losses], FLOW_CALLS),
    "vae": ([losses, semi_supervised], VAE_CALLS),
    "gan": ([gan_losses, penalties], GAN_CALLS),
}
"""Family to its modules of losses and its calls."""

CALLS = {
    f"{family}.{name}": call
    for family, (_, calls) in FAMILIES.items()
    for name, call in calls.items()
}
"""Name of a loss to ``(key, parameters, x [B, N]) -> loss``; parameters include its knobs."""

CORRUPTIONS = {"vae.masking_noise", "vae.gaussian_noise"}
TRACES = {"diffusion.exact_trace", "diffusion.hutchinson_trace"}
BATCH_LOSSES = {"vae.free_bits_batch"}

each_loss = pytest.mark.parametrize("name", CALLS)


@pytest.fixture(scope="module")
def parameters():
    rng = np.random.default_rng(0)
    shapes = {
        "encoder": (N, 2 * D),
        "decoder": (D, N),
        "prior": (2, D),
        "critic_hidden": (N, D),
        "critic_readout": (D,),
        "critic_linear": (N,),
        "generator": (N, N),
    }
    normal = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**normal, "encoder": 0.5 * normal["encoder"], "beta": np.float32(0.5)}


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).normal(size=(B, N)).astype(np.float32)


@pytest.fixture(scope="module")
def keys():
    """Those of the examples, into which the key of seed 0 is split."""
    return jax.random.split(jax.random.key(0), B)


@jax.jit
def gradients_and_values(keys, parameters, x):
    """Of every loss: the gradient of its sum by the parameters, and its value."""

    def total(parameters, name):
        value = CALLS[name](keys, parameters, x)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(value)), value

    return {name: jax.grad(total, has_aux=True)(parameters, name) for name in CALLS}


@pytest.fixture(scope="module")
def values(keys, parameters, x):
    return {name: value for name, (_, value) in gradients_and_values(keys, parameters, x).items()}


def values_of(keys, parameters, x):
    return {name: call(keys, parameters, x) for name, call in CALLS.items()}


def test_every_public_loss_joins():
    public = {
        f"{family}.{name}"
        for family, (modules, _) in FAMILIES.items()
        for module in modules
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }
    assert public == set(CALLS) | CORRUPTIONS | TRACES


@each_loss
def test_shape_and_type(name, values):
    value = values[name]
    assert isinstance(value, jax.Array) or hasattr(value, "_fields")
    for leaf in jax.tree.leaves(value):
        chex.assert_shape(leaf, (B,))
        chex.assert_type(leaf, jnp.float32)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e8, -1e8])
def test_finite_value_and_gradient_at_extremes(scale, keys, parameters, x):
    found = gradients_and_values(keys, parameters, np.float32(scale) * x)
    for name, gradient_and_value in found.items():
        leaves = jax.tree.leaves(gradient_and_value)
        assert all(np.all(np.isfinite(leaf)) for leaf in leaves), name


@pytest.mark.parametrize("transform", [jax.vmap, jax.pmap])
def test_vmap_and_pmap_agree(transform, keys, parameters, x):
    stacked = np.stack([x, x[::-1] + 1.0])
    found = jax.jit(transform(values_of, in_axes=(None, None, 0)))(keys, parameters, stacked)
    for i, one in enumerate(stacked):
        for name, (_, value) in gradients_and_values(keys, parameters, one).items():
            mapped = jax.tree.map(lambda leaf, i=i: leaf[i], found[name])
            chex.assert_trees_all_close(
                jax.device_get(mapped), jax.device_get(value), rtol=2e-5, atol=1e-5
            )


OTHERS = {
    "in another order": lambda x: x[[0, 2, 1]],
    "gone bad": lambda x: np.concatenate([x[:1], np.full_like(x[1:], np.nan)]),
    "huge": lambda x: np.concatenate([x[:1], 1e8 * x[1:]]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_an_example_does_not_depend_on_the_others(other, keys, parameters, x, values):
    changed = gradients_and_values(keys, parameters, OTHERS[other](x))
    for name in set(CALLS) - BATCH_LOSSES:
        for leaf, expected in zip(
            *map(jax.tree.leaves, (changed[name][1], values[name])), strict=True
        ):
            np.testing.assert_array_equal(leaf[0], expected[0], err_msg=name)


def test_examples_and_keys_in_another_order_give_the_values_in_that_order(
    keys, parameters, x, values
):
    order = np.array([2, 0, 1])
    shuffled = gradients_and_values(keys[order], parameters, x[order])
    for name, value in values.items():
        expected = jax.tree.map(lambda leaf: np.asarray(leaf)[order], value)
        chex.assert_trees_all_close(jax.device_get(shuffled[name][1]), expected, rtol=1e-6)


@pytest.fixture
def traces():
    """Counts the functions that JAX traces."""
    events = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/jaxpr_trace_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@each_loss
def test_new_variables_do_not_retrace(name, parameters, x, values, traces):
    """Not even without a jit around the loss: its callables are pytrees.

    Outside of the program, by one key, a loss has the value that it has inside by the keys of the
    examples.
    """
    alone = CALLS[name](jax.random.key(0), parameters, x)
    other = jax.random.key(1), *jax.tree.map(lambda leaf: leaf + np.float32(1.0), (parameters, x))
    traces.clear()
    CALLS[name](*other)
    assert not traces
    chex.assert_trees_all_close(
        jax.device_get(alone), jax.device_get(values[name]), rtol=2e-5, atol=1e-5
    )


def test_the_trace_counter_counts(traces):
    jax.jit(lambda x: x + 2.0)(jnp.float32(0.0))
    assert traces
