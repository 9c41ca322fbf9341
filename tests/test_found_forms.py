"""A T that is columns and products of two is made by the kernel, if it is that in every row, and gives the same."""

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.estep.bits import Bits
from expfam_em.estep.plan import plan
from expfam_em.estep.scores import Scores
from expfam_em.rows.groups import grouped
from expfam_em.rows.memory import ArrayRows
from tests.passes import pass_of

N, D, K = 3_000, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)) * [1.0, 10.0, 0.1] + [0.0, 3.0, -1.0]
LOWER = np.tril_indices(D)
ALMOST_THE_LARGEST = np.sort((X**2).ravel())[-2]


class Made(ef.ExponentialFamily):
    """T is any function of rows, and A is 0."""

    def __init__(self, statistics, with_exposure=False):
        self.statistics, self.with_exposure = statistics, with_exposure

    def sufficient_statistics(self, X):
        return self.statistics(X)

    def exposure(self, X):
        return np.ones(len(X)) if self.with_exposure else None

    def log_partition(self, natural):
        return np.zeros(len(natural))


def squares(X):
    return np.column_stack([X, X**2])


def of_rows_like_these(X):
    if X.max() < 1:
        raise KeyError("there is no such row")
    return squares(X)


FOUND = {
    "columns": lambda X: X,
    "columns in another order": lambda X: X[:, ::-1],
    "squares": squares,
    "squares first": lambda X: np.column_stack([X**2, X]),
    "all pairs": lambda X: np.column_stack([X, (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)]),
    "lower triangle": lambda X: np.column_stack([X, X[:, LOWER[0]] * X[:, LOWER[1]]]),
    "multiples": lambda X: np.column_stack([X, -(X**2) / 2, 4 * X]),
}
NOT_FOUND = {
    "logarithms": lambda X: np.column_stack([X, np.log(np.abs(X))]),
    "thirds": lambda X: np.column_stack([X, X**2 / 3]),
    "a constant": lambda X: np.column_stack([squares(X), np.ones(len(X))]),
    "cubes": lambda X: np.column_stack([X, X**3]),
    "squares alone, for which the kernel would make more": lambda X: X**2,
    "cut off in one row": lambda X: np.column_stack([X, np.minimum(X**2, ALMOST_THE_LARGEST)]),
    "of rows near it": lambda X: squares(X - X.mean(axis=0)),
    "an exception": of_rows_like_these,
}


def scores_of(family, rows):
    rng, p = np.random.default_rng(1), family.sufficient_statistics(rows.X).shape[1]
    return Scores(rng.normal(size=(2, K, p)) / 30, rng.normal(size=(2, K)), np.log(rng.dirichlet(np.ones(K), 2)))


def assert_as_in_numpy(family, rows):
    """Sums of the planned pass are those of T in NumPy, up to rounding; return the planned kernel."""
    pass_, scores = plan(family, rows, K), scores_of(family, rows)
    for found, expected in zip(pass_.sums(scores), pass_of(family, rows).sums(scores), strict=True):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-13 * np.abs(expected).max())
    return pass_.kernel


@pytest.mark.parametrize("statistics", FOUND.values(), ids=list(FOUND))
def test_the_kernel_makes_what_numpy_would(statistics):
    kernel = assert_as_in_numpy(Made(statistics), ArrayRows(X))
    assert kernel.form is not None
    assert kernel.n_statistics == statistics(X).shape[1] >= kernel.form.monomials.n_statistics


@pytest.mark.parametrize("statistics", NOT_FOUND.values(), ids=list(NOT_FOUND))
def test_what_is_something_else_in_one_row_is_evaluated(statistics):
    assert plan(Made(statistics), ArrayRows(X), K).kernel.form is None


def test_a_row_that_differs_counts_if_it_has_weight():
    X_, weight = np.append(X, [[1e3] * D], axis=0), np.ones(N + 1)
    family = Made(lambda X: np.column_stack([X, np.minimum(X**2, 1e5)]))
    assert plan(family, ArrayRows(X_, weight), K).kernel.form is None
    weight[-1] = 0
    assert assert_as_in_numpy(family, ArrayRows(X_, weight)).form is not None


def test_exposures_are_not_left_out():
    assert assert_as_in_numpy(Made(squares, with_exposure=True), ArrayRows(X)).form is None


def test_squares_of_float32_are_rounded_as_numpy_rounds_them():
    single = ArrayRows(X.astype(np.float32))
    assert plan(Made(squares), single, K).kernel.form is None
    assert plan(Made(lambda X: X), single, K).kernel.form is not None


def test_rows_in_groups_and_by_columns():
    may_be = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]], bool)[np.arange(N) % 3]
    for rows in (ArrayRows(np.asfortranarray(X)), grouped(ArrayRows(X), [], allowed=may_be)):
        kernel = assert_as_in_numpy(Made(FOUND["all pairs"]), rows)
        assert getattr(kernel, "inner", kernel).picked is not None


def test_zeros_and_ones_become_codes():
    binary = (np.random.default_rng(2).random((10_000, 16)) < 0.3).astype(float)
    assert isinstance(assert_as_in_numpy(Made(lambda X: X), ArrayRows(binary)), Bits)


@pytest.mark.parametrize("name", ["squares", "all pairs"])
def test_threads_change_no_bit(name):
    many = np.tile(X, (20, 1))
    found = []
    for n_jobs in (1, 2, 5):
        rows = ArrayRows(many, n_jobs=n_jobs)
        found.append(plan(Made(FOUND[name]), rows, K).sums(scores_of(Made(FOUND[name]), rows)))
    assert all(np.array_equal(one, other) for other in found[1:] for one, other in zip(found[0], other, strict=True))
