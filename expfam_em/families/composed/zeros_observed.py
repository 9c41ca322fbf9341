"""Rows with added zeros of which some columns are observed: these are zero-inflated as well, with the same share."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from expfam_em.family.base import ExponentialFamily
from expfam_em.family.missing import MissingByDensity, log_density_of, observed_sums_of, takes_missing, with_possible
from expfam_em.rows.typing import Array, Block, Integers, Mask


class ZerosObserved(MissingByDensity):
    """What `ZeroInflated` says of some columns."""

    family: Any
    n_features: int | None
    _odds: Any
    _with_odds: Any
    _joined: Any
    _stand_in: Any

    @property
    def takes_missing(self) -> bool:
        return takes_missing(self.family)

    def usable(self, X: Block) -> Mask:
        zero = np.all((X == 0) | np.isnan(X), axis=1, keepdims=True)  # these may be impossible for the family
        return np.broadcast_to(~zero, X.shape)

    def _seen(self, X, natural, present):
        """Return X made possible, which rows of it may be of the family and which are 0, and log p₀, (n, K)."""
        columns, of_family = np.flatnonzero(present), self._odds(natural)[1]
        part: Any = self.replace(family=self.family.marginal(of_family, columns)[0])
        possible, zero = part._possible(X[:, columns]), is_zero(X[:, columns])
        rows = self._stand_in(with_possible(self.family, X, of_family, present), possible)
        of_others = log_density_of(self.family, rows, of_family, present)
        return rows, possible, zero[:, None], np.where(possible[:, None], of_others, -np.inf)

    def observed_log_density(self, X: Block, natural: Array, present: Mask) -> Array:
        if not present.any():
            return np.zeros((len(X), len(natural)))
        _, _, zero, of_others = self._seen(X, natural, present)
        log_odds = self._odds(natural)[0]
        inside = log_expit(-log_odds) + of_others
        return np.where(zero, np.logaddexp(log_expit(log_odds), inside), inside)

    def observed_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        if not present.any():
            return responsibilities.sum(axis=0)[:, None] * self.to_expectation(natural)
        rows, possible, zero, of_others = self._seen(X, natural, present)
        log_odds, of_family = self._odds(natural)
        share, rest = posterior(zero, log_odds, of_others)
        others = np.where(possible[:, None], responsibilities * rest, 0.0)
        sums = observed_sums_of(present, self.family, rows, others, of_family)
        return np.column_stack([np.sum(responsibilities * share, axis=0), others.sum(axis=0), sums])

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        log_odds, of_family = self._odds(natural)
        part, eta = self.family.marginal(of_family, columns)
        other = self.replace(family=part, n_features=None if self.n_features is None else len(columns))
        return other, other._with_odds(log_odds, eta, part)

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        other: Any
        other, eta = self.marginal(natural, columns)
        _, share, rest = other._shares(np.asarray(values)[None], eta)
        part, of_part = self.family.conditional(self._odds(natural)[1], columns, values)
        n_features = None if self.n_features is None else self.n_features - len(columns)
        found = self.replace(family=part, n_features=n_features)
        return found, found._joined(share[0], rest[0], of_part)

    def mean(self, natural: Array) -> Array:
        log_odds, of_family = self._odds(natural)
        return expit(-log_odds)[:, None] * self.family.mean(of_family)


def posterior(zero: Mask, log_odds: Array, of_others: Array) -> tuple[Array, Array]:
    """Return E[b|x] and 1 − E[b|x], (n, K), of rows that are 0 or not, (n, 1), given log p₀, (n, K)."""
    with np.errstate(invalid="ignore"):  # −∞ less −∞: the row is impossible, and its responsibility is 0
        odds = log_odds - of_others
    odds = np.where(np.isnan(odds), 0.0, odds)
    return expit(odds) * zero, np.where(zero, expit(-odds), 1.0)


def is_zero(X: Block) -> Mask:
    """Return which rows are 0 in all columns, (n,)."""
    return np.asarray(np.all(np.asarray(X) == 0, axis=1))
