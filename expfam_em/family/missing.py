"""Families whose rows may have missing values: of what is missing, T takes its expectation given what is observed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import components, edge_sums_of, is_incomplete, sums_of
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
"""Components of the observed columns of P lots, given which components they are, (P, K), and which columns, (P, d)."""


class MissingValues(ExponentialFamily):
    """Families of which some columns have a density too, so that single values of a row may be missing.

    Rows have a possible value in each place where one is missing.
    """

    by_density: bool = False
    """Whether the E-step takes densities of what is observed: no natural parameters say as much."""

    @property
    def takes_missing(self) -> bool:
        """Whether this one does, by what a subclass has left as it is."""
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

    def observed_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        """Return Σ_n r_nk E[T|x_observed, η_k] of rows that have columns in common, like `Incomplete.complete`."""
        K = len(natural)
        found = self.observed(natural)(np.arange(K)[None], present[None])
        exposure = checked.exposure(self, X)
        sizes = responsibilities.sum(axis=0) if exposure is None else exposure @ responsibilities
        return found.complete(sizes[None], sums_of(found.family, X, responsibilities, natural)[None])[0]

    def usable(self, X: Block) -> Mask:
        """Return which values of rows with NaN, (n, d), may stand where others are missing."""
        return np.ones(X.shape, bool)

    def filling(self, n_features: int) -> Array | None:
        """Return what missing values have to be, (d,), NaN for any possible value; None, the default, for all NaN."""
        return None

    def together(self, n_features: int) -> list[Integers]:
        """Return lots of columns of which a row has all values or none; each column alone by default."""
        return list(np.arange(n_features)[:, None])


class MissingByDensity(MissingValues):
    """Families of which densities tell what is observed; a subclass has `observed_log_density`, `observed_sums`."""

    by_density = True

    def observed(self, natural: Array) -> Marginals:
        raise NotImplementedError(f"{self!r} has no natural parameters of some columns")

    def observed_log_base(self, X: Block, present: Mask) -> Array:
        return np.zeros(len(X))  # it belongs to the density of what is observed


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


# ---- any family: a row lacks all of its columns or none, unless the family knows better ------------------------------


def takes_missing(family: Any) -> bool:
    """Whether some values of a row may be missing and others not."""
    return isinstance(family, MissingValues) and family.takes_missing


def marginals_of(family: Any, natural: Array) -> Marginals:
    """Return `MissingValues.observed` of any family."""
    if takes_missing(family):
        return family.observed(natural)
    partition, mean = checked.log_partition(family, natural), checked.to_expectation(family, natural)

    def observed(which: Integers, present: Mask) -> Observed:
        here = np.all(present, axis=1, keepdims=True)

        def complete(counts: Array, sums: Array) -> Array:
            return np.where(here[:, :, None], sums, counts[:, :, None] * mean[which])

        of = components(family, which.ravel())
        eta = np.where(here[:, :, None], natural[which], 0.0)
        return Observed(of, eta, np.where(here, partition[which], 0.0), complete)

    return observed


def log_base_of(family: Any, X: Block, present: Mask) -> Array:
    """Return log h of what is observed of each row, (n, d), (n, d) -> (n,)."""
    if takes_missing(family):
        return family.observed_log_base(X, present)
    return np.where(present.all(axis=1), checked.log_base_measure(family, X), 0.0)


def log_density_of(family: Any, X: Block, natural: Array, present: Mask) -> Array:
    """Return log p of the observed columns of rows that have them in common, (n, d), (K, p), (d,) -> (n, K)."""
    if takes_missing(family):
        return family.observed_log_density(X, natural, present)
    return checked.log_density(family, X, natural) if present.all() else np.zeros((len(X), len(natural)))


def observed_sums_of(present: Mask, family: Any, X: Block, responsibilities: Array, natural: Array) -> Array:
    """Return Σ_n r_nk E[T|x_observed, η_k] of rows that have the columns ``present`` (d,) in common, (K, p)."""
    if takes_missing(family):
        return family.observed_sums(X, natural, responsibilities, present)
    if present.all():
        return sums_of(family, X, responsibilities, natural)
    return responsibilities.sum(axis=0)[:, None] * checked.to_expectation(family, natural)


def observed_edge_sums_of(present: Mask, family: Any, X: Block, responsibilities: Array, natural: Array) -> Array:
    """Return what `edge_sums_of` would be of rows that have the columns ``present`` (d,) in common, (K, p)."""
    if is_incomplete(family) and not present.all():
        return family.observed_edge_sums(X, natural, responsibilities, present)
    return edge_sums_of(family, X, responsibilities, natural)


def is_by_density(family: Any) -> bool:
    """Whether the E-step over rows with missing values takes densities, whatever the parameters are."""
    return is_incomplete(family) or (takes_missing(family) and family.by_density)


def usable_of(family: Any, X: Block) -> Mask:
    """Return which values of rows with NaN, (n, d), may stand where others are missing."""
    return family.usable(X) if takes_missing(family) else np.ones(X.shape, bool)


def with_possible(family: Any, X: Block, natural: Array, present: Mask) -> Block:
    """Return rows (n, d) that have values possible under a family where columns are missing."""
    values = filling_of(family, len(present))
    given = present | np.isnan(values)
    X = X if given.all() else np.where(given, X, values)
    if checked.supports(family, X).all():
        return X
    drawn = checked.sample(components(family, np.zeros(1, int)), natural[0], 1, np.random.default_rng(0))[0]
    return np.where(given & ~present, drawn, X)


def filling_of(family: Any, n_features: int) -> Array:
    """Return what missing values have to be, (d,), NaN where any possible value will do."""
    found = family.filling(n_features) if takes_missing(family) else None
    return np.full(n_features, np.nan) if found is None else found


def together(family: Any, n_features: int) -> list[Integers]:
    """Return lots of columns of which a row has all values or none."""
    if takes_missing(family):
        return family.together(n_features)
    return [np.arange(n_features)]


def check_missing_together(family: Any, missing: Mask) -> None:
    """Raise a ValueError if a row lacks some of the values, (n, d) bool, that it can only lack together."""
    for columns in together(family, missing.shape[1]):
        lot = missing[:, columns]
        if (partly := lot.any(axis=1) & ~lot.all(axis=1)).any():
            row = int(np.argmax(partly))
            raise ValueError(
                f"X has NaN in row {row}, column {columns[np.argmax(lot[row])]}, and a value in column "
                f"{columns[np.argmin(lot[row])]}: a missing value, which {family!r} has no meaning for, because the "
                "density of the other columns is none that it knows. Leave such rows out, make all of these columns "
                "NaN, or fit independent columns, a Gaussian, or a Product of them"
            )
