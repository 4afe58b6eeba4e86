"""The comparison of architectures: its cells are GAN runs, one that diverges is a result, and it goes on."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from experiments import evaluate
from experiments.gan.build import build_game
from experiments.gan_architectures import __main__ as gan_architectures
from experiments.gan_architectures import cells
from experiments.gan_architectures.cells import Architecture, Loss, Settings, cell_settings
from experiments.settings import DataInfo
from jaxgen.data import load
from jaxgen.training.loop import NonFiniteError

TINY = ("--steps", 2, "--batch-size", 8, "--width", 2)
CELLS = (
    "--architectures",
    "dcgan",
    "mlp_generator",
    "--losses",
    "least_squares",
    "wasserstein_penalty",
)


@pytest.mark.slow
def test_cells_are_trained_measured_drawn_and_found_again(call, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    train = cells.course.try_to_train

    def diverge_once(cell, run):
        if run.path.name == "mlp_generator-least_squares":
            raise NonFiniteError("critic_loss is nan")
        return train(cell, run)

    monkeypatch.setattr(cells.course, "try_to_train", diverge_once)
    code, out, errors = call(gan_architectures, "--run-dir", run_dir, *TINY, *CELLS)
    assert code == 0, errors
    assert "4 of 4: mlp_generator, wasserstein_penalty" in errors
    assert out.count("diverged") == 1
    assert (
        run_dir / "mlp_generator-least_squares/diverged.txt"
    ).read_text() == "critic_loss is nan\n"
    rows = json.loads((run_dir / "results.json").read_text())
    assert [row["coverage"] is None for row in rows] == [False, False, True, False]
    with PIL.Image.open(run_dir / "robustness.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[0] > 300 and pixels.std() > 20
    measured = json.loads((run_dir / "dcgan-least_squares/sample_metrics.json").read_text())
    assert f"({measured['metrics']['samples']['Frechet distance of features']:.1f})" in out
    # A cell is a run of `experiments.gan`, and a second start trains nothing.
    code, printed, errors = call(evaluate, run_dir / "dcgan-wasserstein_penalty")
    assert code == 0 and "critic_loss" in printed, errors
    # What diverged is not tried again, though now it would go well.
    monkeypatch.setattr(cells.course, "try_to_train", train)
    files = {path: path.stat().st_mtime_ns for path in run_dir.rglob("checkpoints/**/*")}
    code, again, _ = call(gan_architectures, "--run-dir", run_dir, *TINY, *CELLS)
    assert code == 0 and again.splitlines()[-12:] == out.splitlines()[-12:]
    assert files == {path: path.stat().st_mtime_ns for path in run_dir.rglob("checkpoints/**/*")}


@pytest.mark.parametrize("loss", Loss.__args__)
@pytest.mark.parametrize("architecture", Architecture.__args__)
def test_every_cell_is_a_game_that_can_be_played(architecture, loss):
    settings = cell_settings(Settings(width=2), architecture, loss)
    info = DataInfo.of(load("digits"))
    game = build_game(settings, info)
    has_penalty = loss == "wasserstein_penalty"
    assert (game.rules.penalty is not None) == has_penalty
    assert (game.rules.weight_clip is not None) == (loss == "wasserstein_clipping")
    assert game.critic.norm == (
        "none" if architecture == "no_norm" else "layer" if has_penalty else "batch"
    )
    expected = {"mlp_generator": "MLP", "deep_residual": "ResNet"}.get(architecture, "DCGAN")
    assert type(game.generator).__name__ == f"{expected}Generator"
    assert settings.plan.batch_size == 64
    assert settings.model.num_critic_steps == (5 if loss.startswith("wasserstein") else 1)
    tanh = architecture == "tanh"
    for player in (game.generator, game.critic):
        assert (getattr(player, "activation", None) is jnp.tanh) == tanh
        assert getattr(player, "num_plain_blocks", 3) == 3
    if architecture == "mlp_generator":
        assert game.generator.hidden_sizes == (512,) * 4
        assert type(game.critic).__name__ == "DCGANCritic"
    if has_penalty:
        assert game.rules.penalty_weight == 10.0
    x = jax.eval_shape(
        lambda key: game.generator.init_with_output(key, np.zeros((2, 64)), train=False)[0],
        jax.random.key(0),
    )
    assert x.shape == (2, 8, 8, 1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps: 0"),
        ({"width": 0}, "width: 0"),
        ({"losses": ()}, "losses: none, expected one or more"),
        ({"architectures": ("tanh", "tanh")}, "architectures: tanh, tanh"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Settings(**setting)


def test_bad_settings_of_a_cell_are_refused_before_any_is_trained(call, tmp_path):
    code, _, errors = call(gan_architectures, "--run-dir", tmp_path / "run", "--beta1", "2")
    assert code == 2 and "beta1: 2.0" in errors
    assert not (tmp_path / "run").exists()
