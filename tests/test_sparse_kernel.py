"""The pass over CSR rows against the dense one; the file also passes with NUMBA_DISABLE_JIT=1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import expfam_em as ef
from expfam_em.estep.sparse import Sparse
from expfam_em.families import Bernoulli
from expfam_em.kernels.sparse import SPARSE_ROWS, em_sparse
from expfam_em.rows.csr import CSRBlock, csr_arrays
from expfam_em.rows.grid import rows_per_chunk
from expfam_em.rows.memory import ArrayRows
from tests import passes
from tests.case import EPS

DTYPES = [np.float64, np.float32, np.uint8, np.bool_]


def problem(dtype=np.float64, n=200, d=30, K=4, density=0.1, seed=0):
    """A CSR matrix with empty rows and stored zeros, natural parameters and log π − A."""
    rng = np.random.default_rng(seed)
    X = sparse.random(n, d, density, "csr", None, rng, data_rvs=lambda size: rng.integers(0, 5, size))
    X = sparse.csr_matrix((X.data.astype(dtype), X.indices, X.indptr), X.shape)
    return X, rng.normal(0, 2, (K, d)), rng.normal(size=K)


def outputs(n, K):
    return {
        "responsibilities": np.full((n, K), np.nan), "evidence": np.full(n, np.nan), "labels": np.full(n, -1),
    }  # fmt: skip


class Tabulated(Bernoulli):
    """T(x) = x and any A at the natural parameters of one mixture."""

    def __init__(self, natural, log_partition):
        self.known = dict(zip(map(bytes, natural), log_partition, strict=True))

    def log_partition(self, natural):
        return np.array([self.known[bytes(eta)] for eta in natural])


def run(X, natural, offset, weight=None, temperature=1.0, block=SPARSE_ROWS, start=0, stop=None, exposed=None):
    n, K, d = X.shape[0], *natural.shape
    counts, sums, by_row = np.zeros(K), np.zeros((d, K)), outputs(n, K)
    exposure, partition = (np.empty(0), np.empty(0)) if exposed is None else exposed
    exposures = np.zeros(K if len(exposure) else 0)
    weight, stop = np.empty(0) if weight is None else weight, n if stop is None else stop
    bound = em_sparse(
        *csr_arrays(X), start, stop, np.ascontiguousarray(natural.T), exposure, partition, offset, 0.0, weight,
        temperature, block, counts, sums, exposures, *by_row.values(),
    )  # fmt: skip
    return {"counts": counts, "sums": sums.T, "exposures": exposures, "bound": bound, **by_row}


def run_dense(X, natural, offset, weight=None, temperature=1.0):
    """The pass over a dense array, with a family whose A is minus the offset."""
    K, X = len(natural), X.toarray().astype(float)
    mixture = ef.Mixture(Tabulated(natural, -offset - np.log(K)), np.full(K, 1 / K), natural)
    statistics = ef.accumulate(mixture, X, weight, temperature=temperature)
    by_row = passes.outputs(mixture, X, temperature=temperature, responsibilities=True, labels=True)
    return {
        "counts": statistics.counts, "sums": statistics.sums, "bound": statistics.bound,
        "evidence": by_row[0], "responsibilities": by_row[1], "labels": by_row[2],
    }  # fmt: skip


def assert_same(found, expected, units):
    """Equal up to some units in the last place of the largest number of each output."""
    for name, value in expected.items():
        assert np.all(np.abs(found[name] - value) <= units * EPS * np.abs(value).max(initial=0)), name


def assert_same_bits(found, expected):
    for name, value in expected.items():
        assert np.array_equal(found[name], value, equal_nan=True), name


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("K", "d"), [(1, 30), (3, 20), (4, 300), (40, 7)])
def test_a_pass_is_the_dense_pass(K, d, weighted, temperature):
    X, natural, offset = problem(d=d, K=K)
    weight = np.random.default_rng(1).uniform(0, 2, 200) if weighted else None
    found, expected = run(X, natural, offset, weight, temperature), run_dense(X, natural, offset, weight, temperature)
    # a score of about 30 terms errs by 30 units, in the exponent of a responsibility; then 200 rows are added
    assert_same(found, expected, 1000)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_exposure_multiplies_the_log_partition(weighted, temperature):
    """It is one more column, −e, whose natural parameter is A."""
    X, natural, offset = problem(n=200, d=30, K=4)
    rng = np.random.default_rng(2)
    e, partition = rng.uniform(0.1, 9, 200), rng.normal(size=4)
    weight = rng.uniform(0, 2, 200) * (rng.random(200) < 0.8) if weighted else None
    found = run(X, natural, offset, weight, temperature, exposed=(e, partition))
    wider = sparse.csr_matrix(sparse.hstack([X, -e[:, None]]))
    expected = run(wider, np.column_stack([natural, partition]), offset, weight, temperature)
    expected |= {"sums": expected["sums"][:, :30], "exposures": -expected["sums"][:, 30]}
    present = slice(None) if weight is None else weight > 0
    for result in (found, expected):
        result |= {name: result[name][present] for name in ("responsibilities", "evidence", "labels")}
    assert_same(found, expected, 1000)
    assert found["exposures"].sum() == pytest.approx(e.sum() if weight is None else weight @ e, rel=1e-13)


def test_a_temperature_of_one_half_sharpens():
    X, natural, offset = problem()
    soft, sharp = (run(X, natural, offset, None, t)["responsibilities"].max(axis=1) for t in (1.0, 0.5))
    assert np.all(sharp >= soft - 4 * EPS)
    assert sharp.mean() > soft.mean()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_of_entries_does_not_change_a_bit(dtype):
    X, natural, offset = problem(dtype)
    assert_same_bits(run(X, natural, offset), run(X.astype(np.float64), natural, offset))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.float16])
def test_other_dtypes_become_float64(dtype):
    X, natural, offset = problem()
    X = sparse.csr_matrix((X.data.astype(dtype), X.indices, X.indptr), X.shape)
    assert_same_bits(run(X, natural, offset), run(X.astype(np.float64), natural, offset))


@pytest.mark.parametrize("block", [1, 7, 199, 200, 1000])
def test_the_size_of_a_block_changes_rounding_only(block):
    args = problem()
    assert_same(run(*args, block=block), run_dense(*args), 1000)


def test_a_range_of_rows_leaves_the_others_alone():
    X, *args = problem()
    part, whole = run(X, *args, start=30, stop=100), run(X[30:100], *args)
    for name in ("counts", "sums", "bound"):
        assert np.array_equal(part[name], whole[name])
    assert np.array_equal(part["evidence"][30:100], whole["evidence"])
    assert np.all(np.isnan(part["evidence"][[29, 100]]))
    assert np.all(part["labels"][[29, 100]] == -1)


def test_statistics_are_added_to_what_is_there():
    X, natural, offset = problem()
    counts, sums = np.full(4, 5.0), np.full((30, 4), -2.0)
    table, nothing = np.ascontiguousarray(natural.T), (np.empty((0, 0)), np.empty(0), np.empty(0, np.int64))
    em_sparse(
        *csr_arrays(X), 0, 200, table, *[np.empty(0)] * 2, offset, 0.0, np.empty(0), 1.0, 64, counts, sums,
        np.empty(0), *nothing,
    )  # fmt: skip
    alone = run(X, natural, offset)
    assert counts - 5 == pytest.approx(alone["counts"], rel=1e-13)
    assert sums.T + 2 == pytest.approx(alone["sums"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("left_out", ["sums", "responsibilities", "evidence", "labels"])
def test_an_output_of_length_zero_is_left_out(left_out, temperature):
    X, natural, offset = problem()
    full = {"counts": np.zeros(4), "sums": np.zeros((30, 4)), "exposures": np.zeros(0), **outputs(200, 4)}
    full[left_out] = np.empty((0,) * full[left_out].ndim, full[left_out].dtype)
    table = np.ascontiguousarray(natural.T)
    bound = em_sparse(
        *csr_arrays(X), 0, 200, table, *[np.empty(0)] * 2, offset, 0.0, np.empty(0), temperature, 64, *full.values()
    )  # fmt: skip
    expected = run(X, natural, offset, None, temperature, 64)
    assert bound == expected["bound"]
    expected["sums"] = expected["sums"].T
    for name in full.keys() - {left_out, "counts"}:
        assert np.array_equal(full[name], expected[name]), name


def test_empty_rows_and_an_empty_matrix_have_the_scores_of_zero():
    _, natural, offset = problem()
    found = run(sparse.csr_matrix((5, 30)), natural, offset)
    assert np.all(found["sums"] == 0)
    assert found["labels"].tolist() == [offset.argmax()] * 5
    assert found["evidence"] == pytest.approx(np.logaddexp.reduce(offset), rel=1e-15)


def test_order_duplicates_and_stored_zeros_change_rounding_only():
    X, natural, offset = problem()
    expected = run(X, natural, offset)
    reverse = np.concatenate(
        [np.arange(b - 1, a - 1, -1) for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)]
    )  # fmt: skip
    unsorted = sparse.csr_matrix((X.data[reverse], X.indices[reverse], X.indptr), X.shape)
    assert_same(run(unsorted, natural, offset), expected, 1000)
    # every entry as a third, a zero and two thirds of itself
    parts = (X.data[:, None] * [1 / 3, 0, 2 / 3]).ravel()
    split = sparse.csr_matrix((parts, np.repeat(X.indices, 3), 3 * X.indptr), X.shape)
    assert_same(run(split, natural, offset), expected, 1000)


def test_a_scaled_statistic_is_a_scaled_table():
    X, natural, offset = problem()
    scale = np.random.default_rng(5).uniform(0.5, 2, 30)
    found = run(X, natural * scale, offset)
    expected = run_dense(sparse.csr_matrix(X.multiply(scale)), natural, offset)
    found["sums"] = found["sums"] * scale
    assert_same(found, expected, 1000)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_a_component_of_weight_zero_takes_no_rows(temperature):
    X, natural, offset = problem()
    offset[1] = -np.inf
    found, rest = run(X, natural, offset, None, temperature), np.arange(4) != 1
    expected = run(X, natural[rest], offset[rest], None, temperature)
    assert found["counts"][1] == 0
    assert np.all(found["sums"][1] == 0)
    assert np.array_equal(found["sums"][rest], expected["sums"])
    assert found["bound"] == expected["bound"]


@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("far", [3.0, 1e308, np.inf])
def test_a_row_of_weight_zero_is_absent(temperature, far):
    X, natural, offset = problem()
    X, weight = X.tolil(), np.random.default_rng(3).uniform(0.5, 2, 200)
    X[::3, 2] = far
    weight[::3] = 0
    X = sparse.csr_matrix(X)
    with np.errstate(all="ignore"):
        found = run(X, natural, offset, weight, temperature)
    there = weight > 0
    expected = run(X[there], natural, offset, weight[there], temperature)
    for name in ("counts", "sums", "bound"):
        assert found[name] == pytest.approx(expected[name], rel=1e-13, abs=1e-12), name


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_probabilities_of_zero_and_one_stay_finite(temperature):
    X, _, _ = problem(np.uint8)
    X.data[:] = 1
    natural = np.random.default_rng(4).choice([-700.0, 700.0, -1.0], (4, 30))
    offset = -np.logaddexp(0, natural).sum(axis=1)
    found, expected = (f(X, natural, offset, None, temperature) for f in (run, run_dense))
    assert all(np.all(np.isfinite(value)) for value in found.values())
    assert found["bound"] == pytest.approx(expected["bound"], rel=1e-12)
    assert np.array_equal(found["labels"], expected["labels"])


# ---- the arrays of a matrix ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_not_copied_where_they_fit(dtype):
    X, *_ = problem(dtype)
    data, indices, indptr = csr_arrays(X)
    assert np.shares_memory(data, X.data)
    assert np.shares_memory(indices, X.indices)
    assert (indices.dtype, indptr.dtype) == (np.int32, np.int64)


def test_read_only_arrays_and_wide_indices_give_the_same_bits():
    X, natural, offset = problem()
    expected = run(X, natural, offset)
    wide = X.copy()
    wide.indices, wide.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    for array in (wide.data, wide.indices, wide.indptr):
        array.flags.writeable = False
    assert_same_bits(run(wide, natural, offset), expected)


@pytest.mark.parametrize("damage", ["column too large", "column negative", "falling", "beyond the end", "too short"])
def test_a_matrix_that_points_outside_itself_is_refused(damage):
    X, *_ = problem()
    if damage == "column too large":
        X.indices[7] = 30
    elif damage == "column negative":
        X.indices[7] = -1
    elif damage == "falling":
        X.indptr[10] = X.indptr[12] + 1
    elif damage == "beyond the end":
        X.indptr[-1] += 1
    else:
        X.indptr = X.indptr[:-1]
    with pytest.raises(ValueError, match="of the CSR matrix"):
        csr_arrays(X)


# ---- chunks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nnz", [0, 1, 10, 1000, 100_000])
@pytest.mark.parametrize("n", [1, 5, 3000])
@pytest.mark.parametrize("d", [1, 50, 100_000])
def test_chunks_cover_the_rows(n, d, nnz):
    at = np.sort(np.random.default_rng(0).integers(0, n, nnz) ** 2 // n)
    indptr = np.searchsorted(at, np.arange(n + 1))
    rows = ArrayRows(CSRBlock(np.ones(nnz), np.zeros(nnz, np.int32), indptr, d))
    chunks = [chunk for _, chunk in rows.tasks(1e7)]
    assert [chunk.first for chunk in chunks] == np.cumsum([0, *(len(chunk.X) for chunk in chunks)])[:-1].tolist()
    assert sum(len(chunk.X) for chunk in chunks) == n


@given(d=st.integers(1, 100_000), K=st.integers(1, 100))
def test_chunks_have_at_least_a_quarter_as_many_rows_as_columns(d, K):
    assert rows_per_chunk(Sparse(Bernoulli()).work(K, d)) >= d / 4
