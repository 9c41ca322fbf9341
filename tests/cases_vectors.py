"""Rows of the table of families whose columns belong together; see `tests.cases`."""

from __future__ import annotations

import mpmath
import numpy as np
from hypothesis import strategies as st
from scipy import optimize, special, stats
from scipy.special import xlogy

from expfam_em.families import Categorical, Dirichlet, Multinomial, OneHot, VonMises, VonMisesFisher, Wishart
from tests.case import Case, counts, matrix, numbers, product

# ---- labels and counts ---------------------------------------------------------------------------------------------

LEVELS = [3, 2, 4]


def shares(sizes):
    """Strategy: distributions, padded to the same length."""
    longest = max(sizes)

    def padded(values):
        inside = np.arange(longest) < np.array(sizes)[:, None]
        p = np.where(inside, 10.0**values, 0)
        return p / p.sum(axis=1, keepdims=True)

    return numbers(-5, 0, (len(sizes), longest)).map(padded)


def log_shares(p):
    """log p, cut as the family cuts it where an estimate is 0."""
    with np.errstate(divide="ignore"):
        return [np.maximum(np.log(row[:size]), -700) for row, size in zip(p, LEVELS, strict=True)]


def categorical_log_density(X, p):
    cells = X[:, :, None].astype(int) == np.arange(max(LEVELS))
    return sum(xlogy(cells[:, j], p[j]).sum(axis=1) for j in range(len(LEVELS)))


def categorical_estimate(X, r):
    return np.stack([np.bincount(column.astype(int), r, max(LEVELS)) for column in X.T]) / r.sum()


def padded(*rows):
    return np.array([[*row, *[0.0] * (max(LEVELS) - len(row))] for row in rows])


LABELLED = [
    padded([0.8, 0.1, 0.1], [0.9, 0.1], [0.1, 0.2, 0.3, 0.4]),
    padded([0.1, 0.8, 0.1], [0.2, 0.8], [0.7, 0.1, 0.1, 0.1]),
    padded([0.1, 0.1, 0.8], [0.5, 0.5], [0.1, 0.8, 0.05, 0.05]),
]


def indicators(X):
    """Labels as columns of 0 and 1, variable after variable."""
    return np.concatenate([x[:, None] == np.arange(size) for x, size in zip(X.T, LEVELS, strict=True)], axis=1) * 1.0


def labels_of(X):
    return np.stack([part.argmax(axis=1) for part in np.split(X, np.cumsum(LEVELS)[:-1], axis=1)], axis=1)


def categorical_draw(p, n, rng):
    return np.column_stack([rng.choice(len(q), n, p=q) for q in p]).astype(float)


def one_hot_mp_partition(eta):
    parts = [eta[end - size : end] for end, size in zip(np.cumsum(LEVELS), LEVELS, strict=True)]
    return sum(mpmath.log(sum(mpmath.exp(e) for e in part)) for part in parts)


# ---- directions ----------------------------------------------------------------------------------------------------


def concentration(resultant, ratio):
    """κ with a given mean resultant length, by bisection."""
    return optimize.brentq(lambda k: ratio(k) - resultant, 1e-8, 1e6, xtol=1e-300, rtol=8.9e-16)


def angle_estimate(X, r):
    c, s = r @ np.cos(X) / r.sum(), r @ np.sin(X) / r.sum()
    conc = [concentration(length, lambda k: special.ive(1, k) / special.ive(0, k)) for length in np.hypot(c, s)]
    return np.arctan2(s, c), np.array(conc)


def angle_nodes(theta):
    """Trapezoids over periods converge geometrically: 2 I₁₂₈(25) / I₀(25) is 1e-70 for 128 of them."""
    axis = np.arange(128) * (2 * np.pi / 128)
    return product([axis] * 2, [np.full(128, 2 * np.pi / 128)] * 2)


def unit_rows(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def sphere_theta(angles):
    direction = np.array(
        [np.cos(angles[0]), np.sin(angles[0]) * np.cos(angles[1]), np.sin(angles[0]) * np.sin(angles[1])]
    )
    return direction, 10.0 ** angles[2]


def sphere_nodes(theta):
    """Gauss and Legendre's nodes in z, trapezoids about the axis."""
    z, w = np.polynomial.legendre.leggauss(64)
    angle = np.arange(96) * (2 * np.pi / 96)
    nodes, w = product([z, angle], [w, np.full(96, 2 * np.pi / 96)])
    Z, angle = nodes.T
    side = np.sqrt(1 - Z**2)
    return np.column_stack([side * np.cos(angle), side * np.sin(angle), Z]), w


def sphere_estimate(X, r):
    mean = r @ X / r.sum()
    length = np.linalg.norm(mean)
    return mean / length, concentration(length, lambda k: 1 / np.tanh(k) - 1 / k if k > 1e-3 else k / 3)


def sphere_mp_partition(eta):
    kappa = mpmath.sqrt(sum(mpmath.mpf(e) ** 2 for e in eta))
    return mpmath.log(4 * mpmath.pi * (mpmath.sinh(kappa) / kappa if kappa else 1))


# ---- shares of a whole ---------------------------------------------------------------------------------------------


def simplex_nodes(alpha):
    """Trapezoids in the log-odds of sticks broken off, analytic for |Im u| < π; e^{α u} falls to 1e-15 at 35/α."""
    h = 0.4 / np.sqrt(max(1, alpha.sum() / 4))
    far = 35 / min(alpha) + np.log(alpha.sum() / min(alpha)) + 2
    u = np.arange(-far, far, h)
    nodes, w = product([u, u], [np.full(len(u), h)] * 2)
    a, b = nodes.T
    here, rest = special.expit(a), special.expit(-a)
    X = np.column_stack([here, rest * special.expit(b), rest * special.expit(-b)])
    # dx₁ = x₁ (1 − x₁) da, dx₂ = x₂ x₃/(1 − x₁) db
    return X, w * X.prod(axis=1)


def dirichlet_estimate(X, r):
    """Σα by bisection, each α_j by bisection given it."""
    m = r @ np.log(X) / r.sum()

    def alphas(log_total):
        y = m + special.digamma(np.exp(log_total))
        return np.array([
            np.exp(optimize.brentq(lambda t, v=v: special.digamma(np.exp(t)) - v, -40, 40, xtol=1e-15)) for v in y
        ])  # fmt: skip

    root = optimize.brentq(lambda t: np.log(alphas(t).sum()) - t, -5, 12, xtol=1e-14)
    return alphas(root)


# ---- positive definite matrices ------------------------------------------------------------------------------------


def wishart_theta(freedom, spread, lower):
    root = np.array([[spread[0], 0], [spread[0] * lower, spread[1]]])
    return freedom, root @ root.T


def wishart_natural(theta):
    P = np.linalg.inv(theta[1])
    return np.array([theta[0] / 2, -P[0, 0] / 2, -P[0, 1], -P[1, 1] / 2])


def wishart_log_density(X, theta):
    """SciPy's formula for many matrices at once."""
    nu, S = theta
    M = X.reshape(-1, 2, 2)
    log_det = np.linalg.slogdet(M)[1]
    trace = np.einsum("ij,nji->n", np.linalg.inv(S), M)
    constant = nu * np.log(2) + nu / 2 * np.linalg.slogdet(S)[1] + special.multigammaln(nu / 2, 2)
    return (nu - 3) / 2 * log_det - trace / 2 - constant


def wishart_nodes(theta):
    """Bartlett's factor: χ variables eᵘ, eᵛ, analytic for |Im u| < π/4, and a normal one."""
    nu, S = theta
    h = 0.1
    u, v, b = np.arange(-30 / nu, 2.5, h), np.arange(-30 / (nu - 1), 2.5, h), np.linspace(-8, 8, 27)
    nodes, w = product([u, b, v], [np.full(len(u), h), np.full(27, 16 / 26), np.full(len(v), h)])
    u, b, v = nodes.T
    root = np.zeros((len(u), 2, 2))
    root[:, 0, 0], root[:, 1, 0], root[:, 1, 1] = np.exp(u), b, np.exp(v)
    L = np.linalg.cholesky(S)
    root = L @ root
    X = root @ root.transpose(0, 2, 1)
    # x₁₁ = r₁₁², x₁₂ = r₁₁ r₂₁, x₂₂ = r₂₁² + r₂₂²: ∂x/∂r = 4 r₁₁² r₂₂, and ∂r/∂(u, b, v) = r₁₁ L₂₂ r₂₂
    return X.reshape(-1, 4), w * 4 * root[:, 0, 0] ** 3 * root[:, 1, 1] ** 2 * L[1, 1]


def wishart_estimate(X, r):
    M = (r @ X / r.sum()).reshape(2, 2)
    c = np.linalg.slogdet(M)[1] - r @ np.linalg.slogdet(X.reshape(-1, 2, 2))[1] / r.sum()

    def lacking(t):
        half = np.exp(t) + 0.5
        return 2 * np.log(half) - special.digamma(half) - special.digamma(np.exp(t)) - c

    nu = 2 * np.exp(optimize.brentq(lacking, -20, 15, xtol=1e-15)) + 1
    return nu, M / nu


def wishart_mp_partition(eta):
    a, det = eta[0], 4 * eta[1] * eta[3] - eta[2] * eta[2]
    log_gamma = mpmath.log(mpmath.pi) / 2 + mpmath.loggamma(a) + mpmath.loggamma(a - mpmath.mpf(1) / 2)
    return 2 * a * mpmath.log(2) - a * mpmath.log(det) + log_gamma


def wishart_draw(theta, n, rng):
    return stats.wishart(*theta).rvs(n, random_state=rng).reshape(n, 4)


spd_rows = st.integers(1, 20).flatmap(
    lambda n: st.lists(st.tuples(numbers(-1, 1, (2,)), numbers(-2, 2)), min_size=n, max_size=n).map(
        lambda rows: np.array([wishart_theta(0, 10.0**s, low)[1].ravel() for s, low in rows])
    )
)

# ---- the table -----------------------------------------------------------------------------------------------------

VECTOR_CASES = [
    Case(
        name="Categorical",
        family=Categorical(LEVELS).bind([(np.zeros((1, 3)), None)]),
        thetas=shares(LEVELS),
        rows=matrix(st.integers(0, 1).map(float), 3).map(lambda X: X * [2, 1, 3]),
        components=LABELLED,
        inverse=np.linalg.pinv,
        natural=lambda p: np.concatenate(log_shares(p)),
        log_density=categorical_log_density,
        draw=categorical_draw,
        nodes=lambda p: counts(LEVELS),
        mp_partition=one_hot_mp_partition,
        estimate=categorical_estimate,
        extremes=[np.array([700.0, -700, 0, 40, -40, 3, 0, 0, -700]), np.full(9, -700.0), np.full(9, 700.0)],
        outside=[
            ([[0, 1, 3], [2, 1, 0.5]], "Categorical needs whole numbers from 0 to 3; column 2 holds 0.5 (row 1)"),
            ([[0, 1, 3], [3, 1, 4]], "Categorical needs whole numbers from 0 to 2; column 0 holds 3.0 (row 1)"),
            ([[0, -1, 3]], "Categorical needs whole numbers from 0 to 1; column 1 holds -1.0 (row 0)"),
            ([[0, np.nan, 3]], "Categorical needs whole numbers from 0 to 1; column 1 holds nan (row 0)"),
        ],
        named=lambda p: {"probabilities": p, "levels": [[0, 1, 2, -1], [0, 1, -1, -1], [0, 1, 2, 3]]},
        n_parameters=lambda K: 6 * K,
    ),
    Case(
        name="OneHot",
        family=OneHot(LEVELS),
        thetas=shares(LEVELS),
        rows=matrix(st.integers(0, 1).map(float), 3).map(lambda X: indicators(X * [2, 1, 3])),
        components=LABELLED,
        inverse=np.linalg.pinv,
        natural=lambda p: np.concatenate(log_shares(p)),
        log_density=lambda X, p: categorical_log_density(labels_of(X), p),
        draw=lambda p, n, rng: indicators(categorical_draw(p, n, rng)),
        nodes=lambda p: (indicators(counts(LEVELS)[0]), counts(LEVELS)[1]),
        mp_partition=one_hot_mp_partition,
        estimate=lambda X, r: categorical_estimate(labels_of(X), r),
        extremes=[np.array([700.0, -700, 0, 40, -40, 3, 0, 0, -700]), np.full(9, -700.0), np.full(9, 700.0)],
        outside=[
            ([[1, 0, 0, 1, 0, 0, 0, 0.5, 0]], "OneHot needs 0 or 1; column 7 holds 0.5 (row 0)"),
            ([[1, 0, 0, 1, 0, 0, 0, np.nan, 0]], "OneHot needs 0 or 1; column 7 holds nan (row 0)"),
            (
                [[1, 0, 0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1, 0, 0, 1]],
                "OneHot needs one 1 among the 2 columns of each variable; row 1 has 0 in those of variable 1, "
                "from column 3",
            ),
            (
                [[1, 0, 0, 1, 0, 0, 1, 1, 0]],
                "OneHot needs one 1 among the 4 columns of each variable; row 0 has 2 in those of variable 2, "
                "from column 5",
            ),
        ],
        named=lambda p: {"probabilities": p},
        n_parameters=lambda K: 6 * K,
    ),
    Case(
        name="Multinomial",
        family=Multinomial().bind([(np.ones((1, 4)), None)]),
        thetas=shares([4]).map(lambda p: p[0]),
        rows=matrix(st.integers(0, 50).map(float), 4).map(lambda X: X + np.array([0, 0, 1, 0])),
        components=[
            np.array([0.7, 0.1, 0.1, 0.1]),
            np.array([0.1, 0.2, 0.3, 0.4]),
            np.array([0.05, 0.7, 0.2, 0.05]),
        ],
        inverse=np.linalg.pinv,
        natural=np.log,
        log_density=lambda X, p: stats.multinomial.logpmf(X, X.sum(axis=1), p),
        draw=lambda p, n, rng: rng.multinomial(rng.integers(20, 40, n), p).astype(float),
        nodes=lambda p: (np.eye(4), np.ones(4)),
        mp_partition=lambda eta: mpmath.log(sum(mpmath.exp(e) for e in eta)),
        estimate=lambda X, r: r @ X / (r @ X).sum(),
        extremes=[
            np.array([0.0, -700, -700, -700]),
            np.array([-700.0, -700, -0.6931471805599453, -0.6931471805599453]),
        ],
        outside=[
            ([[0, 1, 3, 2], [2, 1, 0.5, 0]], "Multinomial needs whole numbers from 0; column 2 holds 0.5 (row 1)"),
            ([[0, 1, -3, 2]], "Multinomial needs whole numbers from 0; column 2 holds -3.0 (row 0)"),
            ([[0, 1, 3, np.inf]], "Multinomial needs whole numbers from 0; column 3 holds inf (row 0)"),
            ([[0, 1, 3, 1], [0, 0, 0, 0]], "Multinomial needs a count in every row; row 1 has none"),
        ],
        named=lambda p: {"probabilities": p},
        n_parameters=lambda K: 3 * K,
    ),
    Case(
        name="Dirichlet",
        family=Dirichlet(),
        thetas=numbers(0, 1.2, (3,)).map(lambda a: 10.0**a),
        rows=matrix(numbers(-4, 0), 3).map(lambda X: 10.0**X / (10.0**X).sum(axis=1, keepdims=True)),
        components=[np.array([10.0, 2, 2]), np.array([1.5, 10.0, 3.0]), np.array([4.0, 5, 20])],
        natural=lambda alpha: alpha,
        log_density=lambda X, alpha: stats.dirichlet.logpdf(X.T, alpha).reshape(len(X)) if len(X) else np.zeros(0),
        draw=lambda alpha, n, rng: rng.dirichlet(alpha, n),
        nodes=simplex_nodes,
        mp_partition=lambda eta: sum(mpmath.loggamma(e) for e in eta) - mpmath.loggamma(sum(eta)),
        estimate=dirichlet_estimate,
        extremes=[np.array([1e-6, 1e-6, 1e-6]), np.array([1e8, 1e8, 1e8]), np.array([1e-6, 1.0, 1e8])],
        outside=[
            ([[0.5, 0.5, 0]], "Dirichlet needs positive numbers; column 2 holds 0.0 (row 0)"),
            ([[0.5, 0.25, 0.25], [0.5, 0.5, np.nan]], "Dirichlet needs positive numbers; column 2 holds nan (row 1)"),
            ([[0.5, 0.25, 0.25], [0.5, 0.5, 0.5]], "Dirichlet needs rows that sum to 1; row 1 sums to 1.5"),
        ],
        named=lambda alpha: {"alphas": alpha},
    ),
    Case(
        name="VonMises",
        family=VonMises(),
        thetas=st.tuples(numbers(-3, 3, (2,)), numbers(-2, 1.3, (2,))).map(lambda t: (t[0], 10.0 ** t[1])),
        rows=matrix(numbers(-10, 10), 2),
        components=[
            (np.array([0.0, 1]), np.array([4.0, 2])),
            (np.array([2.5, -1]), np.array([3.0, 8])),
            (np.array([-2.0, 3]), np.array([10.0, 1])),
        ],
        natural=lambda theta: np.concatenate([theta[1] * np.cos(theta[0]), theta[1] * np.sin(theta[0])]),
        log_density=lambda X, theta: stats.vonmises.logpdf(X, theta[1], theta[0]).sum(axis=1),
        draw=lambda theta, n, rng: rng.vonmises(*theta, (n, 2)),
        nodes=angle_nodes,
        mp_partition=lambda eta: sum(
            mpmath.log(2 * mpmath.pi * mpmath.besseli(0, mpmath.sqrt(mpmath.mpf(a) ** 2 + mpmath.mpf(b) ** 2)))
            for a, b in zip(eta[:2], eta[2:], strict=True)
        ),
        estimate=angle_estimate,
        extremes=[np.array([1e4, 1e-300, -1e4, 1e-300]), np.array([-1e-9, 20, 30, 1e3]), np.zeros(4)],
        outside=[([[0.0, 1], [np.nan, 0]], "VonMises needs finite angles; column 0 holds nan (row 1)")],
        named=lambda theta: {"locations": theta[0], "concentrations": theta[1]},
    ),
    Case(
        name="VonMisesFisher",
        family=VonMisesFisher(),
        thetas=st.tuples(numbers(0.1, 3), numbers(-3, 3), numbers(-2, 1.3)).map(sphere_theta),
        rows=matrix(numbers(-1, 1), 3).map(lambda X: unit_rows(X + np.array([2, 0, 0]))),
        components=[sphere_theta([0.3, 1.0, 0.6]), sphere_theta([2.0, -2.0, 1.0]), sphere_theta([1.0, 2.5, 0.3])],
        natural=lambda theta: theta[0] * theta[1],
        log_density=lambda X, theta: stats.vonmises_fisher.logpdf(X, *theta),
        draw=lambda theta, n, rng: stats.vonmises_fisher.rvs(*theta, size=n, random_state=rng),
        nodes=sphere_nodes,
        mp_partition=sphere_mp_partition,
        estimate=sphere_estimate,
        extremes=[np.array([1e4, -1e-300, 3.0]), np.array([1e-300, 0, 0]), np.array([20.0, 20, -10])],
        outside=[
            ([[1, 0, 0], [1, 1, 0]], f"VonMisesFisher needs rows of length 1; row 1 has length {np.sqrt(2)!s}"),
            ([[0, np.nan, 0]], "VonMisesFisher needs rows of length 1; row 0 has length nan"),
            ([[1]], "VonMisesFisher needs rows of at least 2 columns, not 1"),
        ],
        named=lambda theta: {"directions": theta[0], "concentrations": theta[1]},
    ),
    Case(
        name="Wishart",
        family=Wishart(),
        thetas=st.builds(
            lambda nu, s, low: wishart_theta(nu, 10.0**s, low), numbers(4, 12), numbers(-1, 1, (2,)), numbers(-1, 1)
        ),
        rows=spd_rows,
        components=[
            wishart_theta(5.0, np.array([1.0, 1.0]), 0.0),
            wishart_theta(12.0, np.array([2.0, 1.0]), 0.7),
            wishart_theta(8.0, np.array([0.3, 3.0]), -0.5),
        ],
        natural=wishart_natural,
        log_density=wishart_log_density,
        draw=wishart_draw,
        nodes=wishart_nodes,
        mp_partition=wishart_mp_partition,
        estimate=wishart_estimate,
        extremes=[
            np.array([1e6, -1.0, 0.5, -2.0]),
            np.array([0.5 + 1e-9, -1e8, 0, -1e8]),
            np.array([3.0, -1e-8, 0, -1e-8]),
        ],
        outside=[
            ([[1, 0, 0, 1], [1, 0.5, 0.4, 1]], "Wishart needs symmetric matrices; that of row 1 is not"),
            ([[1, 0, 0, 1], [1, 2, 2, 1]], "Wishart needs positive definite matrices; that of row 1 is not"),
            ([[1, 0, 0, np.nan]], "Wishart needs symmetric matrices; that of row 0 is not"),
            ([[1, 0, 0]], "Wishart needs rows that are q × q matrices, of q² columns; 3 is no square"),
        ],
        named=lambda theta: {"degrees_of_freedom": theta[0], "scales": theta[1]},
        condition=lambda theta: np.linalg.cond(theta[1]),
    ),
]
