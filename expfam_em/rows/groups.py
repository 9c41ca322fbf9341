"""Rows that lie together because they have a key in common, such as the columns in which a value is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.memory import ArrayRows


class Ranges(NamedTuple):
    """The groups that the rows of a chunk belong to.

    Attributes
    ----------
    starts : (m + 1,) int
        Where each begins, counted within the chunk, and where the last one ends.
    present : (m, d) bool
        Columns that are observed in the rows of each.
    """

    starts: np.ndarray
    present: np.ndarray

    def of_rows(self) -> np.ndarray:
        """Return the columns that are observed in each row, (n, d) bool."""
        return np.repeat(self.present, np.diff(self.starts), axis=0)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of rows in memory; the rows of a data set are sorted by them.

    Attributes
    ----------
    of_row : (n,) int
        Number of the group of each row.
    present : (G, d) bool
        Columns that are observed in the rows of each group.
    order : (n,) int
        Where each row stood before.
    """

    of_row: np.ndarray
    present: np.ndarray
    order: np.ndarray

    def within(self, start: int, stop: int) -> Ranges:
        """Return the groups of the rows of a chunk."""
        of_row = self.of_row[start:stop]
        starts = np.flatnonzero(np.diff(of_row, prepend=-1, append=-1))
        return Ranges(starts, self.present[of_row[starts[:-1]]])

    def take(self, kept: Any) -> Groups:
        """Return the groups of some rows, in their order."""
        order = self.order[kept]
        return Groups(self.of_row[kept], self.present, np.argsort(np.argsort(order)))

    def as_before(self, values: np.ndarray) -> np.ndarray:
        """Return values by row in the order in which the rows stood before; none as none."""
        if not len(values):
            return values
        out = np.empty_like(values)
        out[self.order] = values
        return out


def with_gaps(chunk: Any) -> Any:
    """Return the rows of a chunk with NaN for what is missing."""
    return chunk.X if chunk.groups is None else np.where(chunk.groups.of_rows(), chunk.X, np.nan)


def has_missing(X: Any) -> bool:
    """Whether a value of dense rows is missing, NaN; sparse rows are refused before if one is."""
    return not isinstance(X, CSRBlock) and X.dtype.kind == "f" and X.size > 0 and bool(np.isnan(X.min()))


def grouped(rows: ArrayRows, lots: list[np.ndarray], fill: np.ndarray | None = None) -> ArrayRows:
    """Return rows sorted by which values are missing in them, with possible values in their place, as float64.

    Parameters
    ----------
    rows : ArrayRows
    lots : list of (c,) int
        Columns of which a row has all values or none.
    fill : (d,), optional
        Possible values; by default some from the middle of those observed in each data set.

    Raises
    ------
    ValueError
        If nothing is observed in a column of a data set, where ``fill`` is not given.
    """
    X = np.asarray(rows.X)
    missing, data_set = np.isnan(X), np.repeat(np.arange(rows.n_data), np.diff(rows.starts))
    bits = np.packbits(missing, axis=1)
    keys, of_row = np.unique(bits.view(f"V{bits.shape[1]}").ravel(), return_inverse=True)
    order = np.lexsort((of_row, data_set))
    present = ~np.unpackbits(keys.view(np.uint8).reshape(len(keys), -1), axis=1, count=X.shape[1]).astype(bool)
    weight = None if rows.sample_weight is None else rows.sample_weight[order]
    filled = np.array(X[order], np.float64)
    for at, (start, stop) in enumerate(zip(rows.starts[:-1], rows.starts[1:], strict=True)):
        here, gaps = filled[start:stop], missing[order[start:stop]]
        if (values := fill) is None:
            values = middle(here if weight is None else here[weight[start:stop] > 0], lots)
        if np.isnan(values).any():
            of_data = "" if rows.n_data == 1 else f" of data set {at}"
            raise ValueError(
                f"column {np.argmax(np.isnan(values))} of X{of_data} holds nothing but NaN: no value of it is "
                "observed, so nothing can be said of it. Leave the column out"
            )
        here[gaps] = np.broadcast_to(values, here.shape)[gaps]
    return ArrayRows(
        filled, weight, rows.n_jobs, np.diff(rows.starts), offset=None if rows.offset is None else rows.offset[order],
        groups=Groups(of_row[order], present, order),
    )  # fmt: skip


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
