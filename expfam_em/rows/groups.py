"""Rows that lie together because they have keys in common: where values are missing, and what they may belong to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from expfam_em.rows.csr import has_missing
from expfam_em.rows.memory import ArrayRows


class Ranges(NamedTuple):
    """The groups that the rows of a chunk belong to.

    Attributes
    ----------
    starts : (m + 1,) int
        Where each begins, counted within the chunk, and where the last one ends.
    number : (m,) int
        Number of each group.
    present : (m, d) bool, or None
        Columns that are observed in the rows of each; None if nothing is missing.
    allowed : (m, K) bool, or None
        Components that the rows of each may belong to; None if all.
    """

    starts: np.ndarray
    number: np.ndarray
    present: Any
    allowed: Any = None

    def of_rows(self) -> np.ndarray:
        """Return the columns that are observed in each row, (n, d) bool, where something is missing."""
        return np.repeat(self.present, np.diff(self.starts), axis=0)

    def allowed_of_rows(self) -> np.ndarray | None:
        """Return the components that each row may belong to, (n, K) bool; None if all."""
        return None if self.allowed is None else np.repeat(self.allowed, np.diff(self.starts), axis=0)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of rows in memory; the rows of a data set are sorted by them.

    Attributes
    ----------
    of_row : (n,) int
        Number of the group of each row.
    present : (G, d) bool, or None
        Columns that are observed in the rows of each group; None if nothing is missing.
    order : (n,) int
        Where each row stood before.
    allowed : (G, K) bool, or None
        Components that the rows of each group may belong to; None if all.
    """

    of_row: np.ndarray
    present: np.ndarray | None
    order: np.ndarray
    allowed: np.ndarray | None = None

    def within(self, start: int, stop: int) -> Ranges:
        """Return the groups of the rows of a chunk."""
        of_row = self.of_row[start:stop]
        starts = np.flatnonzero(np.diff(of_row, prepend=-1, append=-1))
        here = of_row[starts[:-1]]
        keys = (None if key is None else key[here] for key in (self.present, self.allowed))
        return Ranges(starts, here, *keys)

    def of_rows(self) -> np.ndarray:
        """Return the columns that are observed in each row, (n, d) bool, where something is missing."""
        assert self.present is not None
        return self.present[self.of_row]

    def take(self, kept: Any) -> Groups:
        """Return the groups of some rows, in their order."""
        order = self.order[kept]
        return Groups(self.of_row[kept], self.present, np.argsort(np.argsort(order)), self.allowed)

    def as_before(self, values: np.ndarray) -> np.ndarray:
        """Return values by row in the order in which the rows stood before; none as none."""
        if not len(values):
            return values
        out = np.empty_like(values)
        out[self.order] = values
        return out


def with_gaps(chunk: Any) -> Any:
    """Return the rows of a chunk, or all rows in memory, with NaN for what is missing."""
    return (
        chunk.X
        if chunk.groups is None or chunk.groups.present is None
        else np.where(chunk.groups.of_rows(), chunk.X, np.nan)
    )


def grouped(
    rows: ArrayRows, lots: list[np.ndarray], fill: np.ndarray | None = None, allowed: np.ndarray | None = None,
    usable: Callable[[np.ndarray], np.ndarray] = np.isfinite,
) -> ArrayRows:  # fmt: skip
    """Return rows sorted by which values are missing in them, and by the components that they may belong to.

    Where values are missing there are possible ones in their place, and all are float64.

    Parameters
    ----------
    rows : ArrayRows
    lots : list of (c,) int
        Columns of which a row has all values or none.
    fill : (d,), optional
        Possible values; by default some from the middle of those observed in each data set.
    allowed : (n, K) bool, optional
        Components that each row may belong to; all by default.
    usable : callable (n, d) -> (n, d) bool
        Returns which values may stand where others are missing.

    Raises
    ------
    ValueError
        If nothing is observed in a column of a data set, where ``fill`` is not given.
    """
    missing = np.isnan(np.asarray(rows.X)) if has_missing(rows.X) else None
    data_set = np.repeat(np.arange(rows.n_data), np.diff(rows.starts))
    given = [key for key in (missing, allowed) if key is not None]
    bits = np.packbits(np.concatenate(given, axis=1), axis=1)
    keys, of_row = np.unique(as_words(bits), return_inverse=True)
    order = np.argsort(of_row, kind="stable") if rows.n_data == 1 else np.lexsort((of_row, data_set))
    first = np.zeros(len(keys), np.int64)
    first[of_row] = np.arange(len(of_row))  # some row of each group
    weight, offset = (None if value is None else value[order] for value in (rows.sample_weight, rows.offset))
    present = None if missing is None else ~missing[first]
    groups = Groups(of_row[order], present, order, None if allowed is None else allowed[first])
    X: Any = rows.X[order]
    if missing is not None:
        X = _filled(np.array(X, np.float64), missing[order], weight, rows.starts, lots, fill, usable)
    return ArrayRows(X, weight, rows.n_jobs, np.diff(rows.starts), offset=offset, groups=groups)


def as_words(bits: np.ndarray) -> np.ndarray:
    """Return bytes of rows, (n, b) uint8, as one value for each row, in the same order."""
    if (n_bytes := bits.shape[1]) > 8:
        return np.ascontiguousarray(bits).view(f"V{n_bytes}").ravel()
    padded = np.zeros((len(bits), 8), np.uint8)
    padded[:, :n_bytes] = bits
    return padded.view(">u8").ravel().astype(np.uint64)  # numbers are sorted much faster


def _filled(
    X: np.ndarray, missing: np.ndarray, weight: Any, starts: np.ndarray, lots: list[np.ndarray], fill: Any,
    usable: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Return rows, sorted by data set, with possible values in place of missing ones."""
    for at, (start, stop) in enumerate(itertools.pairwise(starts)):
        here, gaps = X[start:stop], missing[start:stop]
        if (values := fill) is None:
            values = usable_middle(here if weight is None else here[weight[start:stop] > 0], lots, usable)
        if np.isnan(values).any():
            of_data = "" if len(starts) == 2 else f" of data set {at}"
            raise ValueError(
                f"column {np.argmax(np.isnan(values))} of X{of_data} holds nothing but NaN: no value of it is "
                "observed, so nothing can be said of it. Leave the column out"
            )
        here[gaps] = np.broadcast_to(values, here.shape)[gaps]
    return X


def usable_middle(X: np.ndarray, lots: list[np.ndarray], usable: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return values from the middle of those observed that may stand for others, or of all if there are none, (d,)."""
    allowed = usable(X)
    found = middle(X if allowed.all() else np.where(allowed, X, np.nan), lots)
    return np.where(np.isnan(found), middle(X, lots), found) if np.isnan(found).any() else found


def middle(X: np.ndarray, lots: list[np.ndarray]) -> np.ndarray:
    """Return values from the middle of those observed, (d,): of one row for columns that go together; NaN for none."""
    out = np.full(X.shape[1], np.nan)
    for lot in lots:
        seen = X[~np.isnan(X[:, lot]).any(axis=1)][:, lot]
        if len(seen):
            centre = np.partition(seen, len(seen) // 2, axis=0)[len(seen) // 2]
            far = np.abs(seen - centre).sum(axis=1) if len(lot) > 1 else None
            out[lot] = centre if far is None else seen[np.argmin(far)]
    return out
