"""The pass over patterns of 0s and 1s against the dense one; the file also passes with NUMBA_DISABLE_JIT=1."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import expfam_em as ef
from expfam_em.em.steps import expected_statistics
from expfam_em.estep import bits as module
from expfam_em.estep.bits import Bits, coded
from expfam_em.estep.dense import Dense
from expfam_em.estep.plan import Pass, plan
from expfam_em.families import Bernoulli, Gaussian, Poisson
from expfam_em.family.kernel_form import KernelForm
from expfam_em.kernels import patterns as kernel
from expfam_em.rows.csr import observations
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import PADDING
from tests.passes import dense_statistics

DTYPES = [np.uint8, np.bool_, np.float64, np.float32, np.int64]


def binary(n=150, d=13, dtype=np.uint8, seed=0):
    return (np.random.default_rng(seed).random((n, d)) < 0.4).astype(dtype)


def mixture_of(d, K, B=None, seed=1, family=None):
    rng, shape = np.random.default_rng(seed), (K,) if B is None else (B, K)
    return ef.Mixture(family or Bernoulli(), rng.dirichlet(np.ones(K), B), rng.normal(0, 1.5, (*shape, d)))


@pytest.fixture
def everywhere(monkeypatch):
    """Pack any rows of 0s and 1s, however few."""
    for name in ("CODED_ENTRIES", "CODED_COLUMNS", "CODED_ROWS"):
        monkeypatch.setattr(module, name, 1)


def packed(X, weight=None, n_jobs=1, sizes=None, family=None, K=2):
    family, rows = family or Bernoulli(), ArrayRows(X, weight, n_jobs, sizes)
    return None if rows.is_sparse else coded(rows, family.kernel_form(rows.n_features), K)


def statistics(rows, mixture, temperature=1.0, data=None):
    """Expected statistics of rows with codes, without log h."""
    pass_ = Pass(mixture.family, rows, Bits(mixture.family), np.zeros(rows.n_data))
    return expected_statistics(pass_, mixture, temperature, data)


def assert_same(found, expected, rel):
    for name in ("counts", "sums", "bound", "exposures"):
        value = getattr(expected, name)
        assert np.shape(getattr(found, name)) == np.shape(value), name
        assert getattr(found, name) == pytest.approx(value, rel=rel, abs=0), name


def assert_same_bits(found, expected):
    for name in ("counts", "sums", "bound", "exposures"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


# ---- the statistics ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("n", "d", "K", "dtype"),
    [
        (150, 13, 3, np.uint8), (150, 4, 2, np.bool_), (73, 1, 5, np.float64), (64, 30, 8, np.float32),
        (600, 6, 9, np.int64), (90, 11, 17, np.uint8), (150, 8, 20, np.bool_), (300, 170, 3, np.uint8),
        (91, 165, 9, np.uint8),
    ],
)  # fmt: skip
def test_statistics_are_those_of_the_dense_pass(n, d, K, dtype, weighted, temperature):
    X, mixture = binary(n, d, dtype), mixture_of(d, K)
    weight = np.random.default_rng(2).integers(0, 3, n) * 0.7 if weighted else None
    found = statistics(packed(X, weight), mixture, temperature)
    assert_same(found, dense_statistics(X, mixture, temperature, weight), 1e-12)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("d", [6, 166])
def test_one_component_has_every_row(d):
    X = binary(150, d)
    found = statistics(packed(X), mixture_of(d, 1))
    assert np.array_equal(found.sums, X.sum(axis=0, keepdims=True))
    assert found.counts == [150]


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("sizes", [None, [20, 3, 100, 27]])
def test_a_stack_of_mixtures(sizes, temperature):
    X, mixture, weight = binary(), mixture_of(13, 3, B=6), np.linspace(0, 2, 150)
    data = None if sizes is None else np.array([2, 0, 3, 1, 0, 2])
    rows = packed(X, weight, sizes=sizes)
    found = statistics(rows, mixture, temperature, data)
    assert_same(found, dense_statistics(X, mixture, temperature, weight, sizes, data), 1e-12)
    for at in range(6):
        here = slice(None) if sizes is None else slice(*rows.starts[data[at] : data[at] + 2])
        alone = statistics(packed(X[here], weight[here]), mixture[at], temperature)
        assert_same_bits(found[at], alone)


@pytest.mark.usefixtures("everywhere")
def test_a_large_stack_is_computed_in_parts(monkeypatch):
    mixture, rows = mixture_of(13, 3, B=5), packed(binary(), sizes=[50, 100])
    data = np.array([1, 0, 1, 1, 0])
    whole = statistics(rows, mixture, data=data)
    made = []
    monkeypatch.setattr(kernel, "tabulate", lambda eta, real=kernel.tabulate: made.append(len(eta)) or real(eta))
    monkeypatch.setattr(module, "CODE_STACK_ENTRIES", 2 * kernel.table_size(13, 3) + 1)
    assert_same_bits(statistics(rows, mixture, data=data), whole)
    assert made == [2, 2, 1]


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_equal_components_share_or_the_first_takes_all(temperature):
    eta = mixture_of(13, 1).natural
    mixture = ef.Mixture(Bernoulli(), np.full(9, 1 / 9), np.repeat(eta, 9, axis=0))
    counts = statistics(packed(binary(), K=9), mixture, temperature).counts
    assert counts == pytest.approx(np.full(9, 150 / 9) if temperature else [150] + [0] * 8, rel=1e-13)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_a_component_of_weight_zero_takes_no_rows(temperature):
    eta = mixture_of(13, 3).natural
    found = statistics(packed(binary()), ef.Mixture(Bernoulli(), [0.4, 0.0, 0.6], eta), temperature)
    expected = statistics(packed(binary()), ef.Mixture(Bernoulli(), [0.4, 0.6], eta[[0, 2]]), temperature)
    assert found.counts[1] == 0
    assert np.all(found.sums[1] == 0)
    assert np.array_equal(found.sums[[0, 2]], expected.sums)
    assert found.bound == expected.bound


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_probabilities_of_zero_and_one_stay_finite(temperature):
    eta = np.random.default_rng(4).choice([-700.0, 700.0, -1.0], (5, 13))
    mixture = ef.Mixture(Bernoulli(), np.full(5, 0.2), eta)
    found = statistics(packed(binary()), mixture, temperature)
    assert_same(found, dense_statistics(binary(), mixture, temperature), 1e-12)
    assert np.isfinite(found.bound)


@pytest.mark.usefixtures("everywhere")
def test_any_family_whose_statistics_are_the_columns_is_served(monkeypatch):
    X, mixture, served = binary(), mixture_of(13, 3, family=Poisson()), []
    monkeypatch.setattr(module.kernel, "em_patterns", lambda *args, real=kernel.em_patterns: served.append(real(*args)))
    found = statistics(packed(X, family=Poisson()), mixture)
    assert len(served) == 1
    assert_same(found, dense_statistics(X, mixture), 1e-12)


@pytest.mark.parametrize(("n", "d"), [(160_000, 41), (20_000, 166)])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_any_number_of_threads_gives_the_same_bits(n, d, temperature):
    X, weight, sizes = binary(n, d), np.random.default_rng(2).uniform(0, 2, n), [n // 6 + 1, n - n // 6 - 1]
    rows, data = [packed(X, weight, n_jobs, sizes, K=3) for n_jobs in (1, 2, 4)], np.array([0, 1, 1])
    assert len(rows[0].tasks(3 * (d + 8))) >= 2
    one, *others = [statistics(here, mixture_of(d, 3, B=3), temperature, data) for here in rows]
    for other in others:
        assert_same_bits(other, one)


# ---- what is packed ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F", "every other"])
@pytest.mark.parametrize("d", [1, 4, 5, 8, 15])
def test_a_code_is_four_columns_and_X_is_not_copied(d, order, dtype):
    X = binary(99, d, dtype)
    X = np.repeat(X, 2, axis=1)[:, ::2] if order == "every other" else np.array(X, order=order)
    rows = packed(X)
    bits = rows.table[:99, :, None] >> np.arange(kernel.BITS) & 1
    assert np.array_equal(bits.reshape(99, -1)[:, :d], X)
    assert rows.table.max() < kernel.PATTERNS
    assert np.shares_memory(rows.X, X)
    assert rows.table.nbytes <= (99 + PADDING) * (d / 4 + 1)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("value", [2, 0.5, -1, np.nan, np.inf, 1 + 2**-40, 256])
@pytest.mark.parametrize("row", [0, 70, 149])
def test_other_values_are_never_packed(row, value):
    X = binary(dtype=np.float64)
    assert packed(X) is not None
    X[row, 12] = value
    assert packed(X) is None
    assert packed(X, weight=np.arange(150) != row) is None


@pytest.mark.usefixtures("everywhere")
def test_a_negative_zero_is_a_zero():
    X = np.where(binary() == 0, -0.0, 1.0)
    assert np.array_equal(packed(X).table, packed(binary()).table)


@pytest.mark.usefixtures("everywhere")
def test_sparse_rows_and_families_with_other_statistics_are_left_as_they_are():
    assert packed(observations(sparse.csr_matrix(binary()))) is None
    for family in (Gaussian("diag"), Gaussian("full"), Gaussian("spherical")):
        assert packed(binary(dtype=float), family=family) is None


def test_rows_are_packed_where_it_pays(monkeypatch):
    n, d = module.CODED_ENTRIES // 20, 20
    assert packed(binary(n, d)) is not None
    assert packed(binary(n - 1, d)) is None
    assert packed(binary(20 * n, module.CODED_COLUMNS - 1)) is None
    least = module.CODED_ROWS
    assert packed(binary(10 * least, d), sizes=[least] * 10) is not None
    assert packed(binary(10 * least - 1, d), sizes=[least] * 9 + [least - 1]) is None
    assert packed(binary(n, d), K=1) is None
    most = max(K for K in range(2, 10_000) if kernel.table_size(d, K) <= module.CODE_TABLE_ENTRIES)
    assert packed(binary(n, d), K=most) is not None
    assert packed(binary(n, d), K=most + 1) is None


# ---- everything else is done as by rows ----------------------------------------------------------------------------


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("kind", ["full", "diag", "spherical", "tied"])
def test_other_families_are_served_by_the_dense_pass(kind):
    rows = ArrayRows(binary(dtype=float), None, 1)
    assert isinstance(plan(Bernoulli(), rows, 2).kernel, Bits)
    for family in (Gaussian(kind), Gaussian(kind).bind(rows)):
        assert isinstance(plan(family, rows, 2).kernel, Dense)


@pytest.mark.usefixtures("everywhere")
def test_a_mixture_of_other_columns_is_refused_as_by_the_dense_pass():
    for function in (statistics, lambda rows, mixture: dense_statistics(rows.X, mixture)):
        with pytest.raises(ValueError, match="rows of 13 columns have 13 statistics"):
            function(packed(binary()), mixture_of(12, 3))


@pytest.mark.usefixtures("everywhere")
def test_a_family_in_a_frame_is_no_identity():
    class Shifted(Bernoulli):
        def kernel_form(self, n_features):
            shift = np.full(n_features, 0.25)
            return KernelForm(super().kernel_form(n_features).monomials._replace(shift=shift))

    class Scaled(Bernoulli):
        def kernel_form(self, n_features):
            inverse_scale = np.full(n_features, 2.0)
            return KernelForm(super().kernel_form(n_features).monomials._replace(inverse_scale=inverse_scale))

    for family in (Shifted(), Scaled()):
        assert packed(binary(), family=family) is None
        assert isinstance(plan(family, ArrayRows(binary(), None, 1), 3).kernel, Dense)


# ---- the kernel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "d"), [(1, 1), (3, 4), (8, 9), (9, 7)])
def test_a_table_holds_the_sums_of_every_pattern_and_begins_with_a_cache_line(K, d):
    natural = np.random.default_rng(0).normal(size=(2, K, d))
    table = kernel.tabulate(natural)
    assert table[0].size == kernel.table_size(d, K)
    assert table.ctypes.data % (8 * kernel.LINE_ENTRIES) == 0
    lanes, columns = table.shape[1] * kernel.DOUBLE_LANES, -(-d // kernel.BITS) * kernel.BITS
    wide = np.zeros((2, lanes, columns))
    wide[:, :K, :d] = natural
    patterns = np.arange(kernel.PATTERNS)[:, None] >> np.arange(kernel.BITS) & 1
    sums = wide.reshape(2, lanes, -1, kernel.BITS) @ patterns.T
    found = table.reshape(2, table.shape[1], -1, kernel.PATTERNS, kernel.DOUBLE_LANES).transpose(0, 1, 4, 2, 3)
    assert found.reshape(sums.shape) == pytest.approx(sums, rel=1e-14, abs=1e-15)


def run(codes, natural, items, block=None):
    B, K, d = natural.shape
    out = np.zeros((B, K)), np.zeros((B, K, d)), np.zeros(B)
    offset, level = np.zeros((B, K)), np.zeros(B)
    kernel.em_patterns(
        codes, np.array(items), kernel.tabulate(natural), offset, level, np.empty(0), 1.0, *out, block=block
    )  # fmt: skip
    return out


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("block", [8, 16, 144, 152, 1024])
@pytest.mark.parametrize("d", [13, 166])
def test_the_size_of_a_block_changes_rounding_only(block, d):
    codes, natural = packed(binary(d=d)).table, mixture_of(d, 10, B=1).natural
    for found, expected in zip(
        run(codes, natural, [[0, 150, 0, 0]], block), run(codes, natural, [[0, 150, 0, 0]]), strict=True
    ):
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("d", [13, 166])
def test_ranges_of_rows_are_added_to_their_slots(d):
    X, natural = binary(d=d), mixture_of(d, 10, B=2).natural
    codes = packed(X).table
    found = run(codes, natural, [[3, 50, 1, 0], [50, 141, 1, 0], [10, 21, 0, 1]])
    ranges = ((slice(3, 141), 1, 0), (slice(10, 21), 0, 1))
    for rows, mixture, slot in ranges:
        part = packed(X[rows]).table
        expected = run(part, natural[[mixture]], [[0, rows.stop - rows.start, 0, 0]])
        for here, value in zip(found, expected, strict=True):
            assert here[slot] == pytest.approx(value[0], rel=1e-12)


# ---- in a fit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch):
    """Do something with rows as they are."""

    def call(function, *args, **how):
        with monkeypatch.context() as patch:
            patch.setattr("expfam_em.estep.plan.coded", lambda *args: None)
            return function(*args, **how)

    return call


def assert_same_fit(found, expected):
    assert found.weights_ == pytest.approx(expected.weights_, rel=1e-9)
    assert found.probabilities_ == pytest.approx(expected.probabilities_, rel=1e-9)
    assert found.lower_bounds_ == pytest.approx(expected.lower_bounds_, rel=1e-12)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.filterwarnings("ignore:Best performing init")
@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("how", [{}, {"n_init": 3}, {"init": "random"}])
def test_a_fit_is_the_same_as_by_the_dense_pass(monkeypatch, without, how, weighted, temperature):
    X, calls = binary(400, 13), []
    weight = np.random.default_rng(2).integers(0, 3, 400) if weighted else None
    model = ef.BernoulliMixture(3, random_state=0, tol=0, max_iter=5, temperature=temperature, **how)
    expected = without(clone(model).fit, X, sample_weight=weight)
    real = kernel.em_patterns
    monkeypatch.setattr(module.kernel, "em_patterns", lambda *args: calls.append(1) or real(*args))
    assert_same_fit(clone(model).fit(X, sample_weight=weight), expected)
    assert len(calls) >= 5


@pytest.mark.usefixtures("everywhere")
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_fits_of_many_data_sets_are_the_same_as_by_the_dense_pass(without):
    datasets = [binary(n, 13, seed=n) for n in (60, 90, 130)]
    model = ef.BernoulliMixture(2, random_state=0, tol=0, max_iter=4)
    for found, expected in zip(ef.fit_many(model, datasets), without(ef.fit_many, model, datasets), strict=True):
        assert_same_fit(found, expected)
