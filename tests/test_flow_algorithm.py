"""Maximum likelihood of flows: starts with the data, trains, evaluates, samples, and reports."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.flows import (
    Flow,
    chain,
    diagnostics,
    image_bijector,
    likelihood_algorithm,
    make_base,
    make_image_flow,
    vector_bijector,
)
from jaxgen.flows.bijectors import Affine, Coupling, Spline
from jaxgen.flows.conditioners import MLPConditioner

LEVELS, SHAPE, NUM = 17, (4, 4, 1), 32


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    x = rng.integers(3, 9, (NUM, *SHAPE)).astype(np.uint8)
    return {"x": jnp.asarray(x), "label": jnp.asarray(rng.integers(0, 3, NUM), jnp.int32)}


def glow(**kwargs):
    bijector = image_bijector("glow", SHAPE, num_layers=2, num_levels=1, num_features=4)
    return make_image_flow(bijector, SHAPE, levels=LEVELS, **kwargs)


@pytest.fixture(scope="module")
def trained(batch):
    algorithm = likelihood_algorithm(
        glow(), optax.adam(1e-2), ema_decay=0.9, num_classes=3, num_importance_samples=3
    )
    state = jax.jit(algorithm.init)(jax.random.key(0), batch)
    step, history = jax.jit(algorithm.step), []
    for t in range(40):
        state, metrics = step(state, batch, jax.random.fold_in(jax.random.key(1), t))
        history.append(float(metrics["loss"]))
    return algorithm, state, history


def test_the_start_reads_the_whole_first_batch(batch):
    """The first layer's shift is that of the batch, not of an example; shapes alone also serve."""
    algorithm = likelihood_algorithm(glow(), optax.sgd(0.1))
    first = jax.jit(algorithm.init)(jax.random.key(0), batch)
    darker = jax.jit(algorithm.init)(jax.random.key(0), {"x": batch["x"].at[1:].set(0)})
    actnorm = lambda state: state.params["flow"]["bijector"]["bijectors_2"]  # noqa: E731
    shift = lambda state: jax.tree.leaves(actnorm(state))  # noqa: E731
    assert (
        max(np.max(np.abs(a - b)) for a, b in zip(shift(first), shift(darker), strict=True)) > 0.5
    )
    like = {"x": jax.ShapeDtypeStruct((NUM, *SHAPE), jnp.uint8)}
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0), like)
    assert jax.tree.map(jnp.shape, shapes.params) == jax.tree.map(jnp.shape, first.params)


def test_training_falls_and_evaluation_names_what_it_measures(trained, batch):
    algorithm, state, history = trained
    assert history[-1] < history[0] - 2.0
    values = jax.jit(algorithm.evaluate)(state, batch, jax.random.key(2))
    assert set(values) == {
        "dequantized",
        "dequantized_bits_per_dim",
        "iw3",
        "iw3_bits_per_dim",
        "iw3_standard_error",
    }
    assert {v.shape for v in values.values()} == {(NUM,)}
    bits = -values["dequantized"] / (16 * np.log(2.0))
    np.testing.assert_allclose(values["dequantized_bits_per_dim"], bits, rtol=1e-6)
    assert np.mean(values["iw3"]) > np.mean(values["dequantized"])
    assert 2.0 < np.mean(bits) < 3.2  # The data are uniform on 6 levels: log2 6 = 2.58.


def test_samples_are_pixels_and_those_of_temperature_zero_are_alike(trained):
    algorithm, state, _ = trained
    label = jnp.zeros(5, jnp.int32)
    x = jax.jit(algorithm.sample, static_argnums=2)(state, jax.random.key(3), 5, label)
    assert x.shape == (5, *SHAPE) and x.dtype == jnp.uint8 and np.max(x) < LEVELS
    cold = algorithm.sample(state, jax.random.key(3), 5, label, temperature=0.0)
    assert np.all(cold == cold[:1])


def test_labels_are_asked_for_and_refused(trained, batch):
    algorithm, state, _ = trained
    with pytest.raises(ValueError, match="label: none, expected a class 0 to 2"):
        algorithm.sample(state, jax.random.key(0), 2)
    plain = likelihood_algorithm(glow(), optax.sgd(0.1))
    state = jax.eval_shape(plain.init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match="label: given, expected None"):
        plain.sample(state, jax.random.key(0), 2, jnp.zeros(2, jnp.int32))


def test_vectors_have_an_exact_likelihood():
    flow = Flow(vector_bijector("radial", 2, num_layers=2), make_base(2, num_components=2))
    algorithm = likelihood_algorithm(flow, optax.sgd(0.1))
    x = {"x": jnp.asarray(np.random.default_rng(1).normal(size=(8, 2)), jnp.float32)}
    state = algorithm.init(jax.random.key(0), x)
    values = [algorithm.evaluate(state, x, jax.random.key(seed)) for seed in (0, 1)]
    assert set(values[0]) == {"log_likelihood", "log_likelihood_bits_per_dim"}
    np.testing.assert_array_equal(*(v["log_likelihood"] for v in values))
    with pytest.raises(ValueError, match="num_importance_samples: 4, expected 0 for vectors"):
        likelihood_algorithm(flow, optax.sgd(0.1), num_importance_samples=4)


def test_the_inversion_report_finds_the_layer_that_is_ill(trained):
    _, state, _ = trained
    bijector = glow().flow.bijector
    variables = {"params": state.params["flow"]["bijector"]}
    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, *SHAPE)), jnp.float32)
    condition = jnp.eye(3)[jnp.array([0, 1, 2, 0])]
    rows = diagnostics.inversion_report(bijector, variables, x, condition)
    kinds = [row.name.split(".")[-1] for row in rows]
    block = ["ActNorm", "InvertibleConv", "Coupling"]
    assert kinds == ["AsTuple", "Squeeze", *block, *block, "Concatenate", "whole"]
    assert max(row.round_trip for row in rows) < 1e-4
    assert max(row.log_det_error for row in rows) < 1e-3
    ill = jax.tree.map(jnp.copy, variables)
    scales = ill["params"]["bijectors_2"]["bijector"]["block"]["bijectors_0"]["log_scale"]
    scales = scales.at[1, 0].set(-30.0)
    ill["params"]["bijectors_2"]["bijector"]["block"]["bijectors_0"]["log_scale"] = scales
    rows = diagnostics.inversion_report(bijector, ill, x, condition)
    assert rows[5].condition > 1e9  # The second ActNorm.


def test_a_flow_with_a_wrong_inverse_is_caught():
    """The report can fail: a layer whose way back is another one."""

    class Wrong(type(glow().flow.bijector.bijectors[1])):
        def decode(self, z, condition=None):
            x, log_det = super().decode(z, condition)
            return jax.tree.map(lambda a: a + 0.1, x), log_det + 1.0

    wrong = Wrong(glow().flow.bijector.bijectors[1].bijector)
    row = diagnostics.inversion_report(wrong, {"params": {}}, (jnp.zeros((2, 2, 2, 1)),))[-1]
    assert row.round_trip == pytest.approx(0.1) and row.log_det_sum == pytest.approx(1.0)


def test_the_report_tells_what_leaves_a_splines_box():
    coupling = Coupling(Spline(limit=2.0), MLPConditioner((4,)))
    bijector = chain(Coupling(Affine(), MLPConditioner((4,))), coupling)
    x = jnp.array([[0.5, 3.0], [-2.5, 1.0], [1.9, -1.9], [0.0, 0.0]])
    variables = bijector.init(jax.random.key(0), x, method="encode")
    affine, spline, whole = diagnostics.inversion_report(bijector, variables, x)
    assert np.isnan(affine.outside) and spline.outside == whole.outside == 0.25
