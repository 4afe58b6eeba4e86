"""What pictures of latents show, with PCA of the digits as the model, in their 17 levels."""

import matplotlib.pyplot
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from jaxgen import figures, latents, plots
from jaxgen.vae import health

DIGITS = load_digits()
X = DIGITS.images[:200].astype(np.uint8)[..., None]
LABEL = DIGITS.target[:200]
Z = np.random.default_rng(0).normal(size=(20, 6))
CLASSES = np.array([4] * 3 + [9] * 5 + [0] * 2 + [7] * 4 + [8] * 3 + [-1] * 3)
"""Of 20 latents: class 0 has too few of them, the last three have none."""


class PCAAutoencoder:
    """Latents are whitened principal components; keeps the latents and labels that it decodes."""

    def __init__(self, latent_dim):
        self.pca = PCA(latent_dim, whiten=True, svd_solver="full").fit(X.reshape(-1, 64))
        self.decoded, self.labels = [], []

    def encode_mean(self, x):
        return self.pca.transform(x.reshape(-1, 64)).astype(np.float32)

    def decode(self, z, label=None):
        self.decoded.append(np.asarray(z))
        self.labels.append(label)
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
    """Ink on white, and not in one corner alone: in each half, across and down."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 100
    assert pixels.max() == 255
    rows, columns = np.nonzero(pixels < 100)
    for places, length in ((rows, pixels.shape[0]), (columns, pixels.shape[1])):
        assert places.min() < length / 2 < places.max()
    assert not matplotlib.pyplot.get_fignums()


def shown_of(tables):
    """The images of the one table and its settings."""
    ((x, settings),) = tables
    assert settings["levels"] == 17
    return x, settings


def test_manifold_covers_the_prior_with_second_axis_up(tmp_path, tables):
    model = PCAAutoencoder(2)
    figures.manifold(tmp_path / "m.png", model.decode, size=3, levels=17)
    assert_is_drawn(tmp_path / "m.png")
    x, settings = shown_of(tables)
    q = 0.9674216  # scipy.stats.norm.ppf(5 / 6)
    expected = [[a, b] for b in (q, 0, -q) for a in (-q, 0, q)]
    np.testing.assert_allclose(model.decoded[0][:9], expected, atol=1e-5)
    np.testing.assert_array_equal(x.reshape(9, 8, 8, 1), model.decode(np.array(expected)))
    assert settings["column_labels"] == ["-1", "0", "+1"]
    assert settings["row_labels"] == ["+1", "0", "-1"]


def test_manifold_of_a_plane_keeps_the_other_latents_at_zero(tmp_path, tables, model):
    figures.manifold(
        tmp_path / "m.png", model.decode, size=3, latent_dim=6, coordinates=(1, 4), levels=17
    )
    _, settings = shown_of(tables)
    z = model.decoded[-1][:9].reshape(3, 3, 6)
    q = 0.9674216
    np.testing.assert_allclose(z[:, :, 1], [[-q, 0, q]] * 3, atol=1e-5)
    np.testing.assert_allclose(z[:, :, 4].T, [[q, 0, -q]] * 3, atol=1e-5)
    assert not z[:, :, [0, 2, 3, 5]].any()
    assert "coordinate 1 across, 4 up; the others are 0" in settings["title"]


def test_tables_of_all_sizes_are_decoded_in_blocks_of_one_size(tmp_path):
    """So that all figures share one compiled program; what fills the last block is not shown."""
    model = PCAAutoencoder(6)
    for num in (3, 70):
        figures.reconstructions(
            tmp_path / "r.png", X[:num], model.encode_mean, model.decode, columns=num, levels=17
        )
    assert {z.shape for z in model.decoded} == {(64, 6)}


@pytest.mark.parametrize(("num", "rows", "columns"), [(1, 2, 1), (7, 2, 7), (25, 4, 10)])
def test_reconstructions_lie_below_their_originals(tmp_path, tables, model, num, rows, columns):
    path = tmp_path / "r.png"
    figures.reconstructions(path, X[:num], model.encode_mean, model.decode, levels=17)
    assert_is_drawn(path)
    x, settings = shown_of(tables)
    assert x.shape == (rows, columns, 8, 8, 1)
    shown = rows // 2 * columns
    np.testing.assert_array_equal(x[::2].reshape(-1, 8, 8, 1), X[:shown])
    decoded = model.decode(model.encode_mean(X[:shown]))
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
    for num in (20, 1):
        figures.latent_comparison(tmp_path / "c.png", {"VAE": np.zeros((num, latent_dim))})
        with Image.open(tmp_path / "c.png") as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100


def test_comparison_of_partly_labelled_latents(tmp_path, drawn, model):
    label = np.where(np.arange(200) % 5 == 0, -1, LABEL)
    figures.latent_comparison(tmp_path / "c.png", {"VAE": model.encode_mean(X)}, label)
    assert_is_drawn(tmp_path / "c.png")
    (axes,) = drawn[0].axes
    assert len(axes.collections[0].get_offsets()) == 40
    assert [text.get_text() for text in axes.get_legend().get_texts()][-1] == "no label"


def test_walks_end_at_the_reconstructions(tmp_path, tables, model):
    start, end = X[:3], X[10:13]
    z_start, z_end = model.encode_mean(start), model.encode_mean(end)
    path = tmp_path / "w.png"
    figures.walks(
        path, z_start, z_end, model.decode, num_steps=5, levels=17, originals=(start, end)
    )
    assert_is_drawn(path)
    x, settings = shown_of(tables)
    assert x.shape == (6, 7, 8, 8, 1)
    for rows in (x[0::2], x[1::2]):
        np.testing.assert_array_equal(rows[:, 0], start)
        np.testing.assert_array_equal(rows[:, -1], end)
        # Rounding to grey levels may turn a difference of one float step into one level.
        for column, z in ((1, z_start), (-2, z_end)):
            gap = rows[:, column].astype(int) - model.decode(z)
            assert np.abs(gap).max() <= 1
    middle = model.decode((z_start + z_end) / 2)
    assert np.abs(x[0::2, 3].astype(int) - middle).max() <= 1
    assert settings["row_labels"] == ["linear", "spherical"] * 3
    times = [f"t = {t}" for t in ("0", "0.25", "0.5", "0.75", "1")]
    assert settings["column_labels"] == ["original", *times, "original"]


def test_walks_of_a_conditional_model_keep_the_class_of_their_pair(tmp_path, tables):
    model = PCAAutoencoder(6)
    z = model.encode_mean(X[:4])
    label = np.array([7, 3])
    figures.walks(
        tmp_path / "w.png", z[:2], z[2:], model.decode, num_steps=3, levels=17, label=label
    )
    x, settings = shown_of(tables)
    assert x.shape == (4, 3, 8, 8, 1)
    np.testing.assert_array_equal(model.labels[0][:12], [7] * 6 + [3] * 6)
    assert settings["column_labels"] == ["t = 0", "t = 0.5", "t = 1"]


def test_truncation_takes_latents_within_each_threshold(tmp_path, tables):
    """By the same random numbers in a column: each grows with the threshold, and keeps its sign."""
    model = PCAAutoencoder(6)
    figures.truncation(
        tmp_path / "t.png",
        model.decode,
        6,
        levels=17,
        thresholds=(0.25, 2.0),
        num=5,
        label=np.arange(5),
    )
    assert_is_drawn(tmp_path / "t.png")
    x, settings = shown_of(tables)
    assert x.shape == (2, 5, 8, 8, 1)
    narrow, wide = model.decoded[0][:10].reshape(2, 5, 6)
    assert np.abs(narrow).max() <= 0.25 < np.abs(wide).max() <= 2.0
    np.testing.assert_array_equal(np.sign(narrow), np.sign(wide))
    np.testing.assert_array_equal(model.labels[0][:10], [*range(5), *range(5)])
    assert settings["row_labels"] == ["within 0.25", "within 2"]


def test_traversals_change_one_coordinate_and_sort_by_kl(tmp_path, tables):
    model = PCAAutoencoder(6)
    kl = np.array([0.1, 2.0, 0.0, 5.0, 1.0, 0.2])
    z = model.encode_mean(X[:1])[0]
    figures.traversals(
        tmp_path / "t.png",
        z,
        model.decode,
        kl_per_dimension=kl,
        num_dimensions=3,
        num_steps=5,
        levels=17,
    )
    assert_is_drawn(tmp_path / "t.png")
    for row, index in zip(model.decoded[0][:15].reshape(3, 5, 6), (3, 1, 4), strict=True):
        np.testing.assert_allclose(row[:, index], [-3, -1.5, 0, 1.5, 3])
        others = np.arange(6) != index
        np.testing.assert_array_equal(row[:, others], np.tile(z[others], (5, 1)))
    _, settings = shown_of(tables)
    assert settings["row_labels"][0] == "coordinate 3\nKL 5.00 nats"
    assert settings["column_labels"] == ["-3", "-1.5", "0", "+1.5", "+3"]


def test_traversals_without_a_divergence_take_coordinates_in_order(tmp_path, tables, model):
    figures.traversals(tmp_path / "t.png", np.ones(6), model.decode, num_dimensions=2, levels=17)
    _, settings = shown_of(tables)
    assert settings["row_labels"] == ["coordinate 0", "coordinate 1"]


def test_arithmetic_moves_a_latent_by_the_difference_of_means(tmp_path, tables):
    """Classes 4 and 7, then 8 and 9, in order; the name of a class is shown as it is."""
    model = PCAAutoencoder(6)
    z = model.encode_mean(X[:20])
    figures.arithmetic(
        tmp_path / "a.png",
        z,
        CLASSES,
        model.decode,
        strengths=(0.0, 1.0),
        class_names=[f"${name}_" for name in range(10)],
        originals=X[:20],
        levels=17,
    )
    assert_is_drawn(tmp_path / "a.png")
    x, settings = shown_of(tables)
    means = {index: z[index == CLASSES].mean(0) for index in (4, 7, 8, 9)}
    expected = [z[0], z[0] + means[7] - means[4], z[14], z[14] + means[9] - means[8]]
    np.testing.assert_allclose(model.decoded[0][:4], expected, atol=1e-5)
    np.testing.assert_array_equal(x[:, 0], X[[0, 14]])
    assert settings["row_labels"] == ["$4_ to $7_", "$8_ to $9_"]
    assert settings["column_labels"] == ["original", "t = 0", "t = 1"]


def test_arithmetic_pairs_an_odd_last_class_with_the_first(tmp_path, tables):
    model = PCAAutoencoder(6)
    label = np.where(CLASSES == 9, -1, CLASSES)  # Classes 4, 7 and 8 have three examples.
    z = model.encode_mean(X[:20])
    figures.arithmetic(tmp_path / "a.png", z, label, model.decode, levels=17)
    assert shown_of(tables)[1]["row_labels"] == ["4 to 7", "8 to 4"]


def test_arithmetic_can_keep_the_length_of_a_latent(tmp_path, tables):
    model = PCAAutoencoder(6)
    z = model.encode_mean(X[:20])
    figures.arithmetic(
        tmp_path / "a.png", z, CLASSES, model.decode, way=latents.move, num_pairs=1, levels=17
    )
    x, settings = shown_of(tables)
    assert x.shape[:2] == (1, 6)
    length = np.linalg.norm(model.decoded[0][:6], axis=1)
    np.testing.assert_allclose(length, np.linalg.norm(z[0]), rtol=1e-4)
    assert settings["row_labels"] == ["4 to 7"]


@pytest.mark.parametrize("label", [np.full(20, -1), np.arange(20), np.repeat([-1, 0], 10)])
def test_arithmetic_of_too_few_labelled_latents_is_left_out(tmp_path, model, label):
    figures.arithmetic(tmp_path / "a.png", np.zeros((20, 6)), label, model.decode, levels=17)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("num_active", "latent_dim", "start"),
    [(3, 8, "No posterior collapse"), (2, 40, "Near posterior collapse"), (0, 4, "Posterior c")],
)
def test_latent_health_sorts_and_names_collapse(tmp_path, drawn, num_active, latent_dim, start):
    rng = np.random.default_rng(0)
    kl = np.zeros(latent_dim)
    kl[rng.permutation(latent_dim)[:num_active]] = 1.0 + np.arange(num_active)
    health.latent_health(tmp_path / "h.png", kl, kl / 4)
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
    health.rate_distortion(tmp_path / "rd.png", steps, rate, distortion)
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
    figures.reconstructions(tmp_path / "r.png", x, encode, decode, columns=4, levels=256)
    assert_is_drawn(tmp_path / "r.png")


@pytest.mark.parametrize(
    ("draw", "arguments", "settings", "message"),
    [
        ("manifold", (), {"size": 0}, "size: 0, expected at least 1"),
        ("manifold", (), {"coordinates": (1, 2)}, r"coordinates: \(1, 2\), expected two of 0 to 1"),
        ("manifold", (), {"coordinates": (1, 1)}, r"coordinates: \(1, 1\), expected two"),
        ("walks", (Z[:2], Z[:3]), {}, r"start, end: \(2, 6\) and \(3, 6\), expected one shape"),
        ("walks", (Z[:0], Z[:0]), {}, r"start, end: \(0, 6\)"),
        ("walks", (Z, Z), {"num_steps": 1}, "num_steps: 1, expected at least 2"),
        ("traversals", (Z[:2],), {}, r"z: shape \(2, 6\), expected one latent"),
        (
            "traversals",
            (Z[0],),
            {"kl_per_dimension": np.ones(5)},
            r"kl_per_dimension: shape \(5,\)",
        ),
        ("traversals", (Z[0],), {"limit": 0.0}, r"limit: 0\.0, expected above 0"),
        ("traversals", (Z[0],), {"num_dimensions": 0}, "num_dimensions: 0, expected at least 1"),
        ("arithmetic", (Z, LABEL[:3]), {}, r"z, label: \(20, 6\) and \(3,\), expected"),
        ("arithmetic", (Z, CLASSES), {"strengths": ()}, "strengths: 0, expected at least 1"),
        ("arithmetic", (Z, CLASSES), {"num_pairs": 0}, "num_pairs: 0, expected at least 1"),
        ("arithmetic", (Z, CLASSES), {"class_names": "abc"}, "class_names: 3 names, expected 10"),
    ],
)
def test_figures_of_latents_refuse(tmp_path, model, draw, arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        getattr(figures, draw)(tmp_path / "x.png", *arguments, model.decode, levels=17, **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, m: figures.truncation(p, m.decode, 0, levels=17), "latent_dim: 0, expected"),
        (
            lambda p, m: figures.truncation(p, m.decode, 6, levels=17, thresholds=(0.0,)),
            r"threshold: 0\.0, expected above 0",
        ),
        (
            lambda p, m: figures.reconstructions(p, X[:0], m.encode_mean, m.decode, levels=17),
            "x: 0, expected at least 1",
        ),
        (
            lambda p, m: figures.reconstructions(
                p, X, m.encode_mean, m.decode, levels=17, columns=0
            ),
            "columns: 0, expected at least 1",
        ),
        (
            lambda p, m: figures.reconstructions(p, X, m.encode_mean, m.decode, levels=5),
            "x: .*, expected pixels 0 to 4",
        ),
        (
            lambda p, m: figures.latent_comparison(p, {}),
            "latent_means: 0 models, expected at least",
        ),
        (
            lambda p, m: figures.latent_comparison(p, {"a": X}),
            r"latent_means: shape .*, expected non-empty arrays \[N, D\]",
        ),
        (lambda p, m: health.latent_health(p, np.ones(3), np.ones(2)), "one length"),
        (
            lambda p, m: health.latent_health(p, np.ones(3), np.ones(3), threshold=0.0),
            r"threshold: 0\.0, expected above 0",
        ),
        (lambda p, m: health.rate_distortion(p, [1], [1], [1, 2]), "one length"),
    ],
)
def test_figures_refuse(tmp_path, model, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "x.png", model)
    assert not list(tmp_path.iterdir())
