"""Mappings from A alone, against mpmath."""

import mpmath
import numpy as np
import pytest
from scipy.special import gammaln

import expfam_em as ef
from expfam_em.family import mappings
from tests import own_families as own
from tests.case import EPS
from tests.cases import gaussian_mp_partition, gaussian_natural


def normal_2d(natural):
    """A of a normal density in two dimensions, with the determinant written out: it takes complex numbers."""
    b, (a, c, d) = natural[:, :2], (-2 * natural[:, 2], -natural[:, 3], -2 * natural[:, 4])
    det = a * d - c * c
    quadratic = d * b[:, 0] ** 2 - 2 * c * b[:, 0] * b[:, 1] + a * b[:, 1] ** 2
    # a matrix with a positive determinant may still be negative definite
    return np.where(a.real > 0, 0.5 * quadratic / det - 0.5 * np.log(det), np.nan)


def dirichlet(natural):
    """A of a Dirichlet density with T = log x; ``gammaln`` takes real numbers only."""
    return gammaln(natural + 1).sum(axis=1) - gammaln((natural + 1).sum(axis=1))


def mp_dirichlet(eta):
    return sum(mpmath.loggamma(e + 1) for e in eta) - mpmath.loggamma(sum(e + 1 for e in eta))


def mp_gamma(eta):
    return mpmath.loggamma(eta[0] + 1) - (eta[0] + 1) * mpmath.log(-eta[1])


def normals(*moments):
    moments = [(np.atleast_1d(mean), np.atleast_2d(cov)) for mean, cov in moments]
    return [gaussian_natural("full", m, np.zeros(len(m[0])), np.ones(len(m[0]))) for m in moments]


# A, A in mpmath, natural parameters, what bounds the relative error of the gradient: a complex step has no
# cancellation; Ridders' differences of a real A leave EPS^(5/6) times a factor for the extrapolation
TABLE = {
    "Rayleigh": (
        own.Rayleigh().log_partition,
        lambda e: -mpmath.log(-2 * e[0]),
        [[-0.5], [-1e-6], [-1e6], [-300.0]],
        1e-14,
    ),
    "Exponential": (
        own.Exponential().log_partition,
        lambda e: -mpmath.log(-e[0]),
        [[-1.0], [-1e-8], [-1e3], [-1e8]],
        1e-14,
    ),
    "Normal": (
        own.Normal().log_partition,
        lambda e: gaussian_mp_partition("full", 1, e, np.ones(1)),
        normals((0, 1), (1e-9, 1), (1e-15, 31.6), (1e-7, 10), (3, 2), (20, 0.01), (-1e3, 1e2)),
        1e-13,
    ),
    "Normal-2": (
        normal_2d,
        lambda e: gaussian_mp_partition("full", 2, e, np.ones(2)),
        normals(([0, 0], np.eye(2)), ([3, -2], [[2, 0.7], [0.7, 1]]), ([0, 20], [[1, -0.9], [-0.9, 1]])),
        1e-12,  # A with the determinant written out cancels
    ),
    "Gamma": (
        own.Gamma().log_partition,
        mp_gamma,
        [[a - 1, -b] for a, b in ((1, 1), (1 + 1e-9, 1), (2, 4), (20, 2), (60, 1.5), (0.4, 0.1), (40, 10), (0.5, 10))],
        1e-10,
    ),
    "Dirichlet": (
        dirichlet,
        mp_dirichlet,
        [[0, 0, 0], [1, 2, 3], [-0.5, -0.5, 4], [30, 20, 10], [-0.9, 1e-7, 0.5]],
        1e-10,
    ),
}
ROWS = [
    pytest.param(A, exact, np.array(eta, float), accuracy, id=f"{name}-{i}")
    for name, (A, exact, etas, accuracy) in TABLE.items()
    for i, eta in enumerate(etas)
]


def quiet(log_partition):
    def evaluate(natural):
        with np.errstate(all="ignore"):
            return log_partition(natural)

    return evaluate


def mp_moments(exact, eta):
    """∇A and ∇²A from differences with 60 digits, errors about 1e-30."""
    p, point = len(eta), [mpmath.mpf(float(value)) for value in eta]
    h = [mpmath.mpf(10) ** -15 * max(abs(value), mpmath.mpf(10) ** -2) for value in point]

    def at(*shifts):
        moved = list(point)
        for j, times in shifts:
            moved[j] += times * h[j]
        return exact(moved)

    slope = [(at((i, 1)) - at((i, -1))) / (2 * h[i]) for i in range(p)]
    curvature = [
        [
            (at((i, 1), (j, 1)) - at((i, 1), (j, -1)) - at((i, -1), (j, 1)) + at((i, -1), (j, -1))) / (4 * h[i] * h[j])
            for j in range(p)
        ]
        for i in range(p)
    ]
    return np.array(slope, float), np.array(curvature, float)


@pytest.mark.parametrize(("log_partition", "exact", "eta", "accuracy"), ROWS)
def test_gradient(log_partition, exact, eta, accuracy):
    mean, fisher = mp_moments(exact, eta)
    found = mappings.gradient(quiet(log_partition), eta[None])[0]
    # ∇A at an η rounded by EPS |η|, times 8 for the products that cancel in A;
    # an expectation near 0 is known in units of its statistic's spread
    allowed = 64 * EPS * np.abs(fisher) @ np.abs(eta) + accuracy * (np.abs(mean) + np.sqrt(np.diag(fisher)))
    assert np.all(np.abs(found - mean) <= allowed)


@pytest.mark.parametrize(("log_partition", "exact", "eta", "accuracy"), ROWS)
@pytest.mark.parametrize("nearby", [False, True], ids=["from-anywhere", "from-nearby"])
def test_inverse_gradient(log_partition, exact, eta, accuracy, nearby):
    mean, fisher = mp_moments(exact, eta)
    start = (eta * 1.01)[None] if nearby else None
    found = mappings.inverse_gradient(quiet(log_partition), mean[None], start=start)[0]
    # 1e-10 in units of the natural parameters, or of what the accuracy of ∇A leaves of them
    size = np.abs(eta) + 1 / np.sqrt(np.diag(fisher))
    spread = np.abs(mean) + np.sqrt(np.diag(fisher))
    assert np.all(np.abs(found - eta) <= 1e-10 * size + accuracy * np.abs(np.linalg.inv(fisher)) @ spread)


def test_rows_are_solved_independently():
    A, exact, etas, _ = TABLE["Gamma"]
    means = np.array([mp_moments(exact, np.array(eta))[0] for eta in etas[3:6]])
    together = mappings.inverse_gradient(quiet(A), means)
    alone = np.concatenate([mappings.inverse_gradient(quiet(A), mean[None]) for mean in means])
    assert together == pytest.approx(alone, rel=1e-9)


def test_an_a_that_takes_complex_numbers_without_being_analytic_is_differentiated_by_differences():
    def log_cosh(natural):  # |η| drops the imaginary part of the first column only
        size = np.abs(natural[:, 0])
        return size + np.log1p(np.exp(-2 * size)) - np.log(2) + natural[:, 1] ** 2 / 2

    eta = np.array([[0.7, -1.3], [-2.0, 0.4]])
    assert np.iscomplexobj(log_cosh(eta.astype(complex)))
    expected = np.column_stack([np.tanh(eta[:, 0]), eta[:, 1]])
    assert mappings.gradient(log_cosh, eta) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_an_expectation_on_the_boundary_has_finite_natural_parameters(probability):
    def log_partition(natural):
        return np.logaddexp(0, natural).sum(axis=1)

    found = mappings.inverse_gradient(log_partition, np.array([[probability, 0.3]]))
    assert np.all(np.abs(found) <= 700)
    # the part of the row inside is right, the other as close to the boundary as 1e-10
    assert found[0, 1] == pytest.approx(np.log(0.3 / 0.7), rel=1e-10)
    assert 1 / (1 + np.exp(-found[0, 0])) == pytest.approx(probability, abs=1e-10)


def test_no_feasible_start_says_what_to_define():
    class Nowhere(ef.ExponentialFamily):
        """A is finite in a tiny, far corner only."""

        def sufficient_statistics(self, X):
            return X

        def log_partition(self, natural):
            return np.where(np.abs(natural[:, 0] - 12345.678) < 1e-6, 0.0, np.inf)

    with pytest.raises(ValueError, match=r"Nowhere: no natural parameter .* define to_natural\(self, expectation\)"):
        Nowhere().to_natural(np.array([[1.0]]))
