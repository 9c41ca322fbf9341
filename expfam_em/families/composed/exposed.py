"""Counts over times, areas or populations of different size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expfam_em.families.composed.parts import OfAnother, family_argument
from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conjugate import Conjugate, Conjugated, conjugate_of
from expfam_em.family.optional import Incomplete, OverTime, is_incomplete
from expfam_em.family.support import require
from expfam_em.rows.typing import Array, Block, Mask


class Exposed(OfAnother, Incomplete, Conjugated):
    """Counts over different times: the last column of X is the exposure e > 0 of the row, and rates are those of e = 1.

    Counts of ``Poisson()`` have the law x | e ~ Poisson(e λ): T(x) = x, e(x) = e, and h(x) = Π eˣ/x!. Those of
    ``GammaPoisson()`` have unobserved rates λ ~ Gamma(r, b) and are negative binomial, with the same shape r and e
    times the mean; the E-step takes E[log λ|x] = ψ(x + r) − log(b + e) and E[λ|x] = (x + r)/(b + e). Its shapes stay
    finite: where the likelihood is largest without a limit, they grow from step to step, and ``Exposed(Poisson())`` is
    the law in the limit.

    Sampled rows have the exposure 1.

    Parameters
    ----------
    family : ExponentialFamily
        ``Poisson()`` or ``GammaPoisson()``, of all columns but the last.

    Raises
    ------
    TypeError, ValueError
        If the family is another one.
    """

    sparse, samples_alike = "never", False

    def __init__(self, family: ExponentialFamily | str) -> None:
        family = family_argument(family)
        if not isinstance(family, OverTime):
            raise ValueError(
                f"{family!r} does not say what its counts are over other times than 1: take Poisson() or GammaPoisson()"
            )
        self.family = family
        self.seed_smoothing = family.seed_smoothing

    @property
    def incomplete(self) -> bool:  # type: ignore[override]
        return is_incomplete(self.family)

    def _views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(self.family, lambda X, weight: (X[:, :-1], weight))]

    def exposure(self, X: Block) -> Array | None:
        return None if self.incomplete else np.asarray(X, np.float64)[:, -1]

    def sufficient_statistics(self, X: Block) -> Array:
        counts, exposure = _split(X)
        return checked.statistics(self.family, counts / exposure if self.incomplete else counts)[0]

    def log_base_measure(self, X: Block) -> Array:
        if self.incomplete:
            return np.zeros(len(X))
        counts, exposure = _split(X)
        return checked.log_base_measure(self.family, counts) + np.sum(counts * np.log(exposure), axis=1)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # it depends on the exposure

    def conjugate(self) -> Conjugate:
        """Return that of the family: ν is a sum of exposures already."""
        return conjugate_of(self.family)

    def log_density(self, X: Block, natural: Array) -> Array:
        counts, exposure = _split(X)
        with np.errstate(all="ignore"):
            found = self.family.log_density_over(exposure, counts, np.atleast_2d(natural))
        return np.where(self.supports(X)[:, None], found, -np.inf)

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        counts, exposure = _split(X)
        return np.asarray(self.family.complete_over(exposure, counts, natural, responsibilities))

    # ---- rows ------------------------------------------------------------------------------------------------

    def supports(self, X: Block) -> Mask:
        exposure = np.asarray(X)[:, -1]
        return checked.supports(self.family, np.asarray(X)[:, :-1]) & (exposure > 0) & (exposure < np.inf)

    def check_support(self, X: Block) -> None:
        if np.shape(X)[1] < 2:
            raise ValueError(f"{self!r} needs at least 2 columns, counts and their exposure; X has {np.shape(X)[1]}")
        checked.check_rows(self.family, np.asarray(X)[:, :-1])
        exposure = np.asarray(X)[:, -1:]
        fine = np.ones(np.shape(X), bool)
        fine[:, -1:] = (exposure > 0) & (exposure < np.inf)
        require(fine, X, f"{type(self).__name__} needs positive exposures in the last column")

    # ---- as users know it ------------------------------------------------------------------------------------

    def mean(self, natural: Array) -> Array:
        of_counts = self.family.mean(natural)
        return np.column_stack([of_counts, np.ones(len(of_counts))])

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        return np.column_stack([checked.sample(self.family, natural, n, rng), np.ones(n)])

    def __repr__(self) -> str:
        return f"Exposed({self.family!r})"


def _split(X: Block) -> tuple[Array, Array]:
    """Return the counts, (n, d), and the exposures, (n, 1)."""
    X = np.asarray(X, np.float64)
    return X[:, :-1], X[:, -1:]
