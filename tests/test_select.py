"""Models and numbers of components compared in one call, beside mclust's numbers, formulas written out and scipy."""

import importlib

import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.datasets import load_iris

import expfam_em as ef
from expfam_em import plots
from expfam_em.em.labels import Tree
from expfam_em.estimators import selection
from tests.test_reference_numbers import CARCINOMA

IRIS = load_iris().data
PATTERNS, TIMES = zip(*(pattern.split(":") for pattern in CARCINOMA.split()), strict=True)
TABLE, TIMES = np.array([[int(c) - 1 for c in pattern] for pattern in PATTERNS]), np.array(TIMES, float)


@pytest.fixture(scope="module")
def of_faithful(faithful):
    return ef.select(faithful, ["EEE", "VVV", "EII"], range(1, 5), random_state=0)


def test_old_faithful_is_as_mclust_has_it(of_faithful, faithful):
    assert (of_faithful.best_model_, of_faithful.best_.n_components) == ("EEE", 3)
    # mclust 6.0.0: BIC −2314.31630 at its default tolerance, −2314.29569 at 1e-9; ICL −2358.39
    assert -of_faithful.best_.bic(faithful) == pytest.approx(-2314.296, abs=2e-3)
    [row] = of_faithful.table.query("model == 'EEE' and n_components == 3").to_dict("records")
    assert -row["icl_classification"] == pytest.approx(-2358.39, abs=0.01)
    # mclust's table, K = 1 to 4, is nowhere better
    mclust = {
        "EEE": [-2607.6225, -2325.2199, -2314.3163, -2331.2226],
        "VVV": [-2607.6225, -2322.1920, -2349.6963, -2351.4932],
    }
    for name, values in mclust.items():
        assert np.all(-of_faithful.values()[of_faithful.models.index(name)] >= np.array(values) - 0.01)


def test_iris_is_as_mclust_has_it():
    found = ef.select(IRIS, ["VEV", "VVV"], [1, 2, 3], random_state=0)
    assert (found.best_model_, found.best_.n_components) == ("VEV", 2)
    assert -found.best_.bic(IRIS) == pytest.approx(-561.7285, abs=2e-3)  # mclust 6.0.0


def test_criteria_are_their_formulas(of_faithful, faithful):
    fit = of_faithful["VVV", 2]
    [row] = of_faithful.table.query("model == 'VVV' and n_components == 2").to_dict("records")
    n, L, m, R = len(faithful), fit.score_samples(faithful).sum(), 11, fit.predict_proba(faithful)
    E = -np.sum(R * np.log(np.maximum(R, 1e-300)))
    L1 = stats.multivariate_normal(faithful.mean(axis=0), np.cov(faithful.T, bias=True)).logpdf(faithful).sum()
    expected = {
        "log_likelihood": L, "n_parameters": m, "aic": -2 * L + 2 * m, "bic": -2 * L + m * np.log(n),
        "sabic": -2 * L + m * np.log((n + 2) / 24), "icl": -2 * L + m * np.log(n) + 2 * E,
        "icl_classification": -2 * L + m * np.log(n) - 2 * np.log(R.max(axis=1)).sum(),
        "nec": E / (L - L1), "relative_entropy": 1 - E / (n * np.log(2)),
    }  # fmt: skip
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-9), name
    for kind, name in (("entropy", "icl"), ("classification", "icl_classification")):
        assert fit.icl(faithful, kind=kind) == pytest.approx(row[name], rel=1e-12)
    with pytest.raises(ValueError, match="kind is 'map'; it must be 'entropy' or 'classification'"):
        fit.icl(faithful, kind="map")
    one = of_faithful.table.query("n_components == 1")
    assert np.all(one["nec"] == 1)
    assert one["relative_entropy"].isna().all()


def test_families_are_compared():
    rng = np.random.default_rng(0)
    X = rng.negative_binomial(2, 0.2, (300, 1))
    models = {"Poisson": ef.families.Poisson(), "negative binomial": ef.families.GammaPoisson()}
    found = ef.select(X, models, [1, 2], random_state=0)
    assert (found.best_model_, found.best_.n_components) == ("negative binomial", 1)
    found = ef.select(X, "auto", [1, 2], random_state=0)
    assert found.values() == pytest.approx(ef.select(X, "poisson", [1, 2], random_state=0).values())
    both = ef.select(X, [ef.families.Gaussian("full"), "EII"], 1)  # the same model of one column
    assert both.values()[0] == pytest.approx(both.values()[1])


def test_sparse_rows_and_row_weights_are_those_of_rows_written_out():
    rows = np.repeat(TABLE, TIMES.astype(int), axis=0)
    models = ef.families.Bernoulli()
    of_rows, of_weights, of_sparse = (
        ef.select(X, models, range(1, 4), sample_weight=w, random_state=0, tol=1e-10).values()
        for X, w in ((rows, None), (TABLE, TIMES), (sparse.csr_array(rows.astype(float)), None))
    )
    np.testing.assert_allclose(of_rows, of_weights, rtol=1e-6)
    np.testing.assert_allclose(of_rows, of_sparse, rtol=1e-6)
    n, m = TIMES.sum(), 7 * np.arange(1, 4) + np.arange(3)
    poLCA = np.array([-524.4648, -317.2568, -293.7050])
    np.testing.assert_allclose(of_rows[0], -2 * poLCA + m * np.log(n), atol=3e-4)


def test_missing_values_noise_and_priors_are_those_of_the_mixture():
    X = IRIS[:60].copy()
    X[::7, 1] = np.nan
    for how in ({}, {"noise": "uniform"}, {"prior": "mclust"}):
        if "noise" in how:
            X = IRIS[:60]
        found = ef.select(X, "VVV", [1, 2], random_state=0, n_init=2, **how)
        assert np.isfinite(found.values()).all()
        fit = found["VVV", 1]
        assert fit.bic(X) == pytest.approx(found.values()[0, 0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_of_before_are_gone_on_from_in_any_order_of_rows_with_missing_values():
    X = IRIS.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    by_pattern = X[np.lexsort(np.isnan(X).T[::-1])]
    values = [
        ef.select(rows, ["VVV", "EEE", "VVI"], [1, 2, 3], random_state=0, n_init=1, max_iter=1).values()
        for rows in (X, by_pattern)
    ]
    np.testing.assert_allclose(*values, rtol=1e-9)


def test_cells_without_a_sound_fit_are_not_available(capsys):
    X = np.random.default_rng(0).normal(size=(12, 2))
    found = ef.select(X, ["VVV", "EII"], [1, 2, 6, 20], random_state=0)
    cells = found.table.set_index(["model", "n_components"])
    assert np.isnan(cells.loc[("VVV", 6), "bic"])
    assert not cells.loc[("VVV", 6), "sound"]
    assert "does not predict rows" in cells.loc[("VVV", 6), "status"]
    assert "n_components = 20" in cells.loc[("EII", 20), "status"]
    print(found)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["VVV", "EII"]
    assert "NA" in lines[2]
    assert len({len(line) for line in lines[1:4]}) == 1
    with pytest.raises(ValueError, match="n_components = 20"):
        found["EII", 20]
    with pytest.raises(KeyError, match="is none of the fits"):
        found["EEE", 2]
    with pytest.raises(ValueError, match="no fit is sound"):
        ef.select(X, "VVV", [20])


def test_numbers_of_components_fitted_together_are_as_apart(monkeypatch):
    rng = np.random.default_rng(3)  # no two rows are alike, so that their order decides nothing
    X = rng.normal(size=(150, 2)) * [1, 2] + np.repeat([[0, 0], [6, 0], [3, 9]], 50, axis=0)
    models = ["VII", "VEI", "EEE", "VEE", "VVE", "VEV", "EVV", "VVV"]
    together = ef.select(X, models, [1, 2, 3], random_state=0, n_init=1)
    monkeypatch.setattr(selection, "LOCK_STEP_ENTRIES", 0)
    apart = ef.select(X, models, [1, 2, 3], random_state=0, n_init=1)
    np.testing.assert_allclose(together.values(), apart.values(), atol=1e-3)
    for name in models:
        one, other = together[name, 2], apart[name, 2]
        assert one.mixture_.n_components == 2
        np.testing.assert_allclose(np.sort(one.weights_), np.sort(other.weights_), atol=1e-2)
        np.testing.assert_allclose(one.score(X), one.lower_bound_, rtol=1e-9)
        assert len(one.support_) == 2


def test_more_starts_that_are_interrupted_change_no_argument(monkeypatch):
    found = []

    def fit_each(cell, *arguments):
        if cell.n_init > 3:
            found.append((cell, cell.n_init))
            raise KeyboardInterrupt
        *_, sizes, _ = arguments
        return [ValueError("no start has ended well")] * (1 if sizes is None else len(sizes))

    monkeypatch.setattr(ef.ExponentialFamilyMixture, "_fit_each", fit_each)
    with pytest.raises(KeyboardInterrupt):
        ef.select(IRIS, ["EEE"], [2], n_init=3, random_state=0)
    [(cell, tried)] = found
    assert tried == 12
    assert cell.n_init == 3


@pytest.mark.parametrize("entries", [selection.LOCK_STEP_ENTRIES, 0])
def test_rows_of_weight_0_are_as_if_they_were_left_out(monkeypatch, entries):
    monkeypatch.setattr(selection, "LOCK_STEP_ENTRIES", entries)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2)) + np.repeat([-2.0, 2.0], 60)[:, None]
    weight = rng.integers(0, 3, 120)
    models, numbers = ["EII", "VVV"], np.arange(1, 4)
    found = ef.select(X, models, numbers, sample_weight=weight, random_state=0)
    there = weight > 0
    expected = ef.select(X[there], models, numbers, sample_weight=weight[there], random_state=0)
    assert found.best_.n_components == ef.select(X, models, np.int64(2), random_state=0).best_.n_components == 2
    np.testing.assert_allclose(found.values(), expected.values(), atol=1e-3)


def test_rows_are_joined_by_as_many_axes_as_take_little_time_even_where_volumes_vanish(monkeypatch):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(400, 100)) * np.where(np.arange(100) == 0, 1.0, 1e-9)
    Z[:200, 0] += 40
    labels = Tree(Z, np.ones(400), rng).cut(2)  # the volume of a cluster is 1e-450
    np.testing.assert_array_equal(labels, np.repeat([0, 1], 200))
    monkeypatch.setattr("expfam_em.em.labels.TREE_AXES", 1)
    one, other = (Tree(rows, np.ones(400), np.random.default_rng(0)) for rows in (Z, Z[:, :1]))
    np.testing.assert_array_equal(one.joins, other.joins)


class Without:
    """importlib, for which a package is not installed; others may ask for it."""

    def __init__(self, package):
        self.package = package

    def import_module(self, name):
        if name == self.package:
            raise ImportError(name)
        return importlib.import_module(name)


def test_without_pandas_the_table_is_a_list(monkeypatch):
    monkeypatch.setattr("expfam_em.estimators.table.importlib", Without("pandas"))
    found = ef.select(IRIS, "EII", [1, 2], random_state=0)
    assert isinstance(found.table, list)
    assert found.table[1]["n_components"] == 2
    assert found.values("aic")[0, 1] == found.table[1]["aic"]


def test_the_same_seed_gives_the_same_fits_and_no_more_threads_change_them():
    one, other = (ef.select(IRIS, ["EEE", "VEV"], [2, 3], random_state=1, n_jobs=n).values() for n in (1, 2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"criterion": "cv"}, "criterion is 'cv'"),
        ({"n_components": 0}, "must be whole numbers from 1"),
        ({"n_components": []}, "must be whole numbers from 1"),
        ({"n_components": [2.5]}, "must be whole numbers from 1"),
        ({"n_components": 2.5}, "must be whole numbers from 1"),
        ({"n_init": 0}, "of ExponentialFamilyMixture must be an int"),
        ({"models": []}, "must be covariance types"),
        ({"models": ["EEE", "EEE"]}, "the same name"),
        ({"models": "ABC"}, "'ABC' is no covariance type"),
        ({"init": "random"}, "init is given to select"),
        ({"sample_weight": np.full(150, 1 / 150)}, "does not say how often rows occur"),
        ({"models": ef.families.Poisson()}, "whole numbers|integer|count"),
    ],
)
def test_arguments_that_make_no_sense_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        ef.select(IRIS, **{"models": "EII", "n_components": 2, **arguments})


def test_the_picture_has_a_line_for_each_model_and_a_ring_about_the_best(of_faithful):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    ax = plots.plot_criteria(of_faithful)
    lines = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 4]
    assert sorted(map(tuple, lines)) == sorted(map(tuple, of_faithful.values()))
    assert any(list(line.get_xdata()) == [3] for line in ax.lines)
    assert ax.get_title(loc="left") == "Lowest for EEE with 3 components: 2314.30"
    with pytest.raises(ValueError, match="criterion is 'relative_entropy'"):
        plots.plot_criteria(of_faithful, "relative_entropy")
    importlib.import_module("matplotlib.pyplot").close("all")


# ---- tests of a number of components, and of tables --------------------------------------------------------------


def test_the_bootstrap_finds_two_components_and_no_third():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.poisson(2, 60), rng.poisson(15, 60)])[:, None]
    first, second = (
        ef.likelihood_ratio_test(
            ef.ExponentialFamilyMixture(ef.families.Poisson(), K, n_init=3, random_state=0), X, n_replicates=19,
            random_state=0,
        )
        for K in (1, 2)
    )  # fmt: skip
    assert first.p_value == 1 / 20 < 0.1 < second.p_value
    assert first.statistic == pytest.approx(2 * (first.alternative.score(X) - first.null.score(X)) * len(X))
    assert second.p_value == (1 + np.sum(second.replicates >= second.statistic)) / 20


def test_the_bootstrap_counts_repeated_rows():
    X, times = np.arange(6.0)[:, None], np.array([20, 30, 10, 5, 2, 1])
    model = ef.ExponentialFamilyMixture(ef.families.Poisson(), 1, random_state=0)
    how = {"n_replicates": 9, "random_state": 0}
    one = ef.likelihood_ratio_test(model, X, times, **how)
    other = ef.likelihood_ratio_test(model, np.repeat(X, times, axis=0), **how)
    np.testing.assert_allclose(one.replicates, other.replicates, atol=1e-6)
    with pytest.raises(ValueError, match="whole number"):
        ef.likelihood_ratio_test(model, X, times * 1.001, **how)
    with pytest.raises(ValueError, match="init is given"):
        ef.likelihood_ratio_test(model.set_params(init=one.null.mixture_), X, times, **how)


# poLCA prints for carcinoma: G² 62.37 and X² 92.65 for two classes, 15.26 and 20.50 for three (Linzer and Lewis 2011)
@pytest.mark.parametrize(("K", "g2", "x2"), [(2, 62.36543, 92.64814), (3, 15.26171, 20.50336)])
def test_the_fit_of_latent_classes_to_a_table(K, g2, x2):
    model = ef.BernoulliMixture(K, n_init=10, random_state=0, tol=1e-12, max_iter=5000).fit(TABLE, sample_weight=TIMES)
    found = ef.goodness_of_fit(model, TABLE, TIMES)
    assert (found.g2, found.x2) == pytest.approx((g2, x2), abs=2e-2)
    assert (found.n_cells, found.degrees_of_freedom) == (128, 118 - (8 * K - 1))
    cells = np.array(np.meshgrid(*[[0, 1]] * 7, indexing="ij")).reshape(7, -1).T
    expected = 118 * np.exp(model.score_samples(cells))
    observed = np.array([TIMES[np.all(TABLE == cell, axis=1)].sum() for cell in cells])
    for value, power in ((found.g2, "log-likelihood"), (found.x2, "pearson")):
        seen = expected > 0  # a cell that a class cannot fill, and none has: it adds 0
        assert not observed[~seen].any()
        oracle = stats.power_divergence(observed[seen], expected[seen] * 118 / expected.sum(), lambda_=power).statistic
        assert value == pytest.approx(oracle, rel=1e-6)
    assert found.p_g2 == pytest.approx(stats.chi2.sf(found.g2, found.degrees_of_freedom))
    again = ef.goodness_of_fit(model, np.repeat(TABLE, TIMES.astype(int), axis=0))
    assert (again.g2, again.x2) == pytest.approx((found.g2, found.x2))


def test_tables_that_are_none_are_refused():
    X = np.random.default_rng(0).poisson(2.0, (50, 1))
    counts = ef.ExponentialFamilyMixture(ef.families.Poisson(), 1).fit(X)
    with pytest.raises(ValueError, match="other rows are possible"):
        ef.goodness_of_fit(counts, X)
    with pytest.raises(ValueError, match="n_cells is 1"):
        ef.goodness_of_fit(counts, X, n_cells=1)
    with pytest.raises(ValueError, match="counts or labels"):
        ef.goodness_of_fit(ef.GaussianMixture().fit(IRIS), IRIS)
    shares = ef.ExponentialFamilyMixture(ef.families.OneHot(3), 1).fit(np.eye(3)[[0, 0, 1, 2, 2]])
    with pytest.raises(ValueError, match="give n_cells"):
        ef.goodness_of_fit(shares, np.eye(3)[[0, 0, 1, 2, 2]])
    assert ef.goodness_of_fit(shares, np.eye(3)[[0, 0, 1, 2, 2]], n_cells=3).g2 == pytest.approx(0, abs=1e-9)


def test_tests_and_estimates_print_as_sentences():
    X = (np.random.default_rng(0).random((200, 4)) < 0.4).astype(int)
    model = ef.BernoulliMixture(2, random_state=0).fit(X)
    found = ef.goodness_of_fit(model, X)
    assert repr(found).startswith(f"G² {found.g2:.6g}, p {found.p_g2:.4g}\nX² {found.x2:.6g}")
    assert repr(found).endswith("16 cells, 6 degrees of freedom")
    test = ef.likelihood_ratio_test(ef.BernoulliMixture(1, random_state=0), X, n_replicates=9, random_state=0)
    assert repr(test).startswith(f"1 against 2 components: statistic {test.statistic:.6g}, p {test.p_value:.4g}\n")
    value = ef.entropy(model.mixture_, 100, rng=0)
    assert repr(value) == str(value) == f"{value.value:.6g} ± {value.standard_error:.2g}"
    assert repr(ef.entropy(ef.Mixture(ef.families.Exponential(), [1.0], [[-1.0]]))) == "1"
