"""Conjugate priors in closed form: of single columns, of labels, and of what is made of several families."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import betaln, digamma, gammaln

from expfam_em.family.conjugate import Conjugate, conjugate_of, split
from expfam_em.rows.typing import Array, Integers


class OfColumns(Conjugate):
    """Conjugate prior of independent columns of one statistic each: B is a sum over columns."""

    family: Any

    @abstractmethod
    def of_one(self, chi: Array, nu: Array) -> tuple[Array, Array, Array]:
        """Return B, E[η] and E[A] of one column, for arrays (K, d) and (K, 1); B is not finite outside the space."""

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            value = self.of_one(*split(natural))[0].sum(axis=1)
        return np.where(np.isfinite(value), value, np.inf)

    def to_expectation(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            _, eta, partition = self.of_one(*split(natural))
        return np.column_stack([eta, -partition.sum(axis=1)])


class OfSuccesses(OfColumns):
    """A = n log(1 + e^η): the probability has a Beta density, Beta(χ, nν − χ)."""

    def of_one(self, chi: Array, nu: Array) -> tuple[Array, Array, Array]:
        n = self.family.n
        a, b = _positive(chi), _positive(n * nu - chi)
        return betaln(a, b), digamma(a) - digamma(b), n * (digamma(a + b) - digamma(b))


class OfFailures(OfColumns):
    """A = −r log(1 − e^η): the probability e^η of a failure has a Beta density, Beta(χ, rν + 1)."""

    def of_one(self, chi: Array, nu: Array) -> tuple[Array, Array, Array]:
        r = self.family.r
        a, b = _positive(chi), _positive(r * nu) + 1
        return betaln(a, b), digamma(a) - digamma(a + b), r * (digamma(a + b) - digamma(b))


class OfCounts(OfColumns):
    """A = e^η: the rate has a Gamma density of shape χ and rate ν."""

    def of_one(self, chi: Array, nu: Array) -> tuple[Array, Array, Array]:
        chi, nu = _positive(chi), _positive(nu)
        return gammaln(chi) - chi * np.log(nu), digamma(chi) - np.log(nu), chi / nu


class OfWaiting(OfColumns):
    """A = A₁ − a log(−cη): the rate −η has a Gamma density of shape aν + 1 and rate χ."""

    def of_one(self, chi: Array, nu: Array) -> tuple[Array, Array, Array]:
        a, chi = self.family.gamma_shape, _positive(chi)
        shape, at_one = a * _positive(nu) + 1, self.family.log_partition_of(np.array(-1.0))
        value = gammaln(shape) - shape * np.log(chi) - nu * at_one
        return value, -shape / chi, at_one - a * (digamma(shape) - np.log(chi))


def _positive(value: Array) -> Array:
    """Return numbers as they are, NaN for those that are not positive."""
    return np.where(value > 0, value, np.nan)


class OfShares(Conjugate):
    """A = Σ_j log Σ_l e^η_jl: the probabilities of each variable have a Dirichlet density of parameters χ, and A is 0.

    Parameters
    ----------
    family : ExponentialFamily
    starts : callable(int) -> (J,) int
        The first statistic of each variable, given the number of statistics.
    """

    def __init__(self, family: Any, starts: Callable[[int], Integers]) -> None:
        super().__init__(family)
        self.starts = starts

    def _totals(self, chi: Array) -> Array:
        """Return the sum over the levels of its variable for each statistic, (K, p)."""
        starts = self.starts(chi.shape[1])
        return np.repeat(np.add.reduceat(chi, starts, axis=1), np.diff(starts, append=chi.shape[1]), axis=1)

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            chi = _positive(split(natural)[0])
            totals = gammaln(self._totals(chi)[:, self.starts(chi.shape[1])])
            value = gammaln(chi).sum(axis=1) - totals.sum(axis=1)
        return np.where(np.isfinite(value), value, np.inf)

    def to_expectation(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            chi = _positive(split(natural)[0])
            return np.column_stack([digamma(chi) - digamma(self._totals(chi)), np.zeros(len(chi))])

    def point(self, natural: Array) -> Array:
        chi = split(natural)[0]
        return self.family.to_natural(chi / self._totals(chi))


class OfNothing(Conjugate):
    """The family has no parameters: η and A are 0."""

    def log_partition(self, natural: Array) -> Array:
        return np.zeros(len(natural))

    def to_expectation(self, natural: Array) -> Array:
        return np.zeros(natural.shape)


class OfFamilies(Conjugate):
    """Conjugate prior of a family made of others: that of each part, with a ν in common."""

    family: Any

    def __init__(self, family: Any) -> None:
        super().__init__(family)
        self.priors = [conjugate_of(part) for part in family.families]

    @property
    def coupled(self) -> bool:
        return any(prior.coupled for prior in self.priors)

    def _each(self, function: Any, natural: Array) -> list[Array]:
        """Return what a function of a conjugate prior and its natural parameters makes of each part."""
        chi, nu = split(natural)

        def one(part: Any, its: Array) -> Array:
            return function(self.priors[part.number], np.column_stack([its, nu[part.of]]))

        return self.family._each(one, chi)

    def log_partition(self, natural: Array) -> Array:
        found = self._each(lambda prior, its: prior.log_partition(its), natural)
        # where log h is a statistic, its η is known
        chi, known = natural[:, :-1], self.family._join(len(natural), [0.0] * len(found))
        return self.family._total(len(natural), found) + np.sum(chi * known, axis=1, where=known != 0)

    def to_expectation(self, natural: Array) -> Array:
        found = self._each(lambda prior, its: prior.to_expectation(its), natural)
        eta = self.family._join(len(natural), [part[:, :-1] for part in found])
        return np.column_stack([eta, self.family._total(len(natural), [part[:, -1] for part in found])])

    def point(self, natural: Array) -> Array:
        return self.family._join(len(natural), self._each(lambda prior, its: prior.point(its), natural))
