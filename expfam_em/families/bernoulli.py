"""Independent 0/1 columns."""

import numpy as np
from scipy.special import expit, log1p

from expfam_em.families._columns import IndependentColumns
from expfam_em.families._support import require
from expfam_em.family import NATURAL_LIMIT


class Bernoulli(IndependentColumns):
    """Product of Bernoulli columns: T(x) = x, A(η) = Σ log(1 + e^η), h(x) = 1, η = log(p / (1 − p))."""

    keeps_zeros = True

    def log_partition(self, natural):
        return np.logaddexp(0, natural).sum(axis=1)

    def to_expectation(self, natural):
        return expit(natural)

    def to_natural(self, expectation):
        share = np.clip(expectation, 0.0, 1.0)  # S/N may round to one unit above 1
        with np.errstate(divide="ignore"):
            natural = np.log(share) - log1p(-share)
        return np.clip(natural, -NATURAL_LIMIT, NATURAL_LIMIT)

    def parameters(self, natural):
        probabilities = expit(natural)
        return {"probabilities": np.where(natural <= -NATURAL_LIMIT, 0.0, probabilities)}

    def sample(self, natural, n, rng):
        return (rng.random((n, len(natural))) < self.parameters(natural)["probabilities"]).astype(np.float64)

    def check_support(self, X):
        require((X == 0) | (X == 1), X, "Bernoulli needs 0 or 1")
