"""k-means of sparse rows: what it finds for the dense ones."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em.em.steps import expected_statistics
from expfam_em.estep import nearest_sparse
from expfam_em.estep.nearest import NearestPass
from expfam_em.estep.nearest_sparse import SparseNearestPass
from expfam_em.estimators.kmeans import _filled
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.memory import DENSE_ENTRIES, ArrayRows, as_rows

N, D = 400, 60
RNG = np.random.default_rng(3)
WEIGHT = RNG.uniform(0.1, 2, N) * (RNG.random(N) > 0.2)
ROWS = {
    "numbers": sparse.random(N, D, 0.1, "csr", None, np.random.default_rng(0)).toarray(),
    "counts": np.random.default_rng(1).poisson(0.3, (N, D)).astype(float),
    "negative": sparse.random(N, D, 0.1, "csr", None, np.random.default_rng(2), data_rvs=RNG.standard_normal).toarray(),
}
for rows in ROWS.values():
    rows[:, :3] += 3 * (RNG.integers(0, 3, N)[:, None] == np.arange(3))
    rows[7] = 0
INITS = {
    "k-means++": "k-means++",
    "random": "random",
    "rows": lambda X, K, random_state: np.asarray(X[np.arange(K)].todense() if sparse.issparse(X) else X[:K]),
    "far": np.concatenate([ROWS["numbers"][:4], np.full((3, D), 50.0)]),
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
each_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
each_rows = pytest.mark.parametrize("kind", ROWS)


def fitted(X, init="k-means++", weight=None, **how):
    return ef.KMeans(7, **{"init": INITS[init], "random_state": 0, **how}).fit(X, sample_weight=weight)


def present(weight):
    """A row without weight may be as far from two centres, for no centre is drawn to it."""
    return slice(None) if weight is None else weight > 0


@pytest.fixture
def sparse_stays_sparse(monkeypatch):
    """A few rows may be made dense at a time, for the seeds or to fill empty clusters, but never all."""
    make_dense = CSRBlock.__array__

    def some(self, dtype=None, copy=None):
        assert len(self) <= 20 or len(self) * self.shape[1] <= DENSE_ENTRIES
        return make_dense(self, dtype)

    monkeypatch.setattr(CSRBlock, "__array__", some)


@each_weight
@pytest.mark.parametrize("init", INITS)
@each_rows
def test_the_clusters_are_those_of_the_dense_rows(kind, init, weight):
    X, here = ROWS[kind], present(weight)
    found, expected = (fitted(rows, init, weight) for rows in (sparse.csr_array(X), X))
    assert np.array_equal(found.labels_[here], expected.labels_[here])
    assert found.labels_.dtype == np.int32
    assert found.cluster_centers_ == pytest.approx(expected.cluster_centers_, rel=1e-12, abs=1e-13)
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-12)
    assert found.n_iter_ == expected.n_iter_
    # the bound is a difference of larger numbers here, for nothing is centred
    assert found.distortions_ == pytest.approx(expected.distortions_, rel=1e-11)


@each_weight
@each_rows
def test_every_method_takes_either(kind, weight):
    X, here = ROWS[kind], present(weight)
    S = sparse.csc_matrix(X)
    for model in (fitted(X, weight=weight), fitted(S, weight=weight)):
        distance = cdist(X, model.cluster_centers_)
        assert np.array_equal(model.predict(S)[here], distance[here].argmin(axis=1))
        assert np.array_equal(model.predict(X)[here], distance[here].argmin(axis=1))
        assert model.transform(S) == pytest.approx(distance, rel=1e-12, abs=1e-14)
        assert model.score(S, sample_weight=weight) == pytest.approx(model.score(X, sample_weight=weight), rel=1e-12)
        assert np.array_equal(clone(model).fit_predict(S, sample_weight=weight)[here], model.labels_[here])
        assert clone(model).fit_transform(S, sample_weight=weight) == pytest.approx(model.transform(X), rel=1e-11)


def test_a_weight_of_two_is_the_row_given_twice():
    X, w = sparse.csr_array(ROWS["numbers"]), RNG.integers(0, 4, N)
    one, two = fitted(X, weight=w.astype(float)), fitted(X[np.repeat(np.arange(N), w)])
    assert one.cluster_centers_ == pytest.approx(two.cluster_centers_, rel=1e-10, abs=1e-12)
    assert one.inertia_ == pytest.approx(two.inertia_, rel=1e-10)


def test_any_number_of_threads_gives_the_same_bits():
    X = sparse.random(5000, 300, 0.05, "csr", None, np.random.default_rng(0))
    assert len(as_rows(X).tasks(10**9)) > 4
    one, *others = (fitted(X, n_jobs=n_jobs) for n_jobs in (1, 2, 4))
    for other in others:
        assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
        assert (one.inertia_, one.distortions_) == (other.inertia_, other.distortions_)
        assert np.array_equal(one.labels_, other.labels_)
        assert one.transform(X).tobytes() == other.transform(X).tobytes()
        assert one.score(X) == other.score(X)


def test_the_lower_index_wins_a_tie():
    grid = np.stack(np.meshgrid(np.arange(21.0), np.arange(13.0)), axis=-1).reshape(-1, 2)
    centres = np.array([[3.0, 4], [7, 4], [3, 8], [7, 8], [15, 6], [19, 6]])
    model = ef.KMeans(6, init=centres, tol=0).fit(sparse.csr_array(centres))
    assert np.array_equal(model.cluster_centers_, centres)
    assert np.array_equal(model.predict(sparse.csr_array(grid)), cdist(grid, centres, "sqeuclidean").argmin(axis=1))


def test_float32_rows():
    X = ROWS["numbers"].astype(np.float32)
    found, expected = fitted(sparse.csr_array(X)), fitted(X)
    assert found.cluster_centers_.dtype == found.transform(sparse.csr_array(X)).dtype == np.float32
    assert np.array_equal(found.labels_, expected.labels_)
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)


# ---- empty clusters and equal rows ---------------------------------------------------------------------------------


@each_weight
def test_a_filled_cluster_raises_the_bound_as_with_dense_rows(weight):
    X = ROWS["numbers"]
    family = ef.families.KnownCovariance()
    centres = np.concatenate([X[:3] + 0.1, np.full((4, D), 50.0)])
    natural, pi = family.from_moments(centres, np.ones(7)), np.full(7, 1 / 7)
    mixture = ef.Mixture(family, pi[None], natural[None])
    results = []
    csr = ArrayRows(CSRBlock.of(sparse.csr_array(X)), weight)
    for pass_ in (SparseNearestPass(family, csr), NearestPass(family, ArrayRows(X, weight))):
        before = expected_statistics(pass_, mixture, 0.0)
        statistics, filled = _filled(pass_, before, mixture)
        assert np.all(statistics.counts > 0)
        assert statistics.bound > before.bound
        results.append((statistics, filled))
    (found, where), (expected, there) = results
    assert found.counts == pytest.approx(expected.counts, rel=1e-13)
    assert found.sums == pytest.approx(expected.sums, rel=1e-12, abs=1e-13)
    assert found.bound == pytest.approx(expected.bound, rel=1e-12)
    assert np.array_equal(where.natural, there.natural)


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_equal_rows_have_no_distance_and_fill_no_cluster():
    X = np.repeat([[0.1, 0, 0.7, 0], [0, 0.3, 0, -0.9]], 7, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"\(2\) found smaller than n_clusters \(4\)"):
        model = ef.KMeans(4, init=X[[0, 1, 7, 8]], tol=0).fit(
            sparse.csr_array(X), sample_weight=np.linspace(0.1, 0.7, 14)
        )
    assert model.n_iter_ <= 3
    assert model.inertia_ == pytest.approx(0, abs=1e-30)
    exact = ef.KMeans(2, init=X[[0, 7]]).fit(sparse.csr_array(X[[0, 7]]))
    assert exact.inertia_ == 0
    assert np.array_equal(np.diag(exact.transform(sparse.csr_array(X[[0, 7]]))), [0, 0])


@each_weight
def test_the_variance_of_the_columns(weight):
    X = ROWS["negative"]
    w = np.ones(N) if weight is None else weight
    rows = SparseNearestPass(ef.families.KnownCovariance(), ArrayRows(CSRBlock.of(sparse.csr_array(X)), weight))
    expected = w @ (X - w @ X / w.sum()) ** 2 / w.sum()
    assert rows.column_variance() == pytest.approx(expected, rel=1e-12)


# ---- refusals and memory -------------------------------------------------------------------------------------------


def test_what_is_refused():
    S = sparse.csr_array(ROWS["numbers"])
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=7"):
        fitted(S[:3])
    with pytest.raises(ValueError, match="features"):
        fitted(S).predict(S[:, :5])
    for model in (ef.KMeans(2, init=np.ones((2, 3))), ef.KMeans(2, init=np.ones((3, D)))):
        with pytest.raises(ValueError, match="does not match the number of"):
            model.fit(S)
    bad = S.copy()
    bad.data[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fitted(bad)


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_memory_follows_the_entries(init, sparse_stays_sparse):
    n, d = 20_000, 5_000
    X = sparse.random(n, d, 0.002, "csr", None, np.random.default_rng(0))
    fitted(X[:100])
    tracemalloc.start()
    try:
        model = fitted(X, init, max_iter=3)
        model.predict(X)
        model.score(X)
        assert model.transform(X).shape == (n, 7)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.05 * n * d * 8


def test_distances_are_added_in_one_order_so_that_equal_numbers_cancel():
    X = CSRBlock.of(sparse.csr_array(ROWS["numbers"]))
    centres = ROWS["numbers"].copy()
    squares = nearest_sparse._squared_distances(X, centres, nearest_sparse._squares(centres), np.arange(N))
    assert np.all(squares == 0)
