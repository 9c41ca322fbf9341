"""Independent columns of counts."""

import numpy as np
from scipy.special import gammaln

from expfam_em.families._columns import IndependentColumns
from expfam_em.families._support import require
from expfam_em.family import NATURAL_LIMIT


class Poisson(IndependentColumns):
    """Product of Poisson columns: T(x) = x, A(η) = Σ e^η, h(x) = Π 1/x!, η = log rate."""

    keeps_zeros = True

    def log_partition(self, natural):
        return np.exp(natural).sum(axis=1)

    def log_base_measure(self, X):
        return -gammaln(np.asarray(X, np.float64) + 1).sum(axis=1)

    def to_expectation(self, natural):
        return np.exp(natural)

    def to_natural(self, expectation):
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(expectation), -NATURAL_LIMIT)

    def parameters(self, natural):
        return {"rates": np.where(natural <= -NATURAL_LIMIT, 0.0, np.exp(natural))}

    def sample(self, natural, n, rng):
        return rng.poisson(self.parameters(natural)["rates"], (n, len(natural))).astype(np.float64)

    def check_support(self, X):
        require((X >= 0) & (X == np.floor(X)) & (X < np.inf), X, "Poisson needs whole numbers from 0")
