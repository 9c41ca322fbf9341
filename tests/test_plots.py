"""The axes of the pictures carry the data they should; test_images compares how some of them look."""

import sys

import numpy as np
import pytest

import expfam_em as ef
from expfam_em import plots
from tests.own_families import Rayleigh

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    matplotlib.pyplot.close("all")


MEANS = np.array([[0.0, 0.0], [6.0, 2.0]])
COVARIANCES = {
    "full": np.array([[[2.0, 0.6], [0.6, 0.5]], [[1.0, 0.0], [0.0, 3.0]]]),
    "tied": np.array([[[2.0, 0.6], [0.6, 0.5]]] * 2),
    "diag": np.array([[2.0, 0.5], [1.0, 3.0]]),
    "spherical": np.array([2.0, 0.5]),
    "known": np.array([1.5, 1.5]),
}


def gaussians(kind="full", weights=(0.7, 0.3)):
    family = ef.families.KnownCovariance(1.5) if kind == "known" else ef.families.Gaussian(kind)
    return ef.Mixture(family, weights, family.from_moments(MEANS, COVARIANCES[kind]))


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_points_have_the_rows_as_places_and_mixed_colours():
    mixture = gaussians()
    X, _ = mixture.sample(50, rng=0)
    r = mixture.responsibilities(X)
    r[0] = 0.5
    ax = plots.plot_clusters(X, r, names=["length, mm", "width, mm"])
    (points,) = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), X)
    colours = plots.component_colours(2)
    np.testing.assert_allclose(points.get_facecolors()[:, :3], r @ colours)
    np.testing.assert_allclose(points.get_facecolors()[0, :3], colours.mean(axis=0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length, mm", "width, mm")
    certain = np.sum(r.max(axis=1) >= 0.95)
    assert ax.get_title(loc="left") == f"{certain} of 50 rows have a responsibility of at least 0.95"
    assert not ax.patches


def outline(ax, ellipse):
    """Places on a curve, (m, 2): a path that is a unit circle, taken to the picture."""
    path = ellipse.get_path()
    vertices = (ellipse.get_transform() - ax.transData).transform(path.vertices)
    return vertices[path.codes != matplotlib.path.Path.CLOSEPOLY][::3]


def centres(ax):
    return [np.mean([np.min(at, axis=0), np.max(at, axis=0)], axis=0) for at in (outline(ax, e) for e in ax.patches)]


@pytest.mark.parametrize("kind", COVARIANCES)
def test_ellipses_are_one_and_two_standard_deviations_from_the_means(kind):
    mixture = gaussians(kind)
    X, _ = mixture.sample(30, rng=0)
    ax = plots.plot_clusters(X, mixture.responsibilities(X), mixture=mixture)
    assert len(ax.patches) == 4
    for i, ellipse in enumerate(ax.patches):
        k, deviations = divmod(i, 2)
        covariance = COVARIANCES[kind][k] * (np.eye(2) if COVARIANCES[kind].ndim < 3 else 1)
        offset = outline(ax, ellipse) - MEANS[k]  # every vertex is as far as the deviations say
        distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
        np.testing.assert_allclose(distance, (deviations + 1) ** 2, rtol=1e-6)
    assert {"π = 0.70", "π = 0.30", "1 sd", "2 sd"} == set(texts(ax))


def test_columns_are_chosen_and_other_columns_left_out():
    family = ef.families.Gaussian("full")
    means = np.array([[0.0, 10.0, 20.0], [1.0, 11.0, 21.0]])
    mixture = ef.Mixture(family, [0.5, 0.5], family.from_moments(means, np.array([np.diag([1.0, 4.0, 9.0])] * 2)))
    X, _ = mixture.sample(20, rng=0)
    ax = plots.plot_clusters(X, mixture.responsibilities(X), mixture=mixture, columns=(2, 0))
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), X[:, [2, 0]])
    np.testing.assert_allclose(centres(ax)[::2], means[:, [2, 0]], atol=1e-9)
    np.testing.assert_allclose(np.ptp(outline(ax, ax.patches[0]), axis=0), (6.0, 2.0))
    assert ax.get_xlabel() == "column 2"


def test_reversed_columns_of_two_are_drawn_reversed():
    mixture = gaussians()
    X, _ = mixture.sample(20, rng=0)
    ax = plots.plot_clusters(X, mixture.responsibilities(X), mixture=mixture, columns=(1, 0))
    np.testing.assert_allclose(centres(ax)[::2], MEANS[:, ::-1], atol=1e-9)


def test_ellipses_are_right_in_units_that_are_worlds_apart():
    units = np.array([1e-9, 1e9])
    X = np.random.default_rng(0).normal(size=(50, 2)) @ [[1.0, 0.5], [0.0, 1.0]] * units
    model = ef.GaussianMixture(1, reg_covar=0, random_state=0).fit(X)
    ax = model.plot(X)
    offset = (outline(ax, ax.patches[0]) - model.means_[0]) / units
    covariance = model.covariances_[0] / np.outer(units, units)
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset), 1, rtol=1e-9)


def test_one_column_gives_a_histogram_of_mass_one_and_the_densities():
    family = ef.families.Gaussian("diag")
    mixture = ef.Mixture(family, [0.25, 0.75], family.from_moments(np.array([[-3.0], [3.0]]), np.ones((2, 1))))
    X, _ = mixture.sample(400, rng=0)
    r = mixture.responsibilities(X)
    ax = plots.plot_clusters(X[:, 0], r, mixture=mixture, names=["length, mm"])
    bars = ax.patches
    assert sum(bar.get_width() * bar.get_height() for bar in bars) == pytest.approx(1)
    half = len(bars) // 2
    assert sum(bar.get_width() * bar.get_height() for bar in bars[:half]) == pytest.approx(r[:, 0].mean())
    parts, total = ax.lines[:2], ax.lines[2]
    at = total.get_xdata()
    np.testing.assert_allclose(total.get_ydata(), np.exp(mixture.log_density(at[:, None])))
    np.testing.assert_allclose(sum(line.get_ydata() for line in parts), total.get_ydata())
    assert ax.get_ylabel() == "density, per mm"
    assert {"π = 0.25", "π = 0.75", "mixture"} == set(texts(ax))


def test_counts_get_one_bar_and_one_density_mark_for_each_number():
    mixture = ef.Mixture(ef.families.Poisson(), [0.5, 0.5], np.log([[2.0], [12.0]]))
    X, _ = mixture.sample(300, rng=0)
    ax = plots.plot_clusters(X, mixture.responsibilities(X), mixture=mixture)
    marks = ax.lines[-1].get_xdata()
    np.testing.assert_array_equal(marks, np.arange(X.min(), X.max() + 1))
    assert ax.lines[-1].get_linestyle() == "None"
    assert {bar.get_width() for bar in ax.patches} == {1.0}


def test_gaps_are_left_out_and_said(three_columns):
    model, X = three_columns
    X = X.copy()
    X[::4, 0] = np.nan
    ax = model.plot(X, columns=[0])
    assert ax.get_title(loc="left").endswith(";\n30 with gaps are not drawn")
    assert sum(bar.get_width() * bar.get_height() for bar in ax.patches) == pytest.approx(1)
    assert len(model.plot(X, columns=[0, 1]).collections[0].get_offsets()) == 90


def test_whole_numbers_of_any_size_are_drawn():
    X = np.concatenate([np.random.default_rng(0).poisson(rate, (50, 1)) for rate in (1e3, 1e12)])
    ax = ef.ExponentialFamilyMixture(ef.families.Poisson(), 2, random_state=0).fit(X).plot(X)
    marks = ax.lines[-1].get_xdata()
    assert len(marks) <= 600
    np.testing.assert_array_equal(marks, np.round(marks))


def test_a_family_that_does_not_say_where_it_lives_has_contours():
    class Silent(ef.ExponentialFamily):  # the logarithm of a row below 0 is NaN
        def sufficient_statistics(self, X):
            return X**2

        def log_partition(self, natural):
            return -np.log(-2 * natural).sum(axis=1)

        def log_base_measure(self, X):
            return np.log(X).sum(axis=1)

    X = np.random.default_rng(0).rayleigh(1.0, (100, 2))
    model = ef.ExponentialFamilyMixture(Silent(), 1, random_state=0).fit(X)
    assert len([one for one in model.plot(X).collections[1:] if one.get_paths()]) == 1


def test_places_of_many_rows_have_marks_of_their_size():
    X = np.repeat([[0.0, 1.0], [2.0, 3.0]], [30, 10], axis=0)
    ax = plots.plot_clusters(X, np.eye(2)[np.repeat([0, 1], [30, 10])])
    (marks,) = ax.collections
    np.testing.assert_array_equal(marks.get_offsets(), [[0, 1], [2, 3]])
    assert marks.get_sizes()[0] == pytest.approx(3 * marks.get_sizes()[1])


def test_labels_are_written_at_the_axis():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pandas.DataFrame({"cost, $, or $": rng.normal(size=60), "kind": rng.choice(["new", "old"], 60)})
    model = ef.ExponentialFamilyMixture("auto", 1, random_state=0).fit(X)
    ax = model.plot(X, columns=["cost, $, or $", "kind"])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["new", "old"]
    assert ax.get_xlabel() == r"cost, \$, or \$"  # no formula of TeX
    assert len(ax.collections) == 1


def test_noise_is_called_so_and_a_component_without_rows_is_left_out():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (100, 1)), rng.uniform(-30, 30, (30, 1))])
    model = ef.GaussianMixture(1, noise="uniform", random_state=0).fit(X)
    assert "noise" in texts(model.plot(X))
    assert plots.plot_profiles(model, X).get_yticklabels()[1].get_text().startswith("noise (")
    mixture = ef.Mixture(ef.families.Poisson(), [0.999, 0.001], np.log([[2.0], [50.0]]))
    few = rng.poisson(2.0, 60).astype(float)
    ax = plots.plot_clusters(few, mixture.responsibilities(few[:, None]), mixture=mixture)
    assert "π = 0.00" not in texts(ax)
    assert "1 component without rows is not drawn" in ax.get_title(loc="left")


def test_positive_families_are_drawn_where_they_live():
    X = np.random.default_rng(0).rayleigh(1.0, 200)
    mixture = ef.Mixture(Rayleigh(), [1.0], [[-0.5]])
    ax = plots.plot_clusters(X, np.ones((200, 1)), mixture=mixture)
    assert np.isfinite(ax.lines[-1].get_ydata()).all()


def test_a_family_without_marginals_is_drawn_without_ellipses():
    class Plain(ef.families.Poisson):
        def marginal(self, natural, columns):
            raise NotImplementedError

    X = np.random.default_rng(0).poisson(3.0, (20, 3)).astype(float)
    mixture = ef.Mixture(Plain(), [1.0], np.log([[3.0, 3.0, 3.0]]))
    ax = plots.plot_clusters(X, np.ones((20, 1)), mixture=mixture)
    assert len(ax.collections) == 1
    assert not ax.patches


def test_hard_labels_are_counted_in_the_title():
    X = np.zeros((5, 2))
    ax = plots.plot_clusters(X, np.eye(2)[[0, 0, 0, 1, 1]])
    assert ax.get_title(loc="left") == "5 rows in 2 clusters: 3 + 2"


def test_many_components_still_have_different_colours():
    colours = plots.component_colours(30)
    assert colours.shape == (30, 3)
    assert len(np.unique(colours, axis=0)) == 30


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"responsibilities": np.ones((3, 1))}, "shape"),
        ({"columns": (0, 5)}, "columns"),
        ({"columns": (0, 1, 1)}, "columns"),
        ({"names": ["one"]}, "1 names"),
        ({"mixture": "three"}, "components"),
    ],
)
def test_shapes_that_disagree_are_refused(arguments, sentence):
    if arguments.get("mixture"):
        family = ef.families.Bernoulli()
        arguments = {"mixture": ef.Mixture(family, np.full(3, 1 / 3), np.zeros((3, 2)))}
    with pytest.raises(ValueError, match=sentence):
        plots.plot_clusters(np.zeros((4, 2)), **{"responsibilities": np.full((4, 2), 0.5), **arguments})


def test_half_steps_of_a_fit_stand_between_its_bounds():
    mixture = gaussians()
    X, _ = mixture.sample(100, rng=0)
    start = gaussians("full", (0.5, 0.5))
    result = ef.fit(start, X, tol=0, max_iter=4)
    ax = plots.plot_bound(result)
    _, e_steps, m_steps = ax.lines
    np.testing.assert_array_equal(e_steps.get_xdata(), np.arange(5))
    np.testing.assert_array_equal(e_steps.get_ydata(), result.bounds)
    np.testing.assert_array_equal(m_steps.get_xdata(), np.arange(4) + 0.5)
    np.testing.assert_array_equal(m_steps.get_ydata(), result.half_bounds)
    assert (e_steps.get_color(), m_steps.get_color()) == (plots.E_STEP, plots.M_STEP)
    assert texts(ax) == ["● after E-step", "● after M-step"]
    assert "rises by" in ax.get_title(loc="left")
    assert ax.get_xlabel() == "iteration"


def test_distortions_of_k_means_alternate_between_e_and_m_steps():
    X = np.random.default_rng(0).normal(size=(60, 2))
    fit = ef.KMeans(3, init=X[:3], tol=0).fit(X)
    ax = plots.plot_bound(fit)
    _, e_steps, m_steps = ax.lines
    np.testing.assert_array_equal(e_steps.get_ydata(), fit.distortions_[::2])
    np.testing.assert_array_equal(m_steps.get_ydata(), fit.distortions_[1::2])
    assert ax.get_title(loc="left").startswith("J falls from")


def test_steps_alternate_also_where_an_empty_cluster_was_moved():
    X = np.random.default_rng(0).normal(size=(50, 2))
    fit = ef.KMeans(3, init=np.array([[0.0, 0.0], [100.0, 100.0], [200.0, 200.0]])).fit(X)
    assert len(fit.distortions_) == 2 * fit.n_iter_ + 1
    assert plots.plot_bound(fit).get_title(loc="left").startswith("J falls from")


def test_bounds_of_an_estimator():
    X = np.random.default_rng(0).normal(size=(60, 1))
    fit = ef.ExponentialFamilyMixture(ef.families.Gaussian(), 2, random_state=0).fit(X)
    ax = matplotlib.pyplot.figure().subplots()
    assert plots.plot_bound(fit, ax) is ax
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), fit.lower_bounds_)
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, fit.n_iter_ + 1))
    assert ax.get_ylabel() == "bound per row, nats"


def test_what_has_no_trace_is_refused():
    with pytest.raises(TypeError, match="no trace"):
        plots.plot_bound(gaussians())


def test_prototypes_are_images_with_their_weights():
    probabilities = np.random.default_rng(0).random((12, 6))
    axes = plots.plot_prototypes(probabilities, (2, 3), weights=np.full(12, 1 / 12))
    assert len(axes) == 12
    for k, ax in enumerate(axes):
        np.testing.assert_array_equal(ax.images[0].get_array(), probabilities[k].reshape(2, 3))
        assert ax.images[0].get_clim() == (0, 1)
        assert ax.get_title() == "π = 0.083"


def test_prototypes_go_into_the_axes_given():
    axes = matplotlib.pyplot.figure().subplots(2, 2)
    drawn = plots.plot_prototypes(np.zeros((3, 4)), (2, 2), axes=axes)
    assert list(drawn) == list(axes.ravel()[:3])
    with pytest.raises(ValueError, match="axes are given"):
        plots.plot_prototypes(np.zeros((5, 4)), (2, 2), axes=axes)
    with pytest.raises(ValueError, match="pixels"):
        plots.plot_prototypes(np.zeros((5, 4)), (3, 3))
    with pytest.raises(ValueError, match="weights"):
        plots.plot_prototypes(np.zeros((5, 4)), (2, 2), weights=[1.0])


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "expfam_em\[plot\]"'):
        plots.plot_clusters(np.zeros((2, 2)), np.ones((2, 1)))


# ---- the picture that suits a model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_columns():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(centre, 1.0, (60, 3)) for centre in (0.0, 5.0)])
    return ef.GaussianMixture(2, n_init=3, random_state=0).fit(X), X


def test_a_model_draws_pairs_of_its_columns_or_those_that_are_named(three_columns):
    model, X = three_columns
    axes = model.plot(X)
    assert axes.shape == (3, 3)
    assert axes[0, 0].get_title(loc="left") == "120 rows, 2 components"
    assert ef.KMeans(2, random_state=0).fit(X).plot(X)[0, 0].get_title(loc="left") == "120 rows, 2 clusters"
    np.testing.assert_array_equal(axes[2, 1].collections[0].get_offsets(), X[:, [1, 2]])
    assert [ax.get_xlabel() for ax in axes[2]] == ["column 0", "column 1", "column 2"]
    assert not axes[0, 1].axison
    two = model.plot(X, columns=[2, 0])
    np.testing.assert_array_equal(two.collections[0].get_offsets(), X[:, [2, 0]])
    one = model.plot(X, columns=[1])
    assert one.get_xlabel() == "column 1"
    assert model.plot(X, columns=1).get_xlabel() == "column 1"
    for nothing in ([], 1.5, [0.5]):
        with pytest.raises(ValueError, match=r"must (be|have) names or numbers of columns, as in \[0, 1\]"):
            model.plot(X, columns=nothing)
    with pytest.raises(ValueError, match="need a figure of their own"):
        model.plot(X, ax=two)
    with pytest.raises(ValueError, match="column 3 is not there; X has 3 columns"):
        model.plot(X, columns=[3])
    with pytest.raises(ValueError, match="no column is named 'width'; the columns are column 0"):
        model.plot(X, columns=["width"])


FAMILIES = {
    "LogNormal": (ef.families.LogNormal("full"), lambda rng: rng.lognormal(0, 0.4, (80, 2))),
    "Poisson": (ef.families.Poisson(), lambda rng: rng.poisson(5, (80, 2)).astype(float)),
    "Gamma": (ef.families.Gamma(), lambda rng: rng.gamma(4, 1, (80, 2))),
    "StudentT": (ef.families.StudentT(), lambda rng: rng.normal(0, 1, (80, 2))),
    "Dirichlet": (ef.families.Dirichlet(), lambda rng: rng.dirichlet([3, 4], 80)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_contours_hold_the_shares_of_a_component_that_they_say(name):
    family, draw = FAMILIES[name]
    X = draw(np.random.default_rng(0))
    model = ef.ExponentialFamilyMixture(family, 1, random_state=0).fit(X)
    ax = model.plot(X)
    curves = [collection for collection in ax.collections[1:] if collection.get_paths()]
    if name == "Dirichlet":  # its rows lie on a line
        assert not curves
        return
    [contours] = curves
    held = [np.mean(path.contains_points(X)) for path in contours.get_paths()]
    np.testing.assert_allclose(sorted(held, reverse=True), (0.865, 0.393), atol=0.15)  # 3 sd of a share of 80 rows


def test_a_hard_clustering_has_no_ellipses_and_many_clusters_are_numbered():
    X = np.random.default_rng(0).normal(size=(200, 2))
    ax = ef.KMeans(8, random_state=0).fit(X).plot(X)
    assert not ax.patches
    assert texts(ax) == [str(k) for k in range(8)]
    assert texts(ef.KMeans(3, random_state=0).fit(X).plot(X)) == []


def test_profiles_are_means_of_components_and_probabilities_of_levels():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 100)
    colour = np.where(rng.random(200) < np.where(kind, 0.9, 0.1), "red", "blue")
    X = pandas.DataFrame({"width": rng.normal(6.0 * kind, 1.0), "colour": colour})
    model = ef.ExponentialFamilyMixture("auto", 2, random_state=0).fit(X)
    ax = model.plot(X)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["width", "colour: blue", "colour: red"]
    r = model.predict_proba(X)
    order = np.argsort(-r.mean(axis=0))
    expected = (r.T @ X["width"] / r.sum(axis=0))[order]
    written = np.array([float(text) for text in texts(ax)]).reshape(2, 3)
    np.testing.assert_allclose(written[:, 0], expected, rtol=6e-3, atol=6e-3)  # three digits are written
    np.testing.assert_allclose(written[:, 1:].sum(axis=1), 1, atol=2e-3)
    image = ax.images[0].get_array()
    assert image[np.argmax(expected), 0] == image[:, 0].max()


def test_profiles_do_not_count_gaps_as_zeros(three_columns):
    model, X = three_columns
    gaps = X.copy()
    gaps[::3, 1] = np.nan
    r, there = model.predict_proba(gaps), ~np.isnan(gaps[:, 1])
    order = np.argsort(-r.mean(axis=0))
    expected = (r[there].T @ X[there, 1] / r[there].sum(axis=0))[order]
    written = np.array([float(text) for text in texts(plots.plot_profiles(model, gaps))]).reshape(2, 3)
    np.testing.assert_allclose(written[:, 1], expected, rtol=6e-3, atol=6e-3)


def test_profiles_of_codes_are_probabilities_of_levels():
    X = np.random.default_rng(0).integers(0, 3, (100, 2))
    ax = ef.ExponentialFamilyMixture(ef.families.Categorical(), 2, random_state=0).fit(X).plot(X)
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    assert ticks == [f"column {j}: {level}" for j in (0, 1) for level in (0, 1, 2)]


def test_profiles_of_many_columns_go_down_and_show_those_that_differ():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 60))
    X[:100, 7] += 9
    model = ef.KMeans(2, random_state=0).fit(X)
    ax = model.plot(X)
    ticks = [tick.get_text() for tick in ax.get_yticklabels()]
    assert len(ticks) == 40
    assert "column 7" in ticks
    assert "40 of 60 columns" in ax.get_title(loc="left")


def test_bits_are_drawn_as_profiles():
    X = (np.random.default_rng(0).random((100, 5)) < 0.3).astype(float)
    ax = ef.BernoulliMixture(2, random_state=0).fit(X).plot(X)
    assert ax.images[0].get_array().shape == (2, 5)


# ---- how sure a fit is --------------------------------------------------------------------------------------------


def test_strips_are_the_responsibilities_sorted(three_columns):
    model, X = three_columns
    r = model.predict_proba(X)
    ax = plots.plot_responsibilities(model, X)
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(2, -1)
    np.testing.assert_allclose(heights.sum(axis=0), 1)
    np.testing.assert_allclose(heights.sum(axis=1), r.sum(axis=0))
    assert heights[0].argmax() == 0
    many = np.repeat(X, 30, axis=0)
    bars = plots.plot_responsibilities(model, many).patches
    assert len(bars) == 2 * 1000
    assert sum(bar.get_width() * bar.get_height() for bar in bars) == pytest.approx(len(many))


def test_uncertainty_is_what_the_largest_responsibility_leaves(three_columns):
    model, X = three_columns
    ax = plots.plot_uncertainty(model, X)
    drawn = ax.collections[0].get_offsets()[:, 1]
    np.testing.assert_allclose(drawn, np.sort(1 - model.predict_proba(X).max(axis=1)))
    assert ax.get_title(loc="left").startswith(f"{np.sum(drawn > 0.1)} of 120 rows")


def test_restarts_are_drawn_below_the_best(three_columns):
    model, X = three_columns
    ax = plots.plot_restarts(model)
    ends = np.sort(model.start_bounds_)[::-1]
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(drawn, ends - ends[0])
    assert "of 3 starts end within" in ax.get_title(loc="left")
    with pytest.raises(TypeError, match="KMeans does not know where its starts ended"):
        plots.plot_restarts(ef.KMeans(2, random_state=0).fit(X))


def test_a_selection_draws_its_criterion():
    X = np.random.default_rng(0).normal(size=(60, 2))
    found = ef.select(X, ["EII"], range(1, 3), random_state=0)
    assert "BIC" in found.plot().get_ylabel()
    assert "AIC" in found.plot("aic").get_ylabel()
