"""The table of families that the laws run over. A further family is one more row of ``CASES``.

A row says, beside the family, everything again and independently: densities from SciPy, estimates from the rows,
quadrature nodes, A in mpmath. Components are described by ``theta``, the parameters people know them by.
"""

from __future__ import annotations

import mpmath
import numpy as np
from hypothesis import strategies as st
from scipy import stats

from expfam_em import families
from tests import own_families as own
from tests.case import Case, counts, matrix, normal_nodes, numbers, positive_nodes
from tests.cases_columns import COLUMN_CASES, beta_estimate, beta_nodes
from tests.cases_vectors import VECTOR_CASES

# ---- Gaussians -----------------------------------------------------------------------------------------------------

KINDS = {"full": 1.0, "tied": 1.0, "diag": 0.0, "spherical": 0.0, "known": 0.0}
VARIANCE = 1.7


def as_kind(kind, cov):
    """The covariance of largest likelihood of a kind, given the free one."""
    if kind in ("full", "tied"):
        return cov
    if kind == "diag":
        return np.diag(np.diag(cov))
    return np.eye(len(cov)) * (VARIANCE if kind == "known" else np.trace(cov) / len(cov))


def gaussian_theta(kind, mean, spread, lower):
    root = np.eye(len(mean))
    root[np.tril_indices(len(mean), -1)] = KINDS[kind] * lower
    root = spread[:, None] * root
    return mean, as_kind(kind, root @ root.T)


def gaussian_natural(kind, theta, shift, scale):
    """(Λμ, −½Λ) in the frame z = (x − shift)/scale, off-diagonal entries twice."""
    mean, precision = (theta[0] - shift) / scale, np.linalg.inv(theta[1] / np.outer(scale, scale))
    linear = precision @ mean
    if kind in ("full", "tied"):
        i, j = np.triu_indices(len(mean))
        return np.concatenate([linear, np.where(i == j, -0.5, -1.0) * precision[i, j]])
    second = {"diag": -0.5 * np.diag(precision), "spherical": -0.5 * precision[0, :1], "known": []}[kind]
    return np.concatenate([linear, second])


def gaussian_mp_partition(kind, d, eta, scale):
    linear, second = eta[:d], eta[d:]
    if kind == "known":
        return mpmath.mpf(VARIANCE) / mpmath.mpf(scale[0]) ** 2 * sum(h * h for h in linear) / 2
    P = mpmath.matrix(d, d)
    if kind in ("full", "tied"):
        for i, j, value in zip(*np.triu_indices(d), second, strict=True):
            P[int(i), int(j)] = P[int(j), int(i)] = -2 * value if i == j else -value
    else:
        for j in range(d):
            P[j, j] = -2 * (second[j] if kind == "diag" else second[0])
    solved = mpmath.lu_solve(P, mpmath.matrix(linear))
    return (sum(h * s for h, s in zip(linear, solved, strict=True)) - mpmath.log(mpmath.det(P))) / 2


def gaussian_estimate(kind, X, r):
    mean = r @ X / r.sum()
    return mean, as_kind(kind, (X - mean).T @ ((X - mean) * r[:, None]) / r.sum())


def pool(thetas, sizes):
    shared = sum(size * cov for size, (_, cov) in zip(sizes, thetas, strict=True)) / sizes.sum()
    return [(mean, shared) for mean, _ in thetas]


def gaussian_named(kind, theta):
    cov = theta[1]
    return {"means": theta[0], "covariances": {"diag": np.diag(cov)}.get(kind, cov if KINDS[kind] else cov[0, 0])}


def gaussian(kind, d, frame=None):
    family = families.KnownCovariance(VARIANCE) if kind == "known" else families.Gaussian(kind)
    shift, scale = (np.zeros(d), np.ones(d)) if frame is None else frame
    if frame is not None:
        # three values per column with the wanted mean and spread
        corners = np.array([-1.0, 0.0, 1.0])[:, None] * np.sqrt(1.5)
        family = family.bind([(corners * np.array(scale) + shift, None)])
        shift, scale = family.shift, family.scale
    triangle = d * (d - 1) // 2
    means = np.array([[0.0, 0, 0], [7, 1, -3], [-4, 6, 2]])[:, :d]
    spreads = np.array([[1.0, 2, 0.7], [1.5, 0.8, 1], [1, 1, 2]])[:, :d]
    components = [gaussian_theta(kind, m, s, 0.5 * np.ones(triangle)) for m, s in zip(means, spreads, strict=True)]
    if kind == "tied":
        components = pool(components, np.ones(3))
    far = [(1e3 * np.ones(d), np.eye(d)), (np.zeros(d), 1e-12 * np.eye(d)), (np.ones(d), 1e12 * np.eye(d))]
    if KINDS[kind]:
        far.append((np.ones(d), np.eye(d) + (1e6 - 1) / d))  # condition 1e6
    p = len(gaussian_natural(kind, components[0], shift, scale))
    return Case(
        name=f"Gaussian-{kind}-{d}" + ("-bound" if frame else ""),
        family=family,
        thetas=st.builds(
            lambda m, s, low: gaussian_theta(kind, m, 10.0**s, low),
            numbers(-20, 20, (d,)),
            numbers(-1, 1, (d,)),
            numbers(-1, 1, (triangle,)),
        ),
        rows=matrix(numbers(-50, 50), d),
        components=components,
        natural=lambda theta: gaussian_natural(kind, theta, shift, scale),
        log_density=lambda X, theta: np.atleast_1d(stats.multivariate_normal.logpdf(X, *theta)).reshape(len(X)),
        draw=lambda theta, n, rng: rng.multivariate_normal(*theta, n),
        nodes=normal_nodes,
        mp_partition=lambda eta: gaussian_mp_partition(kind, d, eta, scale),
        estimate=lambda X, r: gaussian_estimate(kind, X, r),
        extremes=[gaussian_natural(kind, theta, shift, scale) for theta in far],
        named=lambda theta: gaussian_named(kind, theta),
        n_parameters=(lambda K: K * d + d * (d + 1) // 2) if kind == "tied" else (lambda K: K * p),
        estimate_together=pool if kind == "tied" else None,
        condition=lambda theta: np.linalg.cond(theta[1] / np.outer(scale, scale)),
        frame=frame,
    )


# ---- the table -----------------------------------------------------------------------------------------------------


def log_odds(p):
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-np.asarray(p)), -700, 700)


FRAME = (np.array([5.0, -3.0]), np.array([2.0, 0.5]))
ROUND_FRAME = (np.array([5.0, -3.0]), np.array([2.0, 2.0]))

CASES = [
    *(gaussian(kind, 2) for kind in KINDS),
    *(gaussian(kind, 2, FRAME if kind in ("full", "tied", "diag") else ROUND_FRAME) for kind in KINDS),
    gaussian("full", 3),
    Case(
        name="Bernoulli",
        family=families.Bernoulli(),
        thetas=numbers(1e-6, 1 - 1e-6, (5,)),
        rows=matrix(st.sampled_from([0.0, 1.0]), 5),
        components=[
            np.array([0.9, 0.8, 0.1, 0.2, 0.9]),
            np.array([0.1, 0.3, 0.9, 0.8, 0.7]),
            np.array([0.5, 0.05, 0.2, 0.9, 0.1]),
        ],
        natural=log_odds,
        log_density=lambda X, p: stats.bernoulli.logpmf(X, p).sum(axis=1),
        draw=lambda p, n, rng: rng.binomial(1, p, (n, 5)).astype(float),
        nodes=lambda p: counts([2] * 5),
        mp_partition=lambda eta: sum(mpmath.log1p(mpmath.exp(e)) for e in eta),
        estimate=lambda X, r: r @ X / r.sum(),
        extremes=[np.array([700.0, -700, 0, 40, -40]), np.full(5, -700.0), np.full(5, 700.0)],
        outside=[
            ([[0, 1, 0, 1, 1], [0, 1, 1, 0.5, 0]], "Bernoulli needs 0 or 1; column 3 holds 0.5 (row 1)"),
            ([[0, 1, -1, 1, 1]], "Bernoulli needs 0 or 1; column 2 holds -1.0 (row 0)"),
            ([[0, 1, 1, 1, np.nan]], "Bernoulli needs 0 or 1; column 4 holds nan (row 0)"),
        ],
        named=lambda p: {"probabilities": p},
    ),
    Case(
        name="Poisson",
        family=families.Poisson(),
        thetas=numbers(1e-4, 25, (2,)),
        rows=matrix(st.integers(0, 200).map(float), 2),
        components=[np.array([1.0, 12]), np.array([8.0, 3]), np.array([20.0, 20])],
        natural=np.log,
        log_density=lambda X, rate: stats.poisson.logpmf(X, rate).sum(axis=1),
        draw=lambda rate, n, rng: rng.poisson(rate, (n, 2)).astype(float),
        nodes=lambda rate: counts(rate + 12 * np.sqrt(rate) + 30),
        mp_partition=lambda eta: sum(mpmath.exp(e) for e in eta),
        estimate=lambda X, r: r @ X / r.sum(),
        extremes=[np.array([30.0, -30]), np.array([-700.0, 0]), np.array([-700.0, -700])],
        outside=[
            ([[1, 2], [3, 4], [5, 0.5]], "Poisson needs whole numbers from 0; column 1 holds 0.5 (row 2)"),
            ([[-1, 2]], "Poisson needs whole numbers from 0; column 0 holds -1.0 (row 0)"),
            ([[1, np.nan]], "Poisson needs whole numbers from 0; column 1 holds nan (row 0)"),
            ([[np.inf, 1]], "Poisson needs whole numbers from 0; column 0 holds inf (row 0)"),
        ],
        named=lambda rate: {"rates": rate},
    ),
    Case(
        name="Rayleigh",  # T, A, h and to_natural
        family=own.Rayleigh(),
        thetas=numbers(0.1, 10, (1,)),
        rows=matrix(numbers(1e-2, 1e2), 1),
        components=[np.array([1.0]), np.array([8.0]), np.array([50.0])],
        natural=lambda scale: -0.5 / scale**2,
        log_density=lambda X, scale: stats.rayleigh.logpdf(X, scale=scale).sum(axis=1),
        draw=lambda scale, n, rng: rng.rayleigh(scale, (n, 1)),
        # e^{2u − e^{2u}/2} is analytic for |Im u| < π/4: relative error exp(−2π(π/4)/0.1) and e⁻⁴⁰ below the range
        nodes=lambda scale: positive_nodes(np.log(scale[0]) - 20, np.log(scale[0]) + 2.4, 0.1),
        mp_partition=lambda eta: -mpmath.log(-2 * eta[0]),
        estimate=lambda X, r: np.sqrt(r @ X**2 / (2 * r.sum())),
        extremes=[np.array([-1e-12]), np.array([-1e12])],
        outside=[([[1.0], [-2.0]], "Rayleigh needs positive numbers; column 0 holds -2.0 (row 1)")],
    ),
    Case(
        name="Exponential-bare",  # T and A alone
        family=own.Exponential(),
        thetas=numbers(0.05, 20, (1,)),
        rows=matrix(numbers(1e-2, 1e2), 1),
        components=[np.array([10.0]), np.array([0.3]), np.array([0.01])],
        natural=lambda rate: -rate,
        log_density=lambda X, rate: stats.expon.logpdf(X, scale=1 / rate).sum(axis=1),
        draw=lambda rate, n, rng: rng.exponential(1 / rate, (n, 1)),
        # e^{u − eᵘ} is analytic for |Im u| < π/2: relative error exp(−2π(π/2)/0.2) and e⁻⁴⁰ below the range
        nodes=lambda rate: positive_nodes(-np.log(rate[0]) - 40, -np.log(rate[0]) + 4.5, 0.2),
        mp_partition=lambda eta: -mpmath.log(-eta[0]),
        estimate=lambda X, r: r.sum() / (r @ X),
        extremes=[np.array([-1e-8]), np.array([-690.0])],
        numeric=True,
    ),
    Case(
        name="Gamma-bare",  # T and A alone, A for real numbers only
        family=own.Gamma(),
        thetas=st.tuples(numbers(0.4, 40), numbers(0.1, 10)).map(np.array),
        rows=matrix(numbers(1e-2, 1e2), 1),
        components=[np.array([2.0, 4]), np.array([20.0, 2]), np.array([60.0, 1.5])],
        natural=lambda theta: np.array([theta[0] - 1, -theta[1]]),
        log_density=lambda X, theta: stats.gamma.logpdf(X[:, 0], theta[0], scale=1 / theta[1]),
        draw=lambda theta, n, rng: rng.gamma(theta[0], 1 / theta[1], (n, 1)),
        # as above; for large shapes the peak narrows to 1/√shape. e^{shape·u} falls to e⁻⁴⁰ at u = −40/shape
        nodes=lambda theta: positive_nodes(
            -40 / min(theta[0], 1) - np.log(theta[1]), 5.5 - np.log(theta[1]), 0.2 / np.sqrt(max(theta[0], 1))
        ),
        mp_partition=lambda eta: mpmath.loggamma(eta[0] + 1) - (eta[0] + 1) * mpmath.log(-eta[1]),
        estimate=lambda X, r: own.gamma_estimate(X[:, 0], r),
        extremes=[np.array([300.0, -1e-3]), np.array([-0.99, -600.0])],
        numeric=True,
    ),
    Case(
        name="Normal-bare",  # T and A alone
        family=own.Normal(),
        thetas=st.tuples(numbers(-20, 20), numbers(-1, 1)).map(
            lambda t: (np.array(t[:1]), np.array([[100.0 ** t[1]]]))
        ),
        rows=matrix(numbers(-50, 50), 1),
        components=[(np.array([m]), np.array([[v]])) for m, v in ((0.0, 1.0), (7.0, 2.0), (-8.0, 4.0))],
        natural=lambda theta: gaussian_natural("full", theta, np.zeros(1), np.ones(1)),
        log_density=lambda X, theta: stats.norm.logpdf(X[:, 0], theta[0][0], np.sqrt(theta[1][0, 0])),
        draw=lambda theta, n, rng: rng.normal(theta[0], np.sqrt(theta[1][0]), (n, 1)),
        nodes=normal_nodes,
        mp_partition=lambda eta: gaussian_mp_partition("full", 1, eta, np.ones(1)),
        estimate=lambda X, r: gaussian_estimate("full", X, r),
        extremes=[np.array([600.0, -100.0]), np.array([1e-5, -1e-6])],
        numeric=True,
    ),
    Case(
        name="Geometric-bare",  # T and A alone
        family=own.Geometric(),
        thetas=numbers(0.05, 0.95, (1,)),
        rows=matrix(st.integers(0, 200).map(float), 1),
        components=[np.array([0.5]), np.array([0.05]), np.array([0.003])],
        natural=lambda p: np.log1p(-p),
        log_density=lambda X, p: stats.geom.logpmf(X[:, 0] + 1, p[0]),
        draw=lambda p, n, rng: rng.geometric(p[0], (n, 1)) - 1.0,
        nodes=lambda p: counts([-40 / np.log1p(-p[0])]),
        mp_partition=lambda eta: -mpmath.log1p(-mpmath.exp(eta[0])),
        estimate=lambda X, r: r.sum() / (r.sum() + r @ X),
        extremes=[np.array([-1e-8]), np.array([-30.0])],
        numeric=True,
    ),
    Case(
        name="LogSeries-bare",  # T, A and h alone
        family=own.LogSeries(),
        thetas=numbers(0.05, 0.95, (1,)),
        rows=matrix(st.integers(1, 200).map(float), 1),
        components=[np.array([0.8]), np.array([0.99]), np.array([0.9999])],
        natural=np.log,
        log_density=lambda X, p: X[:, 0] * np.log(p[0]) - np.log(X[:, 0]) - np.log(-np.log1p(-p[0])),
        draw=lambda p, n, rng: rng.logseries(p[0], (n, 1)).astype(float),
        nodes=lambda p: (lambda X, w: (X + 1, w))(*counts([-40 / np.log(p[0])])),
        mp_partition=lambda eta: mpmath.log(-mpmath.log1p(-mpmath.exp(eta[0]))),
        estimate=lambda X, r: own.log_series_estimate(X[:, 0], r),
        extremes=[np.array([-1e-8]), np.array([-3.0])],
        numeric=True,
    ),
    Case(
        name="Share-bare",  # T and A alone
        family=own.Share(),
        thetas=st.tuples(numbers(0.4, 20), numbers(1, 20)).map(np.array),
        rows=matrix(numbers(1e-6, 1 - 1e-6), 1),
        components=[np.array([2.0, 30.0]), np.array([20.0, 20.0]), np.array([12.0, 2.0])],
        natural=lambda theta: theta - 1,
        log_density=lambda X, theta: stats.beta.logpdf(X[:, 0], *theta),
        draw=lambda theta, n, rng: rng.beta(*theta, (n, 1)),
        nodes=lambda theta: beta_nodes(*theta),
        mp_partition=lambda eta: mpmath.log(mpmath.beta(eta[0] + 1, eta[1] + 1)),
        estimate=beta_estimate,
        extremes=[np.array([-0.99, -0.99]), np.array([300.0, 1e3])],
        numeric=True,
    ),
    Case(
        name="Poisson-exposure",  # columns: events, time at risk
        family=own.PoissonExposure(),
        thetas=numbers(1e-3, 25, (1,)),
        rows=st.tuples(matrix(st.integers(0, 200).map(float), 1), numbers(0.1, 10)).map(
            lambda t: np.column_stack([t[0], np.full(len(t[0]), t[1])])
        ),
        components=[np.array([1.0]), np.array([6.0]), np.array([25.0])],
        natural=np.log,
        log_density=lambda X, rate: stats.poisson.logpmf(X[:, 0], rate * X[:, 1]),
        draw=lambda rate, n, rng: own.exposed(rate, rng.uniform(0.5, 4, n), rng),
        nodes=lambda rate: own.at_exposure_1(counts(rate + 12 * np.sqrt(rate) + 30)),
        mp_partition=lambda eta: mpmath.exp(eta[0]),
        estimate=lambda X, r: (r @ X[:, :1]) / (r @ X[:, 1:]),
        extremes=[np.array([30.0]), np.array([-700.0])],
    ),
    *COLUMN_CASES,
    *VECTOR_CASES,
]
