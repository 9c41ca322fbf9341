"""What is independently known of a family, and the quadrature nodes and strategies that say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

EPS = float(np.finfo(float).eps)
mpmath.mp.dps = 60


@dataclass(frozen=True, repr=False)
class Case:
    """One family and what is independently known of it; n rows, K components, p statistics."""

    name: str
    family: Any
    thetas: Any  # strategy: the parameters of one component
    rows: Any  # strategy: (n, d) rows in the support
    components: list  # parameters of three components, for mixtures
    natural: Callable  # theta -> η (p,)
    log_density: Callable  # X, theta -> (n,)
    draw: Callable  # theta, n, rng -> (n, d)
    nodes: Callable  # theta -> rows and weights with Σ w f(x) = ∫ f, exposure 1
    mp_partition: Callable  # η in mpmath numbers -> A(η)
    estimate: Callable  # X, r (n,) -> theta of the largest likelihood
    extremes: list = field(default_factory=list)  # natural parameters
    outside: list = field(default_factory=list)  # rows outside the support, the message
    named: Callable | None = None  # theta -> parameters by name
    n_parameters: Callable | None = None  # K -> free parameters; K p by default
    estimate_together: Callable | None = None  # thetas, counts -> thetas, where components share something
    condition: Callable = lambda theta: 1.0  # how much ``natural`` magnifies rounding
    inverse: Callable = np.linalg.inv  # of the Fisher information; a pseudo-inverse where η is not unique
    numeric: bool = False  # the mappings are solved from A alone
    frame: tuple | None = None

    def __repr__(self):
        return self.name

    def estimate_all(self, X, R):
        thetas = [self.estimate(X, R[:, k]) for k in range(R.shape[1])]
        return thetas if self.estimate_together is None else self.estimate_together(thetas, R.sum(axis=0))

    def exposures(self, X):
        e = self.family.exposure(X)
        return np.ones(len(X)) if e is None else e

    def naturals(self, thetas):
        return np.array([self.natural(theta) for theta in thetas])

    def mp_gradient(self, eta):
        """∇A by differences with 60 digits: the error is about h² = 1e-40."""
        out = []
        for j, value in enumerate(eta):
            h = mpmath.mpf(10) ** -20 * max(abs(mpmath.mpf(float(value))), mpmath.mpf(10) ** -6)
            up, down = ([mpmath.mpf(float(v)) for v in eta] for _ in range(2))
            up[j] += h
            down[j] -= h
            out.append(float((self.mp_partition(up) - self.mp_partition(down)) / (2 * h)))
        return np.array(out)

    def moments(self, theta):
        """E[T] and the covariance of T, which is ∇²A, by quadrature."""
        X, w = self.nodes(theta)
        mass = w * np.exp(self.log_density(X, theta))
        T = self.family.sufficient_statistics(X)
        mean = mass @ T
        return mean, (T - mean).T @ ((T - mean) * mass[:, None])


def frozen(*values):
    """An array that raises when written to."""
    out = np.array(*values)
    out.flags.writeable = False
    return out


# ---- nodes: Σ w f(x) for ∫ f or Σ f -----------------------------------------------------------------------------


def product(axes, weights):
    return (
        np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)),
        np.prod(np.stack(np.meshgrid(*weights, indexing="ij")), axis=0).ravel(),
    )  # fmt: skip


def counts(limits):
    """All vectors of whole numbers below the limits."""
    axes = [np.arange(np.ceil(limit)) for limit in limits]
    return product(axes, [np.ones(len(axis)) for axis in axes])


def normal_nodes(theta):
    """Trapezoids of step 0.6 in whitened coordinates: relative error exp(−2π²/0.36) and 1e-17 beyond ±9."""
    mean, cov = theta
    axis = np.linspace(-9, 9, 31)
    U, w = product([axis] * len(mean), [np.full(31, 0.6)] * len(mean))
    root = np.linalg.cholesky(cov)
    return mean + U @ root.T, w * np.prod(np.diag(root))


def positive_nodes(low, high, step):
    """Trapezoids in u = log x of one column."""
    u = np.arange(low, high, step)
    return np.exp(u)[:, None], step * np.exp(u)


# ---- strategies --------------------------------------------------------------------------------------


def numbers(low, high, shape=()):
    """Floats between two limits, an array of them, or a matrix of up to 20 rows of them."""
    one = st.floats(low, high, allow_subnormal=False)
    return arrays(np.float64, shape, elements=one) if shape else one


def matrix(elements, d):
    return st.integers(1, 20).flatmap(lambda n: arrays(np.float64, (n, d), elements=elements))
