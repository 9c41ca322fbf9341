"""Where the rows are and who adds up: rows as a sequence of fixed chunks, mapped by threads, merged in order."""

from __future__ import annotations

import itertools

import numpy as np

from expfam_em.estep.dense import Outputs, Scores, prepare
from expfam_em.family.optional import is_incomplete
from expfam_em.family.support import check_present
from expfam_em.rows.csr import CSRBlock, chunk_bounds, observations
from expfam_em.rows.threads import run_in_order, thread_count
from expfam_em.values.statistics import ExpectedStatistics

MAX_CHUNKS = 64
CHUNK_WORK = 4_000_000
"""Multiply-adds per chunk (a fraction of a millisecond) below which threads cost more than they save."""

DENSE_NUMBERS = 1 << 20
"""Numbers of sparse rows that are made dense at a time, for a family that looks at all rows beforehand."""

TABLE_NUMBERS = 1 << 25
"""Numbers of T, 256 MB, that are kept for the length of a fit where the kernel cannot make them itself."""

PART_NUMBERS = 1 << 15
"""Numbers of T that are evaluated in NumPy at a time."""

MERGED_NUMBERS = 1 << 23
"""Sums of chunks held at a time, 64 MB, before they are added up."""


class ArrayRows:
    """The rows of an array in memory, or mapped into it: one data set, or several of them one after another.

    The chunks depend only on the number of rows of a data set and the work per row, never on the number of threads,
    and their results are merged in order: any number of threads gives the same bits.

    Parameters
    ----------
    X : (n, d) array or CSRBlock
    sample_weight : (n,) float64, optional
    n_jobs : int, optional
        Threads; all cores if None or −1.
    sizes : (D,) int, optional
        Rows of each data set; one data set by default.
    """

    def __init__(self, X, sample_weight=None, n_jobs=None, sizes=None):
        self.X, self.sample_weight = X, sample_weight
        self.by_statistic = isinstance(X, CSRBlock)
        self.n_jobs = thread_count(n_jobs)
        self.starts = np.concatenate([[0], np.cumsum([len(X)] if sizes is None else sizes)])

    def __len__(self) -> int:
        return len(self.X)

    @property
    def n_features(self) -> int:
        return self.X.shape[1]

    @property
    def n_data(self) -> int:
        """Number of data sets D."""
        return len(self.starts) - 1

    @property
    def total_weight(self) -> float:
        """Σ of the row weights."""
        return float(len(self)) if self.sample_weight is None else float(self.sample_weight.sum())

    @property
    def total_weights(self) -> np.ndarray:
        """Σ of the row weights of each data set, (D,)."""
        return np.diff(self.starts).astype(np.float64) if self.sample_weight is None else self.sum(self.sample_weight)

    def sum(self, values) -> np.ndarray:
        """Return the sum of one value a row over each data set, (n,) -> (D,)."""
        return np.add.reduceat(values, self.starts[:-1])

    def check_total(self) -> None:
        """Raise a ValueError if the weights sum to 0, or to what products of float64 cannot hold."""
        totals = self.total_weights
        if not np.all((totals > 1e-150) & (totals < 1e150)):
            raise ValueError(
                f"sample_weight sums to {totals[np.argmin((totals > 1e-150) & (totals < 1e150))]:.3g}; it must be "
                "positive, and between 1e-150 and 1e150: divide the weights by their mean"
            )

    def check_support(self, family) -> None:
        """Raise the family's ValueError if a row that carries weight is outside its support."""
        if self.sample_weight is None:
            family.check_rows(self.X)
        else:
            check_present(family, self.X, self.sample_weight > 0)

    def part(self, rows: slice):
        """Return X and sample_weight of some rows."""
        return self.X[rows], None if self.sample_weight is None else self.sample_weight[rows]

    def __iter__(self):
        """Yield (X, sample_weight) blocks of at most 2¹⁶ rows, dense, without the rows of weight 0."""
        step = max(1, DENSE_NUMBERS // self.n_features) if isinstance(self.X, CSRBlock) else 1 << 16
        for first in range(0, len(self), step):
            X, weight = self.part(slice(first, first + step))
            X = np.asarray(X)
            if weight is not None and not np.all(weight > 0):
                X, weight = X[weight > 0], weight[weight > 0]
            yield X, weight

    def map(self, function, work_per_row=1) -> list:
        """Return [function(X, sample_weight, rows)] over chunks, ``rows`` being the slice that each covers."""
        slices = [slice(start, stop) for start, stop in _chunks(self.X, 0, len(self), work_per_row)]
        return run_in_order(lambda rows: function(*self.part(rows), rows), slices, self.n_jobs)

    def tasks(self, data, work_per_row) -> list[np.ndarray]:
        """Return what the kernel is called with: items (start, stop, mixture, mixture), many small ones at once.

        ``data`` (B,) is the data set of each mixture.
        """
        order = np.argsort(data, kind="stable")
        first = np.searchsorted(data[order], np.arange(self.n_data + 1))
        items = [
            (start, stop, mixture, mixture)
            for at in np.flatnonzero(np.diff(first))
            for start, stop in _chunks(self.X, self.starts[at], self.starts[at + 1], work_per_row)
            for mixture in order[first[at] : first[at + 1]]
        ]
        table = np.array(items, np.int64)
        rows = np.diff(table[:, :2], axis=1)[:, 0]
        if rows.sum() * work_per_row <= CHUNK_WORK:
            return [table]
        ends = np.cumsum(rows * work_per_row) // CHUNK_WORK
        return np.split(table, np.flatnonzero(np.diff(ends)) + 1)

    def expected_statistics(self, mixture, temperature=1.0, data=None, totals=None, table=None) -> ExpectedStatistics:
        """Return the expected statistics of the rows under a mixture, with a bound that leaves out log h.

        Parameters
        ----------
        mixture : Mixture
            One, or a stack of B.
        temperature : float ≥ 0
        data : (B,) int, optional
            Data set of each mixture of a stack; the first by default.
        totals : (D, c), optional
            Sums over the rows of the statistics that components have in common, computed before.
        table : (n, c), optional
            What the kernel takes instead of X or beside it, see `evaluated`.
        """
        scores = Scores.of(mixture, self.by_statistic)
        B, K, p = scores.natural.shape
        n_common = 0 if totals is None else totals.shape[1]
        data = np.zeros(B, np.int64) if data is None else data
        run = prepare(
            mixture.family, scores, self.X, self.sample_weight, temperature, n_common=n_common, table=table
        )  # fmt: skip

        def task(items, n_slots):
            out = Outputs.of_sums(n_slots, K, p - n_common, self.by_statistic)
            run(items, out)
            return out

        out = self._merged(task, self.tasks(data, K * (p - n_common + 8)), B, K, p)
        if n_common:
            linear = out.sums[:, :, : p - n_common]
            out.sums[:, :, p - n_common :] = mixture.family.share_common(out.counts, linear, totals[data])
            out.bounds[:] += np.sum(scores.natural[:, 0, p - n_common :] * totals[data], axis=1)
        stack = _as_statistics(out, mixture.family)
        return stack if mixture.weights.ndim == 2 else stack[0]

    def revive(self, statistics, mixture, temperature=1.0):
        """Return both with empty clusters filled, if rows know how; these leave them as they are."""
        return statistics, mixture

    def _merged(self, task, tasks, B, K, p) -> Outputs:
        """Return the sums of ``task(items, n_slots) -> Outputs`` over tasks, in their order."""

        def with_slots(items):
            if len(items) == 1:
                mixtures, items[:, 3] = items[:, 2], 0
            else:
                mixtures, items[:, 3] = np.unique(items[:, 2], return_inverse=True)
            return mixtures, task(items, len(mixtures))

        out = Outputs.of_sums(B, K, p, self.by_statistic)
        held = max(4 * self.n_jobs, MERGED_NUMBERS // (K * p))
        for first in range(0, len(tasks), held):
            for slots, here in run_in_order(with_slots, tasks[first : first + held], self.n_jobs):
                out.counts[slots] += here.counts
                out.sums[slots, :, : here.sums.shape[2]] += here.sums
                out.bounds[slots] += here.bounds
                out.exposures[slots] += here.exposures
        return out

    def given_statistics(self, family, n_statistics, responsibilities_of, n_components) -> ExpectedStatistics:
        """Return the statistics of each data set, a stack, under responsibilities that are given.

        ``responsibilities_of(rows)`` returns those of a slice of rows, (len, K).
        """
        shape, data = (self.n_data, n_components), np.arange(self.n_data)
        scores = Scores(np.zeros((*shape, n_statistics)), np.zeros(shape), np.zeros(shape))

        def task(items, n_slots):
            rows = slice(int(items[:, 0].min()), int(items[:, 1].max()))
            given = np.array(responsibilities_of(rows), np.float64, order="C")  # writable, as the kernel wants it
            out = Outputs.of_sums(n_slots, n_components, n_statistics, self.by_statistic, responsibilities=given)
            here = items - [rows.start, rows.start, 0, 0]
            X, weight = self.part(rows)
            prepare(family, scores, X, weight, given=True)(here, out)
            return out

        out = self._merged(task, self.tasks(data, n_components * (n_statistics + 8)), *shape, n_statistics)
        return _as_statistics(out, family)

    def write(self, mixture, out: Outputs, data=None, temperature=1.0) -> None:
        """Fill outputs by row under a mixture, or under the mixture of its data set for each row."""
        scores = Scores.of(mixture, self.by_statistic)
        K, p = scores.natural.shape[1:]
        run = prepare(mixture.family, scores, self.X, None, temperature)
        tasks = self.tasks(np.zeros(1, np.int64) if data is None else data, K * (p + 8))
        run_in_order(lambda items: run(items, out), tasks, self.n_jobs)

    def evaluated(self, family) -> np.ndarray | None:
        """Return what the kernel takes instead of X, (n, c); None if it takes X, or if that would be too large.

        CSR rows it always takes, and beside them their exposures (n,), where there are any.
        """
        if self.by_statistic:
            return family.checked_exposure(self.X)
        if is_incomplete(family) or not family.evaluates(self.n_features):
            return None
        width = family.evaluate(self.X[:1]).shape[1]
        if len(self) * width > TABLE_NUMBERS:
            return None
        table = np.empty((width, len(self))).T  # the kernel reads column after column

        def chunk(X, weight, where):
            step = max(1, PART_NUMBERS // width)  # what is in between should stay in cache
            for first in range(0, len(X), step):
                part = slice(where.start + first, min(where.start + first + step, where.stop))
                table[part] = family.evaluate(X[first : first + step])

        self.map(chunk, 8 * width)
        return table

    def totals(self, family, n_statistics) -> np.ndarray:
        """Return Σ sample_weight · T over each data set, (D, p): the sums of one component."""
        shape = (self.n_data, 1)
        scores = Scores(np.zeros((*shape, n_statistics)), np.zeros(shape), np.zeros(shape))
        out = Outputs.of_sums(self.n_data, 1, n_statistics, self.by_statistic)
        run = prepare(family, scores, self.X, self.sample_weight)
        for items in self.tasks(np.arange(self.n_data), n_statistics):
            run(items, out)
        return out.sums[:, 0]


def _as_statistics(out: Outputs, family) -> ExpectedStatistics:
    exposures = out.exposures if np.any(out.exposures) else out.counts
    return ExpectedStatistics(out.counts, out.sums, out.bounds, exposures, family)


def _chunks(X, start, stop, work_per_row) -> list[tuple[int, int]]:
    """Return the ranges of rows that are computed and merged one by one."""
    if isinstance(X, CSRBlock):
        return list(itertools.pairwise((start + chunk_bounds(X.indptr[start : stop + 1], X.shape[1])).tolist()))
    chunk = max(-(-(stop - start) // MAX_CHUNKS), CHUNK_WORK // max(work_per_row, 1), 1)
    return [(first, min(first + chunk, stop)) for first in range(start, stop, chunk)]


def as_rows(X, sample_weight=None, n_jobs=None) -> ArrayRows:
    """Return X as rows, unless it is rows already.

    Raises
    ------
    ValueError
        If X is no matrix, dense or sparse, with a row, or the weights are not one non-negative number for each row
        with a positive sum.
    """
    if isinstance(X, ArrayRows):
        return X
    X = observations(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; it must be (n, d), with at least one row and one column")
    if sample_weight is not None:
        sample_weight = np.ascontiguousarray(sample_weight, np.float64)
        if sample_weight.shape != (len(X),):
            raise ValueError(
                f"sample_weight has shape {sample_weight.shape}; X has {len(X)} rows, so it must be ({len(X)},)"
            )
        if not (np.all(sample_weight >= 0) and np.all(np.isfinite(sample_weight))):
            raise ValueError("sample_weight has a negative or infinite value or a NaN; weights must be finite and ≥ 0")
    rows = ArrayRows(X, sample_weight, n_jobs)
    rows.check_total()
    return rows
