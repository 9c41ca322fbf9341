"""Rows of the table of families (`tests.cases`) for independent columns: densities from SciPy, A in mpmath."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import digamma, expit

from expfam_em import families
from tests.case import Case, counts, matrix, numbers, positive_nodes
from tests.own_families import gamma_estimate

COUNTS = matrix(st.integers(0, 200).map(float), 1)
POSITIVE = matrix(numbers(1e-2, 1e2), 1)
NOT_POSITIVE = "needs positive numbers{}; column 0 holds {} (row {})"
TRIALS, SUCCESSES, POWER, MINIMUM, LOCATION = 7.0, 2.5, 1.7, 0.8, 3.0


def mean_of(X, r):
    return r @ X / r.sum()


def thetas_of(thetas):
    return [np.array(theta) for theta in thetas]


# ---- nodes of one column -------------------------------------------------------------------------------------------


def waiting_nodes(power, scale):
    """Nodes of x = scale · y^(1/power), for exponential y or y of an exponentially small tail.

    e^{u − eᵘ} is analytic for |Im u| < π/2: relative error exp(−2π(π/2)/0.2), and e⁻⁴⁵ below the range.
    """
    return positive_nodes(np.log(scale) - 45 / power, np.log(scale) + 4.6 / power, 0.2 / power)


def gamma_nodes(shape, rate):
    """e^{au − beᵘ} is as wide as 1/√a and falls like e^{au} below."""
    middle = np.log(shape / rate)
    high = np.log((shape + 14 * np.sqrt(shape) + 60) / rate)
    return positive_nodes(middle - 60 / shape - 8 / np.sqrt(shape), high, min(0.2, 0.5 / np.sqrt(shape)))


def reciprocal(nodes):
    X, w = nodes
    return 1 / X, w / X[:, 0] ** 2


def inverse_gaussian_nodes(mean, shape):
    """e^{−φ (cosh(u − log μ) − 1)} for φ = λ/μ."""
    far = np.arccosh(1 + 60 * mean / shape) + 1
    return positive_nodes(np.log(mean) - far, np.log(mean) + far, min(0.1, 0.3 * np.sqrt(mean / shape)))


def pareto_nodes(exponent):
    log_ratio, w = waiting_nodes(1, 1 / exponent)
    X = MINIMUM * np.exp(log_ratio)
    return X, w * X[:, 0]


def laplace_nodes(scale):
    distance, w = waiting_nodes(1, scale)
    return np.concatenate([LOCATION - distance, LOCATION + distance]), np.concatenate([w, w])


def beta_nodes(alpha, beta):
    """Trapezoids in log(x / (1 − x)), as far as x < 1 and where less than e⁻³⁶ is left."""
    t = np.arange(-50 / alpha - 5, min(50 / beta + 5, 36), 0.1)
    return expit(t)[:, None], 0.1 * expit(t) * expit(-t)


# ---- densities that SciPy has not to the last digits -----------------------------------------------------------------


@cache
def log_negative_binomial_ways(x):
    """The logarithm of the coefficient of x failures; the tests ask for few x, thousands of times."""
    return mpmath.loggamma(x + SUCCESSES) - mpmath.loggamma(SUCCESSES) - mpmath.loggamma(x + 1)


def negative_binomial_log_density(X, p):
    p = mpmath.mpf(float(p[0]))
    success, failure = SUCCESSES * mpmath.log(p), mpmath.log1p(-p)
    return np.array([float(success + x * failure + log_negative_binomial_ways(x)) for x in X[:, 0].tolist()])


def pareto_log_density(X, exponent):
    return (np.log(exponent) - np.log(X) - exponent * np.log(X / MINIMUM))[:, 0]


# ---- estimates -----------------------------------------------------------------------------------------------------


def inverse_gamma_estimate(X, r):
    return gamma_estimate(1 / X[:, 0], r)


def inverse_gaussian_estimate(X, r):
    mean = mean_of(X, r)[0]
    return np.array([mean, r.sum() / np.sum(r * (X[:, 0] - mean) ** 2 / X[:, 0]) * mean**2])


def beta_estimate(X, r):
    m, rest = mean_of(np.log(X), r)[0], mean_of(np.log1p(-X), r)[0]

    def equations(logs):
        a, b = np.exp(logs)
        return digamma([a, b]) - digamma(a + b) - [m, rest]

    mean, variance = mean_of(X, r)[0], mean_of((X - mean_of(X, r)) ** 2, r)[0]
    total = mean * (1 - mean) / variance - 1
    start = np.log([mean * total, (1 - mean) * total])
    return np.exp(optimize.root(equations, start, tol=1e-14).x)


# ---- the rows ------------------------------------------------------------------------------------------------------


def lengths(name, family, distribution, degrees, draw, **more):
    """A family of x² with a known number of degrees of freedom."""
    return Case(
        name=name,
        family=family,
        thetas=numbers(0.1, 10, (1,)),
        rows=POSITIVE,
        components=thetas_of([[1.0], [8.0], [50.0]]),
        natural=lambda scale: -0.5 / scale**2,
        log_density=lambda X, scale: distribution.logpdf(X, scale=scale).sum(axis=1),
        draw=draw,
        nodes=lambda scale: positive_nodes(np.log(scale[0]) - 45 / degrees, np.log(scale[0]) + 2.6, 0.1),
        mp_partition=lambda eta: -mpmath.mpf(degrees) / 2 * mpmath.log(-2 * eta[0]),
        estimate=lambda X, r: np.sqrt(mean_of(X**2, r) / degrees),
        extremes=[np.array([-1e-12]), np.array([-1e12])],
        named=lambda scale: {"scales": scale},
        **more,
    )


COLUMN_CASES = [
    Case(
        name="Binomial",
        family=families.Binomial(TRIALS),
        thetas=numbers(1e-6, 1 - 1e-6, (2,)),
        rows=matrix(st.integers(0, int(TRIALS)).map(float), 2),
        components=thetas_of([[0.9, 0.15], [0.1, 0.3], [0.5, 0.95]]),
        natural=lambda p: np.log(p) - np.log1p(-p),
        log_density=lambda X, p: stats.binom.logpmf(X, TRIALS, p).sum(axis=1),
        draw=lambda p, n, rng: rng.binomial(int(TRIALS), p, (n, 2)).astype(float),
        nodes=lambda p: counts([TRIALS + 1] * 2),
        mp_partition=lambda eta: TRIALS * sum(mpmath.log1p(mpmath.exp(e)) for e in eta),
        estimate=lambda X, r: mean_of(X, r) / TRIALS,
        extremes=[np.array([700.0, -700.0]), np.array([40.0, -40.0]), np.array([0.0, 1e-9])],
        outside=[
            ([[0, 7], [3, 8]], "Binomial needs whole numbers from 0 to n; column 1 holds 8.0 (row 1)"),
            ([[-1, 0]], "Binomial needs whole numbers from 0 to n; column 0 holds -1.0 (row 0)"),
            ([[1, np.nan]], "Binomial needs whole numbers from 0 to n; column 1 holds nan (row 0)"),
            ([[1, 0.5]], "Binomial needs whole numbers from 0 to n; column 1 holds 0.5 (row 0)"),
        ],
        named=lambda p: {"probabilities": p},
    ),
    Case(
        name="Geometric",
        family=families.Geometric(),
        thetas=numbers(0.05, 0.95, (1,)),
        rows=COUNTS,
        components=thetas_of([[0.5], [0.05], [0.003]]),
        natural=lambda p: np.log1p(-p),
        log_density=lambda X, p: stats.geom.logpmf(X[:, 0] + 1, p[0]),
        draw=lambda p, n, rng: rng.geometric(p[0], (n, 1)) - 1.0,
        nodes=lambda p: counts([-45 / np.log1p(-p[0])]),
        mp_partition=lambda eta: -mpmath.log1p(-mpmath.exp(eta[0])),
        estimate=lambda X, r: r.sum() / (r.sum() + r @ X),
        extremes=[np.array([-1e-8]), np.array([-30.0]), np.array([-700.0])],
        outside=[
            ([[1.0], [0.5]], "Geometric needs whole numbers from 0; column 0 holds 0.5 (row 1)"),
            ([[np.inf]], "Geometric needs whole numbers from 0; column 0 holds inf (row 0)"),
        ],
        named=lambda p: {"probabilities": p},
    ),
    Case(
        name="NegativeBinomial",
        family=families.NegativeBinomial(SUCCESSES),
        thetas=numbers(0.05, 0.95, (1,)),
        rows=COUNTS,
        components=thetas_of([[0.6], [0.1], [0.01]]),
        natural=lambda p: np.log1p(-p),
        log_density=negative_binomial_log_density,
        draw=lambda p, n, rng: rng.negative_binomial(SUCCESSES, p[0], (n, 1)).astype(float),
        nodes=lambda p: counts([30 - 70 / np.log1p(-p[0])]),
        mp_partition=lambda eta: -SUCCESSES * mpmath.log1p(-mpmath.exp(eta[0])),
        estimate=lambda X, r: SUCCESSES / (SUCCESSES + mean_of(X, r)),
        extremes=[np.array([-1e-8]), np.array([-30.0]), np.array([-700.0])],
        outside=[([[-1.0]], "NegativeBinomial needs whole numbers from 0; column 0 holds -1.0 (row 0)")],
        named=lambda p: {"probabilities": p, "means": SUCCESSES * (1 - p) / p},
        condition=lambda p: 1 / (1 - p[0]),  # of 1 − p
    ),
    Case(
        name="Exponential",
        family=families.Exponential(),
        thetas=numbers(0.05, 20, (1,)),
        rows=matrix(numbers(0, 1e2), 1),
        components=thetas_of([[10.0], [0.3], [0.01]]),
        natural=lambda rate: -rate,
        log_density=lambda X, rate: stats.expon.logpdf(X, scale=1 / rate).sum(axis=1),
        draw=lambda rate, n, rng: rng.exponential(1 / rate, (n, 1)),
        nodes=lambda rate: waiting_nodes(1, 1 / rate[0]),
        mp_partition=lambda eta: -mpmath.log(-eta[0]),
        estimate=lambda X, r: 1 / mean_of(X, r),
        extremes=[np.array([-1e-8]), np.array([-1e12])],
        outside=[
            ([[1.0], [-2.0]], "Exponential needs numbers from 0; column 0 holds -2.0 (row 1)"),
            ([[np.inf]], "Exponential needs numbers from 0; column 0 holds inf (row 0)"),
        ],
        named=lambda rate: {"rates": rate},
    ),
    Case(
        name="Gamma",
        family=families.Gamma(),
        thetas=st.tuples(numbers(0.3, 40), numbers(0.1, 10)).map(np.array),
        rows=POSITIVE,
        components=thetas_of([[3.0, 10.0], [9.0, 1.0], [0.8, 0.004]]),
        natural=lambda theta: theta * [1, -1],
        log_density=lambda X, theta: stats.gamma.logpdf(X[:, 0], theta[0], scale=1 / theta[1]),
        draw=lambda theta, n, rng: rng.gamma(theta[0], 1 / theta[1], (n, 1)),
        nodes=lambda theta: gamma_nodes(*theta),
        mp_partition=lambda eta: mpmath.loggamma(eta[0]) - eta[0] * mpmath.log(-eta[1]),
        estimate=lambda X, r: gamma_estimate(X[:, 0], r),
        extremes=[np.array([1e-8, -1e3]), np.array([1e6, -1e-3]), np.array([1.0, -1e12])],
        outside=[
            ([[1.0], [0.0]], "Gamma " + NOT_POSITIVE.format("", 0.0, 1)),
            ([[np.nan]], "Gamma " + NOT_POSITIVE.format("", "nan", 0)),
        ],
        named=lambda theta: {"shapes": theta[:1], "rates": theta[1:]},
    ),
    Case(
        name="InverseGamma",
        family=families.InverseGamma(),
        thetas=st.tuples(numbers(0.3, 40), numbers(0.1, 10)).map(np.array),
        rows=POSITIVE,
        components=thetas_of([[5.0, 0.3], [9.0, 40.0], [3.0, 900.0]]),
        natural=lambda theta: -theta,
        log_density=lambda X, theta: stats.invgamma.logpdf(X[:, 0], theta[0], scale=theta[1]),
        draw=lambda theta, n, rng: theta[1] / rng.standard_gamma(theta[0], (n, 1)),
        nodes=lambda theta: reciprocal(gamma_nodes(*theta)),
        mp_partition=lambda eta: mpmath.loggamma(-eta[0]) + eta[0] * mpmath.log(-eta[1]),
        estimate=inverse_gamma_estimate,
        extremes=[np.array([-1e-8, -1e3]), np.array([-1e6, -1e-3]), np.array([-1.0, -1e12])],
        outside=[([[1.0], [-1.0]], "InverseGamma " + NOT_POSITIVE.format("", -1.0, 1))],
        named=lambda theta: {"shapes": theta[:1], "scales": theta[1:]},
    ),
    Case(
        name="Weibull",
        family=families.Weibull(POWER),
        thetas=numbers(0.1, 10, (1,)),
        rows=POSITIVE,
        components=thetas_of([[0.3], [4.0], [50.0]]),
        natural=lambda scale: -(scale**-POWER),
        log_density=lambda X, scale: stats.weibull_min.logpdf(X[:, 0], POWER, scale=scale[0]),
        draw=lambda scale, n, rng: scale * rng.weibull(POWER, (n, 1)),
        nodes=lambda scale: waiting_nodes(POWER, scale[0]),
        mp_partition=lambda eta: -mpmath.log(-eta[0]),
        estimate=lambda X, r: mean_of(X**POWER, r) ** (1 / POWER),
        extremes=[np.array([-1e-8]), np.array([-1e12])],
        outside=[([[0.0]], "Weibull " + NOT_POSITIVE.format(" with a finite power", 0.0, 0))],
        named=lambda scale: {"scales": scale},
    ),
    lengths(
        "Rayleigh-columns", families.Rayleigh(), stats.rayleigh, 2,
        lambda scale, n, rng: rng.rayleigh(scale, (n, 1)),
        outside=[([[1.0], [-2.0]], "Rayleigh " + NOT_POSITIVE.format(" with a finite square", -2.0, 1))],
    ),
    lengths(
        "Maxwell", families.Maxwell(), stats.maxwell, 3,
        lambda scale, n, rng: scale * np.linalg.norm(rng.standard_normal((n, 1, 3)), axis=2),
        outside=[([[1e160]], "Maxwell " + NOT_POSITIVE.format(" with a finite square", "1e+160", 0))],
    ),
    lengths(
        "HalfNormal", families.HalfNormal(), stats.halfnorm, 1,
        lambda scale, n, rng: scale * np.abs(rng.standard_normal((n, 1))),
        outside=[([[0], [-1]], "HalfNormal needs numbers from 0 with a finite square; column 0 holds -1.0 (row 1)")],
    ),
    Case(
        name="InverseGaussian",
        family=families.InverseGaussian(),
        thetas=st.tuples(numbers(0.1, 10), numbers(0.1, 10)).map(np.array),
        rows=POSITIVE,
        components=thetas_of([[0.3, 2.0], [6.0, 30.0], [80.0, 400.0]]),
        natural=lambda theta: np.array([-theta[1] / (2 * theta[0] ** 2), -theta[1] / 2]),
        log_density=lambda X, theta: stats.invgauss.logpdf(X[:, 0], theta[0] / theta[1], scale=theta[1]),
        draw=lambda theta, n, rng: rng.wald(*theta, (n, 1)),
        nodes=lambda theta: inverse_gaussian_nodes(*theta),
        mp_partition=lambda eta: -2 * mpmath.sqrt(eta[0] * eta[1]) - mpmath.log(-2 * eta[1]) / 2,
        estimate=inverse_gaussian_estimate,
        extremes=[np.array([-1e-8, -1e-3]), np.array([-1e8, -1e-8]), np.array([-1.0, -1e6])],
        outside=[
            ([[1.0], [0.0]], "InverseGaussian " + NOT_POSITIVE.format("", 0.0, 1)),
            ([[np.inf]], "InverseGaussian " + NOT_POSITIVE.format("", "inf", 0)),
        ],
        named=lambda theta: {"means": theta[:1], "shapes": theta[1:]},
    ),
    Case(
        name="Pareto",
        family=families.Pareto(MINIMUM),
        thetas=numbers(0.3, 20, (1,)),
        rows=matrix(numbers(MINIMUM, 1e2), 1),
        components=thetas_of([[10.0], [1.5], [0.2]]),
        natural=lambda exponent: -exponent,
        log_density=pareto_log_density,
        draw=lambda exponent, n, rng: MINIMUM * (1 + rng.pareto(exponent, (n, 1))),
        nodes=lambda exponent: pareto_nodes(exponent[0]),
        mp_partition=lambda eta: -mpmath.log(-eta[0]),
        estimate=lambda X, r: 1 / mean_of(np.log(X / MINIMUM), r),
        extremes=[np.array([-1e-8]), np.array([-1e12])],
        outside=[([[0.8], [0.5]], "Pareto needs numbers from the minimum; column 0 holds 0.5 (row 1)")],
        named=lambda exponent: {"exponents": exponent},
    ),
    Case(
        name="Laplace",
        family=families.Laplace(LOCATION),
        thetas=numbers(0.1, 10, (1,)),
        rows=matrix(numbers(-50, 50), 1),
        components=thetas_of([[0.3], [4.0], [50.0]]),
        natural=lambda scale: -1 / scale,
        # SciPy's is −∞ in the far tail
        log_density=lambda X, scale: -np.abs(X[:, 0] - LOCATION) / scale[0] - np.log(2 * scale[0]),
        draw=lambda scale, n, rng: rng.laplace(LOCATION, scale, (n, 1)),
        nodes=lambda scale: laplace_nodes(scale[0]),
        mp_partition=lambda eta: mpmath.log(-2 / eta[0]),
        estimate=lambda X, r: mean_of(np.abs(X - LOCATION), r),
        extremes=[np.array([-1e-8]), np.array([-1e12])],
        outside=[([[1.0], [np.inf]], "Laplace needs finite numbers; column 0 holds inf (row 1)")],
        named=lambda scale: {"scales": scale},
    ),
    Case(
        name="Beta",
        family=families.Beta(),
        thetas=st.tuples(numbers(0.3, 20), numbers(1, 20)).map(np.array),
        rows=matrix(numbers(1e-6, 1 - 1e-6), 1),
        components=thetas_of([[2.0, 30.0], [20.0, 20.0], [12.0, 2.0]]),
        natural=lambda theta: theta,
        log_density=lambda X, theta: stats.beta.logpdf(X[:, 0], *theta),
        draw=lambda theta, n, rng: rng.beta(*theta, (n, 1)),
        nodes=lambda theta: beta_nodes(*theta),
        mp_partition=lambda eta: mpmath.loggamma(eta[0]) + mpmath.loggamma(eta[1]) - mpmath.loggamma(eta[0] + eta[1]),
        estimate=beta_estimate,
        extremes=[np.array([1e-8, 1e-8]), np.array([1e-8, 1e8]), np.array([1e6, 1e5]), np.array([1e8, 3.0])],
        outside=[
            ([[0.5], [0.0]], "Beta needs numbers between 0 and 1, these excluded; column 0 holds 0.0 (row 1)"),
            ([[1.0]], "Beta needs numbers between 0 and 1, these excluded; column 0 holds 1.0 (row 0)"),
        ],
        named=lambda theta: {"alphas": theta[:1], "betas": theta[1:]},
    ),
]  # fmt: skip
