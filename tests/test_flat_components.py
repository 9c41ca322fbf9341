"""Components that are flat down to the variance floor: rows in fewer dimensions than columns, equal rows, few rows."""

import mpmath
import numpy as np
import pytest

import expfam_em as ef
from expfam_em.families import Componentwise, Gaussian, LogNormal, Product, StudentT

SEEDS = range(2)


def _one_hot(rng):
    return np.eye(4)[rng.integers(0, 4, 40)]


ROWS = {
    "five rows": lambda rng: rng.normal(size=(5, 2)),
    "one-hot": _one_hot,
    "one-hot and more": lambda rng: np.column_stack([rng.normal(size=(40, 2)), _one_hot(rng)]),
    "fewer rows than columns": lambda rng: rng.normal(size=(6, 9)),
    "rare ones": lambda rng: (rng.random((60, 3)) < 0.05).astype(float),
    "on a line": lambda rng: rng.normal(size=(30, 1)) * [1.0, 2.0, -1.0],
    "one far": lambda rng: np.concatenate([rng.normal(size=(59, 3)), np.full((1, 3), 1e12)]),
}

FAMILIES = {
    "full": lambda d: Gaussian("full"),
    "tied": lambda d: Gaussian("tied"),
    "log-normal": lambda d: LogNormal("full"),
    "t": lambda d: StudentT(5.0),
    "product": lambda d: Product([(Gaussian("full"), range(d - 1)), (Gaussian("full"), [d - 1])]),
    "componentwise": lambda d: Componentwise([(Gaussian("full"), 2), (Gaussian("diag"), 1)]),
}


def _rows(kind, family, seed):
    X = ROWS[kind](np.random.default_rng(seed))
    return np.exp(X / np.abs(X).max()) if family == "log-normal" else X


def _check(model, X):
    """The bound never falls, is that of the fitted parameters, and means are weighted averages of the rows."""
    bounds = np.array(model.lower_bounds_)
    assert np.all(np.diff(bounds) >= -1e-6 * (1 + np.abs(bounds[1:])))
    np.testing.assert_allclose(model.score(X), model.lower_bound_, rtol=1e-6)
    for name, value in model.parameters_.items():
        assert np.isfinite(value).all()
        if name in ("means", "log_means"):
            Y = np.log(X) if name == "log_means" else X
            slack = 1e-9 * np.abs(Y).max()
            assert np.all((value >= Y.min(axis=0) - slack) & (value <= Y.max(axis=0) + slack))


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ROWS)
def test_flat_components_are_fitted(kind, family, seed):
    X = _rows(kind, family, seed)
    model = ef.ExponentialFamilyMixture(
        FAMILIES[family](X.shape[1]), 3, random_state=seed, n_jobs=1, max_iter=30, guard=False
    )
    _check(model.fit(X), X)


@pytest.mark.parametrize("n", [30, 500])
def test_rows_of_many_columns_are_fitted(n):
    X = np.random.default_rng(0).normal(size=(n, 100)) + 1e6
    X[: n // 2] *= 1 + 1e-5
    _check(ef.ExponentialFamilyMixture(Gaussian("full"), 2, random_state=0, n_jobs=1).fit(X), X)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("name", ["VEI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"])
@pytest.mark.parametrize("kind", ["one-hot", "fewer rows than columns", "on a line", "rare ones", "one far"])
def test_a_model_with_a_constraint_is_fitted(kind, name):
    X = _rows(kind, name, 0)
    model = ef.ExponentialFamilyMixture(Gaussian(name), 2, random_state=0, n_jobs=1, max_iter=30, guard=False)
    _check(model.fit(X), X)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("seed", range(1, 12))
def test_a_component_of_equal_rows_has_the_flat_shape_of_another(seed):
    X = _rows("one-hot", "VEE", seed)
    model = ef.ExponentialFamilyMixture(Gaussian("VEE"), 2, random_state=0, n_jobs=1, max_iter=30, guard=False)
    _check(model.fit(X), X)
    one, other = model.parameters_["covariances"]
    np.testing.assert_allclose(one / np.trace(one), other / np.trace(other), atol=1e-9)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("name", ["EVE", "VVE"])
def test_components_of_equal_rows_have_common_axes(name):
    X = _rows("rare ones", name, 3)
    model = ef.ExponentialFamilyMixture(Gaussian(name), 3, random_state=3, n_jobs=1, max_iter=30, guard=False)
    _check(model.fit(X), X)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_precisions_keep_digits_that_covariances_have_lost(covariance_type):
    X = ROWS["one far"](np.random.default_rng(0))
    model = ef.GaussianMixture(1, covariance_type=covariance_type).fit(X)
    n, d = X.shape
    with mpmath.workdps(60):
        means = [mpmath.fsum(column) / n for column in X.T.tolist()]
        rows = mpmath.matrix([[x - m for x, m in zip(row, means, strict=True)] for row in X.tolist()])
        covariance = rows.T * rows / n + mpmath.mpf(1e-6) * mpmath.eye(d)
        expected = np.array((covariance**-1).tolist(), float)
        covariance = np.array(covariance.tolist(), float)
    assert model.covariances_.reshape(d, d) == pytest.approx(covariance, rel=1e-14)
    # the mean, of 1.6e10, is rounded to 2e-6 of the standard deviation of the other rows
    assert model.precisions_.reshape(d, d) == pytest.approx(expected, rel=2e-6)
    root = model.precisions_cholesky_.reshape(d, d)
    assert np.array_equal(root, np.triu(root))
    assert root @ root.T == pytest.approx(expected, rel=2e-6)


def test_the_floor_is_the_maximum_under_its_constraint():
    """Rows on a plane: the covariance is that of the rows in the plane, and the floor across it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 3))
    model = ef.ExponentialFamilyMixture(Gaussian("full"), 1, random_state=0).fit(X)
    width = model.mixture_.family.width
    [covariance] = model.parameters_["covariances"]
    np.testing.assert_allclose(covariance, np.cov(X.T, bias=True), atol=1e-13 * width.max() ** 2)
    # log-likelihood of a normal density with variances l1, l2 of the rows and the floor, in units of the floor
    values = np.linalg.eigvalsh(np.cov((X / width).T, bias=True))
    expected = -0.5 * (3 * np.log(2 * np.pi) + 2 + np.log(values[1:]).sum() + np.log(1e-14)) - np.log(width).sum()
    np.testing.assert_allclose(model.lower_bound_, expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_component_without_rows_does_not_keep_tied_ones_from_their_frames(seed):
    X = np.concatenate([np.random.default_rng(seed).normal(size=(59, 3)), np.full((1, 3), 1e12)])
    model = ef.GaussianMixture(7, covariance_type="tied", random_state=0).fit(X)
    assert np.all(np.linalg.eigvalsh(model.covariances_) > 0.1)
    assert np.all(np.linalg.eigvalsh(model.covariances_) < 3)
