"""Distinct rows with weights are the rows themselves, exactly, and are offered only where they save work."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

import expfam_em as ef
from expfam_em.em import seeds
from expfam_em.estimators import base as base
from expfam_em.families import Bernoulli, Poisson
from expfam_em.rows import distinct as module
from expfam_em.rows.distinct import PACKED_ROWS, WORD_LIMIT, Packing, distinct
from tests.profiles import draws, share

DTYPES = [np.float64, np.float32, np.uint8, np.bool_, np.int64]
N = PACKED_ROWS + 999


def multiset(X, weight=None):
    """Weight of each row, in whole numbers."""
    total = Counter()
    for row, w in zip(np.asarray(X, float).tolist(), np.ones(len(X)) if weight is None else weight, strict=True):
        total[tuple(row)] += int(w)
    return +total


def repeated(base, n=N, seed=0):
    """n rows drawn from those of base."""
    return base[np.random.default_rng(seed).integers(0, len(base), n)]


def base_rows(dtype=np.float64, u=300, d=6, top=2, seed=0):
    return np.random.default_rng(seed).integers(0, top, (u, d)).astype(dtype)


def is_ascending(rows):
    rows = [tuple(row) for row in rows.tolist()]
    return all(a < b for a, b in itertools.pairwise(rows))


# one word in a table, one word sorted, several words
WIDTHS = [pytest.param(d, top, id=name) for d, top, name in ((6, 2, "table"), (40, 2, "one word"), (130, 2, "words"))]
WIDTHS += [pytest.param(1, 100, id="counts"), pytest.param(7, 100, id="long counts"), pytest.param(20, 100, id="wide")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "top"), WIDTHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_multiset_of_rows_is_kept(d, top, dtype, weighted):
    X = repeated(base_rows(dtype, d=d, top=top))
    w = np.random.default_rng(1).integers(0, 4, N).astype(float) if weighted else None
    rows, weight = distinct(X, w)
    assert rows.dtype == X.dtype
    assert rows.flags.c_contiguous
    assert weight.dtype == np.float64
    assert is_ascending(rows)
    assert multiset(rows, weight) == multiset(X, w)


@pytest.mark.parametrize(("d", "top"), WIDTHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_order_and_layout_of_the_rows_do_not_matter(d, top, weighted):
    X = repeated(base_rows(d=d, top=top))
    w = np.random.default_rng(1).integers(0, 4, N).astype(float) if weighted else None
    expected, order = distinct(X, w), np.random.default_rng(2).permutation(N)
    layouts = (X[order], np.asfortranarray(X[order]), np.repeat(X[order], 2, axis=1)[:, ::2])
    for rows in layouts:
        found = distinct(rows, None if w is None else w[order])
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("d", "top"), WIDTHS)
def test_rows_of_weight_zero_drop_out(d, top):
    X = repeated(base_rows(d=d, top=top))
    w = np.where((X == X[0]).all(axis=1), 0.0, 0.25)
    rows, weight = distinct(X, w)
    assert not (rows == X[0]).all(axis=1).any()
    assert weight.sum() == w.sum()
    assert np.all(weight > 0)


@pytest.mark.parametrize(("d", "top"), WIDTHS)
def test_fractional_weights_are_added_in_the_order_of_the_rows(d, top):
    X, w = repeated(base_rows(d=d, top=top)), np.random.default_rng(3).random(N)
    rows, weight = distinct(X, w)
    for row, value in zip(rows[:5], weight, strict=False):
        assert value == np.cumsum(w[(X == row).all(axis=1)])[-1]  # sum() of floats is exact from Python 3.12 on


@draws(60)
@given(
    data=st.data(),
    d=st.integers(1, 70),
    values=st.lists(
        st.one_of(st.integers(-3, 3), st.integers(-(2**40), 2**40), st.sampled_from([2**51, -(2**51), 0])),
        min_size=1, max_size=6,
    ),
    dtype=st.sampled_from([np.float64, np.int64]),
)  # fmt: skip
def test_any_whole_numbers_are_kept(data, d, values, dtype):
    seed, u = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(seed)
    base = rng.choice(np.array(values, dtype), (u, d))
    X = np.concatenate([base, base[rng.integers(0, u, 100)]])
    w = data.draw(st.sampled_from([None, rng.integers(0, 3, len(X)).astype(float)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PACKED_ROWS", 1)
        patch.setattr(module, "DISTINCT_SHARE", 1.0)
        found = distinct(X, w)
    extreme = max(values) - min(values) + 1 >= WORD_LIMIT
    if found is None:
        assert extreme
        return
    assert is_ascending(found[0])
    assert multiset(*found) == multiset(X, w)


def test_rows_that_share_a_hash_stay_apart(monkeypatch):
    X = repeated(base_rows(d=130))
    expected = distinct(X)
    hashed = module._key

    def colliding(words):
        return hashed(words) % 50 if words.shape[1] == N else hashed(words)

    monkeypatch.setattr(module, "_key", colliding)
    found = distinct(X)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_hash_tells_rows_apart_that_differ_in_one_digit():
    X = np.concatenate([np.zeros((1, 520)), np.eye(520), 1 - np.eye(520)]).astype(np.uint8)
    words = Packing.of(X).pack(X)
    assert len(words) == 10
    assert len(np.unique(module._key(words))) == len(X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "top"), [(1, 2), (52, 2), (53, 2), (8, 100), (300, 2)])
def test_packing_is_positional_notation(d, top, dtype):
    X = base_rows(dtype, d=d, top=top)
    packing = Packing.of(X)
    words = packing.pack(X)
    assert np.array_equal(packing.unpack(words, dtype), X)
    assert len(words) == -(-d // int(52 / np.log2(packing.width.max())))
    assert np.array_equal(X[np.lexsort(words[::-1])], np.array(sorted(X.tolist())))


def test_negative_zero_is_zero():
    X = repeated(base_rows())
    rows, weight = distinct(np.where(X == 0, -0.0, X))
    assert not np.signbit(rows).any()
    assert np.array_equal(weight, distinct(X)[1])


# ---- where it does not pay -----------------------------------------------------------------------------------------


def refused():
    rng = np.random.default_rng(0)
    whole = rng.poisson(20, (N, 8)).astype(float)
    one_fraction = repeated(base_rows())
    one_fraction[N // 2 + 1, 3] = 0.5
    yield "few rows", repeated(base_rows(), PACKED_ROWS - 1)
    yield "continuous", rng.normal(size=(N, 4))
    yield "continuous and repeated", repeated(rng.normal(size=(10, 4)))
    yield "one fraction", one_fraction
    yield "one infinity", np.where(np.arange(N)[:, None] == 77, np.inf, repeated(base_rows()))
    yield "large numbers", repeated(base_rows(top=5)) * 2.0**53
    yield "counts of which none repeats", whole
    yield "two in three distinct", np.concatenate([whole, whole[: N // 2]])
    yield "one row that is half of all", np.where(rng.random((N, 1)) < 0.4, 0.0, whole)


@pytest.mark.parametrize("X", [pytest.param(X, id=name) for name, X in refused()])
def test_refusals(X):
    assert distinct(X) is None
    assert distinct(X, np.ones(len(X))) is None


@pytest.mark.parametrize("times", [4, 10])
def test_few_repetitions_of_many_rows_are_found(times):
    whole = np.random.default_rng(0).poisson(20, (N, 8)).astype(float)
    rows, weight = distinct(np.tile(whole, (times, 1)))
    assert len(rows) == N
    assert np.all(weight == times)


def test_refusing_continuous_rows_looks_at_a_few_of_them():
    X = np.random.default_rng(0).normal(size=(1_000_000, 4))
    assert distinct(X) is None


# ---- what it is for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("family", [Bernoulli(), Poisson()])
def test_expected_statistics_are_those_of_all_rows(family, weighted, temperature):
    rng = np.random.default_rng(0)
    X = repeated(base_rows(top=2 if isinstance(family, Bernoulli) else 5))
    w = rng.uniform(0, 2, N) if weighted else None
    mixture = ef.Mixture(family, np.array([0.2, 0.3, 0.5]), rng.normal(size=(3, 6)))
    rows, weight = distinct(X, w)
    found = ef.accumulate(mixture, rows, weight, temperature=temperature)
    expected = ef.accumulate(mixture, X, w, temperature=temperature)
    assert found.counts == pytest.approx(expected.counts, rel=1e-12)
    assert found.sums == pytest.approx(expected.sums, rel=1e-12)
    assert found.bound == pytest.approx(expected.bound, rel=1e-12)


# ---- in a fit ------------------------------------------------------------------------------------------------------


class Seen:
    """What `distinct` was asked and answered during fits, and a switch to leave it out."""

    def __init__(self, patch):
        self.patch, self.answers = patch, []
        patch.setattr(base, "distinct", self)

    def __call__(self, X, weight):
        self.answers.append(distinct(X, weight))
        return self.answers[-1]

    def without(self, model, X, **how):
        """Fit with every row."""
        with self.patch.context() as patch:
            patch.setattr(base, "distinct", lambda X, weight: None)
            return model.fit(X, **how)


@pytest.fixture
def seen(monkeypatch):
    # all rows are looked at for seeds, so that starts are the same with every row and with distinct ones
    monkeypatch.setattr(seeds, "SEEDING_ROWS", N_FIT)
    return Seen(monkeypatch)


N_FIT = PACKED_ROWS + 1


def estimators(**how):
    how = {"max_iter": share(30, fewest=10), "tol": 0, "random_state": 3, **how}
    yield ef.BernoulliMixture(3, **how), 2
    yield ef.ExponentialFamilyMixture(Poisson(), 3, **how), 5
    yield ef.GaussianMixture(3, covariance_type="diag", **how), 40


def same_fits(found, expected, X):
    assert found.weights_ == pytest.approx(expected.weights_, rel=1e-6)
    assert found.expectation_parameters_ == pytest.approx(expected.expectation_parameters_, rel=1e-6)
    assert found.lower_bounds_ == pytest.approx(expected.lower_bounds_, rel=1e-9)
    assert found.bic(X) == pytest.approx(expected.bic(X), rel=1e-9)
    assert found.predict_proba(X) == pytest.approx(expected.predict_proba(X), abs=1e-6)


@pytest.mark.filterwarnings("ignore:Best performing init")
@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", ["k-means++", "kmeans", "random_from_data"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_fit_of_distinct_rows_is_the_fit_of_all(seen, which, init, weighted, temperature):
    model, top = list(estimators(init=init, temperature=temperature))[which]
    X = repeated(base_rows(top=top), N_FIT)
    w = np.random.default_rng(1).integers(0, 4, N_FIT).astype(float) if weighted else None
    found = clone(model).fit(X, sample_weight=w)
    [(rows, _)] = seen.answers
    assert len(rows) < 400
    same_fits(found, seen.without(clone(model), X, sample_weight=w), X)
    assert len(found.fit_predict(X)) == N_FIT


@pytest.mark.filterwarnings("ignore:Best performing init")
def test_a_mixture_to_start_from_is_followed_from_distinct_rows(seen):
    X = repeated(base_rows(u=500, d=12), 4 * PACKED_ROWS)
    start = ef.Mixture(Bernoulli(), [0.2, 0.3, 0.5], np.random.default_rng(0).normal(size=(3, 12)))
    model = ef.BernoulliMixture(3, init=start, max_iter=20, tol=0)
    same_fits(clone(model).fit(X), seen.without(clone(model), X), X)
    assert len(seen.answers) == 1
    again = clone(model).set_params(warm_start=True).fit(X)
    again.set_params(init="random").fit(X)  # the mixture fitted is the start, and it is not by row
    assert len(seen.answers) == 3


@pytest.mark.filterwarnings("ignore:Best performing init")
@pytest.mark.parametrize("init", ["random", "labels", "responsibilities"])
def test_starts_by_row_keep_every_row(seen, init):
    X, rng = repeated(base_rows()), np.random.default_rng(0)
    given = {"labels": rng.integers(0, 3, N), "responsibilities": rng.dirichlet(np.ones(3), N)}
    ef.BernoulliMixture(3, init=given.get(init, init), random_state=0, max_iter=3).fit(X)
    ef.GaussianMixture(3, init_params="random", random_state=0, max_iter=3).fit(X)
    assert not seen.answers


@pytest.mark.filterwarnings("ignore:Best performing init")
def test_the_same_random_state_gives_the_same_fit_in_any_order_of_the_rows():
    X = repeated(base_rows(top=5), 3 * PACKED_ROWS)
    model = ef.ExponentialFamilyMixture(Poisson(), 3, n_init=2, random_state=1, max_iter=10)
    one, other, turned = clone(model).fit(X), clone(model).fit(X), clone(model).fit(X[::-1])
    assert np.array_equal(one.natural_parameters_, other.natural_parameters_)
    assert np.array_equal(one.natural_parameters_, turned.natural_parameters_)


def test_starts_are_drawn_by_the_number_of_equal_rows():
    X = np.repeat([[0.0, 3.0], [5.0, 0.0], [9.0, 9.0]], [12_000, 6_000, 2_000], axis=0)
    model = ef.ExponentialFamilyMixture(Poisson(), 1, init="random_from_data", max_iter=0)
    drawn = [clone(model).set_params(random_state=seed).fit(X).parameters_["rates"][0] for seed in range(300)]
    nearest = np.argmin([[np.abs(rates - row).sum() for row in ([0, 3], [5, 0], [9, 9])] for rates in drawn], axis=1)
    share = np.bincount(nearest, minlength=3) / 300
    assert np.abs(share - [0.6, 0.3, 0.1]).max() < 0.1


def test_errors_count_the_rows_of_the_user():
    X = repeated(base_rows(top=5))
    X[9_345, 2] = -1
    with pytest.raises(ValueError, match=r"column 2 holds -1\.0 \(row 9345\)"):
        ef.ExponentialFamilyMixture(Poisson(), 2).fit(X)


def test_fewer_distinct_rows_than_components():
    X = repeated(np.array([[0.0, 1.0], [1.0, 0.0]]))
    model = ef.BernoulliMixture(3, random_state=0, max_iter=500).fit(X)
    assert model.score(X) == pytest.approx(-np.log(2), rel=0.01)
