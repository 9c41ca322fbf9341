"""Counts of a known number of trials."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, logsumexp

from expfam_em.family import named
from expfam_em.family.base import NATURAL_LIMIT, ExponentialFamily
from expfam_em.family.summaries import Width
from expfam_em.family.support import ImpossibleRowError, require
from expfam_em.rows.csr import CSRBlock, row_sums
from expfam_em.rows.typing import Array, Block, Floats

ABSENT = -NATURAL_LIMIT * (1 - 1e-12)
"""Log-probability down to which η was cut: that of an estimate of 0."""

IMPOSSIBLE = 1e-6
"""By how much shares may miss the sum 1."""


class Multinomial(ExponentialFamily):
    """Counts x of e = Σ_j x_j trials: T(x) = x, e(x) = Σ_j x_j, A(η) = log Σ_j e^{η_j}, h(x) = e!/Π x_j!.

    η is determined up to a number added to all of it, so that T(x) = x; ``to_natural`` returns η_j = log p_j, where
    A = 0. The number of trials of a row is known and no observation. ``expected_log_base_measure`` is that of one
    trial. Counts of some columns are multinomial given their sum only, so there are no marginals of this kind.

    Parameters
    ----------
    trials : int ≥ 1
        Number of trials of each row that ``sample`` draws.

    Raises
    ------
    ValueError
        If the number of trials is no whole number from 1.
    """

    sparse = "rows"

    def __init__(self, trials: SupportsIndex = 1) -> None:
        if isinstance(trials, bool) or not isinstance(trials, Integral) or trials < 1:
            raise ValueError(f"trials is {trials!r}; it must be a whole number from 1")
        self.trials = int(trials)
        self.n_features: int | None = None

    def summary(self, X: Array, sample_weight: Floats | None) -> Any:
        return Width(X.shape[1])

    def bound(self, summary: Any) -> Self:
        """Return a copy that knows the number of columns, by which its parameters are counted."""
        return self.replace(n_features=summary.n_features)

    def sufficient_statistics(self, X: Block) -> Array:
        return np.asarray(X, np.float64)

    def exposure(self, X: Block | CSRBlock) -> Array | None:
        total = row_sums(X)
        return np.where(total > 0, total, 1.0)  # an absent row may hold anything

    def log_partition(self, natural: Array) -> Array:
        return logsumexp(natural, axis=-1)

    def log_base_measure(self, X: Block | CSRBlock) -> Array:
        return gammaln(row_sums(X) + 1) - row_sums(X, lambda x: gammaln(x + 1))

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return np.zeros(len(natural))

    def to_expectation(self, natural: Array) -> Array:
        powers = np.exp(natural - np.max(natural, axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def to_natural(self, expectation: Array) -> Array:
        m = np.asarray(expectation, np.float64)
        with np.errstate(all="ignore"):
            total = m.sum(axis=-1, keepdims=True)
            total = np.where(np.abs(total - 1) <= IMPOSSIBLE, total, np.nan)
            return np.maximum(np.log(m / total), -NATURAL_LIMIT)

    def parameters(self, natural: Array) -> dict[str, Array]:
        natural = np.asarray(natural, np.float64)
        log_p = natural - logsumexp(natural, axis=-1, keepdims=True)
        return {"probabilities": np.where(log_p <= ABSENT, 0.0, self.to_expectation(natural))}

    def from_parameters(self, **given: ArrayLike) -> Array:
        sizes = {} if self.n_features is None else {"column": self.n_features}
        arrays, used = named.read(
            self, given, {"probabilities": named.FROM_0}, (("probabilities",),), sizes=sizes, least=2
        )
        named.check_shares("probabilities", used["probabilities"], ("component",), IMPOSSIBLE)
        return named.finished(self, self.to_natural(used["probabilities"]), arrays, used)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        p = self.parameters(natural)["probabilities"]
        return rng.multinomial(self.trials, p / p.sum(), n).astype(np.float64)

    def check_support(self, X: Block | CSRBlock) -> None:
        X = X if isinstance(X, CSRBlock) else np.asarray(X)
        x = X.values if isinstance(X, CSRBlock) else X
        x = x.view(np.uint8) if x.dtype == np.bool_ else x
        with np.errstate(invalid="ignore"):
            require((x >= 0) & (x == np.floor(x)) & (x < np.inf), X, "Multinomial needs whole numbers from 0")
        if not np.all(some := row_sums(X) > 0):
            raise ImpossibleRowError("Multinomial needs a count in every row; row {row} has none", int(np.argmin(some)))

    def n_parameters(self, n_components: int) -> int:
        if self.n_features is None:
            raise ValueError("Multinomial counts its parameters once the number of columns is known: call bind first")
        return n_components * (self.n_features - 1)

    def __repr__(self) -> str:
        return f"Multinomial(trials={self.trials})" if self.trials > 1 else "Multinomial()"
