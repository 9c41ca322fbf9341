"""Positive numbers whose logarithms are normal."""

import numpy as np

from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.family.support import require


class LogNormal(Gaussian):
    """Log-normal density: that of `Gaussian` of log x, with h(x) times Π 1/x; T, A and η are those of log x.

    ``parameters`` are the means and covariances of log x. See `Gaussian` for the parameters of the constructor, all of
    which concern log x; columns may be correlated.
    """

    def kernel_form(self, n_features):
        return super().kernel_form(n_features)._replace(columns=self._columns)

    def _columns(self, X):
        with np.errstate(all="ignore"):  # an absent row may be impossible
            return np.log(np.ascontiguousarray(X, np.float64))

    def summary(self, X, sample_weight):
        return super().summary(self._columns(X), sample_weight)

    def log_base_measure(self, X):
        Y = self._columns(X)
        return super().log_base_measure(Y) - Y.sum(axis=1)

    def expected_log_base_measure(self, natural):
        return super().expected_log_base_measure(natural) - self.to_moments(natural)[0].sum(axis=1)

    def parameters(self, natural):
        return {f"log_{name}": value for name, value in super().parameters(natural).items()}

    def from_parameters(self, **given):
        return self._from_named(given, "log_means", "log_covariances")

    def sample(self, natural, n, rng):
        return np.exp(super().sample(natural, n, rng))

    def supports(self, X):
        return np.all((X > 0) & (X < np.inf), axis=1)

    def check_support(self, X):
        require((X > 0) & (X < np.inf), X, "LogNormal needs positive numbers")

    def conditional(self, natural, columns, values):
        return super().conditional(natural, columns, np.log(values))

    def __repr__(self):
        return super().__repr__().replace("Gaussian", "LogNormal", 1)
