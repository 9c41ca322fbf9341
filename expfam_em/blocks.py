"""Where the rows are and who adds up: rows as a sequence of fixed chunks, mapped by threads, merged in order."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import operator
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.linalg import cython_blas

from expfam_em.mixture import expected_statistics
from expfam_em.statistics import ExpectedStatistics

MAX_CHUNKS = 64
CHUNK_WORK = 4_000_000
"""Multiply-adds per chunk (a fraction of a millisecond) below which threads cost more than they save."""


class ArrayRows:
    """The rows of an array in memory, or mapped into it.

    The chunks depend only on the number of rows and the work per row, never on the number of threads, and their
    results are merged in order: any number of threads gives the same bits.

    Parameters
    ----------
    X : (n, d)
    sample_weight : (n,) float64, optional
    n_jobs : int, optional
        Threads; all cores if None or −1.
    """

    def __init__(self, X, sample_weight=None, n_jobs=None):
        self.X, self.sample_weight = X, sample_weight
        self.n_jobs = thread_count(n_jobs)

    def __len__(self) -> int:
        return len(self.X)

    @property
    def n_features(self) -> int:
        return self.X.shape[1]

    @property
    def total_weight(self) -> float:
        return float(len(self)) if self.sample_weight is None else float(self.sample_weight.sum())

    def check_total(self) -> None:
        """Raise a ValueError if the weights sum to 0, or to what products of float64 cannot hold."""
        if not 1e-150 < self.total_weight < 1e150:
            raise ValueError(
                f"sample_weight sums to {self.total_weight:.3g}; it must be positive, and between 1e-150 and 1e150: "
                "divide the weights by their mean"
            )

    def part(self, rows: slice):
        """Return X and sample_weight of some rows."""
        return self.X[rows], None if self.sample_weight is None else self.sample_weight[rows]

    def __iter__(self):
        """Yield (X, sample_weight) blocks of at most 2¹⁶ rows, without the rows of weight 0."""
        for first in range(0, len(self), 1 << 16):
            X, weight = self.part(slice(first, first + (1 << 16)))
            if weight is not None and not np.all(weight > 0):
                X, weight = X[weight > 0], weight[weight > 0]
            yield X, weight

    def map(self, function, work_per_row=1) -> list:
        """Return [function(X, sample_weight, rows)] over the chunks, ``rows`` being the slice that each covers."""
        chunk = max(-(-len(self) // MAX_CHUNKS), CHUNK_WORK // max(work_per_row, 1), 1)
        slices = [slice(first, min(first + chunk, len(self))) for first in range(0, len(self), chunk)]
        return run_in_order(lambda rows: function(*self.part(rows), rows), slices, self.n_jobs)

    def reduce(self, function, work_per_row=1):
        """Return the ordered sum of function(X, sample_weight) over the chunks."""
        return functools.reduce(operator.add, self.map(lambda X, w, rows: function(X, w), work_per_row))

    def expected_statistics(self, mixture, temperature=1.0) -> ExpectedStatistics:
        """Return the expected statistics of the rows under a mixture, with a bound that leaves out log h."""
        K, p = mixture.natural.shape
        return self.reduce(lambda X, w: expected_statistics(mixture, X, w, temperature), K * (p + 8))


def as_rows(X, sample_weight=None, n_jobs=None) -> ArrayRows:
    """Return X as rows, unless it is rows already.

    Raises
    ------
    ValueError
        If X is no matrix with a row, or the weights are not one non-negative number for each row with a positive sum.
    """
    if isinstance(X, ArrayRows):
        return X
    X = np.asarray(X)
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


def thread_count(n_jobs) -> int:
    """Return the number of threads meant by ``n_jobs``; negative numbers count back from all cores, as in joblib."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_jobs is None:
        return cores
    if n_jobs == 0:
        raise ValueError("n_jobs is 0; give a number of threads, or None for all cores")
    return n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)


def run_in_order(function, items, n_jobs) -> list:
    """Return [function(item) for item in items], computed by the caller and up to n_jobs − 1 helper threads.

    The caller works too, so the call ends even when every thread of the pool is busy elsewhere.
    """
    helpers = min(n_jobs, len(items)) - 1
    with single_threaded_blas():
        if helpers < 1:
            return [function(item) for item in items]
        results = [None] * len(items)
        queue = itertools.count()

        def work():
            while (i := next(queue)) < len(items):
                results[i] = function(items[i])

        futures = [_pool().submit(work) for _ in range(helpers)]
        try:
            work()
        finally:
            next_free = next(queue)
            if next_free < len(items):  # the caller failed: let the helpers run dry
                for _ in range(len(items) - next_free):
                    next(queue)
            for future in futures:
                if not future.cancel():
                    future.result()
        return results


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(32, os.cpu_count() or 1), thread_name_prefix="expfam_em")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


# ---- BLAS ---------------------------------------------------------------------------------------------------
# numba's np.dot calls the BLAS that SciPy brings. Its own threads would compete with ours, so it is held to one
# thread while we work, and set back when the last of any concurrent calls is done.

_lock = threading.Lock()
_holders = 0
_before = 1


@functools.cache
def _blas_threads():
    """Return the get and set functions of SciPy's OpenBLAS; None for another BLAS, which is left alone."""
    library = ctypes.CDLL(cython_blas.__file__)
    for prefix, suffix in itertools.product(("scipy_openblas", "openblas"), ("", "64_")):
        with contextlib.suppress(AttributeError):
            return (
                getattr(library, f"{prefix}_get_num_threads{suffix}"),
                getattr(library, f"{prefix}_set_num_threads{suffix}"),
            )
    return None


@contextlib.contextmanager
def single_threaded_blas():
    """Hold BLAS to one thread inside; nested and concurrent use is fine."""
    global _holders, _before
    if (functions := _blas_threads()) is None:
        yield
        return
    get, set_ = functions
    with _lock:
        if _holders == 0:
            _before = get()
            set_(1)
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                set_(_before)
