"""Missing values: exact for every family that has marginals of columns, against oracles that go row by row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import logsumexp

import expfam_em as ef
from expfam_em import families
from expfam_em.family.missing import takes_missing
from tests.all_families import NAMES
from tests.cases import CASES
from tests.covariance_models import MODELS

NAN = np.nan
WITHOUT = {"Componentwise", "Dirichlet", "Multinomial", "OneHot", "StudentT", "VonMisesFisher", "Wishart", "ZeroInflated"}
"""Families for which a missing value has no meaning, or one that is not known."""
DIGITS = 1e-11
"""Relative error of scores and sums that went through inverses of matrices with conditions up to 1e2."""


def punched(X, share=0.3, seed=0):
    """Rows with NaN at random, among them one of which nothing is left, and one that is complete."""
    X = np.array(X, np.float64)
    X[np.random.default_rng(seed).random(X.shape) < share] = NAN
    X[3] = NAN
    return X


def of_cases():
    """A mixture of every family of the table that takes missing values, and rows in two or more columns."""
    rng = np.random.default_rng(5)
    for case in CASES:
        X = np.concatenate([case.draw(theta, 15, rng) for theta in case.components])
        family, natural = case.family, case.naturals(case.components)
        if X.shape[1] > 1 and not takes_missing(family):
            continue
        if X.shape[1] == 1:
            family = families.Product([(family, [1]), (families.Poisson(), [0])])
            family = family.bind([(np.column_stack([np.ones(len(X)), X]), None)]) if case.frame is None else family
            natural = family.combine([natural, np.log([[1.0], [5.0], [20.0]])])
            X = np.column_stack([rng.poisson(5, len(X)), X])
        yield case.name, ef.Mixture(family, [0.5, 0.3, 0.2], natural), X
    weights, d = [0.2, 0.5, 0.3], 4
    means, A = 3 * rng.normal(size=(3, d)), rng.normal(size=(3, d, d))
    covariances = A @ A.transpose(0, 2, 1) + np.eye(d)
    shapes = {"full": covariances, "diag": np.einsum("kii->ki", covariances), "spherical": covariances[:, 0, 0]}
    for kind, its in shapes.items():
        for name, family, far in [("Gaussian", families.Gaussian(kind), 0), ("far", families.Gaussian(kind), 1e5)]:
            family = family.bind([(far + means * [[1], [20], [400]], None)])
            mixture = ef.Mixture.of(family, weights, means=far + means * [[1], [20], [400]], covariances=its)
            yield f"{name}-{kind}-{d}", mixture, mixture.sample(40, rng)[0]
    mixture = ef.Mixture.of(families.LogNormal(), weights, log_means=means / 3, log_covariances=covariances)
    yield "LogNormal-4", mixture, mixture.sample(40, rng)[0]
    far = ef.Mixture.of(families.Gamma().bind([(1 + 1e-7 * rng.random((9, 2)), None)]), [0.5, 0.5],
                        shapes=[[1e9, 1e8], [1e10, 1e9]], rates=[[1e9, 1e8], [0.9e10, 2e9]])  # fmt: skip
    yield "Gamma-narrow", far, far.sample(40, rng)[0]
    counts = ef.Mixture.of(families.Poisson(), [0.5, 0.5], rates=[[1e9, 3.0], [1.0001e9, 4.0]])
    yield "Poisson-large", counts, counts.sample(40, rng)[0]


MIXTURES = [pytest.param(mixture, X, id=name) for name, mixture, X in of_cases()]


def by_marginal(mixture, X):
    """log p(x_observed) and responsibilities, row by row."""
    out = []
    for x in X:
        columns = np.flatnonzero(~np.isnan(x))
        score = mixture.log_weights
        if len(columns):
            part = mixture.marginal(columns)
            score = part.log_weights + part.family.log_density(x[None, columns], part.natural)[0]
        out.append(score)
    scores = np.array(out)
    top = logsumexp(scores, axis=1)
    return top, np.exp(scores - top[:, None])


@pytest.mark.parametrize(("mixture", "X"), MIXTURES)
def test_densities_are_those_of_the_marginals(mixture, X):
    Y = punched(X)
    log_density, R = by_marginal(mixture, Y)
    size = 1 + np.abs(log_density).max()
    assert_allclose(mixture.log_density(Y), log_density, rtol=0, atol=1e-9 * size)
    assert_allclose(mixture.responsibilities(Y), R, rtol=0, atol=1e-8)
    assert_allclose(mixture.responsibilities(Y[3:4]), mixture.weights[None])
    statistics = ef.accumulate(mixture, Y)
    assert_allclose(statistics.bound, log_density.sum(), rtol=1e-9)
    assert_allclose(statistics.counts, R.sum(axis=0), rtol=1e-8)


@pytest.mark.parametrize(("mixture", "X"), MIXTURES)
def test_the_gradient_of_the_observed_likelihood_is_that_of_expected_complete_data(mixture, X):
    """Fisher's identity: ∂ log p(x_o)/∂η_k = Σ r (E[T|x_o] − ∇A(η_k))."""
    Y = punched(X)
    statistics = ef.accumulate(mixture, Y)
    gradient = statistics.sums - statistics.counts[:, None] * mixture.expectation
    information = mixture.family.fisher_information(mixture.natural)
    rng = np.random.default_rng(1)
    for _ in range(3):
        way = rng.normal(size=mixture.natural.shape) * np.abs(mixture.natural)
        # a step of one thousandth of a standard error of one row: the next term of the series is 1e-6 of this one
        h = 1e-3 / np.sqrt(np.einsum("kp,kpq,kq", way, information, way))
        found = []
        for step in (h, -h):
            moved = ef.Mixture.unchecked(mixture.family, mixture.weights, mixture.natural + step * way)
            found.append(moved.log_density(Y).sum())
        size = np.sqrt(statistics.counts.sum()) / 1e3  # of the change of log p of all rows in such a step
        assert abs((found[0] - found[1]) / 2 - h * np.sum(way * gradient)) <= 1e-4 * size
