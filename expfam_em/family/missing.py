"""Families whose rows may have missing values: of what is missing, T takes its expectation given what is observed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.rows.typing import Array, Block, Integers, Mask


class Observed(NamedTuple):
    """Components of the observed columns alone, with statistics laid out as those of all columns.

    Attributes
    ----------
    family : ExponentialFamily
        In the coordinates that these P · K components have.
    natural : (P, K, p)
        0 for each statistic of which something is missing.
    log_partition : (P, K)
    complete : callable (counts (P, K), sums (P, K, p)) -> (P, K, p)
        Returns the expected sums of T from those over the observed columns; what is there of others is ignored.
    """

    family: Any
    natural: Array
    log_partition: Array
    complete: Callable[[Array, Array], Array]


Marginals = Callable[[Integers, Mask], Observed]
"""Components of the observed columns of P lots, given which they are, (P, K), and which columns are observed, (P, d)."""


class MissingValues(ExponentialFamily):
    """Families whose rows may have missing values; a pattern of them, present (d,) bool, says which are there.

    Rows have a possible value in each place where one is missing.
    """

    @property
    def takes_missing(self) -> bool:
        """Whether this one does; a family made of others does if all of them do."""
        return True

    @abstractmethod
    def observed(self, natural: Array) -> Marginals:
        """Return a function that gives components (C, p) of the observed columns; called by several threads."""

    @abstractmethod
    def observed_log_base(self, X: Block, present: Mask) -> Array:
        """Return log h of the observed columns of each row, (n, d), (n, d) -> (n,)."""

    def observed_log_density(self, X: Block, natural: Array, present: Mask) -> Array:
        """Return log p of the observed columns of rows that have them in common, (n, d), (K, p), (d,) -> (n, K)."""
        columns = np.flatnonzero(present)
        if not len(columns):
            return np.zeros((len(X), len(natural)))
        family, eta = self.marginal(natural, columns)
        return checked.log_density(family, X[:, columns], eta)

    def filling(self, n_features: int) -> Array | None:
        """Return what missing values have to be, (d,); None, the default, if any possible value will do."""
        return None


def of_columns(family: Any, natural: Array, partition: Array, mean: Array, column: Integers) -> Marginals:
    """Return `MissingValues.observed` of components whose columns are independent.

    Parameters
    ----------
    natural : (C, p)
    partition : (C, d)
        A of each column.
    mean : (C, p)
        E[T].
    column : (p,) int
        Which column each statistic is of.
    """

    def observed(which: Integers, present: Mask) -> Observed:
        keep = present[:, None, column]
        value = np.where(present[:, None], partition[which], 0.0).sum(axis=2)

        def complete(counts: Array, sums: Array) -> Array:
            return np.where(keep, sums, counts[:, :, None] * mean[which])

        return Observed(family, np.where(keep, natural[which], 0.0), value, complete)

    return observed


def takes_missing(family: Any) -> bool:
    """Whether the rows of a family may have missing values."""
    return isinstance(family, MissingValues) and family.takes_missing


def check_takes_missing(family: Any, row: int, column: int) -> None:
    """Raise a ValueError if the rows of a family may not have missing values, as this one has."""
    if not takes_missing(family):
        raise ValueError(
            f"X has NaN in row {row}, column {column}, a missing value, which {family!r} has no meaning for: the "
            "density of the other columns alone is not of the family, or not known. Leave such rows out, fill them, or "
            "fit independent columns, a Gaussian, or a Product of these"
        )
