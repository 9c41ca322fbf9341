"""Threads that work through a list in order, and BLAS held to one thread meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from numpy.linalg import _umath_linalg
from scipy.linalg import cython_blas


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
# The kernels do without, but not the families: NumPy and SciPy bring a BLAS each. Its threads would compete with ours,
# and round differently for each number of them, so it is held to one thread while we work, and set back when the last
# of any concurrent calls is done.

_lock = threading.Lock()
_holders = 0
_before: list[int] = []


@functools.cache
def _blas_threads() -> list:
    """Return the get and set functions of the OpenBLAS of SciPy and of NumPy; another BLAS is left alone."""
    found = []
    for path in (cython_blas.__file__, _umath_linalg.__file__):
        library = ctypes.CDLL(path)
        for prefix, suffix in itertools.product(("scipy_openblas", "openblas"), ("", "64_")):
            with contextlib.suppress(AttributeError):
                get = getattr(library, f"{prefix}_get_num_threads{suffix}")
                found.append((get, getattr(library, f"{prefix}_set_num_threads{suffix}")))
                break
    return found


@contextlib.contextmanager
def single_threaded_blas():
    """Hold BLAS to one thread inside; nested and concurrent use is fine."""
    global _holders, _before
    functions = _blas_threads()
    with _lock:
        if _holders == 0:
            _before = [get() for get, _ in functions]
            for _, set_ in functions:
                set_(1)
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                for (_, set_), threads in zip(functions, _before, strict=True):
                    set_(threads)
