"""Rows in memory, or mapped into it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expfam_em.rows.csr import CSRBlock, check_weight, has_missing, observations, read_only
from expfam_em.rows.grid import ENTRY_WORK, Tree, rows_per_chunk
from expfam_em.rows.protocol import PADDING, Chunk, V, is_rows
from expfam_em.rows.threads import cached_property, run_in_order, thread_count
from expfam_em.rows.typing import Integers

DENSE_ENTRIES = 1 << 20
"""Entries of sparse rows that are made dense at a time, for a family that looks at all rows beforehand."""


class ArrayRows:
    """The rows of an array: one data set, or several of them one after another; see `Rows`.

    Parameters
    ----------
    X : (n, d) array or CSRBlock
    sample_weight : (n,) float64, optional
    n_jobs : int, optional
        Threads; all cores if None or −1.
    sizes : (D,) int, optional
        Rows of each data set; one data set by default.
    table : (n + PADDING, c), optional
        What is kept beside the rows.
    offset : (n, G) float64, optional
        Added to the scores of the rows, by group of components.
    groups : Groups, optional
        What rows that lie together have in common.
    """

    def __init__(self, X, sample_weight=None, n_jobs=None, sizes=None, table=None, offset=None, groups=None):
        self.groups = groups
        self.X, self.sample_weight, self.table, self.offset = read_only(X), sample_weight, table, offset
        self.n_jobs = thread_count(n_jobs)
        self.starts = np.array([0, len(X)]) if sizes is None else np.concatenate([[0], np.cumsum(sizes)])
        self._tasks: dict[int, list[tuple[int, Chunk]]] = {}

    def __len__(self) -> int:
        return len(self.X)

    @property
    def n_features(self) -> int:
        return self.X.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return self.X.dtype

    @property
    def is_sparse(self) -> bool:
        return isinstance(self.X, CSRBlock)

    @property
    def n_data(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def has_missing(self) -> bool:
        """Whether a value is missing, NaN, which takes a look at all of them, once."""
        return has_missing(self.X)

    @property
    def total_weights(self) -> np.ndarray:
        if self.sample_weight is None:
            return np.diff(self.starts).astype(np.float64)
        size = rows_per_chunk(ENTRY_WORK * self.n_features)
        return np.array([_tree_sum(self.sample_weight[a:b], size) for a, b in itertools.pairwise(self.starts)])

    # ---- the two methods ---------------------------------------------------------------------------------------

    def reduce(self, function: Callable[[Chunk], V], work: float) -> V:
        """Return the sum of ``function(chunk)`` over all chunks; see `Rows`."""
        tree, tasks = Tree(), self.tasks(work)
        if len(tasks) == 1:
            return run_in_order(function, [tasks[0][1]], 1)[0]

        def one(task):
            number, chunk = task
            tree.put(0, number, function(chunk))

        run_in_order(one, tasks, self.n_jobs)
        return tree.total()

    def derive(self, function: Callable[[Chunk], Chunk], work: float) -> ArrayRows:
        """Return rows changed chunk by chunk, kept in memory; see `Rows`.

        What a function returns as it was given, the same array, is not copied.
        """
        first = self._chunk(0, 1)
        head = function(first)
        kept = {"X": self.X, "weight": self.sample_weight, "table": self.table, "offset": self.offset}
        changed = [name for name in kept if getattr(head, name) is not getattr(first, name)]
        made: dict[str, Any] = {name: _room(getattr(head, name), len(self), name == "table") for name in changed}

        def one(task) -> CSRBlock | None:
            _, chunk = task
            found = function(chunk)
            for name, out in made.items():
                if out is not None:
                    out[chunk.first : chunk.first + len(chunk.X)] = getattr(found, name)[: len(chunk.X)]
            return found.X if isinstance(found.X, CSRBlock) else None

        blocks = run_in_order(one, self.tasks(work), self.n_jobs)
        if "X" in made and made["X"] is None:
            made["X"] = CSRBlock.concatenate(blocks)
        X, weight, table, offset = (kept | made).values()
        return ArrayRows(X, weight, self.n_jobs, np.diff(self.starts), table, offset, self.groups)

    # ---- rows in memory only -----------------------------------------------------------------------------------

    def of_data(self, which: Sequence[int] | Integers) -> ArrayRows:
        """Return the rows of some data sets, by number in ascending order; tables and offsets are left out."""
        if len(which) == self.n_data:
            return self
        places = [np.arange(self.starts[at], self.starts[at + 1]) for at in which]
        kept = slice(places[0][0], places[0][-1] + 1) if len(which) == 1 else np.concatenate(places)
        weight = None if self.sample_weight is None else self.sample_weight[kept]
        groups = None if self.groups is None else self.groups.take(kept)
        return ArrayRows(self.X[kept], weight, self.n_jobs, [len(lot) for lot in places], groups=groups)

    def tasks(self, work: float) -> list[tuple[int, Chunk]]:
        """Return the chunks with their numbers; many small data sets are one chunk."""
        size = min(rows_per_chunk(work), len(self)) if self.n_data == 1 else rows_per_chunk(work)
        if size not in self._tasks:
            self._tasks[size] = list(self._numbered(size))
        return self._tasks[size]

    def _numbered(self, size) -> Iterator[tuple[int, Chunk]]:
        if self.n_data == 1:
            for number, first in enumerate(range(0, len(self), size)):
                yield number, self._chunk(first, min(first + size, len(self)))
            return
        number, begun = 0, 0  # small data sets from the one numbered ``begun`` on wait for more of them
        for at, (start, stop) in enumerate(zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)):
            if stop - start > size:
                if begun < at:
                    yield number, self._of_data(begun, at)
                    number += 1
                aligned = 1 << (-(-(stop - start) // size) - 1).bit_length()  # its tree is then that of it alone
                number = -(-number // aligned) * aligned
                for first in range(start, stop, size):
                    yield number, self._chunk(first, min(first + size, stop), at)
                    number += 1
                begun = at + 1
            elif stop - self.starts[begun] >= size or at == self.n_data - 1:
                yield number, self._of_data(begun, at + 1)
                number, begun = number + 1, at + 1

    def _chunk(self, start, stop, data_set=0) -> Chunk:
        weight = None if self.sample_weight is None else self.sample_weight[start:stop]
        table = None if self.table is None else self.table[start : stop + PADDING]
        ranges = None if self.n_data == 1 else np.array([[0, stop - start, data_set]])
        offset = None if self.offset is None else self.offset[start:stop]
        groups = None if self.groups is None else self.groups.within(start, stop)
        return Chunk(self.X[start:stop], weight, start, table, ranges, offset, groups)

    def _of_data(self, begin, end) -> Chunk:
        """Return data sets begin ≤ i < end as one chunk."""
        start = self.starts[begin : end + 1] - self.starts[begin]
        ranges = np.stack([start[:-1], start[1:], np.arange(begin, end)], axis=1)
        return self._chunk(int(self.starts[begin]), int(self.starts[end]))._replace(ranges=ranges)

    def __iter__(self):
        """Yield (X, sample_weight) blocks of at most 2¹⁶ rows, dense, without the rows of weight 0."""
        step = max(1, DENSE_ENTRIES // self.n_features) if isinstance(self.X, CSRBlock) else 1 << 16
        for first in range(0, len(self), step):
            X, weight = self.X[first : first + step], self.sample_weight
            X = np.asarray(X)
            if weight is not None:
                weight = weight[first : first + step]
                if not np.all(weight > 0):
                    X, weight = X[weight > 0], weight[weight > 0]
            yield X, weight


def _tree_sum(values: np.ndarray, size: int) -> float:
    """Return the sum of weights in the order in which chunks are added, so that it has the bits it has elsewhere."""
    if len(values) <= size:
        return float(values.sum())
    tree = Tree()
    for number, first in enumerate(range(0, len(values), size)):
        tree.put(0, number, values[first : first + size].sum())
    return float(tree.total())


def _room(value, n, padded) -> np.ndarray | None:
    """Return an array for what a function of chunks makes of n rows; None for CSR rows, and for nothing."""
    if not isinstance(value, np.ndarray):
        return None
    shape = (n + PADDING * padded, *value.shape[1:])
    # a table lies column after column, as kernels read it, unless it is of bytes
    return np.zeros(shape[::-1], value.dtype).T if padded and value.dtype.kind == "f" else np.zeros(shape, value.dtype)


def of_data(rows, which: Sequence[int] | Integers):
    """Return the rows of some data sets, by number in ascending order; rows that are one data set as they are."""
    return rows if rows.n_data == 1 else rows.of_data(which)


def count(rows) -> int:
    """Return the number of rows."""
    return len(rows) if hasattr(rows, "__len__") else rows.reduce(_length, ENTRY_WORK * rows.n_features)


def _length(chunk: Chunk) -> int:
    return len(chunk.X)


def first_row(rows) -> np.ndarray | CSRBlock:
    """Return the first row, (1, d)."""
    if isinstance(rows, ArrayRows):
        return rows.X[:1]
    if not hasattr(rows, "chunks"):  # rows that come in order need not be read to their end
        return rows.reduce(_first, ENTRY_WORK * rows.n_features).X
    with contextlib.closing(iter(rows.chunks(1))) as chunks:
        return next(chunks).X


@dataclass(frozen=True)
class First:
    """The first of some rows, (1, d); ``+`` keeps the earlier one."""

    X: Any

    def __add__(self, other: First) -> First:
        return self


def _first(chunk: Chunk) -> First:
    return First(chunk.X[:1])


def not_in_memory(what: str) -> ValueError:
    """Return the error for rows from elsewhere, where ``what`` needs them in memory."""
    return ValueError(f"{what} needs all rows in memory, as an array or a sparse matrix")


def check_total(rows) -> None:
    """Raise a ValueError if row weights sum to 0, or to what products of float64 cannot hold."""
    totals = rows.total_weights
    if not np.all(fine := (totals > 1e-150) & (totals < 1e150)):
        raise ValueError(
            f"sample_weight sums to {totals[np.argmin(fine)]:.3g}; it must be positive, and between 1e-150 and 1e150: "
            "divide the weights by their mean"
        )


def as_rows(X, sample_weight=None, n_jobs=None):
    """Return X as rows, unless it is rows already.

    Raises
    ------
    ValueError
        If X is no matrix, dense or sparse, with a row, or the weights are not one non-negative number for each row
        with a positive sum. If weights or n_jobs are given beside rows, or rows have no weight.
    """
    if is_rows(X):
        if sample_weight is not None:
            raise ValueError("sample_weight is given beside rows, which have weights of their own: give them to these")
        if n_jobs is not None:
            raise ValueError("n_jobs is given beside rows, which have threads of their own: give it to these")
        check_total(X)
        return X
    X = observations(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; it must be (n, d), with at least one row and one column")
    if sample_weight is not None:
        check_weight(sample_weight)
        sample_weight = np.ascontiguousarray(sample_weight, np.float64)
        if sample_weight.shape != (len(X),):
            raise ValueError(
                f"sample_weight has shape {sample_weight.shape}; X has {len(X)} rows, so it must be ({len(X)},)"
            )
        if not (np.all(sample_weight >= 0) and np.all(np.isfinite(sample_weight))):
            raise ValueError("sample_weight has a negative or infinite value or a NaN; weights must be finite and ≥ 0")
    rows = ArrayRows(X, sample_weight, n_jobs)
    if sample_weight is not None:
        check_total(rows)
    return rows
