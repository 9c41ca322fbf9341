"""Sparse rows of families that look at whole rows: counts with an exposure, and labels as indicators."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse, stats

import expfam_em as ef
from expfam_em.em.seeds import MAPPED_ENTRIES
from expfam_em.families import Bernoulli, Multinomial, OneHot, Poisson
from expfam_em.rows.csr import CSRBlock, row_sums
from expfam_em.rows.memory import DENSE_ENTRIES, as_rows
from tests.passes import given_statistics, outputs

N, K = 300, 3
LEVELS = [3, 2, 4] * 5
D = sum(LEVELS)
RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, K, N)
WEIGHT = RNG.uniform(0, 2, N) * (RNG.random(N) > 0.2)
FAMILIES = [Multinomial(), OneHot(LEVELS)]
INITS = ["k-means++", "kmeans", "random", "random_from_data", "labels", "responsibilities"]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
each_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])


def indicators(labels, levels=LEVELS):
    return np.concatenate([x[:, None] == np.arange(size) for x, size in zip(labels.T, levels, strict=True)], axis=1)


def rows_of(family, n=N, seed=0):
    rng = np.random.default_rng(seed)
    of_row = np.arange(n) % K if n != N else LABELS
    if isinstance(family, OneHot):
        labels = np.stack([(of_row + (rng.random(n) < 0.3) * rng.integers(0, 4, n)) % size for size in LEVELS], axis=1)
        return indicators(labels).astype(np.float64)
    shares = np.random.default_rng(1).dirichlet(np.full(D, 0.2), K)
    X = rng.multinomial(1 + rng.poisson(20, n), shares[of_row]).astype(np.float64)
    X[:, 5] = 0  # an empty column
    X[:, 0] += X.sum(axis=1) == 0
    return X


def mixture_of(family):
    mean = np.stack([rows_of(family)[LABELS == k].mean(axis=0) + 0.01 for k in range(K)])
    sizes = [D] if isinstance(family, Multinomial) else LEVELS
    starts = np.cumsum(sizes) - sizes
    mean /= np.repeat(np.add.reduceat(mean, starts, axis=1), sizes, axis=1)
    # the exposure shows only where A is not 0
    return ef.Mixture(family, [0.5, 0.3, 0.2], family.to_natural(mean) + np.array([[0.1], [-0.4], [1.0]]))


def init_of(name):
    given = {"labels": LABELS, "responsibilities": np.random.default_rng(1).dirichlet(np.ones(K), N)}
    return given.get(name, name)


def close(found, expected, relative=1e-12):
    assert np.shape(found) == np.shape(expected)
    assert np.allclose(found, expected, rtol=relative, atol=relative * max(1, np.abs(expected).max(initial=0)))


def fitted(X, family, weight=None, **how):
    how = {"max_iter": 12, "tol": 0, "random_state": 4, **how}
    return ef.ExponentialFamilyMixture(family, K, **how).fit(X, sample_weight=weight)


@pytest.fixture
def sparse_stays_sparse(monkeypatch):
    """A few rows may be made dense at a time, or as many as components begin at, but never all."""
    make_dense = CSRBlock.__array__

    def some(self, dtype=None, copy=None):
        assert len(self) <= 20 or len(self) * self.shape[1] <= max(MAPPED_ENTRIES, DENSE_ENTRIES)
        return make_dense(self, dtype)

    monkeypatch.setattr(CSRBlock, "__array__", some)


# ---- the same numbers as dense rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0, [3.0, 2.0, 1.0]], ids=str)
@each_weight
@pytest.mark.parametrize("init", INITS)
@each_family
def test_a_fit_is_the_fit_of_the_dense_rows(family, init, weight, temperature):
    X = rows_of(family)
    how = {"init": init_of(init), "temperature": temperature, "concentration": 1.5}
    found, expected = (fitted(rows, family, weight, **how) for rows in (sparse.csr_array(X), X))
    close(found.weights_, expected.weights_, 1e-11)
    close(found.expectation_parameters_, expected.expectation_parameters_, 1e-11)
    close(found.lower_bounds_, expected.lower_bounds_, 1e-11)
    for name in ("score", "aic", "bic", "icl"):
        close(getattr(found, name)(sparse.csr_array(X), weight), getattr(expected, name)(X, weight), 1e-11)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0, 0.0])
@each_weight
@each_family
def test_the_steps_are_those_of_the_dense_rows(family, weight, temperature):
    X, mixture = rows_of(family), mixture_of(family)
    S = sparse.csr_matrix(X)
    found, expected = (ef.accumulate(mixture, rows, weight, temperature=temperature) for rows in (S, X))
    for name in ("counts", "sums", "exposures", "bound"):
        close(getattr(found, name), getattr(expected, name))
    wanted = {"temperature": temperature, "responsibilities": True, "labels": True}
    for a, b in zip(outputs(mixture, S, **wanted), outputs(mixture, X, **wanted), strict=True):
        close(a, b)
    close(mixture.log_density(S), mixture.log_density(X))
    close(family.log_density(S, mixture.natural), family.log_density(X, mixture.natural))


@each_weight
@each_family
def test_given_responsibilities_have_the_statistics_of_the_dense_rows(family, weight):
    X, q = rows_of(family), np.random.default_rng(0).dirichlet(np.ones(K), N)
    found, expected = (given_statistics(family, as_rows(rows, weight), q) for rows in (sparse.csr_array(X), X))
    for name in ("counts", "sums", "exposures"):
        close(getattr(found, name), getattr(expected, name))
    for function in (ef.lower_bound, ef.gap, ef.expected_log_likelihood):
        close(function(mixture_of(family), sparse.csr_array(X), q, weight), function(mixture_of(family), X, q, weight))


def test_counts_have_the_density_of_scipy():
    X = rows_of(Multinomial())
    p = np.random.default_rng(3).dirichlet(np.ones(D))
    expected = stats.multinomial.logpmf(X, X.sum(axis=1), p)
    close(Multinomial().log_density(sparse.csr_array(X), np.log(p) + 2.0)[:, 0], expected)


def test_the_exposures_of_counts_are_their_sums():
    X = rows_of(Multinomial())
    statistics = ef.accumulate(mixture_of(Multinomial()), sparse.csr_array(X), WEIGHT)
    assert statistics.exposures.sum() == pytest.approx(WEIGHT @ X.sum(axis=1), rel=1e-13)
    assert np.all(statistics.exposures > 5 * statistics.counts)
    assert statistics.sums.sum(axis=1) == pytest.approx(statistics.exposures, rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.bool_, np.int64])
@each_family
def test_entries_of_any_dtype(family, dtype):
    X = np.minimum(rows_of(family), 1)
    expected = fitted(sparse.csr_array(X), family)
    found = fitted(sparse.csr_array(X.astype(dtype)), family)
    close(found.expectation_parameters_, expected.expectation_parameters_, 1e-6)
    close(found.score(sparse.csr_array(X)), expected.score(sparse.csr_array(X)), 1e-6)


@each_family
def test_any_number_of_threads_gives_the_same_bits(family):
    X = sparse.csr_array(rows_of(family, 6000))
    assert len(as_rows(X).tasks(10**9)) > 4
    weight = np.random.default_rng(1).uniform(0, 2, 6000)
    one, *others = (fitted(X, family, weight, n_jobs=n_jobs, max_iter=4) for n_jobs in (1, 2, 4))
    for other in others:
        assert one.natural_parameters_.tobytes() == other.natural_parameters_.tobytes()
        assert one.lower_bounds_ == other.lower_bounds_
        assert one.score_samples(X).tobytes() == other.score_samples(X).tobytes()


def test_sums_of_rows():
    X = np.random.default_rng(0).poisson(0.5, (20, 7))
    for rows in (X, CSRBlock.of(sparse.csr_array(X)), X.astype(np.uint8)):
        assert np.array_equal(row_sums(rows), X.sum(axis=1))
        assert np.array_equal(row_sums(rows, np.square), np.sum(X**2, axis=1))
    assert row_sums(CSRBlock.of(sparse.csr_array(X.astype(np.uint8))), np.square).dtype == np.float64


# ---- the support ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "row", "column"), [(1.5, 23, 4), (-1.0, 9, 44), (0.5, 299, 0)])
@each_family
def test_errors_name_row_and_column_as_the_user_counts_them(family, value, row, column):
    X = rows_of(family)
    X[row, column] = value
    says = rf"{type(family).__name__} needs .*; column {column} holds {value} \(row {row}\)"
    for rows in (sparse.csr_array(X), X):
        with pytest.raises(ValueError, match=says):
            fitted(rows, family)
    weight = np.ones(N)
    weight[row] = 0  # an absent row may hold anything
    fitted(sparse.csr_array(X), family, weight, max_iter=2)


def test_every_row_of_counts_needs_one():
    X = rows_of(Multinomial())
    X[17] = 0
    stored = sparse.csr_array(X + (np.arange(D) == 3))
    stored.data[stored.data == 1] = 0  # zeros that are stored are no counts
    for rows in (sparse.csr_array(X), X):
        with pytest.raises(ValueError, match="Multinomial needs a count in every row; row 17 has none"):
            fitted(rows, Multinomial())
    with pytest.raises(ValueError, match="Multinomial needs a count in every row; row 17 has none"):
        fitted(stored, Multinomial())
    fitted(sparse.csr_array(X), Multinomial(), np.where(np.arange(N) == 17, 0.0, 1.0), max_iter=2)


@pytest.mark.parametrize("fault", ["none", "two", "elsewhere"])
def test_every_variable_needs_one_indicator(fault):
    X = rows_of(OneHot(LEVELS))
    X[40, 3:5] = [0, 0] if fault != "two" else [1, 1]
    if fault == "elsewhere":  # as many ones as there are variables
        X[40, 5:9] = [1, 1, 0, 0]
    says = r"OneHot needs one 1 among the 2 columns of each variable; row 40 has [02] in those of variable 1, from col"
    stored = sparse.csr_array(X + 1)
    stored.data -= 1
    for rows in (sparse.csr_array(X), X, stored):
        with pytest.raises(ValueError, match=says):
            fitted(rows, OneHot(LEVELS))


# ---- families that say more than is true ---------------------------------------------------------------------------


class OtherExposure(Multinomial):
    """Takes CSR rows, but gives them another exposure."""

    def exposure(self, X):
        return super().exposure(X) + isinstance(X, CSRBlock)


class NoExposure(Multinomial):
    """Takes CSR rows, but forgets their exposure."""

    def exposure(self, X):
        return None if isinstance(X, CSRBlock) else super().exposure(X)


class OtherBase(Multinomial):
    """Takes CSR rows, but gives them another log h."""

    def log_base_measure(self, X):
        return super().log_base_measure(X) + isinstance(X, CSRBlock)


class LongBase(Multinomial):
    """Takes CSR rows, but returns a log h for each entry."""

    def log_base_measure(self, X):
        return np.zeros(len(X.values)) if isinstance(X, CSRBlock) else super().log_base_measure(X)


class ByEntry(Multinomial):
    """Has an exposure, but does not say that it takes CSR rows."""

    sparse = "entries"


class Doubled(OneHot):
    """Has another T."""

    kernel_form = ef.ExponentialFamily.kernel_form

    def sufficient_statistics(self, X):
        return 2.0 * X


@pytest.mark.parametrize(
    ("family", "lie"),
    [
        (OtherExposure(), "exposure of CSR rows"),
        (NoExposure(), "exposure of CSR rows"),
        (OtherBase(), "log h of CSR rows"),
        (ByEntry(), "exposure of CSR rows"),
        (Doubled(LEVELS), r"T\(x\) is not x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_families_that_take_sparse_rows_in_name_only_are_found_out(family, lie):
    X = sparse.csr_array(np.minimum(rows_of(OneHot(LEVELS)), 1))
    with pytest.raises(ValueError, match=rf"says sparse = '(entries|rows)', but (its )?{lie}"):
        fitted(X, family)
    mixture = ef.Mixture(family, [1.0], np.zeros((1, D)))
    for function in (mixture.log_density, lambda X: ef.accumulate(mixture, X), lambda X: ef.fit(mixture, X)):
        with pytest.raises(ValueError, match=rf"says sparse = '(entries|rows)', but (its )?{lie}"):
            function(X)


def test_log_h_of_each_entry_is_refused():
    X = sparse.csr_array(np.minimum(rows_of(OneHot(LEVELS)), 1))
    with pytest.raises(ValueError, match=r"LongBase.log_base_measure returned shape .* of shape \(n,\), here \(300,\)"):
        fitted(X, LongBase())


def test_an_exposure_that_is_not_positive_is_refused():
    class Free(Multinomial):
        def exposure(self, X):
            return row_sums(X) - row_sums(X)[0]

    with pytest.raises(ValueError, match="Free needs rows with a positive exposure"):
        fitted(sparse.csr_array(rows_of(Multinomial())), Free())


# ---- memory --------------------------------------------------------------------------------------------------------


def wide_rows(family, n, d):
    rng = np.random.default_rng(0)
    size = d // 10
    columns = np.arange(10) * size + rng.integers(0, size, (n, 10))
    values = np.ones((n, 10)) if isinstance(family, OneHot | Bernoulli) else rng.integers(1, 4, (n, 10)).astype(float)
    return sparse.csr_array((values.ravel(), columns.ravel(), np.arange(n + 1) * 10), (n, d))


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "labels"])
@pytest.mark.parametrize("family", [Multinomial(), OneHot(500)], ids=repr)
def test_the_memory_of_a_fit_follows_the_entries(family, init, sparse_stays_sparse):
    n, d = 20_000, 5_000
    X, labels = wide_rows(family, n, d), np.arange(n) % 5
    given = {"init": labels if init == "labels" else init, "max_iter": 3, "tol": 0, "random_state": 0}
    fitted(X[:100], family, init="random")
    tracemalloc.start()
    try:
        model = ef.ExponentialFamilyMixture(family, 5, **given).fit(X)
        model.predict(X)
        model.bic(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.05 * n * d * 8


@pytest.mark.parametrize("family", [Bernoulli(), Poisson(), Multinomial()], ids=repr)
def test_the_seeds_of_wide_rows_are_made_dense_a_few_at_a_time(family, sparse_stays_sparse):
    n, d, n_components = 400, 50_000, 20
    X = wide_rows(family, n, d)
    how = {"max_iter": 1, "tol": 0, "random_state": 0, "acceleration": None}  # which would remember whole steps
    tracemalloc.start()
    try:
        ef.ExponentialFamilyMixture(family, n_components, **how).fit(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 200 rows are looked at for seeds, which would be several arrays; what is fitted is some arrays of 20 rows
    assert peak < 1.2 * 200 * d * 8


@pytest.mark.parametrize("step", [1, 1000])
@each_family
def test_seeds_do_not_depend_on_how_many_are_made_dense_at_a_time(family, step, monkeypatch):
    X = sparse.csr_array(rows_of(family))
    expected = fitted(X, family, WEIGHT)
    monkeypatch.setattr("expfam_em.em.seeds.MAPPED_ENTRIES", step)
    close(fitted(X, family, WEIGHT).expectation_parameters_, expected.expectation_parameters_)


def test_directions_are_fitted_from_sparse_rows():
    X = RNG.normal(size=(200, 6)) * (RNG.random((200, 6)) < 0.7) + 0.1 * np.eye(6)[RNG.integers(6, size=200)]
    X /= np.linalg.norm(X, axis=1)[:, None]
    dense, thin = (
        ef.ExponentialFamilyMixture(ef.families.VonMisesFisher(), 2, random_state=0).fit(rows)
        for rows in (X, sparse.csr_array(X))
    )
    assert thin.score(sparse.csr_array(X)) == pytest.approx(dense.score(X), rel=1e-9)
    X[150] *= 2
    with pytest.raises(ValueError, match=r"row 150"):
        thin.score(sparse.csr_array(X))
