"""Sparse rows: whatever a user may call gives for a CSR matrix what it gives for the dense array."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import expfam_em as ef
from expfam_em.families import Bernoulli, Gaussian, Poisson
from expfam_em.family import checked
from expfam_em.family import checked as checked_module
from expfam_em.rows.csr import CSRBlock, project
from expfam_em.rows.memory import as_rows
from tests.own_families import Rayleigh
from tests.passes import outputs

N, D, K = 300, 40, 3
RATES = np.random.default_rng(7).gamma(0.4, 0.5, (K, D)).clip(0.01, 0.9)
LABELS = np.random.default_rng(8).integers(0, K, N)
WEIGHT = np.random.default_rng(9).uniform(0, 2, N) * (np.random.default_rng(10).random(N) > 0.2)


class Geometric(ef.ExponentialFamily):
    """A user's family: T(x) = x, A(η) = −Σ log(1 − e^η), h = 1, on whole numbers."""

    sparse = "entries"

    def sufficient_statistics(self, X):
        return np.asarray(X, float)

    def log_partition(self, natural):
        return -np.log1p(-np.exp(natural)).sum(axis=1)

    def to_natural(self, expectation):
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(expectation / (1 + expectation)), -700.0)

    def to_expectation(self, natural):
        return np.exp(natural) / -np.expm1(natural)

    def check_support(self, X):
        if np.any(X < 0):
            raise ValueError(f"Geometric needs numbers from 0, not {X.min()}")


FAMILIES = [Bernoulli(), Poisson(), Geometric()]
INITS = ["k-means++", "kmeans", "random", "random_from_data", "labels", "responsibilities"]


def rows_of(family, n=N, seed=0):
    rng = np.random.default_rng(seed)
    rates = RATES[LABELS[:n]]
    X = rng.random(rates.shape) < rates if isinstance(family, Bernoulli) else rng.poisson(rates)
    X[:, 5] = 0  # an empty column
    X[[0, 17]] = 0  # and empty rows
    return X.astype(np.float64)


def init_of(name):
    given = {"labels": LABELS, "responsibilities": np.random.default_rng(1).dirichlet(np.ones(K), N)}
    return given.get(name, name)


def mixture_of(family, seed=3):
    rng = np.random.default_rng(seed)
    expectation = RATES * rng.uniform(0.5, 1.1, RATES.shape)
    return ef.Mixture(family, [0.5, 0.3, 0.2], family.to_natural(expectation))


def close(found, expected, relative=1e-9):
    assert np.shape(found) == np.shape(expected)
    assert np.allclose(found, expected, rtol=relative, atol=relative * max(1, np.abs(expected).max(initial=0)))


def fitted(X, family, weight=None, **how):
    how = {"max_iter": 12, "tol": 0, "random_state": 4, **how}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ef.ExponentialFamilyMixture(family, K, **how).fit(X, sample_weight=weight)


def assert_same_fit(found, expected):
    close(found.weights_, expected.weights_)
    close(found.expectation_parameters_, expected.expectation_parameters_)
    close(found.lower_bounds_, expected.lower_bounds_)


# ---- the laws ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0, [3.0, 2.0, 1.0]])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_fit_is_the_fit_of_the_dense_rows(family, init, weight, temperature):
    X = rows_of(family)
    how = {"init": init_of(init), "temperature": temperature, "concentration": 1.5, "prior": prior_of(X)}
    assert_same_fit(fitted(sparse.csr_array(X), family, weight, **how), fitted(X, family, weight, **how))


def prior_of(X):
    return ef.ExpectedStatistics(np.full(K, 0.5), 0.5 * np.tile(X.mean(axis=0) + 0.01, (K, 1)))


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_restarts_are_the_restarts_of_the_dense_rows(family, weight):
    X = rows_of(family)
    how = {"n_init": 4, "prior": prior_of(X), "max_iter": 300, "tol": 1e-10}
    found, expected = (fitted(rows, family, weight, **how) for rows in (sparse.csr_matrix(X), X))
    # two starts may reach the same maximum, and rounding decides which of them is kept
    close(found.lower_bound_, expected.lower_bound_, 1e-7)
    close(np.sort(found.weights_), np.sort(expected.weights_), 1e-3)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_every_public_method_is_that_of_the_dense_rows(family, weight):
    X = rows_of(family)
    S, model = sparse.csr_array(X), fitted(X, family, prior=prior_of(X), tol=1e-6, max_iter=500)
    assert np.array_equal(model.predict(S), model.predict(X))
    close(model.predict_proba(S), model.predict_proba(X))
    close(model.score_samples(S), model.score_samples(X))
    for name in ("score", "aic", "bic", "icl"):
        close(getattr(model, name)(S, sample_weight=weight), getattr(model, name)(X, sample_weight=weight))
    assert np.array_equal(clone(model).fit_predict(S, sample_weight=weight), clone(model).fit_predict(X, None, weight))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0, 0.0])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_the_steps_below_the_estimators_are_those_of_the_dense_rows(family, weight, temperature):
    X, mixture = rows_of(family), mixture_of(family)
    S = sparse.csr_matrix(X)
    found, expected = (ef.accumulate(mixture, rows, weight, temperature=temperature) for rows in (S, X))
    for name in ("counts", "sums", "bound"):
        close(getattr(found, name), getattr(expected, name))
    wanted = {"temperature": temperature, "responsibilities": True, "labels": True}
    for a, b in zip(outputs(mixture, S, **wanted), outputs(mixture, X, **wanted), strict=True):
        close(a, b)
    found, expected = (
        ef.fit(mixture, rows, weight, temperature=temperature, max_iter=5, tol=0, concentration=2.0) for rows in (S, X)
    )
    close(found.bounds, expected.bounds)
    close(found.half_bounds, expected.half_bounds)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_mixture_evaluates_sparse_rows(family):
    X, mixture = rows_of(family), mixture_of(family)
    S, q = sparse.csr_array(X), np.random.default_rng(0).dirichlet(np.ones(K), N)
    close(mixture.log_density(S), mixture.log_density(X))
    close(family.log_density(S, mixture.natural), family.log_density(X, mixture.natural))
    close(mixture.responsibilities(S), mixture.responsibilities(X))
    for function in (ef.lower_bound, ef.gap, ef.expected_log_likelihood):
        close(function(mixture, S, q, WEIGHT), function(mixture, X, q, WEIGHT))


@pytest.mark.parametrize("binarize", ["auto", None, 0.0, 0.5])
def test_bernoulli_mixtures_take_sparse_rows_of_any_dtype(binarize):
    X = rows_of(Bernoulli())
    expected = ef.BernoulliMixture(K, binarize=binarize, random_state=0).fit(X)
    for dtype in (np.float64, np.float32, np.uint8, np.bool_, np.int64):
        found = ef.BernoulliMixture(K, binarize=binarize, random_state=0).fit(sparse.csr_array(X.astype(dtype)))
        close(found.probabilities_, expected.probabilities_, 1e-6)
        assert np.array_equal(found.predict(sparse.csr_array(X)), expected.predict(X))


def test_sparse_numbers_have_to_be_binary():
    S = sparse.csr_array(rows_of(Poisson()))
    for binarize in ("auto", None, 1.0):
        with pytest.raises(ValueError, match="sparse rows must hold 0 and 1; column"):
            ef.BernoulliMixture(K, binarize=binarize).fit(S)


def test_columns_of_other_numbers_are_mistakes_where_most_are_binary():
    X = rows_of(Bernoulli())
    X[12, 30] = 2
    with pytest.raises(ValueError, match=r"must hold 0 and 1; column 30 holds 2\.0 \(row 12\)"):
        ef.BernoulliMixture(K).fit(sparse.csr_array(X))


# ---- the same bits -------------------------------------------------------------------------------------------------


def wide(n=4000, d=300, density=0.05):
    return sparse.random(n, d, density, "csr", None, np.random.default_rng(0), data_rvs=np.ones)


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random"])
def test_any_number_of_threads_gives_the_same_bits(init):
    X, w = wide(), np.random.default_rng(1).uniform(0, 2, 4000)
    assert len(as_rows(X).tasks(10**9)) > 4
    one, *others = (fitted(X, Bernoulli(), w, init=init, n_jobs=n_jobs) for n_jobs in (1, 2, 4))
    for other in others:
        assert np.array_equal(one.natural_parameters_, other.natural_parameters_)
        assert one.lower_bounds_ == other.lower_bounds_
        assert np.array_equal(one.score_samples(X), other.score_samples(X))


def same_matrices(X):
    """The same matrix in other clothes."""
    yield X.tocsc()
    yield sparse.coo_array(X)
    yield sparse.csr_matrix(X)
    yield X.tolil()
    yield sparse.dok_array(X)
    coo = X.tocoo()
    yield sparse.csr_array(sparse.coo_array((coo.data, (coo.row, coo.col)), X.shape))
    unsorted = X.copy()
    for i in range(X.shape[0]):
        row = slice(unsorted.indptr[i], unsorted.indptr[i + 1])
        unsorted.indices[row], unsorted.data[row] = unsorted.indices[row][::-1].copy(), unsorted.data[row][::-1].copy()
    yield sparse.csr_array((unsorted.data, unsorted.indices, unsorted.indptr), X.shape)
    halves = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr
    yield sparse.csr_array(halves, X.shape)
    zeros = sparse.csr_array(X + sparse.random(*X.shape, 0.1, "csr", None, np.random.default_rng(0)))
    zeros.data[:] = X.toarray()[np.repeat(np.arange(X.shape[0]), np.diff(zeros.indptr)), zeros.indices]
    yield zeros
    wide = X.copy()
    wide.indices, wide.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    yield wide


def test_formats_order_duplicates_stored_zeros_and_wide_indices_do_not_matter():
    X = sparse.csr_array(rows_of(Poisson()))
    expected = fitted(X, Poisson())
    for matrix in same_matrices(X):
        assert_same_fit(fitted(matrix, Poisson()), expected)
        close(ef.accumulate(expected.mixture_, matrix).sums, ef.accumulate(expected.mixture_, X).sums)


@pytest.mark.parametrize("canonical", [True, False])
def test_the_matrix_given_is_neither_written_to_nor_has_to_be_writable(canonical):
    X = sparse.csr_array(rows_of(Poisson()))
    if not canonical:
        X = sparse.csr_array((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), X.shape)
    before = [array.copy() for array in (X.data, X.indices, X.indptr)]
    for array in (X.data, X.indices, X.indptr):
        array.flags.writeable = False
    model = fitted(X, Poisson(), WEIGHT)
    model.predict(X)
    model.score_samples(X)
    ef.fit(model.mixture_, X, WEIGHT, max_iter=2)
    assert all(np.array_equal(a, b) for a, b in zip((X.data, X.indices, X.indptr), before, strict=True))


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random_from_data"])
def test_a_weight_of_two_is_the_row_given_twice(init):
    X, w = sparse.csr_array(rows_of(Poisson())), np.random.default_rng(0).integers(0, 4, N)
    twice = X[np.repeat(np.arange(N), w)]
    assert_same_fit(fitted(X, Poisson(), w, init=init), fitted(twice, Poisson(), init=init))


# ---- what is missing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [Bernoulli(), Poisson()], ids=repr)
@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random", "labels"])
def test_a_matrix_without_entries(family, init):
    X = sparse.csr_array((N, D))
    model = fitted(X, family, init=init_of(init))
    assert np.all(next(iter(model.parameters_.values())) <= 1e-12)
    assert model.score(X) == pytest.approx(0, abs=1e-9)


def test_a_single_row_and_a_single_column():
    assert fitted(sparse.csr_array([[0.0], [3.0], [5.0], [0.0]]), Poisson(), init="k-means++").converged_ in (
        True,
        False,
    )
    one = ef.ExponentialFamilyMixture(Poisson(), 1).fit(sparse.csr_array([[0.0, 2.0, 1.0]]))
    close(one.parameters_["rates"], [[0, 2, 1]])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_a_matrix_without_rows_or_columns_is_refused(shape):
    with pytest.raises(ValueError, match=r"0 sample|0 feature|minimum of 1"):
        fitted(sparse.csr_array(shape), Poisson())
    with pytest.raises(ValueError, match="at least one row"):
        ef.accumulate(mixture_of(Poisson()), sparse.csr_array(shape))


# ---- refusals ------------------------------------------------------------------------------------------------------


def test_families_that_do_not_keep_zeros_refuse():
    X = sparse.csr_array(rows_of(Poisson()))
    says = r"X is a sparse matrix, but .* needs dense rows.*X\.toarray\(\)"
    for model in (ef.GaussianMixture(2), ef.ExponentialFamilyMixture(Rayleigh(), 2)):
        with pytest.raises(TypeError, match=says):
            model.fit(X)
        assert not hasattr(model, "n_features_in_")
    dense = ef.GaussianMixture(2, reg_covar=1.0).fit(X.toarray())
    with pytest.raises(TypeError, match=says):
        dense.predict(X)
    mixture = ef.Mixture(Gaussian("diag"), [1.0], np.concatenate([np.zeros((1, D)), np.full((1, D), -0.5)], axis=1))
    for function in (ef.accumulate, outputs, ef.fit, lambda mixture, X: mixture.log_density(X)):
        with pytest.raises(TypeError, match=says):
            function(mixture, X)
    with pytest.raises(TypeError, match=says):
        mixture.family.log_density(X, mixture.natural)
    for unlike in (mixture, ef.Mixture(Rayleigh(), [1.0], np.full((1, D), -1.0))):
        with pytest.raises(TypeError, match=says):
            outputs(unlike, X, labels=True)
    with pytest.raises(TypeError, match=says):
        ef.accumulate(ef.Mixture(Rayleigh(), [1.0], np.full((1, D), -1.0)), X)


class Unsaid(Bernoulli):
    """Does not say that it keeps zeros."""

    sparse = None

    def check_support(self, X):
        pass


class UnsaidSquares(Unsaid):
    """T(x) = x² is x where x is 0 or 1."""

    def sufficient_statistics(self, X):
        return np.asarray(X, float) ** 2


def test_a_family_that_does_not_say_whether_it_keeps_zeros_is_asked_about_every_entry(monkeypatch):
    monkeypatch.setattr(checked_module, "PROBE", 10 * D)
    X = (rows_of(Poisson()) > 1).astype(float)
    natural = np.array([np.linspace(-2, 0, D)])
    expected = Bernoulli().log_density(X, natural)
    for family in (Unsaid(), UnsaidSquares()):
        assert family.log_density(sparse.csr_array(X), natural) == pytest.approx(expected)
    X[-1, 3] = 2
    mixture = ef.Mixture(Unsaid(), [1.0], natural)
    assert mixture.log_density(sparse.csr_array(X)) == pytest.approx(mixture.log_density(X))
    with pytest.raises(TypeError, match=r"needs dense rows, because its T\(x\) is not x"):
        ef.fit(ef.Mixture(UnsaidSquares(), [1.0], natural), sparse.csr_array(X))


class Squared(Poisson):
    """Says that it keeps zeros, but has another T."""

    def sufficient_statistics(self, X):
        return np.asarray(X, float) ** 2


class Shifted(Poisson):
    """Says that it keeps zeros, but its log h of a zero is not 0."""

    def log_base_measure(self, X):
        return super().log_base_measure(X) - X.shape[1]


class PerColumn(Poisson):
    """Says that it keeps zeros, but treats columns differently."""

    def log_base_measure(self, X):
        return (X * np.arange(D)).sum(axis=1)


class Exposed(Poisson):
    """Says that it keeps zeros, but has an exposure."""

    def exposure(self, X):
        return np.full(len(X), 2.0)


@pytest.mark.parametrize("family", [Squared(), Shifted(), PerColumn(), Exposed()], ids=repr)
def test_families_that_keep_zeros_in_name_only_are_found_out(family):
    X = sparse.csr_array(rows_of(Poisson()))
    with pytest.raises(ValueError, match=r"says sparse = 'entries', but"):
        fitted(X, family)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_entries_must_be_finite(value):
    X = rows_of(Poisson())
    X[23, 4] = value
    with pytest.raises(ValueError, match=r"holds nan in column 4 \(row 23\)|infinity"):
        fitted(sparse.csr_array(X), Poisson())
    with pytest.raises(ValueError, match=r"in column 4 \(row 23\); entries must be finite"):
        ef.accumulate(mixture_of(Poisson()), sparse.csr_array(X))


def test_errors_name_row_and_column_as_the_user_counts_them():
    X = rows_of(Poisson())
    X[23, 4], X[30, 2], X[9, 39] = 1.5, 0.5, -1.0
    says = r"Poisson needs whole numbers from 0; column {} holds {} \(row {}\)"
    with pytest.raises(ValueError, match=says.format(39, "-1.0", 9)):
        fitted(sparse.csr_array(X), Poisson())
    weight = np.ones(N)
    weight[:20] = 0  # rows of weight 0 are absent, but counted
    with pytest.raises(ValueError, match=says.format(4, "1.5", 23)):
        fitted(sparse.csr_array(X), Poisson(), weight)
    with pytest.raises(ValueError, match=r"from 0, not -1\.0; column 39 holds -1\.0 \(row 9\)"):
        fitted(sparse.csr_array(X), Geometric())
    model = fitted(rows_of(Poisson()), Poisson())
    with pytest.raises(ValueError, match=says.format(39, "-1.0", 9)):
        model.predict(sparse.csr_array(X))


class Positive(Poisson):
    """Keeps zeros, but only if there are none."""

    def check_support(self, X):
        if np.any(np.asarray(X) <= 0):
            raise ValueError("Positive needs numbers above 0")


def test_zeros_that_are_not_stored_have_to_be_in_the_support():
    X = np.ones((5, 4))
    checked.check_rows(Positive(), CSRBlock.of(sparse.csr_array(X)))
    X[3, 2] = 0
    with pytest.raises(ValueError, match=r"Positive needs numbers above 0; column 2 holds 0 \(row 3\)"):
        checked.check_rows(Positive(), CSRBlock.of(sparse.csr_array(X)))


def test_the_number_of_columns_must_be_that_of_the_fit():
    model = fitted(rows_of(Poisson()), Poisson())
    with pytest.raises(ValueError, match="features"):
        model.predict(sparse.csr_array((4, D + 1)))
    with pytest.raises(ValueError, match="natural parameters for 40"):
        ef.accumulate(model.mixture_, sparse.csr_array((4, D + 1)))


# ---- scikit-learn --------------------------------------------------------------------------------------------------


# ---- blocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows", [slice(0, 0), slice(3, 9), slice(5, None), np.array([4, 4, 0, 11]), np.arange(12) % 3 > 0]
)
def test_a_block_is_indexed_as_an_array_is(rows):
    X = np.random.default_rng(0).poisson(0.4, (12, 5)).astype(float)
    block = (
        CSRBlock.of(sparse.csr_array(X))[2:][:][rows]
        if isinstance(rows, slice)
        else CSRBlock.of(sparse.csr_array(X))[rows]
    )
    expected = X[2:][rows] if isinstance(rows, slice) else X[rows]
    assert len(block) == len(expected)
    assert block.shape == expected.shape
    assert np.array_equal(np.asarray(block), expected)
    assert np.array_equal(block.matrix.toarray(), expected)
    assert np.array_equal(block.sum_rows(block.values), expected.sum(axis=1))


def test_a_slice_shares_memory():
    block = CSRBlock.of(sparse.csr_array(rows_of(Poisson())))
    assert np.shares_memory(block[10:50].values, block.data)


def test_equal_rows_have_equal_keys():
    X = rows_of(Poisson())
    X[200:] = X[:100]
    key = project(CSRBlock.of(sparse.csr_array(X)), np.random.default_rng(0).normal(size=D))
    assert np.array_equal(key[200:], key[:100])


def test_rows_are_iterated_densely_and_a_few_at_a_time():
    X = sparse.random(700, 3000, 0.01, "csr", None, np.random.default_rng(0))
    w = (np.arange(700) % 3).astype(float)
    blocks = list(as_rows(X, w))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate([block for block, _ in blocks]), X.toarray()[w > 0])
    assert np.array_equal(np.concatenate([weight for _, weight in blocks]), w[w > 0])


# ---- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["k-means++", "kmeans", "labels"])
@pytest.mark.parametrize("family", [Bernoulli(), Poisson()], ids=repr)
def test_the_memory_of_a_fit_follows_the_entries(family, init):
    n, d = 20_000, 5_000
    X = sparse.random(n, d, 0.002, "csr", None, np.random.default_rng(0), data_rvs=np.ones)
    init = np.arange(n) % 5 if init == "labels" else init
    fitted(X[:100], family, init=init[:100] % K if init is not None and not isinstance(init, str) else init)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ef.ExponentialFamilyMixture(family, 5, init=init, max_iter=3, tol=0, random_state=0).fit(X)
            model.predict(X)
            model.bic(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.1 * n * d * 8
