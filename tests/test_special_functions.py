"""Special functions and their inverses against mpmath, at all sizes."""

import mpmath
import numpy as np
import pytest

from expfam_em.families.special import bessel, gamma
from tests.case import EPS

SHAPES = 10.0 ** np.linspace(-8, 8, 17)
PAIRS = [(float(a), float(b)) for a in SHAPES for b in SHAPES]


def mp(value):
    return mpmath.mpf(float(value))


def mps(*values):
    return [mp(value) for value in values]


def relative(found, expected):
    """Error of a number relative to one in mpmath."""
    return abs(mp(found) / expected - 1)


def largest_error(found, expected):
    """Largest error of numbers relative to those in mpmath."""
    return max(float(relative(f, e)) for f, e in zip(np.ravel(found), expected, strict=True))


# ---- Gamma functions -----------------------------------------------------------------------------------------------


def test_log_beta_keeps_its_digits_where_its_terms_cancel():
    a, b = np.array([*PAIRS, (9.99, 1e10), (10.0, 10.0), (1e-300, 1e300), (1e15, 3.0)]).T
    with mpmath.workdps(400):
        exact = [mpmath.loggamma(x) + mpmath.loggamma(y) - mpmath.loggamma(x + y) for x, y in map(mps, a, b)]
        found = gamma.log_beta(a, b)
        assert max(abs(float(f - e)) / (1 + abs(float(e))) for f, e in zip(found, exact, strict=True)) <= 16 * EPS


def test_differences_of_digamma_and_trigamma_are_relatively_exact():
    a, b = np.array(PAIRS).T
    for order, function in ((0, gamma.digamma_difference), (1, gamma.trigamma_difference)):
        sign = 1 - 2 * order
        exact = [sign * (mpmath.psi(order, x + y) - mpmath.psi(order, x)) for x, y in map(mps, a, b)]
        assert largest_error(function(a, b), exact) <= 8 * EPS


def test_the_inverse_of_log_minus_digamma_is_exact_at_all_sizes():
    a = 10.0 ** np.linspace(-290, 290, 1001)
    s = gamma.log_minus_digamma(a)
    some = slice(None, None, 50)
    with mpmath.workdps(700):
        assert largest_error(s[some], [mpmath.log(x) - mpmath.psi(0, x) for x in mps(*a[some])]) <= 8 * EPS
    assert np.max(np.abs(gamma.inverse_log_minus_digamma(s) / a - 1)) <= 16 * EPS


def test_shapes_of_beta_solve_both_equations_at_all_sizes():
    a, b = np.array([*PAIRS, (1e-100, 1e-100), (1e-100, 1.0), (1e-50, 1e50)]).T
    u, v = gamma.digamma_difference(a, b), gamma.digamma_difference(b, a)
    found_a, found_b = gamma.shapes_of_beta(u, v)
    # the density of large shapes is narrow: its digits are in 1 − e^(−u) − e^(−v) ≈ 1/(2(a + b))
    allowed = 16 * EPS * (1 + a + b)
    determined = allowed < 0.01
    assert np.all((np.abs(found_a / a - 1) <= allowed)[determined])
    assert np.all((np.abs(found_b / b - 1) <= allowed)[determined])
    assert np.max(np.abs(gamma.digamma_difference(found_a, found_b) / u - 1)) <= 64 * EPS
    assert np.max(np.abs(gamma.digamma_difference(found_b, found_a) / v - 1)) <= 64 * EPS


def test_equations_without_solution_give_no_number():
    assert np.all(np.isnan(gamma.inverse_log_minus_digamma(np.array([0.0, -1.0, np.nan]))))
    u, v = np.array([[0.1, 0.1], [-1.0, 2.0], [np.nan, 1.0], [np.log(2), np.log(2)], [0.0, 1.0]]).T
    assert not np.any(np.isfinite(gamma.shapes_of_beta(u, v)))


KAPPAS = [1e-300, 1e-20, 1e-3, 0.7, 5.0, 29.999, 30.0, 30.001, 44.0, 250.0, 1e4, 1e8]


@pytest.mark.parametrize("d", [2, 3, 4, 5, 6, 11, 100, 1000])
def test_bessel_functions_are_mpmaths(d):
    order, nu = d / 2 - 1, mp(d) / 2 - 1
    logs, ratios = bessel.log_bessel(order, np.array(KAPPAS)), bessel.ratio(order, np.array(KAPPAS))
    for kappa, log, ratio in zip(KAPPAS, logs, ratios, strict=True):
        x = mp(kappa)
        if kappa > 1e-150:  # the square of the smallest is below the range of float64
            expected = mpmath.log(mpmath.gamma(nu + 1) * (2 / x) ** nu * mpmath.besseli(nu, x))
            with mpmath.workdps(120):
                expected = mpmath.log(mpmath.hyp0f1(nu + 1, x * x / 4)) if kappa < 1 else expected
            assert relative(log, expected) < 8 * EPS
        expected = mpmath.besseli(nu + 1, x) / mpmath.besseli(nu, x) if kappa > 1e-30 else x / (2 * nu + 2)
        assert relative(ratio, expected) < 8 * EPS


@pytest.mark.parametrize("d", [2, 3, 7, 100, 1000])
def test_the_inverse_of_the_bessel_ratio(d):
    order = d / 2 - 1
    kappa = np.concatenate([10.0 ** np.arange(-300, 0, 37), 10.0 ** np.linspace(-1, 8, 200)])
    mean = bessel.ratio(order, kappa)
    found = bessel.inverse_ratio(order, mean)
    # the last bit of a mean near 1 is EPS / (1 − mean) of κ
    assert np.all(np.abs(found / kappa - 1) <= 8 * EPS * (1 + 1 / (1 - mean)))


def test_the_inverse_of_the_bessel_ratio_at_its_ends():
    found = bessel.inverse_ratio(0.5, np.array([0.0, 1.0, np.nextafter(1, 0), 1.5, -0.1, np.nan]))
    assert np.array_equal(found, [0, np.inf, np.inf, np.inf, np.nan, np.nan], equal_nan=True)


def test_gamma_functions_are_mpmaths():
    rng = np.random.default_rng(0)
    x, s = 10.0 ** rng.uniform(-9, 9, (2, 200))
    digammas, trigammas = gamma.digamma_difference(x, s), gamma.trigamma_difference(x, s)
    logs, stirling = gamma.log_minus_digamma(x), gamma.stirling_error(x)
    for i in range(len(x)):
        a, b = mp(x[i]), mp(x[i]) + mp(s[i])
        assert relative(digammas[i], mpmath.psi(0, b) - mpmath.psi(0, a)) < 8 * EPS
        assert relative(trigammas[i], mpmath.psi(1, a) - mpmath.psi(1, b)) < 8 * EPS
        assert relative(logs[i], mpmath.log(a) - mpmath.psi(0, a)) < 8 * EPS
        half = mpmath.mpf(1) / 2
        rest = mpmath.loggamma(a) - (a - half) * mpmath.log(a) + a - mpmath.log(2 * mpmath.pi) / 2
        assert abs(mp(stirling[i]) - rest) < 16 * EPS * (1 + abs(float(mpmath.log(a))))


@pytest.mark.parametrize("order", [1, 2, 5, 20, 300])
def test_the_multivariate_digamma_and_its_inverse(order):
    excess = 10.0 ** np.linspace(-9, 9, 60)
    value = gamma.log_minus_multidigamma(excess, order)
    for s, found in zip(excess, value, strict=True):
        x = mp(s) + (mp(order) - 1) / 2
        expected = order * mpmath.log(x) - sum(mpmath.psi(0, x - mp(i) / 2) for i in range(order))
        assert relative(found, expected) < 32 * EPS
    assert gamma.inverse_log_minus_multidigamma(value, order) == pytest.approx(excess, rel=64 * EPS)
    nowhere = gamma.inverse_log_minus_multidigamma(np.array([0.0, -1.0, np.nan, np.inf]), order)
    assert np.all(np.isnan(nowhere))


def test_the_inverse_digamma():
    x = 10.0 ** np.linspace(-8, 8, 100)
    y = np.array([float(mpmath.psi(0, mp(value))) for value in x])
    # log x is known to EPS |log x|
    assert gamma.inverse_digamma(y, 8) == pytest.approx(x, rel=32 * EPS)
