"""Positive numbers whose logarithms are normal."""

from __future__ import annotations

from typing import Any

import numpy as np

from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.families.special.draws import representable
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.kernel_form import KernelForm
from expfam_em.family.support import require
from expfam_em.rows.typing import Array, Block, Integers, Mask


class LogNormal(Gaussian):
    """Log-normal density: that of `Gaussian` of log x, with h(x) times Π 1/x; T, A and η are those of log x.

    ``parameters`` are the means and covariances of log x; columns may be correlated.

    Parameters
    ----------
    covariance_type, variance_floor, reg_covar
        Those of `Gaussian`, for log x.
    """

    moment_names = ("log_means", "log_covariances")

    def kernel_form(self, n_features: int) -> KernelForm:
        return super().kernel_form(n_features)._replace(columns=self._columns)

    def _columns(self, X):
        with np.errstate(all="ignore"):  # an absent row may be impossible
            return np.log(np.ascontiguousarray(X, np.float64))

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return super().summary(self._columns(X), sample_weight)

    def log_base_measure(self, X: Block) -> Array:
        Y = self._columns(X)
        return super().log_base_measure(Y) - Y.sum(axis=1)

    def expected_log_base_measure(self, natural: Array) -> Array:
        return super().expected_log_base_measure(natural) - self.to_moments(natural)[0].sum(axis=1)

    def _log_base_by_column(self, X: Block) -> Array:
        Y = self._columns(X)
        return super()._log_base_by_column(Y) - Y

    def filling(self, n_features: int) -> Array | None:
        found = super().filling(n_features)
        return None if found is None else np.exp(found)

    def parameters(self, natural: Array) -> dict[str, Array]:
        return {f"log_{name}": value for name, value in super().parameters(natural).items()}

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        with np.errstate(over="ignore"):
            return representable(np.exp(super().sample(natural, n, rng)))

    def supports(self, X: Block) -> Mask:
        return np.all((X > 0) & (X < np.inf), axis=1)

    def check_support(self, X: Block) -> None:
        require((X > 0) & (X < np.inf), X, "LogNormal needs positive numbers")

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        return super().conditional(natural, columns, np.log(values))

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        part, log_means, log_covariances, shift = self.regression(natural, columns)
        natural = part.from_moments(log_means, log_covariances)
        return Conditionals(part, natural, lambda values: (np.zeros((1, 1, 1)), np.exp(shift(np.log(values)))))

    def mean(self, natural: Array) -> Array:
        log_means, log_covariances = self.to_moments(natural)
        variances = self._form.diagonal(self._form.given(log_covariances))
        return np.exp(log_means + 0.5 * variances)

    def __repr__(self) -> str:
        return super().__repr__().replace("Gaussian", "LogNormal", 1)
