"""The jitted kernels against NumPy; the file also passes with NUMBA_DISABLE_JIT=1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from scipy.special import logsumexp

from expfam_em.family.kernel_form import Monomials, OwnFrames
from expfam_em.kernels import block_rows, em_rows, padded, rank_block, rank_rows, rows_of
from expfam_em.kernels.load import multiply, scale, transpose
from tests.case import EPS
from tests.cases import CASES
from tests.profiles import drawn

BUILT = [case for case in CASES if case.family.kernel_form(2) is not None]


# ---- statistics ----------------------------------------------------------------------------------------------------


@njit
def build(X, shift, inverse_scale, products, T):
    d = len(shift)
    transpose((X, np.empty((0, 0), np.float32), np.empty((0, 0), np.uint8)), 0, len(X), T[:d])
    scale(T[:d], shift, inverse_scale, T)
    multiply(products, 0, len(products), d, d, T)


@pytest.mark.parametrize("case", BUILT, ids=str)
@drawn
@given(data=st.data())
def test_the_kernel_builds_the_statistics_of_the_family(case, data):
    X = data.draw(case.rows)
    monomials = case.family.kernel_form(X.shape[1]).monomials
    T = monomials.evaluate(X)
    built = np.empty(T.shape[::-1])
    build(np.asarray(X, np.float64), *monomials, built)
    # products are exact twins; sums of squares may fuse the last multiplication
    assert np.all(np.abs(built.T - T) <= 2 * EPS * np.abs(T))
    assert np.array_equal(case.family.sufficient_statistics(X), T)


# ---- one pass over rows --------------------------------------------------------------------------------------------

PRODUCTS = np.array([[0, 0, 2], [0, 1, 3], [1, 1, 4]])
SHAPES = [pytest.param(3, 2, id="loops"), pytest.param(40, 6, id="blas")]


def problem(dtype=np.float64, n=150, K=3, d=2, seed=0):
    """Rows, a T of squares and products, natural parameters, log π − A."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 2, (n, d)) if dtype in (np.uint8, np.bool_) else rng.normal(0, 2, (n, d))
    i, j = np.triu_indices(d)
    products = np.column_stack([i, j, d + np.arange(len(i))])
    monomials = Monomials(rng.normal(size=d), rng.uniform(0.5, 2, d), products)
    natural = np.column_stack([rng.normal(size=(K, d)), rng.normal(0, 0.1, (K, len(i))) - 0.5 * (i == j)])
    return X.astype(dtype), monomials, natural, rng.normal(size=K)


NO_FRAMES = np.empty((0, 1)), np.empty((0, 0, 0))


def frames(monomials, K, own=None):
    """Frames of the components as the kernel takes them."""
    shift, inverse_scale, products = monomials
    if own is None:
        return shift, inverse_scale, products, np.full((1, K), -1), *NO_FRAMES
    return shift, inverse_scale, products, own.frame[None], own.shift, own.whitener


def run(X, monomials, natural, offset, weight=None, temperature=1.0, block=64, start=0, stop=None, given=None,
        own=None):  # fmt: skip
    n, (K, p) = len(X), natural.shape
    out = {
        "counts": np.zeros((1, K)), "sums": np.zeros((1, K, p)), "bound": np.zeros(1),
        "responsibilities": np.full((n, K), np.nan) if given is None else given,
        "evidence": np.full(n, np.nan), "labels": np.full(n, -1),
    }  # fmt: skip
    items = np.array([[start, n if stop is None else stop, 0, 0]])
    em_rows(
        X, items, *frames(monomials, K, own), natural[None], offset[None], np.zeros(1),
        np.empty(0) if weight is None else weight, temperature, given is not None, block, *out.values(),
    )  # fmt: skip
    return out | {name: out[name][0] for name in ("counts", "sums", "bound")}


def dense(X, monomials, natural, offset, weight=None, temperature=1.0):
    """The same in NumPy."""
    weight = np.ones(len(X)) if weight is None else weight
    T = monomials.evaluate(X)
    S = T @ natural.T + offset
    labels = S.argmax(axis=1)
    if temperature == 0:
        R, evidence = np.eye(len(offset))[labels], S.max(axis=1)
    else:
        evidence = temperature * logsumexp(S / temperature, axis=1)
        R = np.exp((S - evidence[:, None]) / temperature)
    W = weight[:, None] * R
    there = weight > 0
    return {
        "counts": W.sum(axis=0), "sums": W.T @ T, "responsibilities": R, "evidence": evidence, "labels": labels,
        "bound": weight[there] @ evidence[there],
    }  # fmt: skip


def assert_same(found, expected, relative=1e-12):
    for name, value in expected.items():
        scale = np.abs(value).max() if name in ("counts", "sums", "bound") else 1 + np.abs(value)
        assert np.all(np.abs(found[name] - value) <= relative * scale), name


@pytest.mark.parametrize(("K", "d"), SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_pass_is_the_dense_computation(K, d, temperature, weighted):
    args = problem(K=K, d=d)
    weight = np.random.default_rng(1).uniform(0, 2, 150) if weighted else None
    assert_same(run(*args, weight, temperature), dense(*args, weight, temperature))


@pytest.mark.parametrize("block", [1, 7, 64, 149, 150, 1000])
@pytest.mark.parametrize(("K", "d"), SHAPES)
def test_the_size_of_a_block_changes_rounding_only(block, K, d):
    args = problem(K=K, d=d)
    assert_same(run(*args, block=block), dense(*args))


def test_a_range_of_rows_leaves_the_others_alone():
    X, *args = problem()
    part, whole = run(X, *args, start=30, stop=100), run(X[30:100], *args)
    assert np.array_equal(part["sums"], whole["sums"])
    assert np.array_equal(part["evidence"][30:100], whole["evidence"])
    for outside in (slice(0, 30), slice(100, None)):
        assert np.all(np.isnan(part["evidence"][outside]))
        assert np.all(part["labels"][outside] == -1)


def test_ranges_of_rows_under_different_mixtures_are_added_to_their_slots():
    X, monomials, natural, offset = problem()
    other = natural[::-1].copy()
    counts, sums, bounds = np.full((2, 3), 5.0), np.full((2, 3, 5), -2.0), np.zeros(2)
    items = np.array([[0, 60, 0, 1], [20, 150, 1, 0], [60, 150, 0, 1]])
    em_rows(
        X, items, *frames(monomials, 3)[:3], np.full((2, 3), -1), *NO_FRAMES, np.stack([natural, other]),
        np.stack([offset, offset]), np.array([0.0, 2.0]), np.empty(0), 1.0, False, 64, counts, sums, bounds,
        np.empty((0, 0)), np.empty(0), np.empty(0, np.int64),
    )  # fmt: skip
    second, first = run(X[20:], monomials, other, offset), run(X, monomials, natural, offset)
    assert counts - 5 == pytest.approx(np.stack([second["counts"], first["counts"]]), rel=1e-13)
    assert sums + 2 == pytest.approx(np.stack([second["sums"], first["sums"]]), rel=1e-12, abs=1e-11)
    assert bounds == pytest.approx([second["bound"] + 2.0 * 130, first["bound"]], rel=1e-13)


@pytest.mark.parametrize(("K", "d"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_given_responsibilities_are_summed(K, d, weighted):
    X, *args = problem(K=K, d=d)
    weight = np.random.default_rng(1).uniform(0, 2, 150) if weighted else None
    expected = dense(X, *args, weight)
    found = run(X, *args, weight, given=expected["responsibilities"].copy())
    assert_same(found, {name: expected[name] for name in ("counts", "sums", "responsibilities")})
    assert found["bound"] == 0


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("K", "d"), [*[(3, d) for d in (1, 2, 5, 9, 12)], (2, 70)])
@pytest.mark.parametrize("framed", ["one", "all"])
@pytest.mark.parametrize("far", [False, True])
def test_components_with_frames_of_their_own(K, d, diagonal, framed, far):
    """T of each component in its own z; rows with a responsibility of 0 are skipped."""
    X, shared, natural, offset = problem(K=K, d=d)
    rng = np.random.default_rng(2)
    shift = rng.normal(0, 40 if far else 1, (K, d))
    whitener = np.tril(rng.normal(0, 0.3, (K, d, d))) + np.eye(d)
    if diagonal:
        whitener = whitener * np.eye(d)
    own = np.arange(K) if framed == "all" else np.where(np.arange(K) == 1, 0, -1)
    T = [shared.evaluate(X) if own[k] < 0 else shared._replace(
        shift=np.zeros(d), inverse_scale=np.ones(d)
    ).evaluate((X - shift[own[k]]) @ whitener[own[k]].T) for k in range(K)]  # fmt: skip
    S = np.stack([T[k] @ natural[k] + offset[k] for k in range(K)], axis=1)
    evidence = logsumexp(S, axis=1)
    R = np.exp(S - evidence[:, None])
    kept = whitener[:, None, np.arange(d), np.arange(d)] if diagonal else whitener
    frames_given = OwnFrames(own, shift, np.ascontiguousarray(kept))
    found = run(X, shared, natural, offset, own=frames_given)
    sums = np.stack([R[:, k] @ T[k] for k in range(K)])
    size = np.stack([R[:, k] @ np.abs(T[k]) for k in range(K)]) + 1e-300
    terms = max(float(np.max(np.abs(T[k]) @ np.abs(natural[k]))) for k in range(K))
    tolerance = 64 * EPS * terms + 1e-13  # of scores, and so the relative error of responsibilities
    assert np.all(np.abs(found["evidence"] - evidence) <= tolerance)
    assert np.all(np.abs(found["responsibilities"] - R) <= tolerance)
    assert np.all(np.abs(found["sums"] - sums) <= tolerance * (size + np.abs(np.stack(T)).max()))


LAYOUTS = {
    "C": lambda X: X,
    "F": np.asfortranarray,
    "strided rows": lambda X: np.repeat(X, 2, axis=0)[::2],
    "strided columns": lambda X: np.repeat(X, 3, axis=1)[:, ::3],
    "reversed": lambda X: X[::-1].copy()[::-1],
    "read-only": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.bool_])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_any_dtype_and_layout_of_rows_gives_the_same_bits(dtype, layout, d):
    X, *args = problem(dtype, d=d)
    expected = run(X.astype(np.float64), *args)
    found = run(LAYOUTS[layout](X), *args)
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name


def ranked(X, monomials, natural, offset, block=64, start=0, stop=None):
    """Labels and highest scores, with their sum, by the pass that finds nothing else."""
    found = {"bound": np.zeros(1), "evidence": np.full(len(X), np.nan), "labels": np.full(len(X), -1)}
    items = np.array([[start, len(X) if stop is None else stop, 0, 0]])
    rank_rows(
        rows_of(X), items, *monomials, padded(natural[None]), offset[None], np.zeros(1), block, *found.values()
    )  # fmt: skip
    return found


@pytest.mark.parametrize("block", [1, 64, 149, 1000])
@pytest.mark.parametrize(("K", "d"), [(1, 1), (3, 2), (4, 3), (9, 4), (40, 6)])
def test_labels_and_highest_scores_alone_have_the_bits_of_the_whole_pass(K, d, block):
    X, *args = problem(K=K, d=d)
    X[[3, 4, 5, 149], 0] = np.nan, np.inf, -np.inf, 1e200
    with np.errstate(all="ignore"):  # as NumPy reports it where numba is off
        found, whole = ranked(X, *args, block=block), run(X, *args, temperature=0.0)
        expected = dense(X, *args, temperature=0.0)
    for name in ("evidence", "labels"):
        assert np.array_equal(found[name], whole[name], equal_nan=True), name
    assert not np.isfinite(found["bound"][0])
    known = np.isfinite(expected["evidence"])
    assert np.sum(~known) == 4
    assert np.array_equal(found["labels"][known], expected["labels"][known])
    part = ranked(X, *args, block=block, start=6, stop=149)
    assert np.array_equal(part["labels"], np.where((np.arange(150) >= 6) & (np.arange(150) < 149), found["labels"], -1))
    assert part["bound"] == pytest.approx(expected["evidence"][6:149].sum(), rel=1e-12)


def test_labels_alone_are_the_lower_index_of_a_tie():
    for means, expected in (([[1.0, 0], [-1, 0], [1, 0], [-1, 0]], [0, 0, 1]), ([[-1.0, 0]] * 9, [0, 0, 0])):
        found = ranked(np.array([[0.0, 0], [2, 1], [-2, 1]]), *unit_normals(means))
        assert found["labels"].tolist() == expected


def test_a_panel_of_statistics_fits_where_labels_are_found_alone():
    assert (rank_block(5, 3), rank_block(9, 3)) == (192, 96)
    assert rank_block(44, 3) == block_rows(44, 3)
    assert rank_block(2000, 3) == 32
    assert rank_block(10**6, 3) == 0


def unit_normals(means):
    """T of all products, unit covariances, equal weights."""
    means = np.array(means, float)
    natural = np.column_stack([means, np.tile([-0.5, 0.0, -0.5], (len(means), 1))])
    monomials = Monomials(np.zeros(2), np.ones(2), PRODUCTS)
    return monomials, natural, -0.5 * np.sum(means**2, axis=1) - np.log(len(means))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_rows_far_away_belong_to_the_nearest_component(temperature):
    directions = np.array([[1.0, 0.1], [-1.0, 0.2], [0.1, 1.0], [0.3, -1.0]])
    means = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    for distance in (1e3, 1e8):
        found = run(distance * directions, *unit_normals(means), temperature=temperature)
        assert np.abs(found["responsibilities"].sum(axis=1) - 1).max() <= 4 * EPS
        assert found["labels"].tolist() == [0, 1, 2, 3]
        assert np.all(found["responsibilities"].argmax(axis=1) == [0, 1, 2, 3])
        assert np.all(np.isfinite(found["evidence"]))
        assert np.all(np.isfinite(found["sums"]))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0, 0.0])
def test_responsibilities_are_distributions(temperature):
    X, monomials, natural, offset = problem(n=300, K=7)
    R = run(30 * X, monomials, natural, offset, temperature=temperature)["responsibilities"]
    assert np.all(R >= 0)
    assert np.all((R == 0) | (R > 1e-200))
    # a sum of 7 quotients, each with an error of 1.5 EPS
    assert np.abs(R.sum(axis=1) - 1).max() <= 4 * EPS


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.0])
@pytest.mark.parametrize(("K", "d"), SHAPES)
def test_a_component_of_weight_zero_takes_no_rows(temperature, K, d):
    X, monomials, natural, offset = problem(K=K, d=d)
    offset = np.where(np.arange(K) == 1, -np.inf, offset)
    found = run(X, monomials, natural, offset, temperature=temperature)
    rest = np.arange(K) != 1
    expected = run(X, monomials, natural[rest], offset[rest], temperature=temperature)
    assert found["counts"][1] == 0
    assert np.all(found["sums"][1] == 0)
    assert np.all(found["responsibilities"][:, 1] == 0)
    assert found["counts"][rest] == pytest.approx(expected["counts"], rel=1e-12)
    assert found["bound"] == pytest.approx(expected["bound"], rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_the_lower_index_wins_a_tie(temperature):
    monomials, natural, offset = unit_normals([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    found = run(np.array([[0.0, 0], [2, 1], [-2, 1]]), monomials, natural, offset, temperature=temperature)
    assert found["labels"].tolist() == [0, 0, 1]


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_a_row_of_weight_zero_is_absent(temperature):
    X, *args = problem()
    weight = np.ones(150)
    weight[::3] = 0
    there = weight > 0
    found, expected = run(X, *args, weight, temperature), run(X[there], *args, None, temperature)
    assert found["counts"] == pytest.approx(expected["counts"], rel=1e-13)
    assert found["sums"] == pytest.approx(expected["sums"], rel=1e-12, abs=1e-11)
    assert found["bound"] == pytest.approx(expected["bound"], rel=1e-13)


@pytest.mark.parametrize("far", [1e308, np.inf])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_a_row_of_weight_zero_may_be_infinitely_improbable(temperature, far):
    X = np.array([[0.5], [far], [2.0]])
    natural, offset, weight = np.array([[-10.0], [-20.0]]), np.zeros(2), np.array([1.0, 0.0, 2.0])
    with np.errstate(all="ignore"):  # NumPy reports the overflow where numba is off
        assert run(X, Monomials.identity(1), natural, offset, None, temperature)["evidence"][1] == -np.inf
        found = run(X, Monomials.identity(1), natural, offset, weight, temperature)
    expected = run(X[[0, 2]], Monomials.identity(1), natural, offset, weight[[0, 2]], temperature)
    assert found["bound"] == expected["bound"]
    assert np.array_equal(found["sums"], expected["sums"])


@pytest.mark.parametrize("K", [1, 3, 64, 1000])
@pytest.mark.parametrize("p", [1, 5, 152, 8384])
def test_blocks_are_whole_vectors_of_rows(p, K):
    rows = block_rows(p, K)
    assert 64 <= rows <= 1024
    assert rows % 8 == 0
