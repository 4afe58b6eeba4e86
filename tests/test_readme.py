"""The README's program blocks run as they stand, and its table of losses is that of the docstrings."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from experiments.loss_table import write_table
from jaxgen.data import load
from jaxgen.diffusion.grids import sampling_grid
from jaxgen.diffusion.schedules import Cosine
from jaxgen.distributions import Bernoulli, Normal
from jaxgen.training.evaluation import evaluate, summarize

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def block_with(text):
    (block,) = [block for block in BLOCKS if text in block]
    return block


def test_table_of_losses_is_that_of_the_docstrings():
    assert write_table(README) == README


def test_three_lines_use_a_loss(key):
    weights = jax.random.normal(key, (4, 2))
    names = {
        "key": key,
        "encode": lambda x: Normal(x @ weights, x @ weights),
        "decode": lambda z: Bernoulli(z @ weights.T),
        "latent_dim": 2,
        "x": np.eye(4, dtype=np.float32)[:3],
    }
    exec(block_with("terms = vae.losses"), names)
    assert names["terms"].rate.shape == (3,)
    assert np.isfinite(names["loss"])


def test_three_lines_train_a_critic(key):
    """A linear critic of norm 3 pays 10 (3 - 1)^2 and has the loss 3 times the shift along its weights."""
    weights = jax.numpy.array([3.0, 0.0])
    real, fake = jax.random.normal(key, (2, 5, 2))
    names = {"key": key, "real": real, "fake": fake, "critic": lambda x: x @ weights}
    exec(block_with("gradient_penalty(key"), names)
    expected = 3.0 * np.mean(np.asarray(fake - real)[:, 0]) + 40.0
    np.testing.assert_allclose(names["total"], expected, rtol=1e-5)


def test_an_algorithm_needs_no_loop(key):
    batch = {"x": np.zeros((2, 28, 28, 1), np.uint8)}
    names = {"key": key, "batch": batch}
    exec(block_with("vae.conv_vae("), names)
    assert names["state"].step == 1
    assert np.isfinite(names["metrics"]["loss"])


def test_a_flow_is_a_bijector_and_a_base(key):
    points = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)), jnp.float32)
    names = {"key": key, "points": points}
    exec(block_with("flows.chain("), names)
    assert names["loss"].shape == (20,)
    assert names["density"].sample(key, 4).shape == (4, 3)


def test_own_method_reaches_the_entropy_of_each_pixel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block_with("def pixelwise_algorithm"), names)
    exec(block_with("fit(algorithm"), names)
    digits = load("digits")
    metrics = evaluate(
        names["algorithm"], names["result"].state, digits.train, jax.random.key(0), block_size=175
    )
    reached = summarize(metrics)["log_likelihood"].mean
    counts = np.stack([(digits.train.arrays["x"] == level).mean(axis=0) for level in range(17)])
    entropy = -np.sum(np.where(counts > 0, counts * np.log(np.maximum(counts, 1e-12)), 0.0))
    assert -entropy - 0.5 < reached <= -entropy + 1e-3


def test_a_diffusion_model_is_a_loss_and_a_sampler(key):
    names = {"key": key, "x": np.ones((3, 2), np.float32), "noise": np.ones((3, 2), np.float32)}
    names["predict"] = lambda x_t, log_snr, condition: 0.5 * x_t
    exec(block_with("diffusion.losses.noise_prediction"), names)
    assert names["loss"].shape == (3,) and names["samples"].shape == (3, 2)
    assert np.all(np.isfinite(names["samples"]))


def test_a_mixture_is_a_start_and_steps(key):
    points = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)), jnp.float32)
    observed = jnp.array([True, False, True])
    names = {"key": key, "points": points, "observed": observed}
    names |= {"x_t": points, "log_snr": 0.0}
    exec(block_with("mixture.em_step"), names)
    assert names["completed"].shape == names["denoised"].shape == (20, 3)
    np.testing.assert_array_equal(names["completed"][:, 0], points[:, 0])
    assert np.all(np.isfinite(names["density"].log_prob(points)))


def test_an_autoregressive_model_is_a_network_a_head_and_an_order(key):
    images = np.random.default_rng(0).integers(0, 17, (3, 4, 4, 1)).astype(np.uint8)
    names = {"key": key, "images": images, "jax": jax}
    exec(block_with("samplers.cached"), names)
    np.testing.assert_allclose(names["nats"], 16 * np.log(17), rtol=1e-5)
    assert names["written"].shape == (2, 4, 4, 1)


def test_images_are_restored_by_any_prior(key):
    names = {
        "key": key,
        "x": jnp.ones((3, 8, 8, 1)),
        "denoise": lambda x, log_snr, condition: 0.5 * x,
        "grid": sampling_grid(Cosine(), num_steps=3),
    }
    exec(block_with("inverse.solve("), names)
    assert names["draws"].shape == (2, 3, 8, 8, 1)
