"""The pass over rows in groups: each group is under mixtures of its own, which stand in the stack for those given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expfam_em.estep.incomplete import IncompletePass
from expfam_em.estep.masked import STACK_ENTRIES, in_common, masked
from expfam_em.estep.scores import Kernel, Outputs, Scores, cancels
from expfam_em.family import checked
from expfam_em.family.missing import (
    Observed,
    check_missing_together,
    filling_of,
    is_by_density,
    log_base_of,
    log_density_of,
    marginals_of,
    observed_sums_of,
    together,
    usable_of,
)
from expfam_em.family.optional import components
from expfam_em.rows.csr import has_missing
from expfam_em.rows.groups import grouped, usable_middle
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk


@dataclass(frozen=True)
class Grouped(Kernel):
    """The pass of a family over rows in groups by which values are missing in them, and what they may belong to.

    A mixture of the stack and a group make another mixture: of the columns that are observed, with natural parameters
    laid out as those of all columns, and of the components that the rows may belong to, the others having weight 0.
    Sums over the group are those of what is observed, to which the expectation of the rest is added.

    Attributes
    ----------
    inner : Dense or IncompletePass
        What serves each group.
    of_rows : callable(present, family, X, responsibilities, η) -> (K, p)
        What is added up where densities are asked for: `observed_sums_of`, or `observed_edge_sums_of`.
    """

    inner: Any = None
    of_rows: Callable = observed_sums_of

    def adding(self, of_rows: Callable) -> Grouped:
        """Return the pass that adds up something else."""
        return replace(self, of_rows=of_rows)

    def prepared(self, scores: Scores, temperature=1.0, given=False):
        if given and scores.are_none:  # statistics of rows in which gaps are filled, to start from
            return self.inner.prepared(scores, temperature, given)
        how, p = (float(temperature), given), scores.natural.shape[2]
        family = self.family if scores.family is None else scores.family
        if is_by_density(self.family) or cancels(self.family, scores):

            def by_density(chunk: Chunk, items, out: Outputs):
                for lot in _lots(chunk, items, scores):
                    _by_density(self, scores, how, chunk, lot, out)

            return by_density
        observed = marginals_of(family, scores.natural.reshape(-1, p))

        def by_kernel(chunk: Chunk, items, out: Outputs):
            for lot in _lots(chunk, items, scores):
                _by_kernel(self, scores, how, chunk, lot, observed(lot.which, lot.present), out)

        return by_kernel


@dataclass(frozen=True)
class Lot:
    """Ranges of rows of one group and one mixture each.

    Attributes
    ----------
    rows : (P, 2) int64
        Where they start and stop.
    mixture, slot : (P,) int64
    which : (P, K) int64
        Components of the mixtures, among those of the stack.
    present : (P, d) bool
        Columns that are observed.
    allowed : (P, K) bool, or None
        Components that the rows may belong to; None if all.
    """

    rows: np.ndarray
    mixture: np.ndarray
    slot: np.ndarray
    which: np.ndarray
    present: np.ndarray
    allowed: np.ndarray | None

    def log_weights(self, scores: Scores) -> np.ndarray:
        """Return the log-weights of the mixtures, (P, K): −∞ for components that the rows cannot belong to."""
        found = scores.log_weights[self.mixture]
        return found if self.allowed is None else masked(found, self.allowed)


def _lots(chunk: Chunk, items, scores: Scores) -> Iterator[Lot]:
    """Yield the ranges that items and groups of rows have in common, not too many at a time."""
    _, _, present, allowed = chunk.groups
    _, K, p = scores.natural.shape
    rows, item, group = in_common(chunk.groups.starts, items)
    step = max(1, STACK_ENTRIES // (K * p))
    for begin in range(0, len(item), step):
        at = slice(begin, begin + step)
        mixture = items[item[at], 2]
        which = K * mixture[:, None] + np.arange(K)
        may_be = None if allowed is None else allowed[group[at]]
        yield Lot(rows[at], mixture, items[item[at], 3], which, present[group[at]], may_be)


def _sums_of(lot: Lot, out: Outputs) -> tuple[Outputs, np.ndarray]:
    """Return outputs with a slot for each range, where sums are wanted, and the slots."""
    if not out.counts.size:
        return out, np.zeros(len(lot.rows), np.int64)
    K, p = out.sums.shape[1:]
    apart = Outputs.of_sums(
        len(lot.rows), K, p, responsibilities=out.responsibilities, evidence=out.evidence, labels=out.labels
    )
    return apart, np.arange(len(lot.rows))


def _add(lot: Lot, apart: Outputs, complete, out: Outputs) -> None:
    """Add sums of ranges, once they are completed, to those of their slots."""
    if not out.counts.size:
        return
    sizes = apart.exposures if apart.exposures.any() else apart.counts
    begin = np.flatnonzero(np.diff(lot.slot, prepend=-1))  # items are in the order of slots
    for name in ("counts", "bounds", "exposures"):
        getattr(out, name)[lot.slot[begin]] += np.add.reduceat(getattr(apart, name), begin)
    out.sums[lot.slot[begin]] += np.add.reduceat(complete(sizes, apart.sums), begin)


def _by_kernel(kernel: Grouped, scores: Scores, how, chunk: Chunk, lot: Lot, found: Observed, out: Outputs) -> None:
    """Fill the outputs under mixtures of the observed columns."""
    weights, partition = lot.log_weights(scores), found.log_partition
    if scores.excess is not None:
        partition = partition + scores.excess[lot.mixture]
    of_lot = Scores(np.ascontiguousarray(found.natural), partition, weights, found.family, scores.group)
    apart, slots = _sums_of(lot, out)
    items = np.column_stack([lot.rows, np.arange(len(lot.rows)), slots])
    kernel.inner.prepared(of_lot, *how)(chunk, items, apart)
    _add(lot, apart, found.complete, out)


def _by_density(kernel: Grouped, scores: Scores, how, chunk: Chunk, lot: Lot, out: Outputs) -> None:
    """Fill the outputs from densities of the observed columns and, where sums are wanted, E[T] of complete data."""
    apart, slots = _sums_of(lot, out)
    weights, log_weights = lot.log_weights(scores), scores.log_weights.copy()
    for at, present in enumerate(lot.present):
        of_rows, density = (functools.partial(function, present) for function in (kernel.of_rows, _observed_density))
        one = IncompletePass(kernel.family, of_rows=of_rows, density=density)
        log_weights[lot.mixture[at]] = weights[at]
        item = np.array([[*lot.rows[at], lot.mixture[at], slots[at]]])
        one.prepared(scores._replace(log_weights=log_weights), *how)(chunk, item, apart)
    _add(lot, apart, lambda sizes, sums: sums, out)


def _observed_density(present, family, X, natural):
    return log_density_of(family, X, natural, present)


# ---- rows ----------------------------------------------------------------------------------------------------------


def with_groups(family, rows, fill=None, allowed=None):
    """Return rows in groups, with a possible value in place of each one that is missing; as they are if they are alike.

    Parameters
    ----------
    family : ExponentialFamily
    rows : Rows
        In memory; of others none may be missing.
    fill : callable () -> (d,), optional
        Returns a possible value of each column; by default one that is observed in it.
    allowed : (n, K) bool, optional
        Components that each row may belong to; all by default.

    Raises
    ------
    ValueError
        If a value is missing, and the family has no meaning for that.
    """
    if not isinstance(rows, ArrayRows) or rows.groups is not None:
        return rows
    if not (rows.has_missing and check_missing(family, rows.X)):
        return rows if allowed is None else grouped(rows, [], allowed=allowed)
    usable = functools.partial(usable_of, family)
    return grouped(rows, together(family, rows.n_features), None if fill is None else fill(), allowed, usable)


def check_missing(family, X) -> bool:
    """Return whether a value of X is missing; raise a ValueError if one is that the family cannot do without."""
    if not has_missing(X):
        return False
    check_missing_together(family, np.isnan(X))
    return True


def refilled(family, rows):
    """Return rows in groups in which missing values are those that the family needs."""
    groups = getattr(rows, "groups", None)
    if groups is None or groups.present is None:
        return rows
    values = filling_of(family, rows.n_features)
    return rows if np.isnan(values).all() else rows.derive(functools.partial(_refill, values), rows.n_features)


def _refill(values, chunk: Chunk) -> Chunk:
    X = np.array(chunk.X, np.float64)
    gaps = ~chunk.groups.of_rows() & ~np.isnan(values)
    X[gaps] = np.broadcast_to(values, X.shape)[gaps]
    return chunk._replace(X=X)


def log_base(family, chunk: Chunk) -> np.ndarray:
    """Return log h of what is observed of the rows of a chunk, (n,)."""
    if chunk.groups is None or chunk.groups.present is None:
        return checked.log_base_measure(family, chunk.X)
    return log_base_of(family, np.asarray(chunk.X), chunk.groups.of_rows())


def possible_row(family, natural) -> np.ndarray:
    """Return a value of each column, (d,), that rows of the first of some components (K, p) may have."""
    drawn = checked.sample(components(family, [0]), natural[0], 15, np.random.default_rng(0))
    drawn = np.asarray(drawn, np.float64)
    return usable_middle(drawn, together(family, drawn.shape[1]), functools.partial(usable_of, family))
