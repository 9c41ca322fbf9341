"""k-means: the hard limit of the driver with the manners of scikit-learn's."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import cluster
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em.em.steps import expected_statistics
from expfam_em.estep.nearest import NearestPass
from expfam_em.estimators.kmeans import _filled
from expfam_em.families.gaussian import gaussian
from expfam_em.families.gaussian.known import in_frame_units
from expfam_em.rows.memory import ArrayRows, as_rows

RNG = np.random.default_rng(2)
X = RNG.normal(size=(400, 3)) + 3 * RNG.integers(0, 3, (400, 3))
WEIGHT = RNG.integers(0, 4, 400)
X.flags.writeable = False


@pytest.fixture(params=[None, "weighted"])
def weight(request):
    return None if request.param is None else WEIGHT


def test_attributes_belong_together(weight):
    m = ef.KMeans(5, random_state=0).fit(X, sample_weight=weight)
    w = np.ones(len(X)) if weight is None else weight
    distance = cdist(X, m.cluster_centers_)
    assert m.cluster_centers_.shape == (5, 3)
    assert m.labels_.dtype == np.int32
    assert np.array_equal(m.labels_, distance.argmin(axis=1))
    assert np.array_equal(m.predict(X), m.labels_)
    assert m.inertia_ == pytest.approx(w @ distance.min(axis=1) ** 2, rel=1e-12)
    assert m.transform(X) == pytest.approx(distance, rel=1e-12)
    assert m.score(X, sample_weight=weight) == pytest.approx(-m.inertia_, rel=1e-12)
    assert isinstance(m.inertia_, float)
    assert isinstance(m.n_iter_, int)
    assert m.get_feature_names_out().tolist() == [f"kmeans{k}" for k in range(5)]
    again = clone(m)
    assert np.array_equal(again.fit_predict(X, sample_weight=weight), m.labels_)
    assert np.array_equal(again.fit_transform(X, sample_weight=weight), m.transform(X))
    assert np.array_equal(pickle.loads(pickle.dumps(m)).predict(X), m.labels_)


def test_a_summary_has_the_clusters_in_numbers(weight, tmp_path):
    w = np.ones(len(X)) if weight is None else weight
    m = ef.KMeans(4, random_state=0).fit(pd.DataFrame(X + 1e4, columns=list("abc")), sample_weight=weight)
    frame = pd.DataFrame(X + 1e4, columns=list("abc"))
    found = m.summary(frame, weight)
    of_rows = w * np.min(cdist(X + 1e4, m.cluster_centers_), axis=1) ** 2
    assert found.sizes.tolist() == np.bincount(m.labels_, w, 4).tolist()
    assert found.inertias == pytest.approx(np.bincount(m.labels_, of_rows, 4), rel=1e-9)
    assert found.inertia == pytest.approx(m.inertia_, rel=1e-9)
    total = w @ np.sum((X - np.average(X, axis=0, weights=w)) ** 2, axis=1)
    assert found.explained == pytest.approx(1 - m.inertia_ / total, rel=1e-9)
    for words in ("\ncluster  rows", f"\n{w.sum():g} rows of 3 columns, 4 clusters\n", "\ncenters[2, b] "):
        assert words in str(found)
    table = m.to_frame(frame, weight)
    by = {name: part["estimate"].tolist() for name, part in table.groupby("parameter")}
    assert by["centers"] == m.cluster_centers_.ravel().tolist()
    assert (by["sizes"], by["inertias"]) == (found.sizes.tolist(), found.inertias.tolist())
    assert set(table.loc[table["parameter"] == "centers", "column"]) == set("abc")
    assert m.to_frame()["estimate"].tolist() == by["centers"]


@pytest.mark.parametrize("kind", [ef.KMeans, ef.MiniBatchKMeans])
def test_a_summary_is_the_same_wherever_rows_are(kind, tmp_path):
    rows = np.where(RNG.random((300, 6)) < 0.3, np.round(RNG.normal(size=(300, 6)), 2), 0.0).astype(np.float32)
    m = kind(3, random_state=0).fit(rows)
    np.save(tmp_path / "rows.npy", rows)
    found = m.summary(rows)
    for same in (sparse.csr_matrix(rows), rows.astype(np.float64), tmp_path / "rows.npy"):
        other = m.summary(same)
        assert other.sizes.tolist() == found.sizes.tolist()
        assert other.inertias == pytest.approx(found.inertias, rel=1e-12)
        assert other.total == pytest.approx(found.total, rel=1e-12)
    one = kind(1, random_state=0).fit(np.ones((5, 2)))
    assert np.isnan(one.summary(np.ones((5, 2))).explained)
    assert "1 cluster\ninertia 0\n" in str(one.summary(np.ones((5, 2))))
    with pytest.raises(TypeError, match="summary needs X"):
        m.summary()


def test_the_distortion_falls_by_halves(weight):
    w = np.ones(len(X)) if weight is None else weight
    centres = X[:4]
    J = []
    labels = cdist(X, centres).argmin(axis=1)
    while True:
        J.append(w @ np.sum((X - centres[labels]) ** 2, axis=1))
        moved = np.array([np.average(X[labels == k], axis=0, weights=w[labels == k]) for k in range(4)])
        if np.array_equal(moved, centres):
            break
        centres = moved
        J.append(w @ np.sum((X - centres[labels]) ** 2, axis=1))
        labels = cdist(X, centres).argmin(axis=1)
    m = ef.KMeans(4, init=X[:4], tol=0).fit(X, sample_weight=weight)
    # J starts after the first E-step and ends after an E-step that moves nothing, which may be taken once more
    assert len(m.distortions_) == 2 * m.n_iter_ + 1
    assert m.distortions_[: len(J)] == pytest.approx(J, rel=1e-10)
    assert m.distortions_[len(J) :] == pytest.approx([J[-1]] * (len(m.distortions_) - len(J)), rel=1e-10)
    assert np.all(np.diff(m.distortions_) <= 1e-12 * J[0])
    assert m.inertia_ == pytest.approx(m.distortions_[-1], rel=1e-10)
    assert m.cluster_centers_ == pytest.approx(centres, rel=1e-12)


def test_weights_are_repetitions():
    repeated = np.repeat(X, WEIGHT, axis=0)
    for K in (2, 5):
        one = ef.KMeans(K, random_state=1, tol=0).fit(X, sample_weight=WEIGHT)
        two = ef.KMeans(K, random_state=1, tol=0).fit(repeated)
        assert one.cluster_centers_ == pytest.approx(two.cluster_centers_, rel=1e-10)
        assert one.inertia_ == pytest.approx(two.inertia_, rel=1e-10)
        assert np.array_equal(np.repeat(one.labels_, WEIGHT), two.labels_)


@pytest.mark.parametrize("jobs", [2, 4, None, -1])
def test_any_number_of_threads(jobs, many_chunks):
    rows = np.repeat(X, 20, axis=0)
    one, more = (ef.KMeans(7, random_state=0, n_jobs=j).fit(rows) for j in (1, jobs))
    assert one.cluster_centers_.tobytes() == more.cluster_centers_.tobytes()
    assert one.inertia_ == more.inertia_
    assert one.distortions_ == more.distortions_
    assert np.array_equal(one.labels_, more.labels_)


def test_the_lower_index_wins_a_tie():
    # whole numbers: distances are exact, and many rows are equally far from two centres
    grid = np.stack(np.meshgrid(np.arange(21.0), np.arange(13.0)), axis=-1).reshape(-1, 2)
    centres = np.array([[3.0, 4], [7, 4], [3, 8], [7, 8], [15, 6], [19, 6]])
    distance = cdist(grid, centres, "sqeuclidean")
    two = np.sort(distance, axis=1)[:, :2]
    assert np.sum(two[:, 0] == two[:, 1]) == 40
    # every centre is fitted to a row of its own, and stays
    m = ef.KMeans(6, init=centres, tol=0).fit(centres)
    assert np.array_equal(m.cluster_centers_, centres)
    assert np.array_equal(m.predict(grid), distance.argmin(axis=1))


def test_empty_clusters_are_filled(weight):
    far = np.concatenate([X[:2], np.full((3, 3), 1e3)])
    m = ef.KMeans(5, init=far).fit(X, sample_weight=weight)
    assert set(m.labels_) == set(range(5))
    assert np.abs(m.cluster_centers_).max() < 20
    distinct = ef.KMeans(5, random_state=0, n_init=10).fit(X, sample_weight=weight)
    assert m.inertia_ < 2 * distinct.inertia_


def same_partition(one, two):
    return len(set(zip(one, two, strict=True))) == len(set(one)) == len(set(two))


def start_with_empty_clusters(kind, rng):
    """Rows of clusters, and centres of which all but a few begin, or soon are, without rows."""
    n, d, K = rng.integers(30, 400), rng.integers(1, 9), rng.integers(3, 14)
    rows = 3 * rng.normal(size=(K, d))[rng.integers(0, K, n)] + rng.normal(size=(n, d))
    centres = rows[rng.choice(n, K, replace=False)].copy()
    at = rng.choice(K, rng.integers(1, K), replace=False)
    if kind == "equal":
        centres[at] = centres[at[0]]
    elif kind == "far":
        centres[at] = 100 * rng.normal(size=(len(at), d))
    else:  # every far centre has one row, which is the farthest from its centre
        centres[at] = 500 * rng.normal(size=(len(at), d))
        rows[: len(at)] = 0.9 * centres[at]
    return rows, centres


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["equal", "far", "alone"])
@pytest.mark.parametrize("seed", range(20))
def test_empty_clusters_are_filled_in_every_step_as_scikit_learn_does(seed, kind, weighted):
    rng = np.random.default_rng(seed)
    rows, centres = start_with_empty_clusters(kind, rng)
    w = rng.uniform(0.1, 1, len(rows)) if weighted else np.ones(len(rows))
    m = ef.KMeans(len(centres), init=centres, tol=0).fit(rows, sample_weight=w)
    theirs = cluster.KMeans(len(centres), init=centres, n_init=1, tol=0).fit(rows, sample_weight=w)
    assert m.inertia_ == pytest.approx(theirs.inertia_, rel=1e-10)
    assert same_partition(m.labels_.tolist(), theirs.labels_.tolist())
    # theirs subtracts a row from a sum, so that a centre that stays may move by rounding
    assert theirs.n_iter_ - 1 <= m.n_iter_ <= theirs.n_iter_
    size = w.sum() * np.var(rows, axis=0).sum()
    assert np.diff(m.distortions_).max(initial=0) <= 1e-14 * size
    assert m.distortions_[-1] == m.inertia_


def test_a_row_without_weight_fills_no_cluster():
    w = np.where(np.arange(len(X)) < 200, 1.0, 0.0)
    centres = np.concatenate([X[:2], np.full((3, 3), 1e3)])
    present = ef.KMeans(5, init=centres, tol=0).fit(X[:200])
    rows = np.where(w[:, None] > 0, X, 1e2)
    m = ef.KMeans(5, init=centres, tol=0).fit(rows, sample_weight=w)
    assert np.array_equal(m.labels_[:200], present.labels_)
    assert m.inertia_ == pytest.approx(present.inertia_, rel=1e-12)


def test_a_filled_cluster_raises_the_bound_by_its_distance(weight):
    present = slice(None) if weight is None else weight > 0
    family = in_frame_units(ef.families.KnownCovariance().bind(as_rows(X, weight)))
    centres = np.concatenate([X[present][:3], np.full((2, 3), 50.0)])
    mixture = ef.Mixture(family, np.full((1, 5), 0.2), family.from_moments(centres, np.ones(5))[None])
    rows = np.full_like(X, np.inf)  # without weight they are absent
    rows[present] = X[present]
    pass_ = NearestPass(family, ArrayRows(rows, None if weight is None else weight.astype(float)))
    before = expected_statistics(pass_, mixture, 0.0)
    statistics, filled = _filled(pass_, before, mixture)
    assert statistics.bound > before.bound
    assert statistics.counts.shape == before.counts.shape
    assert statistics.counts.sum() == pytest.approx(before.counts.sum(), rel=1e-14)
    assert statistics.sums.sum() == pytest.approx(before.sums.sum(), rel=1e-12)
    assert statistics.bound == pytest.approx(score(statistics, filled), rel=1e-12)
    # the search has not been told: it knows the rows under any mixture
    again = expected_statistics(pass_, mixture, 0.0)
    assert again.sums.tobytes() == before.sums.tobytes()
    # and full clusters are left alone
    assert _filled(pass_, statistics, filled) == (statistics, filled)


def score(statistics, mixture):
    offset = mixture.log_weights - mixture.log_partition
    return np.squeeze(np.sum(np.sum(statistics.sums * mixture.natural, axis=-1) + statistics.counts * offset))


def test_equal_rows_fill_no_cluster():
    """The mean of rows of 0.1 is another number, by rounding, but no farther row."""
    rows = np.repeat([[0.1, 0.7], [0.3, -0.9]], 7, axis=0)
    w = np.linspace(0.1, 0.7, 14)
    with pytest.warns(ConvergenceWarning, match=r"\(2\) found smaller than n_clusters \(4\)"):
        m = ef.KMeans(4, init=rows[[0, 1, 7, 8]], tol=0).fit(rows, sample_weight=w)
    assert m.n_iter_ <= 3
    assert m.inertia_ == pytest.approx(0, abs=1e-30)


def test_the_frame_of_many_rows(monkeypatch, weight):
    """Moments of parts are put together."""
    rows = as_rows(X + 1e6, weight)
    whole = ef.families.Gaussian("diag").bind(rows)
    monkeypatch.setattr(gaussian, "MOMENT_ENTRIES", 50)
    parts = ef.families.Gaussian("diag").bind(rows)
    assert np.array_equal(parts.shift, whole.shift)
    assert np.array_equal(parts.scale, whole.scale)
    # squares of deviations are 1e12 times smaller than those of the rows
    assert parts.column_variance == pytest.approx(whole.column_variance, rel=1e-9)


def test_fewer_distinct_rows_than_clusters_warns():
    rows = np.repeat(np.eye(3), 4, axis=0)
    for init in ("k-means++", "random"):
        model = ef.KMeans(5, init=init, random_state=0, n_init=20)
        with pytest.warns(
            ConvergenceWarning, match=r"distinct clusters \(3\) found smaller than n_clusters \(5\)"
        ) as w:
            model.fit(rows)
        assert w[0].filename == __file__
        assert model.inertia_ == pytest.approx(0, abs=1e-28)
        assert len(set(model.labels_)) == 3


def test_how_often_it_starts():
    calls = []

    def start(rows, K, random_state):
        calls.append(len(rows))
        return rows[RNG.choice(len(rows), K, replace=False)]

    ef.KMeans(3, init=start).fit(X)
    assert calls == [400] * 10
    ef.KMeans(3, init=start, n_init=2).fit(X)
    assert len(calls) == 12
    single = [ef.KMeans(6, init="random", n_init=1, random_state=seed).fit(X).inertia_ for seed in range(5)]
    assert ef.KMeans(6, init="random", random_state=0).fit(X).inertia_ <= min(single) * 1.05


def test_the_best_start_is_kept():
    stream = np.random.default_rng(3)
    alone = [ef.KMeans(9, init="random", n_init=1, random_state=stream).fit(X).inertia_ for _ in range(4)]
    assert len(set(alone)) > 1
    together = ef.KMeans(9, init="random", n_init=4, random_state=np.random.default_rng(3)).fit(X)
    assert together.inertia_ == min(alone)


def test_it_is_the_limit_of_em():
    """EM with Σ = εI and π = 1/K, as ε → 0."""
    centres = X[:4]
    hard = ef.KMeans(4, init=centres, tol=0).fit(X)
    family = ef.families.KnownCovariance(variance=1e-6)
    start = ef.Mixture(family, np.full(4, 0.25), centres / 1e-6)
    soft = ef.ExponentialFamilyMixture(family, 4, init=start, weights="equal", tol=1e-12, acceleration=None).fit(X)
    # a responsibility differs from 0 or 1 by exp(−Δ/2ε), Δ the difference of two squared distances: 0 in float64 but
    # for rows within 1e-4 of a boundary, of which there are none
    assert soft.parameters_["means"] == pytest.approx(hard.cluster_centers_, rel=1e-8)
    assert np.array_equal(soft.predict(X), hard.labels_)


def test_float32_rows():
    rows = X.astype(np.float32)
    m, double = ef.KMeans(5, random_state=0).fit(rows), ef.KMeans(5, random_state=0).fit(rows.astype(np.float64))
    assert m.cluster_centers_.dtype == m.transform(rows).dtype == np.float32
    assert m.cluster_centers_ == pytest.approx(double.cluster_centers_, rel=1e-6)
    assert np.array_equal(m.labels_, double.labels_)
    assert m.inertia_ == pytest.approx(double.inertia_, rel=1e-6)


def test_far_from_the_origin():
    """Distances between rows are what matters, at 1e6 spreads from the origin too."""
    shifted = X + 2.0**23
    near, far = (ef.KMeans(4, init=rows[:4], tol=0).fit(rows) for rows in (shifted - 2.0**23, shifted))
    assert np.array_equal(near.labels_, far.labels_)
    # the shift is exact, so both are the same numbers but for the rounding of the centres, ε·2²³ = 2e-9
    assert far.inertia_ == pytest.approx(near.inertia_, rel=1e-8)
    assert far.cluster_centers_ - 2.0**23 == pytest.approx(near.cluster_centers_, abs=4e-9)


def test_one_row_each_and_one_cluster():
    m = ef.KMeans(400, random_state=0).fit(X)
    assert m.inertia_ == pytest.approx(0, abs=1e-20)
    one = ef.KMeans(1).fit(X)
    assert one.cluster_centers_[0] == pytest.approx(X.mean(axis=0), rel=1e-13)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ef.KMeans(1).fit(np.ones((5, 2))).inertia_ == 0


@pytest.mark.parametrize("rows", ["far", "equal"])
def test_all_columns_have_one_scale(rows):
    rng = np.random.default_rng(4)
    X = np.column_stack([1.7e18 + 256.0 * rng.integers(0, 3, 400), 300 * rng.normal(size=400)])
    X[:200, 1] += 1600
    if rows == "equal":  # up to the rounding of their mean
        X = np.repeat([[-0.43051197019258486, 0.2613508456100389, -0.017916816054972758]], 7, axis=0)
    for family in (ef.families.KnownCovariance(), ef.families.Gaussian("spherical")):
        assert len(set(family.bind([(X, None)]).scale)) == 1
    if rows == "far":
        model = ef.KMeans(2, init=X[[0, -1]], tol=0).fit(X)
        assert np.array_equal(model.labels_, cdist(X, model.mixture_.parameters["means"]).argmin(axis=1))


def test_a_cluster_without_rows_has_no_rest_of_their_weights():
    # 10⁹ comes and goes, and 10⁻⁹ does not fit below it in two float64
    weight = np.array([1e9, 1e9, 1e-9, 1, 1, 1, 1e-9, 1, 1e9, 1e-9, 1e9, 1e9])
    X = np.array([0.29, 0.32, 0.7, 0.7, 0.7, 0.7, 0.7, -0.36, 0.29, 0.7, 0.7, 0.7])[:, None]
    model = ef.KMeans(4, init=np.array([[-0.36], [0.32], [-0.36], [0.29]]), tol=0).fit(X, sample_weight=weight)
    assert np.allclose(np.sort(model.cluster_centers_.ravel()), [-0.36, 0.29, 0.32, 0.7], rtol=1e-15)
    assert model.inertia_ < 1e-20


def test_rows_that_no_score_can_tell_apart_are_not_moved_for_ever():
    weight = np.array([1e9, 1e9, 0.001, 0.001, 1e9, 1e9, 0.001, 0.001, 1e9])
    X = np.array([-0.62, -1.24, -0.47, -1.58, -1.58, -0.47, -0.47, -0.47, -1.58])[:, None]
    init = np.array([[-0.62], [-1.24], [-0.62], [-1.24], [-1.58]])
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        model = ef.KMeans(5, init=init, tol=0).fit(X, sample_weight=weight)
    assert model.n_iter_ < 10


def test_what_is_asked_for_in_vain_is_said():
    with pytest.warns(RuntimeWarning, match="performing only one init in KMeans instead of n_init=3"):
        ef.KMeans(2, init=X[:2], n_init=3).fit(X)
    with pytest.warns(RuntimeWarning, match="doesn't make sense for a single cluster"):
        ef.KMeans(1, algorithm="elkan").fit(X)


# ---- weights are repetitions, and sums may overflow ----------------------------------------------------------------


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(12))
def test_a_weight_is_a_repetition_where_clusters_lose_their_rows(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 4, (40, 3)).astype(float) if seed % 2 else rng.normal(size=(40, 3))
    w = rng.integers(1, 4, len(rows))
    far = np.concatenate([rows[:1], 100 + rng.normal(size=(5, 3))])
    repeated = rng.permutation(np.repeat(rows, w, axis=0))
    one = ef.KMeans(6, init=far, tol=0).fit(rows, sample_weight=w)
    for container in (np.asarray, sparse.csr_array):
        for data, weight in ((rows, w), (repeated, None)):
            other = ef.KMeans(6, init=far, tol=0).fit(container(data), sample_weight=weight)
            assert other.cluster_centers_ == pytest.approx(one.cluster_centers_, rel=1e-12, abs=1e-12)
            assert other.inertia_ == pytest.approx(one.inertia_, rel=1e-12)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("init", ["k-means++", "centres"])
def test_an_inertia_beyond_float64_is_infinite_and_the_labels_are_those_of_smaller_rows(init, container):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 20))
    rows[rows < -1] = 0
    small, large = (
        ef.KMeans(3, init=init if init == "k-means++" else scale * rows[:3], random_state=0).fit(
            container(scale * rows)
        )
        for scale in (1.0, 2.0**508)
    )
    assert 1e152 < 2.0**508 < 1e153
    assert large.inertia_ == large.distortions_[-1] == -large.score(container(2.0**508 * rows)) == np.inf
    assert np.isfinite(large.cluster_centers_).all()
    assert np.array_equal(large.labels_, small.labels_)
    with pytest.raises(ValueError, match="variance of column 0 is beyond the range of float64: divide X by its size"):
        ef.KMeans(3, random_state=0).fit(container(2.0**520 * rows))


def test_distances_too_large_for_float32_are_not_infinite():
    rows = np.array([[3e38, -3e38], [-3e38, 3e38], [2e38, -3e38], [-2e38, 3e38]], np.float32)
    for container in (np.asarray, sparse.csr_array):
        m = ef.KMeans(2, random_state=0).fit(container(rows))
        expected = cdist(rows.astype(np.float64), m.cluster_centers_.astype(np.float64))
        assert m.transform(container(rows)) == pytest.approx(expected, rel=1e-6)
        assert m.inertia_ == pytest.approx((expected.min(axis=1) ** 2).sum(), rel=1e-6)


# ---- what scikit-learn hands over and prints -----------------------------------------------------------------------


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_centres_may_come_from_a_function_that_changes_its_rows(container):
    seen, rows = [], X.copy()

    def first_of_shuffled(X, n_clusters, random_state):
        X = X if isinstance(X, np.ndarray) else X.toarray()
        random_state.shuffle(X)
        seen.append(X[:n_clusters].copy())
        X *= 2
        return seen[-1]

    m = ef.KMeans(4, init=first_of_shuffled, random_state=3).fit(container(rows))
    assert np.array_equal(rows, X)
    assert len(np.unique(seen, axis=0)) == 10  # every start has its own
    again = ef.KMeans(4, init=first_of_shuffled, random_state=3).fit(container(rows))
    assert np.array_equal(again.cluster_centers_, m.cluster_centers_)


@pytest.mark.parametrize(("tol", "end"), [(0, "strict convergence"), (1e-2, r"center shift .* within tolerance")])
def test_a_verbose_fit_tells_every_step_and_changes_nothing(tol, end, capsys):
    m = ef.KMeans(4, random_state=0, tol=tol, verbose=1).fit(X)
    first, *steps, last = capsys.readouterr().out.splitlines()
    assert first == "Initialization complete"
    assert [line.split(",")[0] for line in steps] == [f"Iteration {i}" for i in range(1, m.n_iter_ + 1)]
    assert float(steps[-1].split()[-1].rstrip(".")) == pytest.approx(m.inertia_, rel=1e-7)
    assert re.fullmatch(rf"Converged at iteration {m.n_iter_}: {end}.*\.", last)
    assert ef.KMeans(4, random_state=0, tol=tol).fit(X).inertia_ == m.inertia_
