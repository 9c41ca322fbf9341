"""Rows in chunks: laws of the tree of sums, of rows in memory and of functions of chunks, and rows from elsewhere."""

import functools
import pickle
import random
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import is_dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

import expfam_em as ef
from expfam_em import families
from expfam_em.em import ranks, sample
from expfam_em.em.starts import from_labels_of, initialise_all
from expfam_em.estep.bits import Bits
from expfam_em.estep.dense import Dense
from expfam_em.estep.look import LookedRows, on_grids
from expfam_em.estep.plan import plan, single_pass, table_chunk, with_exposure
from expfam_em.estep.reduce import (
    EStep,
    GivenStep,
    Labelled,
    OfData,
    check_support,
    drawn,
    log_base_chunk,
    refusal_chunk,
    rows_given,
)
from expfam_em.estep.scores import Scores
from expfam_em.family import checked
from expfam_em.family.binding import bind
from expfam_em.family.summaries import summary_chunk
from expfam_em.rows import grid
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import Tree, rows_per_chunk
from expfam_em.rows.memory import ArrayRows, as_rows, count
from expfam_em.rows.protocol import Chunk
from expfam_em.rows.source import RowSource
from tests import own_families as own
from tests.cases import CASES
from tests.row_sources import ListRows, ReadRows, ShuffledRows

DATA = np.random.default_rng(5).gamma(2, 1, (900, 2))
WHOLE = np.round(2 * DATA)
WEIGHT = np.random.default_rng(6).integers(0, 3, 900) * 0.75


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Make chunks of some dozen rows, so that a few hundred rows are a tree."""
    monkeypatch.setattr(grid, "CHUNK_WORK", 1000)
    monkeypatch.setattr(grid, "FEWEST_ROWS", 16)


def same(one, other):
    """Whether two results have the same bits; families and scores are compared by what they pickle to."""
    if isinstance(one, ArrayRows | Tree):
        return same(vars(one), vars(other))
    if is_dataclass(one):
        return same(list(vars(one).values()), list(vars(other).values()))
    if isinstance(one, CSRBlock):
        return same((one.values, one.columns, one.shape), (other.values, other.columns, other.shape))
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return one == other


def cut(X, ends):
    """Return an array in pieces."""
    return [X[a:b] for a, b in zip([0, *ends], [*ends, len(X)], strict=True)]


cuts = st.lists(st.integers(0, 900), max_size=6).map(sorted)


# ---- the tree ------------------------------------------------------------------------------------------------------


def in_order(values):
    tree = Tree()
    for i, value in enumerate(values):
        tree.put(0, i, value)
    return tree.total()


def nodes(values, draw, level, index):
    """Yield aligned nodes that cover all values, cut where ``draw`` says so."""
    first = index << level
    if first >= len(values):
        return
    if level == 0 or (first + (1 << level) <= len(values) and draw()):
        yield level, index, in_order(values[first : first + (1 << level)])
        return
    yield from nodes(values, draw, level - 1, 2 * index)
    yield from nodes(values, draw, level - 1, 2 * index + 1)


@given(n=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), n_trees=st.integers(1, 4), travels=st.booleans())
def test_a_tree_has_the_same_bits_in_any_order_and_grouping(n, seed, n_trees, travels):
    rng = random.Random(seed)
    values = (np.random.default_rng(seed).normal(size=n) * 10.0 ** np.arange(n)).tolist()
    pieces = list(nodes(values, lambda: rng.random() < 0.3, n.bit_length(), 0))
    rng.shuffle(pieces)
    trees = [Tree() for _ in range(n_trees)]
    for piece in pieces:
        rng.choice(trees).put(*piece)
    if travels:
        trees = [pickle.loads(pickle.dumps(tree)) for tree in trees]
    rng.shuffle(trees)
    assert functools.reduce(Tree.__add__, trees).total() == in_order(values)
    last = functools.reduce(lambda right, left: left + right, trees)  # the other way round
    assert last.total() == in_order(values)


def test_adding_trees_changes_neither():
    one, other = Tree(), Tree()
    one.put(0, 0, 1.0)
    other.put(0, 1, 2.0)
    assert (one + other).total() == 3
    assert (one.total(), other.total()) == (1, 2)


@pytest.mark.parametrize("chunks", [[0, 1, 0], [0, 1, 2, 3, 2], [4, 5, 6, 7, 5]])
def test_a_chunk_that_comes_twice_is_refused(chunks):
    tree = Tree()
    for chunk in chunks:
        tree.put(0, chunk, 1)
    with pytest.raises(ValueError, match=rf"chunk {chunks[-1]} has been added twice"):
        tree.total()


def test_threads_may_fill_a_tree():
    values = np.random.default_rng(0).normal(size=3000).tolist()
    tree = Tree()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: tree.put(0, i, values[i]), random.sample(range(3000), 3000)))
    assert tree.total() == in_order(values)
    assert len(tree.nodes) == bin(3000).count("1")


@given(work=st.floats(0, 1e12))
def test_the_rows_of_a_chunk_are_a_power_of_two_and_fall_with_the_work(work):
    rows = rows_per_chunk(work)
    assert rows & (rows - 1) == 0
    assert grid.FEWEST_ROWS <= rows <= grid.MOST_ROWS
    assert rows_per_chunk(2 * work) <= rows


# ---- rows in memory ------------------------------------------------------------------------------------------------


class Seen(list):
    """Row numbers seen, with ``+``."""

    def __add__(self, other):
        return Seen(list(self) + list(other))


def numbers_seen(chunk):
    assert chunk.weight is None or len(chunk.weight) == len(chunk.X)
    assert np.array_equal(np.asarray(chunk.X)[:, 0], chunk.first + np.arange(len(chunk.X)))
    ranges = chunk.of_data()
    assert np.array_equal(ranges[:, :2].ravel()[1:-1:2], ranges[1:, 0])  # one after another
    assert (ranges[0, 0], ranges[-1, 1]) == (0, len(chunk.X))
    return Seen((chunk.first + row, data) for a, b, data in ranges.tolist() for row in range(a, b))


@given(
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=8),
    work=st.sampled_from([1.0, 30.0, 1e9]),
    kind=st.sampled_from(["dense", "sparse"]),
    n_jobs=st.integers(1, 3),
)
def test_every_row_is_seen_once_and_in_order(sizes, work, kind, n_jobs):
    n = sum(sizes)
    X = np.column_stack([np.arange(n), np.ones(n)]).astype(float)
    X = CSRBlock.of(sparse.csr_array(X)) if kind == "sparse" else X
    rows = ArrayRows(X, np.ones(n), n_jobs, sizes)
    expected = [(row, d) for d, end in enumerate(np.cumsum(sizes)) for row in range(end - sizes[d], end)]
    assert rows.reduce(numbers_seen, work) == expected
    assert count(rows) == n
    assert rows.total_weights.tolist() == sizes


@given(
    sizes=st.lists(st.one_of(st.integers(1, 40), st.integers(41, 400)), min_size=1, max_size=7),
    weighted=st.booleans(),
    seed=st.integers(0, 100),
)
def test_data_sets_have_the_bits_they_have_alone(sizes, weighted, seed):
    rng = np.random.default_rng(seed)
    X, family = rng.normal(size=(sum(sizes), 2)), families.Gaussian("full")
    weight = rng.random(sum(sizes)) if weighted else None
    means = family.from_parameters(means=rng.normal(size=(2, 2)), covariances=np.array([np.eye(2)] * 2))
    D = len(sizes)
    stack = ef.Mixture(family, np.full((D, 2), 0.5), np.tile(means, (D, 1, 1)))
    together = plan(family, ArrayRows(X, weight, 2, sizes), 2).sums(stack.scores, data_set=np.arange(D))
    for d, end in enumerate(np.cumsum(sizes)):
        part = slice(end - sizes[d], end)
        alone = plan(family, ArrayRows(X[part], None if weight is None else weight[part], 1), 2).sums(stack[:1].scores)
        for one, other in zip(list(alone)[1:], list(together)[1:], strict=True):
            assert np.array_equal(one[0], other[d])


def doubled(chunk):
    return chunk._replace(X=2 * chunk.X)


def narrowed(chunk):
    return chunk._replace(X=chunk.X[:, :1].astype(np.float32))


def halved(chunk):
    weight = np.ones(len(chunk.X)) if chunk.weight is None else chunk.weight
    return chunk._replace(weight=weight / 2)


def tabled(chunk):
    return chunk._replace(table=np.column_stack([chunk.X[:, 0], chunk.first + np.arange(len(chunk.X))]))


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("sizes", [None, [400, 3, 497]], ids=["one", "several"])
def test_derived_rows_are_what_the_function_says(weight, sizes):
    rows = ArrayRows(DATA, weight, 2, sizes)
    assert np.array_equal(rows.derive(doubled, 5).X, 2 * DATA)
    assert same(rows.derive(narrowed, 5).X, DATA[:, :1].astype(np.float32))
    assert rows.derive(narrowed, 5).n_features == 1
    assert np.array_equal(rows.derive(halved, 5).sample_weight, (np.ones(900) if weight is None else weight) / 2)
    derived = rows.derive(tabled, 5)
    assert derived.X is rows.X
    assert derived.sample_weight is rows.sample_weight
    assert np.array_equal(derived.table[:900], np.column_stack([DATA[:, 0], np.arange(900)]))
    assert np.array_equal(derived.derive(halved, 5).table[:900], derived.table[:900])
    assert np.array_equal(derived.starts, rows.starts)
    assert np.array_equal(rows.X, DATA)


def moved(chunk):
    offset = np.zeros((len(chunk.X), 2)) if chunk.offset is None else chunk.offset
    return chunk._replace(offset=offset + chunk.X)


def bare(chunk):
    return chunk._replace(weight=None, offset=None)


def scaled(chunk):
    X = chunk.X
    return chunk._replace(X=CSRBlock(2 * X.data, X.indices, X.indptr, X.shape[1]))


def dense(chunk):
    return chunk._replace(X=np.asarray(chunk.X))


@pytest.mark.parametrize("sizes", [None, [400, 3, 497]], ids=["one", "several"])
def test_derived_rows_have_the_offsets_and_weights_of_the_function(sizes):
    rows = ArrayRows(DATA, WEIGHT, 2, sizes)
    assert np.array_equal(rows.derive(moved, 5).offset, DATA)
    assert np.array_equal(rows.derive(moved, 5).derive(moved, 5).offset, 2 * DATA)
    again = rows.derive(moved, 5).derive(bare, 5)
    assert again.offset is None
    assert again.sample_weight is None
    assert again.X is rows.X


@pytest.mark.parametrize("sizes", [None, [400, 3, 497]], ids=["one", "several"])
def test_derived_csr_rows_stay_sparse_until_the_function_makes_them_dense(sizes):
    block = CSRBlock.of(sparse.csr_array(WHOLE))
    rows = ArrayRows(block, WEIGHT, 2, sizes)
    assert rows.derive(halved, 5).X is rows.X
    found = rows.derive(scaled, 5)
    assert found.is_sparse
    assert same(found.X, CSRBlock.of(sparse.csr_array(2 * WHOLE)))
    assert np.array_equal(found.starts, rows.starts)
    assert same(rows.derive(dense, 5).X, WHOLE)


def test_weights_beside_rows_are_refused():
    start = ef.Mixture(families.Poisson(), [1.0], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="sample_weight is given beside rows"):
        ef.fit(start, as_rows(WHOLE), np.ones(900))


def test_csr_blocks_are_joined():
    X = sparse.csr_array(sparse.random(50, 7, 0.3, "csr", None, np.random.default_rng(0)))
    parts = [CSRBlock.of(X)[a:b] for a, b in [(0, 0), (0, 13), (13, 14), (14, 50)]]
    assert np.array_equal(np.asarray(CSRBlock.concatenate(parts)), X.toarray())
    assert np.array_equal(np.asarray(CSRBlock.empty(7, np.float64)), np.zeros((1, 7)))


# ---- functions of chunks -------------------------------------------------------------------------------------------


def bound_case(case, n=30):
    """Rows of a case, its family bound to them and a mixture of three components."""
    X = np.concatenate([np.asarray(case.draw(theta, n, np.random.default_rng(3)), float) for theta in case.components])
    family = case.family if case.frame is not None else bind(case.family, as_rows(X))
    data = np.zeros(1, np.int64)
    K = len(case.family.of_component) if hasattr(case.family, "of_component") else 2
    start = initialise_all(plan(family, as_rows(X)), data, K, "k-means++", np.random.default_rng(0)).mixture
    return X, family, start


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_functions_of_chunks_can_be_sent_away(case):
    X, family, start = bound_case(case)
    n, K, weight = len(X), start.n_components, np.arange(len(X)) % 3.0
    chunk, kernel = Chunk(X, weight, 7), single_pass(family, as_rows(X))
    none, twice = (Scores.none(B, K, start.natural.shape[2], family) for B in (1, 2))
    direction, whole = np.ones(X.shape[1]), Chunk(X, weight, 0)
    functions = [
        EStep(kernel, start.scores),
        EStep(kernel, start.scores, 0.0, np.zeros(1, np.int64), 2),
        functools.partial(log_base_chunk, family),
        functools.partial(refusal_chunk, family),
        functools.partial(summary_chunk, family),
        ranks.spread_chunk,
        functools.partial(on_grids, ((EStep(kernel, start.scores), 8), (ranks.spread_chunk, 16))),
        functools.partial(ranks.collected_chunk, direction, []),
    ]
    pairs = [(function, chunk) for function in functions]
    given = [functools.partial(rows_given, R, K) for R in (np.arange(n) % K, np.full((n, K), 1 / K, np.float32))]
    pairs.append((GivenStep(kernel, twice, given, 1), whole))
    pairs.append((GivenStep(kernel, none, [functools.partial(drawn, 3, K)], 1), chunk))
    if "Componentwise" not in repr(case):
        pairs.append((GivenStep(kernel, none, [Labelled(kernel, start.scores)], 1), whole))
    if isinstance(kernel, Dense) and kernel.form is not None and kernel.form.columns is not None:
        pairs.append((functools.partial(table_chunk, family, kernel.form), chunk))
    for function, rows in pairs:
        sent = pickle.loads(pickle.dumps(function))
        result, there = function(rows), sent(rows)
        again = pickle.loads(pickle.dumps(function))(rows)  # after use
        assert same(result, there), function
        assert same(result, again), function
        assert same(result, pickle.loads(pickle.dumps(result))), function


def test_scores_for_another_number_of_groups_are_refused():
    family = families.Gaussian().bind(as_rows(DATA))
    kernel, one_label = single_pass(family, as_rows(DATA)), functools.partial(rows_given, np.zeros(900, np.int64), 2)
    one = Scores.none(1, 2, checked.statistics(family, DATA[:1])[0].shape[1], family)
    with pytest.raises(ValueError, match="scores of 1 mixtures; 2 groups of 1 need 2"):
        GivenStep(kernel, one, [one_label, one_label], 1)(Chunk(DATA, np.ones(len(DATA)), 0))


def test_functions_of_sparse_chunks_can_be_sent_away():
    X = CSRBlock.of(sparse.csr_array(WHOLE + 1))
    family = families.Multinomial().bind(as_rows(WHOLE + 1))
    start = ef.Mixture(family, np.full((1, 2), 0.5), np.log([[[0.2, 0.8], [0.5, 0.5]]]))
    kernel, chunk = single_pass(family, as_rows(X)), with_exposure(family, Chunk(X, WEIGHT, 0))
    for function in (EStep(kernel, start.scores), functools.partial(log_base_chunk, family)):
        assert same(pickle.loads(pickle.dumps(function))(chunk), function(chunk))


def counts_rows(case, message):
    """Whether a message is about a row, by a family that leaves it to others to count rows."""
    return re.search(r"row \d", message) and type(case.family).__module__ != own.__name__


@pytest.mark.parametrize(
    ("case", "rows", "message"),
    [(case, *row) for case in CASES for row in case.outside if counts_rows(case, row[1])],
    ids=lambda x: str(x)[:20],
)
@pytest.mark.parametrize("source", [ArrayRows, ListRows, ShuffledRows])
def test_impossible_rows_are_counted_in_the_whole(case, rows, message, source, monkeypatch):
    bad = np.array(rows, float)
    with pytest.raises(ValueError, match="needs") as alone:
        case.family.check_support(bad)
    row = alone.value.row
    good = np.asarray(case.draw(case.components[0], 200, np.random.default_rng(0)), float)
    X = np.concatenate([good[:150], bad, good, bad, good])
    weight = np.ones(len(X))
    weight[:3] = 0
    monkeypatch.setattr(grid, "CHUNK_WORK", 64 * 16)
    assert rows_per_chunk(64) == 16
    for weights in (None, weight):
        given = ArrayRows(X, weights) if source is ArrayRows else source.of(X, weights, [99, 151])
        with pytest.raises(type(alone.value)) as caught:
            check_support(case.family, given)
        assert caught.value.row == 150 + row
        assert str(caught.value) == message.replace(f"row {row}", f"row {150 + row}")
    weight[150 : 150 + len(bad)] = 0  # then the next ones are the first
    with pytest.raises(type(alone.value)) as caught:
        check_support(case.family, ArrayRows(X, weight))
    assert caught.value.row == 350 + len(bad) + row


def test_the_rows_of_a_family_that_counts_them_itself_are_placed():
    X = np.ones((300, 1))
    X[200] = -1
    with pytest.raises(ValueError, match=r"holds -1.0 \(row 72\) \[rows counted from 128 on\]"):
        check_support(own.Rayleigh(), ArrayRows(X))


class Exposed(own.PoissonExposure):
    def check_support(self, X):
        pass


@pytest.mark.parametrize("absent", [[], [0, 1, 64, 65, 66]])
def test_rows_without_exposure_are_counted_in_the_whole(absent):
    X = np.ones((100, 2))
    X[66:, 1] = 0
    weight = np.ones(100)
    weight[absent] = 0
    row = min(set(range(66, 100)) - set(absent))
    with pytest.raises(ValueError, match=rf"positive exposure.* \(row {row}\)"):
        check_support(Exposed(), ArrayRows(X, weight))


@given(bad=st.integers(0, 199), absent=st.integers(0, 199))
def test_csr_rows_are_counted_in_the_whole(bad, absent):
    X = np.zeros((200, 40))
    X[:, 0], X[bad, 3] = 1, -1
    block = CSRBlock.of(sparse.csr_array(X))
    weight = np.ones(200)
    weight[absent] = 0
    for source in (ArrayRows(block, weight), ListRows(cut(block, [37, 150]), cut(weight, [37, 150]))):
        if bad == absent:
            check_support(families.Poisson(), source)
        else:
            with pytest.raises(ValueError, match=rf"column 3 holds -1.0 \(row {bad}\)"):
                check_support(families.Poisson(), source)


def test_log_base_measures_of_data_sets_are_added_up():
    one, other = OfData(np.array([1]), np.array([2.0])), OfData(np.array([0, 1]), np.array([3.0, 4.0]))
    assert np.array_equal((one + other).values, [3, 6])
    X = WHOLE + 1
    absent = np.where(np.arange(900) == 5, 0.0, 1.0)
    X[5] = -1  # an absent row may be impossible
    found = plan(families.Poisson(), ArrayRows(X, absent, sizes=[300, 600])).log_base
    log_h = checked.log_base_measure(families.Poisson(), np.delete(X, 5, axis=0))
    assert found == pytest.approx([log_h[:299].sum(), log_h[299:].sum()], rel=1e-13)


# ---- rows from elsewhere -------------------------------------------------------------------------------------------

MODELS = {
    "gaussian": (families.Gaussian("full"), DATA),
    "single": (families.Gaussian("tied"), DATA.astype(np.float32)),
    "columns": (families.LogNormal("diag"), DATA),
    "table": (families.Gamma(), DATA),
    "own": (own.Rayleigh(), DATA),
    "incomplete": (families.StudentT(), DATA),
    "rates": (families.GammaPoisson(), WHOLE),
    "zeros": (families.ZeroInflated(families.Poisson()), WHOLE),
    "labels": (families.Categorical(), np.minimum(WHOLE, 4)),
    "exposure": (families.Multinomial(), WHOLE + 1),
    "product": (families.Product([(families.Gaussian(), [1]), (families.Gamma(), [0])]), DATA),
    "noise": (families.Componentwise([(families.Gaussian(), 1), (families.Uniform(), 1)]), DATA),
}


BITS = (np.random.default_rng(7).random((900, 60)) < DATA[:, :1] / 6).astype(np.uint8)  # enough for codes
MODELS["bits"] = families.Bernoulli(), BITS


def test_codes_serve_any_source_of_rows():
    for rows in (ArrayRows(BITS), ListRows.of(BITS, None, [8]), Forgetful.of(BITS, None, [8])):
        assert isinstance(plan(families.Bernoulli(), rows, 2).kernel, Bits)
        assert isinstance(plan(families.Poisson(), ListRows.of(BITS + np.eye(900, 60), None, [8]), 2).kernel, Dense)
    start = ef.Mixture(families.Bernoulli(), [0.5, 0.5], np.random.default_rng(0).normal(size=(2, 60)))
    found = ef.fit(start, Forgetful.of(BITS, WEIGHT, [100]), max_iter=3, tol=0)
    assert np.array_equal(found.bounds, ef.fit(start, BITS, WEIGHT, max_iter=3, tol=0).bounds)


class Forgetful(ListRows):
    """Rows that keep no tables."""

    def _chunk(self, first, stop):
        return super()._chunk(first, stop)._replace(table=None)


def mixture_of(family, rows):
    """Return a mixture of two components, drawn from rows."""
    start = initialise_all(plan(family, rows, 2), np.zeros(1, np.int64), 2, "k-means++", np.random.default_rng(0))
    return start.mixture[0]


@pytest.mark.parametrize("source", [ListRows, ShuffledRows, ReadRows])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("model", MODELS)
def test_any_source_of_rows_gives_the_bits_of_the_array(model, weight, source):
    plain, X = MODELS[model]
    rows, array = source.of(X, weight, [0, 1, 100, 501]), ArrayRows(X, weight)
    check_support(plain, rows)
    start, expected = mixture_of(bind(plain, rows), rows), mixture_of(bind(plain, array), array)
    assert np.array_equal(start.natural, expected.natural)
    there, here = ef.accumulate(start, rows), ef.accumulate(start, array)
    assert np.array_equal(there.sums, here.sums)
    assert there.bound == here.bound
    fitted, result = ef.fit(start, rows, max_iter=5, tol=0), ef.fit(start, array, max_iter=5, tol=0)
    assert np.array_equal(fitted.mixture.natural, result.mixture.natural)
    assert np.array_equal(fitted.bounds, result.bounds)


@given(ends=cuts)
def test_bits_do_not_depend_on_how_the_list_is_cut(ends):
    start = mixture_of(families.Gaussian().bind(as_rows(DATA)), as_rows(DATA))
    rows = ListRows.of(DATA, WEIGHT, ends)
    assert np.array_equal(ef.accumulate(start, rows).sums, ef.accumulate(start, DATA, WEIGHT).sums)


@pytest.mark.parametrize("source", [ListRows, ShuffledRows, ReadRows])
@pytest.mark.parametrize("family", [families.Poisson(), families.Multinomial()], ids=repr)
def test_sparse_rows_from_elsewhere_have_the_bits_of_the_matrix(family, source):
    X = np.hstack([WHOLE, np.random.default_rng(0).random((900, 40)) < 0.05]) + np.eye(1, 42)
    block = CSRBlock.of(sparse.csr_array(X))
    rows = source.of(block, WEIGHT, [10, 500])
    family = bind(family, rows)
    start = mixture_of(family, rows)
    found, expected = ef.fit(start, rows, max_iter=5, tol=0), ef.fit(start, ArrayRows(block, WEIGHT), max_iter=5, tol=0)
    assert np.array_equal(found.mixture.natural, expected.mixture.natural)
    assert np.array_equal(found.bounds, expected.bounds)
    dense = ef.fit(start, X, WEIGHT, max_iter=5, tol=0)
    assert found.mixture.natural == pytest.approx(dense.mixture.natural, rel=1e-10)
    assert found.bounds == pytest.approx(dense.bounds, rel=1e-12)


@given(
    first=st.integers(0, 2**50),
    m=st.integers(1, 30),
    K=st.integers(1, 6),
    at=st.integers(0, 30),
    seed=st.integers(0, 2**63 - 1),
)
def test_random_responsibilities_depend_on_the_number_of_the_row_alone(first, m, K, at, seed):
    at = min(at, m)
    pieces = (first, m), (first, at), (first + at, m - at)
    whole, head, tail = (drawn(seed, K, Chunk(np.ones((size, 1)), None, begin)) for begin, size in pieces)
    assert np.array_equal(whole, np.concatenate([head, tail]))
    assert whole.sum(axis=1) == pytest.approx(1)
    assert not np.array_equal(whole, drawn(seed, K, Chunk(np.ones((m, 1)), None, first + m))) or K == 1


def test_random_responsibilities_are_uniform():
    R = drawn(5, 3, Chunk(np.ones((20_000, 1)), None, 0))
    assert R.mean(axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.01)
    assert np.cov(R.T) == pytest.approx((3 * np.eye(3) - 1) / 36, abs=0.003)  # of a flat Dirichlet law
    assert stats.kstest(R[:, 1], stats.beta(1, 2).cdf).pvalue > 0.01
    assert abs(np.corrcoef(R[1:, 0], R[:-1, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("init", ["random", "responsibilities", "labels"])
def test_starts_by_row_hold_no_copy_of_all_responsibilities(init, monkeypatch):
    monkeypatch.setattr(grid, "CHUNK_WORK", 100_000)
    n, K = 200_000, 20
    X = np.random.default_rng(0).random((n, 1), np.float32)
    given = {"responsibilities": np.full((n, K), 1 / K, np.float32), "labels": np.arange(n) % K}.get(init, init)
    pass_ = plan(families.Gaussian().bind(as_rows(X)), ArrayRows(X, n_jobs=1), K)
    initialise_all(pass_, np.zeros(2, np.int64), K, given, np.random.default_rng(0))
    tracemalloc.start()
    initialise_all(pass_, np.zeros(2, np.int64), K, given, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * K * 2


@pytest.mark.parametrize("init", ["random", "labels", "responsibilities", "kmeans", "random_from_data"])
def test_rows_from_elsewhere_can_be_started_from(init):
    rng, data, family = np.random.default_rng(0), np.zeros(1, np.int64), families.Gaussian().bind(as_rows(DATA))
    given = {"labels": rng.integers(0, 2, 900), "responsibilities": rng.dirichlet(np.ones(2), 900)}.get(init, init)
    found = [
        initialise_all(plan(family, rows, 2), data, 2, given, np.random.default_rng(1)).mixture.natural
        for rows in (ListRows.of(DATA, WEIGHT, [333]), ArrayRows(DATA, WEIGHT))
    ]
    assert np.array_equal(*found)


def test_labels_of_other_mixtures_start_rows_from_elsewhere():
    family, sphere = families.Gaussian().bind(as_rows(DATA)), families.KnownCovariance().bind(as_rows(DATA))
    centres = ef.Mixture.stack([mixture_of(sphere, as_rows(DATA))])
    found = [
        from_labels_of(centres, plan(family, rows, 2), 2).mixture.natural
        for rows in (ShuffledRows.of(DATA, None, [333]), ArrayRows(DATA))
    ]
    assert np.array_equal(*found)


# ---- structural constants ------------------------------------------------------------------------------------------


class Bounded(own.Rayleigh):
    """A family that defines only ``bind``."""

    largest = None

    def bind(self, blocks):
        return self.replace(largest=max(X.max() for X, _ in blocks if len(X)))


def test_a_family_with_bind_alone_is_bound_to_rows_in_memory():
    assert bind(Bounded(), as_rows(DATA)).largest == DATA.max()
    product = families.Product([(Bounded(), [1]), (families.Gaussian(), [0])])
    bound = bind(product, as_rows(DATA))
    assert bound.families[0].largest == DATA[:, 1].max()
    assert bound.families[1].shift is not None
    assert bound.n_features == 2
    zeros = np.where(DATA > 1, DATA, 0)[:, :1]
    assert bind(families.ZeroInflated(Bounded()), as_rows(zeros)).family.largest == zeros.max()
    assert bind(families.ZeroInflated(Bounded()), as_rows(0 * zeros)).family.largest == 0
    for family in (Bounded(), product, families.ZeroInflated(Bounded())):
        with pytest.raises(TypeError, match=r"define summary\(X, sample_weight\) and bound\(summary\)"):
            bind(family, ListRows.of(DATA, None, [5]))


def test_a_family_that_extends_bind_keeps_what_it_extends():
    class Wide(families.Gaussian):
        def bind(self, blocks):
            bound = super().bind(blocks)
            return bound.replace(scale=4 * bound.scale)

    bound, plain = bind(Wide(), as_rows(DATA)), bind(families.Gaussian(), as_rows(DATA))
    assert np.array_equal(bound.scale, 4 * plain.scale)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_rows_and_blocks_bind_alike(model, weight):
    family, X = MODELS[model]
    rows = bind(family, ArrayRows(X, weight))
    keep = np.arange(900) if weight is None else np.flatnonzero(weight > 0)
    parts = [(X[part], None if weight is None else weight[part]) for part in cut(keep, [7, 7, 90])]
    assert repr(rows) == repr(family.bind(parts)) == repr(bind(family, ListRows.of(X, weight, [9])))
    assert bind(family, ArrayRows(np.asfortranarray(X), weight)).__dict__.keys() == rows.__dict__.keys()


def test_frames_do_not_depend_on_the_order_of_entries_in_memory():
    one, other = (bind(families.Gaussian(), ArrayRows(X)) for X in (DATA, np.asfortranarray(DATA)))
    assert np.array_equal(one.column_variance, other.column_variance)
    assert one.column_variance == pytest.approx(DATA.var(axis=0), rel=1e-13)


def test_zeros_alone_stand_for_rows_of_a_zero_inflated_family():
    family = families.ZeroInflated(families.Gaussian())
    X = np.concatenate([np.zeros((40, 1)), 5 + DATA[:, :1], np.zeros((40, 1))])
    bound = bind(family, ArrayRows(X))
    assert bound.family.column_variance == pytest.approx(DATA[:, 0].var(), rel=1e-12)
    assert bind(family, ArrayRows(0 * X)).family.shift == 0


# ---- passes that do several things -----------------------------------------------------------------------------------


class Sum(str):
    """A sum that says in which order it was added up."""

    def __add__(self, other):
        return Sum(f"({self!s}+{other!s})")


def _spelt(name, chunk):
    return Sum(f"{name}{chunk.first}:{len(chunk.X)}:{float(np.sum(chunk.weight))}")


@pytest.mark.parametrize("n", [1, 16, 17, 100, 129, 300])
def test_what_waits_for_a_pass_is_added_up_as_by_itself(n, monkeypatch):
    monkeypatch.setattr(grid, "FEWEST_ROWS", 4)
    monkeypatch.setattr(grid, "CHUNK_WORK", 16)
    rows = ListRows([DATA[:n]], [np.arange(n) + 1.0])
    asked = [(functools.partial(_spelt, name), work) for name, work in (("a", 1), ("b", 0.5), ("c", 4), ("d", 2))]
    expected = [rows.reduce(function, work) for function, work in asked]
    assert len(set(expected)) == 4
    looked = LookedRows(rows, (), 1.0)
    later, passes = [looked.later(*one) for one in asked[:3]], []
    whole = rows.reduce
    rows.reduce = lambda function, work: passes.append(work) or whole(function, work)
    assert looked.reduce(*asked[3]) == expected[3]
    assert [one.value for one in later] == expected[:3]
    alone = looked.later(*asked[0])
    assert alone.value == expected[0]
    assert passes == [0.5, 1]


def test_families_that_summarise_alike_are_asked_once():
    rows = ListRows([DATA], None)
    looked = LookedRows(rows, (functools.partial(summary_chunk, families.Gaussian("diag", variance_floor=0.0)),), 1.0)
    rows.reduce = None
    assert bind(families.KnownCovariance(), looked).column_variance == pytest.approx(DATA.var(axis=0), rel=1e-12)
    for other in (families.Gaussian("diag"), families.StudentT(4.0)):
        with pytest.raises(TypeError):
            bind(other, looked)


# ---- samples -------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(8)
NORMAL = RNG.normal(size=(3000, 3))
OUTLIER = NORMAL.copy()
OUTLIER[77] = 1e15
SAMPLED = {
    "normal": NORMAL,
    "repeated": RNG.integers(0, 3, (3000, 2)).astype(float),
    "bits": RNG.integers(0, 2, (3000, 9)).astype(np.uint8),
    "all equal": np.full((3000, 2), 3.3),
    "constant column": np.column_stack([NORMAL[:, 0], np.ones(3000)]),
    "one far away": OUTLIER,
    "clusters": NORMAL + 1e9 * RNG.integers(0, 3, 3000)[:, None],
    "single": NORMAL.astype(np.float32),
    "huge": NORMAL * 1e307,
    "tiny": NORMAL * 1e-310,
    "in order": np.sort(NORMAL, axis=0),
    "in columns": np.asfortranarray(NORMAL),
}
WEIGHTS = {"none": None, "whole": RNG.integers(0, 4, 3000).astype(float), "few": (np.arange(3000) % 200 == 3) * 2.0}


@pytest.mark.parametrize(("bins", "spread"), [(ranks.BINS, ranks.SPREAD_ROWS), (64, ranks.SPREAD_ROWS), (64, 5)])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("name", SAMPLED)
def test_selected_rows_are_those_of_the_sort(name, weight, bins, spread, monkeypatch):
    monkeypatch.setattr(ranks, "BINS", bins)
    monkeypatch.setattr(ranks, "SPREAD_ROWS", spread)
    if bins == 64:
        monkeypatch.setattr(ranks, "COLLECTED_ENTRIES", 100)
        monkeypatch.setattr(ranks, "COLLECTED_ROWS", 1)
    X, weight = SAMPLED[name], WEIGHTS[weight]
    expected = sample.ordered_sample(ArrayRows(X, weight), np.random.default_rng(1), 50)
    found = sample.ordered_sample(ListRows.of(X, weight, [8, 1000]), np.random.default_rng(1), 50)
    assert all(one.dtype == two.dtype and np.array_equal(one, two) for one, two in zip(found, expected, strict=True))


@pytest.mark.parametrize(("kind", "each", "most"), [("dense", 1, 1.5), ("dense", 16, 0.5), ("sparse", 16, 0.5)])
def test_rows_that_are_collected_are_copied_once_and_others_never(kind, each, most):
    rng, n = np.random.default_rng(0), 4000
    X, key = rng.normal(size=(n, 100)), rng.integers(0, 9, n) * 0.5
    blocks = [X[i::7] if kind == "dense" else CSRBlock.of(sparse.csr_array(X[i::7])) for i in range(7)]
    number, weight = np.arange(n), np.ones(n)
    found = ranks.Collected(*([array[i::7] for i in range(7)] for array in (number, number, key, weight)), blocks)
    found.in_order()[0].rows_at(np.arange(3))  # what is loaded once
    tracemalloc.start()
    ordered, places = found.in_order()
    rows = ordered.rows_at(places[::each])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = np.argsort(key, kind="stable")
    assert np.array_equal(ordered.number, expected)
    assert np.array_equal(rows, X[expected[::each]])
    assert peak < most * X.nbytes


@given(seed=st.integers(0, 1000))
def test_selected_rows_of_any_weights_are_those_of_the_sort_up_to_rounding(seed):
    rng = np.random.default_rng(seed)
    X, weight = rng.integers(0, 9, (900, 2)).astype(float), rng.lognormal(sigma=5, size=900)
    X, weights, starts = sample.ordered_sample(ListRows.of(X, weight, [8]), np.random.default_rng(seed), 60)
    assert weights.sum() == pytest.approx(weight.sum(), rel=1e-12)
    assert starts.tolist() == [0, len(X)]
    assert np.all(weights > 0)


def test_collected_rows_stay_few():
    """However rows lie, no more are collected than the limit says."""
    most, limit = [], max(ranks.COLLECTED_ENTRIES // 1, ranks.COLLECTED_ROWS * 40)
    for X in (np.zeros((5000, 1)), np.repeat([[0.0], [1.0]], 2500, axis=0), np.append(RNG.normal(size=4999), 1e200)):
        rows = ListRows.of(np.reshape(X, (-1, 1)), None, [9])
        whole = rows.reduce

        def watched(function, work, whole=whole):
            found = whole(function, work)
            if isinstance(found, ranks.Collected):
                most.append(sum(map(len, found.X)))
            return found

        rows.reduce = watched
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranks, "COLLECTED_ENTRIES", 0)
            sample.ordered_sample(rows, np.random.default_rng(0), 40)
    limit = ranks.COLLECTED_ROWS * 40
    assert len(most) == 3
    assert max(most) <= limit


@pytest.mark.parametrize("weight", WEIGHTS)
def test_rows_of_a_spread_are_the_same_wherever_rows_are_cut(weight, monkeypatch):
    """They are so many as are wanted, and their shares of weight are those of all rows, up to what is drawn."""
    weight = WEIGHTS[weight]
    monkeypatch.setattr(ranks, "SPREAD_ROWS", 400)
    whole, *parts = (
        ranks.spread_chunk(Chunk(NORMAL[a:b], None if weight is None else weight[a:b], a))
        for a, b in ((0, 3000), (0, 1024), (1024, 2048), (2048, 3000))
    )
    added = parts[0] + (parts[1] + parts[2])
    present = 3000 if weight is None else np.count_nonzero(weight)
    for found in (whole, added):
        assert len(found.X) == len(found.key) == len(found.weight) == min(present, 400)
        assert found.present == present
        assert found.end == (3000 if weight is None else 1 + np.flatnonzero(weight)[-1])
    assert np.array_equal(np.sort(added.key), np.sort(whole.key))
    share = np.average(whole.X[:, 0] < 0, weights=whole.weight)
    assert share == pytest.approx(np.average(NORMAL[:, 0] < 0, weights=weight), abs=0.15)


class Last:
    """A generator whose uniform number is the largest there is."""

    def standard_normal(self, d):
        return np.ones(d)

    def random(self):
        return np.nextafter(1.0, 0.0)


def test_the_last_level_is_reached_by_a_row():
    for rows in (ArrayRows(NORMAL), ListRows.of(NORMAL, None, [5])):
        assert sample.ordered_sample(rows, Last(), 1500)[1].sum() == 3000


@pytest.mark.parametrize("model", ["table", "own", "columns", "exposure", "product", "labels"])
def test_sums_do_not_depend_on_whether_statistics_are_kept(model, monkeypatch):
    monkeypatch.setattr(grid, "CHUNK_WORK", 8_000_000)
    plain, X = MODELS[model]
    array = ArrayRows(np.tile(X, (40, 1)))
    family = bind(plain, array)
    start = mixture_of(family, array)
    kept, made = plan(family, array, 2), plan(family, array, 2, once=True)
    assert kept.rows.table is not None
    assert made.rows.table is None
    for one, other in zip(kept.sums(start.scores), made.sums(start.scores), strict=True):
        assert np.array_equal(one, other)


# ---- rows that are read ---------------------------------------------------------------------------------------------


class Sliced(RowSource):
    """Rows of an array, with weights that nobody has checked."""

    def __init__(self, X, weight=None, short=0):
        self.X, self.weight, self.short = X, weight, short

    def __len__(self):
        return len(self.X)

    def read(self, first, stop):
        stop = max(stop - self.short, first + 1)
        return Chunk(self.X[first:stop], None if self.weight is None else self.weight[first:stop], first)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (Sliced(DATA[:0]), "Sliced has no rows"),
        (Sliced(DATA, np.zeros(900)), "sample_weight sums to 0"),
        (Sliced(DATA, np.full(900, -1.0)), "the least of them -1.0; 1 finite numbers"),
        (Sliced(DATA, np.where(np.arange(900) == 700, np.nan, 1.0)), "the least of them nan"),
        (Sliced(DATA, np.ones((900, 2))), r"weights of shape \(1, 2\)"),
        (Sliced(DATA, short=1), r"read\(0, 64\) returned 63 rows that begin at row 0"),
    ],
    ids=lambda value: "",
)
def test_rows_that_are_read_wrongly_are_refused(rows, told):
    start = mixture_of(bind(families.Poisson(), as_rows(WHOLE)), as_rows(WHOLE))
    for function in (ef.accumulate, ef.fit):
        with pytest.raises(ValueError, match=told):
            function(start, rows)


@pytest.mark.parametrize("weight", [WEIGHT.astype(int), WEIGHT.astype(np.float32), np.repeat(WEIGHT, 2)[::2]])
def test_weights_that_are_read_may_be_of_any_type(weight):
    start = mixture_of(bind(families.Poisson(), as_rows(WHOLE)), as_rows(WHOLE))
    found = ef.accumulate(start, Sliced(WHOLE, weight))
    assert np.array_equal(found.sums, ef.accumulate(start, WHOLE, weight.astype(float)).sums)


def test_threads_are_those_of_the_rows():
    start = mixture_of(bind(families.Poisson(), as_rows(WHOLE)), as_rows(WHOLE))
    with pytest.raises(ValueError, match="n_jobs is given beside rows"):
        ef.fit(start, Sliced(WHOLE), n_jobs=2)
