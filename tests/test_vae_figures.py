"""What the VAE's pictures show, with PCA of the digits as the autoencoder."""

import matplotlib.pyplot
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from jaxgen import plots
from jaxgen.vae import figures

DIGITS = load_digits()
X = DIGITS.images[:200].astype(np.uint8)[..., None]
LABEL = DIGITS.target[:200]


class PCAAutoencoder:
    """Latents are whitened principal components; counts how many images it decodes."""

    def __init__(self, latent_dim):
        self.pca = PCA(latent_dim, whiten=True, svd_solver="full").fit(X.reshape(-1, 64))
        self.decoded = []

    def encode_mean(self, x):
        return self.pca.transform(x.reshape(-1, 64)).astype(np.float32)

    def decode_mean(self, z):
        self.decoded.append(np.asarray(z))
        x = np.rint(self.pca.inverse_transform(np.asarray(z))).clip(0, 16)
        return x.astype(np.uint8).reshape(-1, 8, 8, 1)


@pytest.fixture(scope="module")
def model():
    return PCAAutoencoder(6)


@pytest.fixture
def tables(monkeypatch):
    """The arguments of every `labelled_grid`, which is drawn all the same."""
    calls, draw = [], plots.labelled_grid

    def record(path, x, **settings):
        calls.append((x, settings))
        draw(path, x, **settings)

    monkeypatch.setattr(plots, "labelled_grid", record)
    return calls


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved, which is written all the same."""
    saved, save = [], plots.save_figure

    def record(path, figure):
        saved.append(figure)
        save(path, figure)

    monkeypatch.setattr(plots, "save_figure", record)
    return saved


def assert_is_drawn(path):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.min() < 100 and pixels.max() == 255
    assert min(pixels.shape) > 100
    assert not matplotlib.pyplot.get_fignums()


def test_manifold_covers_the_prior_with_second_axis_up(tmp_path, tables):
    model = PCAAutoencoder(2)
    figures.manifold(tmp_path / "m.png", model.decode_mean, size=3, levels=17)
    assert_is_drawn(tmp_path / "m.png")
    ((x, settings),) = tables
    q = 0.9674216  # scipy.stats.norm.ppf(5 / 6)
    expected = [[a, b] for b in (q, 0, -q) for a in (-q, 0, q)]
    np.testing.assert_allclose(model.decoded[0], expected, atol=1e-5)
    np.testing.assert_array_equal(x.reshape(9, 8, 8, 1), model.decode_mean(np.array(expected)))
    assert settings["column_labels"] == ["-1", "0", "+1"]
    assert settings["row_labels"] == ["+1", "0", "-1"]


@pytest.mark.parametrize(("num", "rows", "columns"), [(1, 2, 1), (7, 2, 7), (25, 4, 10)])
def test_reconstructions_lie_below_their_originals(tmp_path, tables, model, num, rows, columns):
    path = tmp_path / "r.png"
    figures.reconstructions(path, X[:num], model.encode_mean, model.decode_mean, levels=17)
    assert_is_drawn(path)
    ((x, settings),) = tables
    assert x.shape == (rows, columns, 8, 8, 1)
    shown = rows // 2 * columns
    np.testing.assert_array_equal(x[::2].reshape(-1, 8, 8, 1), X[:shown])
    decoded = model.decode_mean(model.encode_mean(X[:shown]))
    np.testing.assert_array_equal(x[1::2].reshape(-1, 8, 8, 1), decoded)
    assert settings["row_labels"] == ["original", "reconstruction"] * (rows // 2)


def test_comparison_shows_planes_as_they_are_and_says_where_it_projects(tmp_path, drawn, model):
    z = model.encode_mean(X) * np.arange(6, 0, -1, dtype=np.float32)
    latents = {"Autoencoder": z, "VAE": z[:, :2], "Line": z[:, :1]}
    figures.latent_comparison(tmp_path / "c.png", latents, LABEL, DIGITS.target_names)
    assert_is_drawn(tmp_path / "c.png")
    panels = drawn[0].axes
    titles = [axes.get_title(loc="left") for axes in panels]
    assert "projected by PCA from 6 dimensions" in titles[0]
    assert titles[1] == "VAE" and titles[2] == "Line: one latent dimension"
    points = [axes.collections[0].get_offsets() for axes in panels]
    centred = z - z.mean(0)
    axes_of_most_variance = np.linalg.eigh(centred.T @ centred)[1][:, [-1, -2]]
    np.testing.assert_allclose(  # the sign of a component is free
        np.abs(points[0]), np.abs(centred @ axes_of_most_variance), atol=1e-3
    )
    np.testing.assert_array_equal(points[1], z[:, :2])
    np.testing.assert_array_equal(points[2], np.pad(z[:, :1], ((0, 0), (0, 1))))
    assert [axes.get_aspect() for axes in panels] == [1.0] * 3
    assert [axes.get_legend() is not None for axes in panels] == [False, False, True]


@pytest.mark.parametrize("latent_dim", [2, 6])
def test_comparison_of_collapsed_latents_without_labels(tmp_path, latent_dim):
    figures.latent_comparison(tmp_path / "c.png", {"VAE": np.zeros((20, latent_dim))})
    assert_is_drawn(tmp_path / "c.png")


def test_interpolations_end_at_the_reconstructions(tmp_path, tables, model):
    start, end = X[:3], X[10:13]
    path = tmp_path / "i.png"
    figures.interpolations(
        path, start, end, model.encode_mean, model.decode_mean, num_steps=5, levels=17
    )
    assert_is_drawn(path)
    ((x, settings),) = tables
    assert x.shape == (6, 7, 8, 8, 1)
    z_start, z_end = model.encode_mean(start), model.encode_mean(end)
    for rows in (x[0::2], x[1::2]):
        np.testing.assert_array_equal(rows[:, 0], start)
        np.testing.assert_array_equal(rows[:, -1], end)
        # Rounding to grey levels may turn a difference of one float step into one level.
        for column, z in ((1, z_start), (-2, z_end)):
            gap = rows[:, column].astype(int) - model.decode_mean(z)
            assert np.abs(gap).max() <= 1
    middle = model.decode_mean((z_start + z_end) / 2)
    assert np.abs(x[0::2, 3].astype(int) - middle).max() <= 1
    assert settings["row_labels"] == ["linear", "spherical"] * 3
    assert settings["column_labels"][1:-1] == [
        f"t = {t}" for t in ("0", "0.25", "0.5", "0.75", "1")
    ]


def test_traversals_change_one_coordinate_and_sort_by_kl(tmp_path, tables):
    model = PCAAutoencoder(6)
    kl = np.array([0.1, 2.0, 0.0, 5.0, 1.0, 0.2])
    figures.traversals(
        tmp_path / "t.png",
        X[:1],
        kl,
        model.encode_mean,
        model.decode_mean,
        num_dimensions=3,
        num_steps=5,
        levels=17,
    )
    assert_is_drawn(tmp_path / "t.png")
    z = model.encode_mean(X[:1])[0]
    for row, index in zip(model.decoded[0].reshape(3, 5, 6), (3, 1, 4), strict=True):
        np.testing.assert_allclose(row[:, index], [-3, -1.5, 0, 1.5, 3])
        others = np.arange(6) != index
        np.testing.assert_array_equal(row[:, others], np.tile(z[others], (5, 1)))
    ((_, settings),) = tables
    assert settings["row_labels"][0] == "coordinate 3\nKL 5.00 nats"
    assert settings["column_labels"] == ["-3", "-1.5", "0", "+1.5", "+3"]


def test_attribute_arithmetic_moves_sources_by_the_difference_of_means(tmp_path, tables):
    model = PCAAutoencoder(6)
    figures.attribute_arithmetic(
        tmp_path / "a.png",
        X,
        LABEL,
        model.encode_mean,
        model.decode_mean,
        source_class=4,
        target_class=9,
        strengths=(0.0, 1.0),
        num_sources=2,
        class_names=[f"${name}_" for name in range(10)],
        levels=17,
    )
    assert_is_drawn(tmp_path / "a.png")
    z = model.encode_mean(X)
    attribute = z[LABEL == 9].mean(0) - z[LABEL == 4].mean(0)
    sources = z[LABEL == 4][:2]
    expected = np.stack([sources, sources + attribute], axis=1).reshape(4, 6)
    np.testing.assert_allclose(model.decoded[0], expected, atol=1e-5)
    ((x, settings),) = tables
    np.testing.assert_array_equal(x[:, 0], X[LABEL == 4][:2])
    assert settings["row_labels"] == ["$4_", "$4_"]


@pytest.mark.parametrize(
    ("num_active", "latent_dim", "start"),
    [(3, 8, "No posterior collapse"), (2, 40, "Near posterior collapse"), (0, 4, "Posterior c")],
)
def test_latent_health_sorts_and_names_collapse(tmp_path, drawn, num_active, latent_dim, start):
    rng = np.random.default_rng(0)
    kl = np.zeros(latent_dim)
    kl[rng.permutation(latent_dim)[:num_active]] = 1.0 + np.arange(num_active)
    figures.latent_health(tmp_path / "h.png", kl, kl / 4)
    assert_is_drawn(tmp_path / "h.png")
    upper, lower = drawn[0].axes
    title = upper.get_title(loc="left").replace("\n", " ")
    assert title.startswith(start)
    assert f"{num_active} of {latent_dim} latents" in title
    assert f"Total KL {kl.sum():.2f} nats per image" in title
    heights = np.array([bar.get_height() for bar in upper.patches])
    np.testing.assert_array_equal(heights[:num_active], np.sort(kl)[::-1][:num_active])
    colours = [bar.get_facecolor() for bar in lower.patches]
    assert all(colour == colours[0] for colour in colours[:num_active])
    assert len(set(colours)) == (2 if num_active else 1)
    assert lower.lines[0].get_ydata()[0] == 0.01


@pytest.mark.parametrize("num", [1, 30])
def test_rate_distortion_draws_both_and_their_sum(tmp_path, drawn, num):
    steps = 100 * np.arange(num)
    rate, distortion = np.linspace(0, 10, num), np.linspace(90, 60, num)
    figures.rate_distortion(tmp_path / "rd.png", steps, rate, distortion)
    assert_is_drawn(tmp_path / "rd.png")
    upper, plane, lower = drawn[0].axes[:3]
    np.testing.assert_allclose(upper.lines[0].get_ydata(), rate + distortion)
    np.testing.assert_allclose(upper.lines[1].get_ydata(), distortion)
    lines = {axes.get_title(loc="left"): axes for axes in (plane, lower)}
    np.testing.assert_allclose(lines["Rate"].lines[0].get_ydata(), rate)
    offsets = lines["Distortion against rate"].collections[0].get_offsets()
    np.testing.assert_allclose(offsets, np.stack([rate, distortion], 1))


def test_colour_images_of_another_shape(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 10, 3)).astype(np.uint8)
    encode, decode = (
        (lambda x: x.reshape(-1, 180) / 255.0),
        (lambda z: np.rint(z * 255).astype(np.uint8).reshape(-1, 6, 10, 3)),
    )
    figures.reconstructions(tmp_path / "r.png", x, encode, decode, columns=4)
    assert_is_drawn(tmp_path / "r.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, e, d: figures.manifold(p, d, size=0), "size: expected at least 1, got 0"),
        (lambda p, e, d: figures.reconstructions(p, X, e, d, columns=0), "columns: expected"),
        (lambda p, e, d: figures.latent_comparison(p, {}), "at least one model"),
        (lambda p, e, d: figures.latent_comparison(p, {"a": X}), r"arrays \[N, D\]"),
        (lambda p, e, d: figures.interpolations(p, X[:2], X[:3], e, d), "x_end: expected shape"),
        (lambda p, e, d: figures.interpolations(p, X, X, e, d, num_steps=1), "num_steps"),
        (lambda p, e, d: figures.traversals(p, X[:2], np.ones(6), e, d), "expected one image"),
        (lambda p, e, d: figures.traversals(p, X[:1], np.ones(5), e, d), "kl_per_dimension"),
        (lambda p, e, d: figures.traversals(p, X[:1], np.ones(6), e, d, limit=0.0), "limit"),
        (
            lambda p, e, d: figures.attribute_arithmetic(
                p, X, LABEL, e, d, source_class=4, target_class=10
            ),
            "target_class: expected a class that label has, got 10",
        ),
        (
            lambda p, e, d: figures.attribute_arithmetic(
                p, X, LABEL, e, d, source_class=4, target_class=9, strengths=()
            ),
            "strengths",
        ),
        (lambda p, e, d: figures.latent_health(p, np.ones(3), np.ones(2)), "one length"),
        (
            lambda p, e, d: figures.latent_health(p, np.ones(3), np.ones(3), threshold=0.0),
            "threshold: expected above 0",
        ),
        (lambda p, e, d: figures.rate_distortion(p, [1], [1], [1, 2]), "one length"),
    ],
)
def test_figures_refuse(tmp_path, model, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "x.png", model.encode_mean, model.decode_mean)
    assert not list(tmp_path.iterdir())
