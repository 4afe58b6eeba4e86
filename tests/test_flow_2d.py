"""The comparison of flows in the plane: its numbers, that it goes on, and what it refuses."""

import json

import jax
import numpy as np
import pytest

from experiments.flow_2d import __main__ as flow_2d
from experiments.flow_2d.fitting import train
from experiments.flow_2d.settings import Settings

SMALL = {"steps": 4, "steps_per_call": 2, "batch_size": 32, "num_layers": 2, "hidden_sizes": (4,)}


@pytest.mark.slow
def test_a_better_flow_lacks_fewer_nats_and_seeds_differ():
    short = Settings(**SMALL, num_seeds=2, num_test=2000, learning_rate=1e-2)
    result, params = train("spline", "moons", short)
    assert len(result.kl) == 2 and result.kl[0] != result.kl[1]
    assert min(result.kl) > 5.0 * max(result.standard_error) > 0.0
    assert 0.0 < result.compile_seconds < result.train_seconds
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params)} == {2}
    longer = Settings(**SMALL | {"steps": 300, "steps_per_call": 100}, num_test=2000)
    better, _ = train("spline", "moons", longer)
    assert better.kl[0] < 0.7 * result.kl[0]


def test_cells_that_are_done_are_kept(call, tmp_path):
    flags = [
        *("--run-dir", tmp_path / "run", "--densities", "moons", "--steps", 4),
        *("--steps-per-call", 2, "--num-layers", 2, "--hidden-sizes", 4, "--num-test", 500),
    ]
    code, out, err = call(flow_2d, *flags, "--models", "planar", "maf")
    assert code == 0, err
    assert "moons, planar" in out and "moons, maf" in out
    first = json.loads((tmp_path / "run/cells/moons_maf.json").read_text())
    code, out, _ = call(flow_2d, *flags, "--models", "maf", "radial")
    assert code == 0 and "moons, maf" not in out and "moons, radial" in out
    assert json.loads((tmp_path / "run/cells/moons_maf.json").read_text()) == first
    assert np.isfinite(first["kl"]).all()
    assert (tmp_path / "run/samples/moons.png").is_file()
    code, _, err = call(flow_2d, *flags, "--models", "maf", "--seed", 3)
    assert code == 2 and "seed" in err


@pytest.mark.parametrize("steps_per_call", [3, 100])
def test_the_last_dispatch_takes_what_is_left(steps_per_call):
    small = {**SMALL, "num_test": 500}
    expected, _ = train("planar", "moons", Settings(**small))
    found, _ = train("planar", "moons", Settings(**small | {"steps_per_call": steps_per_call}))
    np.testing.assert_allclose(found.kl, expected.kl, rtol=1e-5)
