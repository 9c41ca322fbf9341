"""Families that only the tests have, most of them T and A and nothing else."""

import numpy as np
from scipy import optimize
from scipy.special import betaln, digamma, gammaln

import expfam_em as ef


class Rayleigh(ef.ExponentialFamily):
    """T(x) = x², A(η) = −Σ log(−2η), h(x) = Π x."""

    def sufficient_statistics(self, X):
        return X**2

    def log_partition(self, natural):
        return -np.log(-2 * natural).sum(axis=1)

    def log_base_measure(self, X):
        return np.log(X).sum(axis=1)

    def to_natural(self, expectation):
        return -1 / expectation

    def check_support(self, X):
        if not np.all(X > 0):
            row, column = np.argwhere(~(X > 0))[0]
            raise ValueError(f"Rayleigh needs positive numbers; column {column} holds {X[row, column]!s} (row {row})")


class Exponential(ef.ExponentialFamily):
    """T(x) = x, A(η) = −log(−η)."""

    def sufficient_statistics(self, X):
        return X

    def log_partition(self, natural):
        return -np.log(-natural[:, 0])


class Gamma(ef.ExponentialFamily):
    """T(x) = (log x, x), A(η) = log Γ(η₁ + 1) − (η₁ + 1) log(−η₂); ``gammaln`` takes real numbers only."""

    def sufficient_statistics(self, X):
        return np.column_stack([np.log(X[:, 0]), X[:, 0]])

    def log_partition(self, natural):
        shape, rate = natural[:, 0] + 1, -natural[:, 1]
        return gammaln(shape) - shape * np.log(rate)


class Normal(ef.ExponentialFamily):
    """T(x) = (x, x²), A(η) = −η₁²/(4η₂) − ½ log(−2η₂), h(x) = (2π)^(−½)."""

    def sufficient_statistics(self, X):
        return np.column_stack([X[:, 0], X[:, 0] ** 2])

    def log_partition(self, natural):
        return -(natural[:, 0] ** 2) / (4 * natural[:, 1]) - 0.5 * np.log(-2 * natural[:, 1])

    def log_base_measure(self, X):
        return np.full(len(X), -0.5 * np.log(2 * np.pi))


class Geometric(ef.ExponentialFamily):
    """T(x) = x = 0, 1, …, A(η) = −log(1 − e^η)."""

    def sufficient_statistics(self, X):
        return X

    def log_partition(self, natural):
        return -np.log(-np.expm1(natural[:, 0]))


class LogSeries(ef.ExponentialFamily):
    """T(x) = x = 1, 2, …, A(η) = log(−log(1 − e^η)), h(x) = 1/x."""

    def sufficient_statistics(self, X):
        return X

    def log_partition(self, natural):
        eta = natural[:, 0]  # log(1 − e^η) in the form that keeps its digits
        return np.log(-np.where(eta < -0.7, np.log1p(-np.exp(eta)), np.log(-np.expm1(eta))))

    def log_base_measure(self, X):
        return -np.log(X[:, 0])


class Share(ef.ExponentialFamily):
    """T(x) = (log x, log(1 − x)) for x between 0 and 1, A(η) = log B(η₁ + 1, η₂ + 1)."""

    def sufficient_statistics(self, X):
        return np.column_stack([np.log(X[:, 0]), np.log1p(-X[:, 0])])

    def log_partition(self, natural):
        inside = np.all(natural > -1, axis=1)
        return np.where(inside, betaln(natural[:, 0] + 1, natural[:, 1] + 1), np.inf)


class PoissonExposure(ef.ExponentialFamily):
    """Events x in a time e: T = x, A(η) = e^η, h = eˣ/x!."""

    def sufficient_statistics(self, X):
        return X[:, :1]

    def exposure(self, X):
        return X[:, 1]

    def log_partition(self, natural):
        return np.exp(natural[:, 0])

    def log_base_measure(self, X):
        return X[:, 0] * np.log(X[:, 1]) - gammaln(X[:, 0] + 1)

    def to_expectation(self, natural):
        return np.exp(natural)

    def to_natural(self, expectation):
        return np.log(expectation)


# ---- what the table knows of them ----------------------------------------------------------------------------------


def gamma_estimate(x, r):
    """Shape and rate of the largest likelihood: log a − ψ(a) = log mean − mean log, between bounds of log a − ψ(a)."""
    mean = r @ x / r.sum()
    excess = np.log(mean) - r @ np.log(x) / r.sum()
    # 1/(2a) < log a − ψ(a) < 1/a
    shape = optimize.brentq(
        lambda a: np.log(a) - digamma(a) - excess, 0.4 / excess, 1.1 / excess, xtol=1e-300, rtol=8.9e-16
    )
    return np.array([shape, shape / mean])


def log_series_estimate(x, r):
    """p of the largest likelihood: −p/((1 − p) log(1 − p)) is the mean."""
    mean = r @ x / r.sum()
    return np.array([optimize.brentq(
        lambda p: -p / ((1 - p) * np.log1p(-p)) - mean, 1e-12, 1 - 1e-12, xtol=1e-300, rtol=8.9e-16
    )])  # fmt: skip


def exposed(rate, time, rng):
    return np.column_stack([rng.poisson(rate * time), time])


def at_exposure_1(nodes):
    X, w = nodes
    return np.column_stack([X, np.ones(len(X))]), w
