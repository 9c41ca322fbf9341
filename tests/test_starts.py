"""Where fits start: every kind of start with every kind of row, and maxima that one kind alone misses."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris

import expfam_em as ef
from expfam_em import families
from expfam_em.em.labels import Axes, Tree, hierarchical, k_means, unequal
from expfam_em.em.starts import INITS, Source, initialise_all
from expfam_em.estep.grouped import with_groups
from expfam_em.estep.plan import plan
from expfam_em.family.binding import bind
from expfam_em.rows.memory import ArrayRows
from tests.cases import CASES
from tests.problems import problem_of
from tests.row_sources import ListRows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a few steps are the question

OF_LABELS = ("kmeans_raw", "kmeans_scaled", "kmeans_whitened", "ward", "unequal")
RNG = np.random.default_rng(0)
BLOBS = np.concatenate([RNG.normal(centre, 1, (80, 2)) for centre in ((0, 0), (6, 0), (0, 9))])
COUNTS = RNG.poisson(np.repeat([[1.0, 4.0], [6.0, 0.5]], 100, axis=0)).astype(float)


def starts_of(family, rows, K, init, runs=2, seed=0, data=1, **how):
    family = bind(family, rows)
    data_set = np.tile(np.arange(data), runs)
    return initialise_all(plan(family, rows, K), data_set, K, init, np.random.default_rng(seed), **how)


def mixture(family=None, K=3, **how):
    return ef.ExponentialFamilyMixture(family or families.Gaussian(), K, **{"random_state": 0, **how})


@pytest.mark.parametrize("case", [case for case in CASES if not case.numeric], ids=repr)
def test_every_family_is_fitted_from_mixed_starts(case):
    problem = problem_of(case, "whole")
    K = 3 if "Componentwise" not in case.name else len(np.unique(case.family.of_component))
    model = mixture(case.family, K, n_init=2, max_iter=3, tol=0).fit(problem.X, sample_weight=problem.w)
    bounds = model.lower_bounds_
    assert np.isfinite(bounds).all()
    assert np.all(np.diff(bounds) > -1e-9 * np.abs(bounds[0]))
    again = mixture(case.family, K, n_init=2, max_iter=3, tol=0, n_jobs=2).fit(problem.X, sample_weight=problem.w)
    assert np.array_equal(again.natural_parameters_, model.natural_parameters_)


@pytest.mark.parametrize("init", INITS)
def test_any_source_of_rows_gives_the_starts_of_the_array(init):
    weight = np.random.default_rng(1).integers(0, 3, len(BLOBS)).astype(float)
    there = starts_of(families.Gaussian(), ListRows.of(BLOBS, weight, [1, 100]), 3, init)
    here = starts_of(families.Gaussian(), ArrayRows(BLOBS, weight), 3, init)
    assert np.array_equal(there.mixture.natural, here.mixture.natural)
    assert len(there.runs) == 2
    assert not there.collapsed


@pytest.mark.parametrize("init", [*OF_LABELS, "mixed"])
def test_a_weight_of_2_is_the_row_given_twice(init):
    times = np.random.default_rng(2).integers(0, 3, len(COUNTS))
    weighted = starts_of(families.Poisson(), ArrayRows(COUNTS, times.astype(float)), 2, init)
    repeated = starts_of(families.Poisson(), ArrayRows(np.repeat(COUNTS, times, axis=0)), 2, init)
    assert weighted.mixture.expectation == pytest.approx(repeated.mixture.expectation, rel=1e-9)
    assert weighted.mixture.weights == pytest.approx(repeated.mixture.weights, rel=1e-9)


@pytest.mark.parametrize("init", [*OF_LABELS, "mixed"])
@pytest.mark.parametrize("family", [families.Poisson(), families.Multinomial()], ids=repr)
def test_sparse_rows_start_where_dense_ones_do(family, init):
    rng = np.random.default_rng(3)
    X = rng.poisson(np.repeat(rng.gamma(0.3, 2, (3, 40)), 60, axis=0)) * 1.0
    X = X[X.sum(axis=1) > 0]
    fits = [mixture(family, 3, init=init, n_init=2, max_iter=2, tol=0).fit(rows) for rows in (X, sparse.csr_array(X))]
    assert fits[0].lower_bounds_ == pytest.approx(fits[1].lower_bounds_, rel=1e-9)


@pytest.mark.parametrize("init", [*OF_LABELS, "mixed"])
def test_labels_find_clusters_far_apart(init):
    X = BLOBS * [1.0, 300.0] + [1e4, 0]  # units of one column hide the clusters of the other
    model = mixture(init=init, n_init=6, max_iter=50).fit(X)
    best = mixture(init=np.repeat([0, 1, 2], 80), max_iter=50).fit(X)
    assert model.lower_bound_ == pytest.approx(best.lower_bound_, abs=1e-4)


def test_axes_are_whitened_by_weight():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 50
    X = np.column_stack([X, X[:, 0] - 2 * X[:, 1], np.full(60, 7.0)])  # one column follows, one is constant
    weight = rng.integers(1, 4, 60).astype(float)
    axes = Axes.of(families.Gaussian(), X, weight)
    whitened, scaled = (axes.in_coordinates(name) for name in ("whitened", "scaled"))
    assert whitened.shape == (60, 4)
    assert np.cov(whitened.T, aweights=weight, ddof=0) == pytest.approx(np.eye(4), abs=1e-12)
    Z = (X[:, :5] - np.average(X[:, :5], axis=0, weights=weight)) / np.sqrt(
        np.diag(np.cov(X[:, :5].T, aweights=weight, ddof=0))
    )
    assert scaled @ scaled.T == pytest.approx(Z @ Z.T, abs=1e-9)  # the same distances
    assert axes.in_coordinates("raw") == pytest.approx(X, rel=1e-12)


def test_labels_of_points():
    points, weight = np.repeat([[0.0], [10.0], [30.0]], 20, axis=0), np.ones(60)
    for label in (k_means, hierarchical):
        found = label(points, weight, 3, np.random.default_rng(0))
        assert len(np.unique(found)) == 3
        assert all(len(np.unique(found[i : i + 20])) == 1 for i in (0, 20, 40))
    shares = []
    for seed in range(30):
        found = unequal(np.random.default_rng(seed).normal(size=(200, 2)), np.ones(200), 3, np.random.default_rng(seed))
        shares.append(np.bincount(found, minlength=3) / 200)
    assert np.min(shares) > 0
    assert np.min(shares) < 0.1
    assert np.max(shares) > 0.6
    for label in (k_means, hierarchical, unequal):  # more components than rows, and equal rows
        assert label(np.ones((2, 1)), np.ones(2), 4, np.random.default_rng(0)).max() < 4


def test_the_tree_is_that_of_mclust(faithful):
    # mclust 6.0.0: table(hclass(hc(X, modelName = "VVV", use = "SVD"), K)); the eruptions have many equal rows
    sizes = {
        "iris": {2: [49, 101], 3: [39, 49, 62], 5: [16, 18, 33, 39, 44], 7: [13, 16, 17, 18, 20, 22, 44]},
        "faithful": {2: [97, 175], 3: [40, 97, 135], 5: [32, 40, 65, 65, 70], 7: [29, 31, 32, 34, 36, 40, 70]},
    }
    for X, expected in ((load_iris().data, sizes["iris"]), (faithful, sizes["faithful"])):
        axes = Axes.of(families.Gaussian("full"), X, np.ones(len(X)))
        tree = Tree(axes.in_coordinates("between"), axes.weight, np.random.default_rng(0))
        assert {K: sorted(np.bincount(tree.cut(K)).tolist()) for K in expected} == expected


def test_rows_that_are_many_go_to_the_nearest_cluster_of_some():
    centre = np.repeat([[0.0, 0.0], [20.0, 0.0]], 700, axis=0)
    Z = centre + np.random.default_rng(0).normal(size=centre.shape)
    labels = Tree(Z, np.ones(1400), np.random.default_rng(1)).cut(2)
    assert np.array_equal(labels == labels[0], centre[:, 0] == 0)


def test_components_of_very_different_size_are_found():
    rng = np.random.default_rng(5)
    lots = (([10, 0], 1, 100), ([-20, 0], 20, 200), ([20, 0], 20, 200))
    X = np.concatenate([rng.normal(centre, width, (n, 2)) for centre, width, n in lots])
    VII, how = families.Gaussian("VII"), {"n_init": 10, "tol": 1e-8, "max_iter": 1000}
    best = mixture(VII, 2, init=np.repeat([0, 1], [100, 400]), **how).fit(X).lower_bound_
    found = [mixture(VII, 2, **how, random_state=seed).fit(X).lower_bound_ for seed in range(4)]
    assert found == pytest.approx([best] * 4, abs=1e-5)
    assert mixture(VII, 2, **how, init="k-means++").fit(X).lower_bound_ < best - 0.01  # what it is there for


def test_mixed_is_the_default_of_several_starts_alone():
    def natural(**how):
        return mixture(max_iter=3, tol=0, **how).fit(BLOBS).natural_parameters_

    assert np.array_equal(natural(), natural(init="k-means++"))
    assert np.array_equal(natural(n_init=3), natural(n_init=3, init="mixed"))
    assert not np.array_equal(natural(n_init=3), natural(n_init=3, init="k-means++"))
    bits = (BLOBS > 3).astype(float)
    several = [ef.BernoulliMixture(2, n_init=2, init=i, random_state=0).fit(bits) for i in ("auto", "mixed")]
    assert np.array_equal(several[0].probabilities_, several[1].probabilities_)
    gaussian = ef.GaussianMixture(3, init_params="mixed", n_init=2, random_state=0).fit(BLOBS)
    assert gaussian.converged_
    assert len(gaussian.start_bounds_) == 2


def test_what_is_chosen_of_a_fit_holds_for_the_candidates():
    prior = ef.ExpectedStatistics(np.full(2, 3.0), np.tile([6.0, 6.0], (2, 1)))
    for how in (
        {"prior": prior}, {"temperature": 0.0}, {"temperature": (5.0, 2.0, 1.0)}, {"weights": "equal"},
        {"weights": "fixed"}, {"concentration": 2.0}, {"stop": "parameters"},
    ):  # fmt: skip
        model = mixture(families.Poisson(), 2, n_init=2, max_iter=50, **how).fit(COUNTS.astype(np.float32))
        assert np.isfinite(model.lower_bound_)
        if "weights" in how:
            assert model.weights_ == pytest.approx([0.5, 0.5])


def test_rows_with_missing_values_are_fitted_from_mixed_starts():
    X = BLOBS.copy()
    X[np.random.default_rng(6).random(X.shape) < 0.1] = np.nan
    best = mixture(init=np.repeat([0, 1, 2], 80), max_iter=300).fit(X)
    for init in (*OF_LABELS, "mixed"):
        model = mixture(init=init, n_init=8, max_iter=300).fit(X)
        assert model.lower_bound_ == pytest.approx(best.lower_bound_, abs=1e-3), init


def test_candidates_look_at_some_thousand_of_many_rows_with_missing_values():
    rng = np.random.default_rng(8)
    X = rng.normal(np.repeat([[0.0, 0.0, 0.0], [6.0, 6.0, 6.0]], 15_000, axis=0), 1)
    X[rng.random(X.shape) < 0.2] = np.nan

    def sampled(X):
        rows = with_groups(families.Gaussian(), ArrayRows(X))
        return Source(plan(bind(families.Gaussian(), rows), rows, 2), 2, rng).sampled().pass_.rows

    rows = sampled(X)
    assert len(rows) < 8_000
    assert rows.sample_weight.sum() == pytest.approx(30_000)
    assert len(sampled(X[:2_000])) == 2_000
    model = mixture(K=2, n_init=2, max_iter=50).fit(X)
    assert np.sort(model.parameters_["means"][:, 0]) == pytest.approx([0, 6], abs=0.1)
    X = np.where(rng.random((30_000, 11)) < 0.5, np.nan, rng.normal(size=(30_000, 11)))
    X[:, 0] = np.nan
    X[:18] = np.nan
    X[:18, 0] = rng.normal(size=18)  # one of a thousand patterns has all values of a column
    assert len(sampled(X)) == 30_000


def test_data_sets_have_starts_of_their_own():
    X = np.stack([BLOBS, BLOBS[::-1] * 2 + 1, BLOBS + RNG.normal(size=BLOBS.shape)])
    template = mixture(n_init=3, max_iter=100)
    for together, rows in zip(ef.fit_many(template, X), X, strict=True):
        assert together.lower_bound_ == pytest.approx(template.fit(rows).lower_bound_, abs=1e-4)


def test_candidates_that_collapse_are_left_out_and_told_of_where_none_is_left():
    line = np.repeat(np.arange(4.0), 3)[:, None]
    rows = ArrayRows(line)
    with pytest.raises(ValueError, match=r"collapsed|finite"):
        mixture(families.Gaussian(variance_floor=0.0), 4, n_init=2).fit(line)
    starts = starts_of(families.Gaussian(variance_floor=0.0), rows, 4, "mixed", runs=3)
    assert sorted([*starts.runs, *starts.collapsed]) == [0, 1, 2]
