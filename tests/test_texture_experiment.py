"""A texture from the command line: what it prints, writes and draws, and what it refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from experiments import evaluate, sample
from experiments.compare import __main__ as compare_main
from experiments.texture import __main__
from jaxgen import data
from jaxgen.classical import texture


def save(path, x):
    """Writes an image `[H, W]` or `[H, W, 3]` and returns its path."""
    PIL.Image.fromarray(np.asarray(x, np.uint8)).save(path)
    return path


@pytest.fixture
def image(tmp_path):
    """A colour image of odd sizes."""
    x = np.random.default_rng(0).normal(size=(17, 20, 3))
    x = 120 + 30 * (x + np.roll(x, 1, axis=1) + 0.5 * np.roll(x, 1, axis=2))
    return save(tmp_path / "exemplar.png", np.clip(x, 0, 255))


def read(path):
    return json.loads(path.read_text())


def digest(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["params_sha256"]


def samples_of(call, run, out, *options):
    code, _, errors = call(sample, run, "--num", 3, "--out", out, *options)
    assert code == 0, errors
    with np.load(out) as arrays:
        return arrays["x"]


def test_a_run_is_measured_drawn_sampled_compared_and_goes_on(call, tmp_path, image):
    run, other, out = tmp_path / "run", tmp_path / "other", tmp_path / "x.npz"
    code, printed, errors = call(__main__, image, "--run-dir", run)
    assert code == 0, errors
    assert f"image:{image}: 1 train and 1 test images 17x20x3, 256 levels" in printed
    assert "drawn as random phase noise, 17x20" in printed
    assert "left out: Frechet distance of features: 1 examples" in printed
    assert "What 8 textures keep of the exemplar" in printed
    report, evaluation = read(run / "texture.json"), read(run / "evaluation.json")["metrics"]
    assert report["rpn"]["autocovariance_error"] < 1e-5 < report["adsn"]["autocovariance_error"]
    np.testing.assert_allclose(report["rpn"]["variance_ratio"], 1.0, rtol=1e-5)
    assert max(report[name]["mean_error"] for name in ("rpn", "adsn")) < 1e-3
    assert 0 <= report["rpn"]["clipped_fraction"] < 0.1 and report["structure_gap"] < 2.0
    assert set(evaluation) == {"structure_gap", "dequantized", "dequantized_bits_per_dim"}
    assert 4.0 < evaluation["dequantized_bits_per_dim"]["mean"] < 8.0
    assert {path.name for path in (run / "samples").iterdir()} == {
        *("samples.png", "synthesis.png", "larger_canvas.png")
    }

    before = digest(run), (run / "samples/samples.png").read_bytes()
    code, printed, errors = call(__main__, image, "--run-dir", run)
    assert code == 0 and "resumed at step 1" in printed, errors
    assert (digest(run), (run / "samples/samples.png").read_bytes()) == before

    plain = samples_of(call, run, out)
    assert plain.shape == (3, 17, 20, 3) and plain.dtype == np.uint8
    small = samples_of(call, run, out, "--method", "adsn", "--size", 9, 31)
    assert small.shape == (3, 9, 31, 3)
    tiles = samples_of(call, run, out, "--periodic")
    assert np.any(tiles != plain)
    code, _, errors = call(sample, run, "--periodic", "--size", 16, 40)
    assert code == 2 and "size: 16x40, expected at least 17x20, the size of the exemplar" in errors

    code, printed, errors = call(evaluate, run)
    assert code == 0 and "structure that is lost" in printed, errors
    moved = image.rename(tmp_path / "moved.png")
    code, _, errors = call(evaluate, run)
    assert code == 2 and f"the image {image} does not exist" in errors
    code, _, errors = call(evaluate, run, "--dataset", f"image:{moved}")
    assert code == 0, errors

    line = (moved, "--run-dir", other, "--size", 12, 40, "--method", "adsn")
    code, _, errors = call(__main__, *line)
    assert code == 0, errors
    code, printed, errors = call(compare_main, run, other, "--out", tmp_path / "compared")
    assert code == 2 and "feature_net" in errors  # The samples of one are smaller than the data.
    assert call(__main__, moved, "--run-dir", other, "--method", "adsn")[0] == 0
    code, printed, errors = call(compare_main, run, other, "--out", tmp_path / "compared")
    assert code == 0, errors


def test_periodic_samples_keep_the_variance_of_the_periodic_part(call, tmp_path):
    x = 128 + 15 * np.random.default_rng(0).normal(size=(16, 12))
    image, run = save(tmp_path / "a.png", np.clip(x, 0, 255)), tmp_path / "run"
    assert call(__main__, image, "--run-dir", run, "--periodic")[0] == 0
    found = samples_of(call, run, tmp_path / "x.npz").astype(float)
    u = np.asarray(PIL.Image.open(image), float)
    periodic = np.asarray(texture.periodic_plus_smooth(jnp.asarray(u)[..., None]).periodic)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), u.mean(), atol=0.5)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), periodic.std(), atol=0.5)


def test_a_hole_is_completed_and_another_texture_mixed_in(call, tmp_path, image):
    known = np.full((17, 20), 255)
    known[5:9, 6:12] = 0
    mask, run = save(tmp_path / "mask.png", known), tmp_path / "run"
    grey = np.random.default_rng(1).integers(0, 256, (30, 30))
    other = save(tmp_path / "other.png", grey)
    line = (image, "--run-dir", run, "--mask", mask, "--mix", other)
    code, printed, errors = call(__main__, *line)
    assert code == 0, errors
    assert "Wasserstein distance to the other model" in printed
    report = read(run / "texture.json")
    assert max(report["kriging_residuals"].values()) < 0.01
    assert report["wasserstein_per_number"] > 1.0
    assert set(read(run / "evaluation.json")["metrics"]) == {"structure_gap"}
    pictures = {path.stem for path in (run / "samples").iterdir()}
    assert {"completion", "mixtures", "synthesis", "larger_canvas"} <= pictures
    u = np.asarray(PIL.Image.open(image), np.float32)
    with np.load(run / "completion.npz") as fields:
        for name in ("mean", "completion"):
            np.testing.assert_array_equal(fields[name][known > 0], u[known > 0])
            assert np.any(fields[name][known == 0] != u[known == 0])

    # What is hidden has no say: neither in the model nor in the completion.
    u[known == 0] = 255
    hidden = tmp_path / "hidden"
    assert call(__main__, save(tmp_path / "b.png", u), "--run-dir", hidden, "--mask", mask)[0] == 0
    assert digest(hidden) == digest(run)

    known[0, 0] = 0
    save(mask, known)
    code, _, errors = call(__main__, *line)
    assert code == 2 and "model.mask_digest" in errors
    mask.unlink()
    other.unlink()
    code, printed, errors = call(evaluate, run)
    assert code == 0 and "left out: the mixture, since cannot read the image" in printed, errors
    assert call(sample, run, "--num", 2, "--out", tmp_path / "x.png")[0] == 0


def test_what_does_not_fit_is_refused(call, tmp_path, image):
    run = tmp_path / "run"
    (tmp_path / "text.png").write_text("no image")
    masks = {
        "mask: size 20x17, expected that of the exemplar, 17x20": np.full((20, 17), 255),
        "mask: all black, which hides everything": np.zeros((17, 20)),
        "mask: all white, which hides nothing": np.full((17, 20), 255),
    }
    lines = {
        f"the image {tmp_path}/none.png does not exist": (tmp_path / "none.png",),
        f"the image {tmp_path} is not a file": (tmp_path,),
        "no image, or of an unknown format\n": (tmp_path / "text.png",),
        "size: 5x50, expected at least 17x20": (image, "--periodic", "--size", 5, 50),
        "cannot read the image nowhere.png": (image, "--mix", "nowhere.png"),
        "text.png: no image": (image, "--mix", tmp_path / "text.png"),
    }
    for number, (message, x) in enumerate(masks.items()):
        lines[message] = (image, "--mask", save(tmp_path / f"mask{number}.png", x))
    for message, line in lines.items():
        code, _, errors = call(__main__, *line, "--run-dir", run)
        assert code == 2 and message in errors, errors
        assert not run.exists()


def test_another_image_in_the_same_directory_is_refused(call, tmp_path, image):
    run = tmp_path / "run"
    assert call(__main__, image, "--run-dir", run)[0] == 0
    x = np.asarray(PIL.Image.open(image)).copy()
    x[0, 0] ^= 1
    save(image, x)
    code, _, errors = call(__main__, image, "--run-dir", run)
    assert code == 2 and "data.digest: " in errors
    code, _, errors = call(evaluate, run)
    assert code == 2 and "expected the data that the run was trained on" in errors


@pytest.mark.parametrize("shape", [(1, 1), (2, 5, 3)])
def test_tiny_and_flat_images_run(call, tmp_path, shape):
    image = save(tmp_path / "a.png", np.full(shape, 77))
    run = tmp_path / "run"
    code, _, errors = call(__main__, image, "--run-dir", run)
    assert code == 0, errors
    x = samples_of(call, run, tmp_path / "x.npz", "--size", 7, 11)
    assert x.shape[1:3] == (7, 11) and np.all(x == 77)
    assert all(
        value["mean"] < np.inf for value in read(run / "evaluation.json")["metrics"].values()
    )


def test_an_algorithm_has_one_exemplar():
    sampler = texture.sampler(texture.spot_noise, levels=256)
    algorithm = texture.texture_algorithm(sampler, levels=256)
    batch = {"x": jnp.zeros((2, 4, 5, 1), jnp.uint8)}
    with pytest.raises(ValueError, match=r"shape \(2, 4, 5, 1\), expected \[1, H, W, C\]"):
        algorithm.init(jax.random.key(0), batch)
    state = algorithm.init(jax.random.key(0), {"x": batch["x"][:1]})
    with pytest.raises(ValueError, match="label: given, expected None"):
        algorithm.sample(state, jax.random.key(0), 1, jnp.zeros(1, jnp.int32))
    with pytest.raises(ValueError, match="size: 3x9, expected at least 4x5"):
        texture.sampler(texture.spot_noise, levels=256, canvas=(3, 9))(state, jax.random.key(0), 1)
    with pytest.raises(ValueError, match="hides everything"):
        texture.texture_algorithm(sampler, levels=256, known=np.zeros((4, 5), bool))


def test_pixels_are_clipped_last_and_counted():
    x = jnp.asarray([-0.6, -0.4, 3.5, 254.6, 255.4, 255.6])
    np.testing.assert_array_equal(texture.to_pixels(x, 256), [0, 0, 4, 255, 255, 255])
    np.testing.assert_allclose(texture.clipped_fraction(x, 256), 2 / 6)


def test_an_image_file_is_a_data_set_of_one_example(tmp_path, image):
    dataset = data.load(f"image:{image}")
    assert dataset.name == f"image:{image}" and dataset.shape == (17, 20, 3)
    for split in (dataset.train, dataset.test):
        x = split.gather(np.zeros(1, int))["x"]
        np.testing.assert_array_equal(x[0], np.asarray(PIL.Image.open(image)))
    copy = tmp_path / "copy.png"
    copy.write_bytes(image.read_bytes())
    assert data.load(f"image:{copy}").digest == dataset.digest
    assert data.load(f"image:{image}", image_size=(8, 6)).shape == (8, 6, 3)
    assert data.load(f"image:{save(tmp_path / 'g.png', np.full((4, 5), 9))}").shape == (4, 5, 1)
    bits = tmp_path / "bits.png"
    PIL.Image.fromarray(np.eye(4, dtype=bool)).save(bits)
    assert data.load(f"image:{bits}").levels == 2
    with pytest.raises(data.DataError, match=r"levels: 2, expected at least 2\d\d"):
        data.load(f"image:{image}", levels=2)
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:200])
    with pytest.raises(data.DataError) as error:
        data.load(f"image:{broken}")
    assert "cannot read the image" in str(error.value) and "skip" not in str(error.value)
