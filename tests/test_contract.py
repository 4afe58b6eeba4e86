"""What every loss and penalty of every family keeps to, whatever it computes: `CALLS` holds them all."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxgen.distributions import Normal, NormalMixture, bound_log_var, normal_kl_per_dimension
from jaxgen.gan import losses as gan_losses
from jaxgen.gan import penalties
from jaxgen.vae import losses

B, N, D = 3, 5, 2


def encode(parameters, x):
    raw = x @ parameters["encoder"]
    return Normal(raw[:, :D], bound_log_var(raw[:, D:], low=-20.0, high=10.0))


def encode_code(parameters, x):
    return encode(parameters, x).mean


def decode(parameters, z):
    mean = z @ parameters["decoder"]
    return Normal(mean, jnp.zeros_like(mean))


def elbo_terms(key, parameters, x):
    return losses.negative_elbo(key, *model(parameters), x)


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


VAE_CALLS = {
    "reconstruction": lambda key, p, x: losses.reconstruction(*autoencoder(p), x),
    "denoising": lambda key, p, x: losses.denoising(*autoencoder(p), x + 1.0, x),
    "sparse": lambda key, p, x: losses.sparse(*autoencoder(p), x),
    "negative_elbo": elbo_terms,
    "negative_elbo_monte_carlo": lambda key, p, x: losses.negative_elbo_monte_carlo(
        key, *model(p), prior(p), x
    ),
    "beta_weighted": lambda key, p, x: losses.beta_weighted(
        losses.ElboTerms(x[:, 0] ** 2, rates(p, x)[:, 0]), beta=p["beta"]
    ),
    "free_bits": lambda key, p, x: losses.free_bits(rates(p, x), minimum=p["beta"]),
    "free_bits_batch": lambda key, p, x: losses.free_bits_batch(rates(p, x), minimum=p["beta"]),
    "importance_weighted": lambda key, p, x: losses.importance_weighted(
        key, *model(p), prior(p), x, num_samples=2
    ),
    "log_likelihood": lambda key, p, x: losses.log_likelihood(
        key, *model(p), prior(p), x, num_samples=3, chunk_size=2
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
    "dragan": lambda key, p, x: penalties.dragan(
        key, Partial(critic, p), x, target=0.5, noise_scale=0.1
    ),
    "safe_norm": lambda key, p, x: penalties.safe_norm(generate(p, x)),
}

FAMILIES = {"vae": ([losses], VAE_CALLS), "gan": ([gan_losses, penalties], GAN_CALLS)}
"""Family to its modules of losses and its calls."""

CALLS = {
    f"{family}.{name}": call
    for family, (_, calls) in FAMILIES.items()
    for name, call in calls.items()
}
"""Name of a loss to ``(key, parameters, x [B, N]) -> loss``; parameters include its knobs."""

CORRUPTIONS = {"vae.masking_noise", "vae.gaussian_noise"}
BATCH_LOSSES = {"vae.free_bits_batch"}

each_loss = pytest.mark.parametrize("name", CALLS)


@pytest.fixture(scope="module")
def parameters():
    keys = jax.random.split(jax.random.key(0), 3)
    gan_keys = jax.random.split(jax.random.key(3), 4)
    return {
        "encoder": 0.5 * jax.random.normal(keys[0], (N, 2 * D)),
        "decoder": jax.random.normal(keys[1], (D, N)),
        "prior": jax.random.normal(keys[2], (2, D)),
        "beta": jnp.float32(0.5),
        "critic_hidden": jax.random.normal(gan_keys[0], (N, D)),
        "critic_readout": jax.random.normal(gan_keys[1], (D,)),
        "critic_linear": jax.random.normal(gan_keys[2], (N,)),
        "generator": jax.random.normal(gan_keys[3], (N, N)),
    }


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(1), (B, N))


def compiled(name, cache={}):  # noqa: B006
    """The jitted value, and the gradient of its sum by the parameters: one compilation per loss."""
    if name not in cache:

        def total(key, parameters, x):
            value = CALLS[name](key, parameters, x)
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(value)), value

        cache[name] = jax.jit(jax.grad(total, argnums=1, has_aux=True))
    return cache[name]


def value_of(name, key, parameters, x):
    return compiled(name)(key, parameters, x)[1]


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
    assert public == set(CALLS) | CORRUPTIONS


@each_loss
def test_shape_and_type(name, key, parameters, x):
    value = value_of(name, key, parameters, x)
    assert isinstance(value, jax.Array) or hasattr(value, "_fields")
    for leaf in jax.tree.leaves(value):
        chex.assert_shape(leaf, (B,))
        chex.assert_type(leaf, jnp.float32)


@each_loss
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e8, -1e8])
def test_finite_value_and_gradient_at_extremes(name, scale, key, parameters, x):
    gradient, value = compiled(name)(key, parameters, scale * x)
    chex.assert_tree_all_finite((value, gradient))


@each_loss
def test_jit_changes_nothing(name, key, parameters, x):
    with jax.disable_jit():
        plain = CALLS[name](key, parameters, x)
    chex.assert_trees_all_close(
        value_of(name, key, parameters, x), plain, rtol=2e-5, atol=1e-5, strict=True
    )


@each_loss
def test_vmap_and_pmap_agree(name, key, parameters):
    stacked = jax.random.normal(jax.random.key(2), (2, B, N))
    mapped, parallel = (
        transform(CALLS[name], in_axes=(None, None, 0))(key, parameters, stacked)
        for transform in (jax.vmap, jax.pmap)
    )
    plain = [value_of(name, key, parameters, x) for x in stacked]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *plain)
    for value in (mapped, parallel):
        chex.assert_trees_all_close(
            jax.device_get(value), jax.device_get(expected), rtol=2e-5, atol=1e-5
        )


@each_loss
def test_rows_are_independent(name, key, parameters, x):
    if name in BATCH_LOSSES:
        pytest.skip("a loss of the whole batch by definition")
    value = value_of(name, key, parameters, x)
    others = {
        "in another order": x[jnp.array([0, 2, 1])],
        "gone bad": x.at[1:].set(jnp.nan),
        "huge": x.at[1:].mul(1e8),
    }
    for other in others.values():
        changed = value_of(name, key, parameters, other)
        for leaf, expected in zip(jax.tree.leaves(changed), jax.tree.leaves(value), strict=True):
            np.testing.assert_array_equal(leaf[0], expected[0])
    if name not in _STOCHASTIC:
        order = jnp.array([2, 0, 1])
        shuffled = value_of(name, key, parameters, x[order])
        chex.assert_trees_all_close(
            shuffled, jax.tree.map(lambda leaf: leaf[order], value), rtol=1e-6
        )


_STOCHASTIC = {
    "vae.negative_elbo",
    "vae.negative_elbo_monte_carlo",
    "vae.importance_weighted",
    "vae.log_likelihood",
    "gan.gradient_penalty",
    "gan.dragan",
}


def test_a_batch_loss_does_not_depend_on_the_order(key, parameters, x):
    for name in BATCH_LOSSES:
        value = value_of(name, key, parameters, x)
        reverse = value_of(name, key, parameters, x[::-1])
        np.testing.assert_allclose(reverse, value, rtol=1e-6)


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
def test_new_variables_do_not_retrace(name, key, parameters, x, traces):
    """Not even without a jit around the loss: its callables are pytrees."""
    other = jax.random.key(1), *jax.tree.map(lambda leaf: leaf + 1.0, (parameters, x))
    CALLS[name](key, parameters, x)
    traces.clear()
    CALLS[name](*other)
    assert not traces


def test_the_trace_counter_counts(traces):
    jax.jit(lambda x: x + 2.0)(jnp.float32(0.0))
    assert traces
