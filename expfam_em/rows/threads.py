"""Threads that work through a list in order, and BLAS held to one thread meanwhile."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import scipy.linalg.cython_blas  # noqa: F401 - loads SciPy's BLAS, so that it is found together with NumPy's
from threadpoolctl import LibController, OpenBLASController, ThreadpoolController


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

        def help_out():
            with single_threaded_blas():  # some libraries count for each thread
                work()

        futures = [_pool().submit(help_out) for _ in range(helpers)]
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
# The kernels do without BLAS, but the families use it: NumPy and SciPy bring one each. Its threads would compete with
# ours, and results would be rounded differently for each number of them. So every BLAS that threadpoolctl knows is held
# to one thread while we work. Most libraries have one number of threads for the process: the first thread inside sets
# it, the last one puts it back. Others, such as MKL, have one for each thread: each thread sets and puts back its own.

_lock = threading.Lock()
_libraries: dict[str, LibController] = {}
"""Every BLAS found so far, by the path of its file."""

_before: dict[str, int] = {}
"""Threads that libraries with one number for the process had, while somebody is inside."""

_threads_inside = 0
_n_modules = -1
"""Size of sys.modules when libraries were last looked for, which takes a millisecond."""


class _Here(threading.local):
    """What each thread knows: how deep it is inside, what it has to put back, the modules it has seen."""

    depth = 0
    n_modules = -1

    def __init__(self):
        self.before: dict[str, int] = {}


_here = _Here()

if hasattr(os, "register_at_fork"):  # no child may inherit a lock that nobody in it will release
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@contextlib.contextmanager
def single_threaded_blas():
    """Hold BLAS to one thread inside; nested and concurrent use is fine.

    A library that comes with a module imported inside is held from the next, nested, use on.
    """
    if _here.depth == 0 or _here.n_modules != len(sys.modules):
        _hold()
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1
        if _here.depth == 0:
            _release()


def _hold():
    """Set to one thread what is not yet held."""
    global _n_modules, _threads_inside
    with _lock:
        _here.n_modules = len(sys.modules)
        if _n_modules != _here.n_modules:
            for library in ThreadpoolController().select(user_api="blas").lib_controllers:
                _libraries.setdefault(library.filepath, library)
            _n_modules = _here.n_modules
        loose = {path: library for path, library in _libraries.items() if not (path in _before or path in _here.before)}
        threads = {path: library.get_num_threads() for path, library in loose.items()}
        threads = {path: number for path, number in threads.items() if number not in (None, 1)}
        _set_threads(dict.fromkeys(threads, 1))
        for path, number in threads.items():
            (_before if _counts_for_the_process(_libraries[path]) else _here.before)[path] = number
        _threads_inside += _here.depth == 0


def _release():
    """Put back what this thread alone has set; the last thread inside puts back the rest."""
    global _threads_inside
    with _lock:
        _put_back(_here.before)
        _threads_inside -= 1
        if _threads_inside == 0:
            _put_back(_before)


def _put_back(before):
    _set_threads(before)
    before.clear()


def _set_threads(threads):
    if not threads:
        return
    # threadpoolctl from 3.8 on lets a single thread at a time change OpenBLAS and ignores all others without a word,
    # but the last thread inside must be able to put back what the first one has set
    give_up_control = getattr(OpenBLASController, "clear_controlling_thread", lambda force=False: None)
    give_up_control(force=True)
    for path, number in threads.items():
        _libraries[path].set_num_threads(number)
    give_up_control()


@functools.cache
def _counts_for_the_process(library) -> bool:
    """Return whether another thread sees the one thread that this thread has just set."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(library.get_num_threads).result() == 1
