"""Threads that work through a list in order, and settings of the process that every call leaves as they were."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import functools
import os
import queue
import sys
import threading
import warnings
import weakref
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - loads SciPy's BLAS, so that it is found together with NumPy's
from threadpoolctl import LibController, OpenBLASController, ThreadpoolController

from expfam_em.rows import helpers
from expfam_em.rows.helpers import LOOKS, Task

Function = TypeVar("Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    from functools import cached_property
else:

    class cached_property(functools.cached_property):
        """functools.cached_property without its lock, which a child forked meanwhile would wait for for ever."""

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            return vars(instance).setdefault(self.attrname, self.func(instance))


settings_lock = threading.RLock()
"""Held while a setting of the process is changed, so that no fork happens meanwhile."""


# ---- BLAS ---------------------------------------------------------------------------------------------------
# The kernels do without BLAS, but the families use it: NumPy and SciPy bring one each. Its threads would compete with
# ours, and results would be rounded differently for each number of them. So every BLAS that threadpoolctl knows is held
# to one thread while we work. Most libraries have one number of threads for the process: the first thread inside sets
# it, the last one puts it back. Others, such as MKL, have one for each thread: each thread sets and puts back its own.
#
# Ctrl-C comes between any two lines, even before the first line of a function that was to clean up. So whatever is
# changed is noted beforehand, what puts it back may be called twice, and a call that is gone is not counted any more.
# If Ctrl-C comes again while a call is being left, a thread that no signal reaches does what is left to do.

_libraries: dict[str, LibController] = {}
"""Every BLAS found so far, by the path of its file."""

_before: dict[str, int] = {}
"""Threads that libraries with one number for the process had, while somebody is inside."""

ERRORS_OF_THREADS = int(np.__version__.split(".")[0]) < 2
"""Whether NumPy's handling of floating-point errors is a setting of the thread and not of its context."""

_n_modules = -1
"""Size of sys.modules when libraries were last looked for, which takes a millisecond."""


class _Call:
    """A call, as long as it lasts: it is gone with the frame of the function, whatever else was cut short."""


class _Stay(_Call):
    """The outermost call of a thread."""

    def __init__(self):
        self.filters = warnings.filters
        self.errors = np.geterr() if ERRORS_OF_THREADS else None


_inside: set[Callable[[], _Stay | None]] = set()
"""References to calls that last. A WeakSet would forget calls by a function in Python, in which Ctrl-C is lost."""


class _Here(threading.local):
    """What each thread knows: its outermost call, what that has to put back, the modules it has seen."""

    stay: Callable[[], _Stay | None] = staticmethod(lambda: None)
    n_modules = -1

    def __init__(self):
        self.before: dict[str, int] = {}


_here = _Here()


def undisturbed(function: Function) -> Function:
    """Make a function hold BLAS to one thread, and leave settings as they were however it ends; a decorator.

    Settings are the threads of BLAS, NumPy's handling of floating-point errors and other context variables, and the
    filters of warnings. Nested and concurrent use is fine. A library that comes with a module imported inside is held
    from the next, nested, use on.
    """

    @functools.wraps(function)
    def held(*arguments, **named):
        if _here.stay() is not None:
            if _here.n_modules != len(sys.modules):
                _hold()
            return function(*arguments, **named)
        stay = _Stay()
        try:
            _enter(stay)
            return contextvars.copy_context().run(function, *arguments, **named)
        finally:
            try:
                _leave(stay)
            except BaseException:  # Ctrl-C, and perhaps once more
                try:
                    _leave(stay)
                except BaseException:
                    _leave(stay)
                    raise
                raise

    return held  # type: ignore[return-value]


def _enter(stay):
    gone = _gone()
    with settings_lock:
        _here.stay = weakref.ref(stay, gone.put)  # a function made in C, which Ctrl-C cannot cut short
        _inside.add(_here.stay)
        _hold()


@functools.cache
def _gone() -> queue.SimpleQueue[Any]:
    """Return where calls are noted that end without having been left; a thread puts back what they have set."""
    gone: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put_back():
        while True:
            gone.get()
            with settings_lock:
                _put_back_if_nobody_is_inside()

    start_new_thread(put_back, ())
    return gone


def _hold():
    """Set to one thread what is not yet held."""
    global _n_modules
    with settings_lock:
        _here.n_modules = len(sys.modules)
        if _n_modules != _here.n_modules:
            for library in ThreadpoolController().select(user_api="blas").lib_controllers:
                _libraries.setdefault(library.filepath, library)
            _n_modules = _here.n_modules
        for path, library in _libraries.items():
            if path in _before or path in _here.before or (threads := library.get_num_threads()) in (None, 1):
                continue
            _before[path] = threads  # for all threads until it is known better: after a fork another one puts it back
            _set_threads(path, 1)
            if not _counts_for_the_process(library):
                _here.before[path] = threads
                del _before[path]


def _leave(stay):
    """Put back what this thread alone has set; the last thread inside puts back the rest."""
    with settings_lock:
        _put_back(_here.before)
        if stay.errors:
            np.seterr(**stay.errors)
        _inside.discard(_here.stay)
        _here.stay = _Here.stay
        _put_back_if_nobody_is_inside()
    # an exception from a signal handler may have kept warnings.catch_warnings from putting back its filter
    if sys.exc_info()[0] is not None and threading.get_ident() == threading.main_thread().ident:
        _put_back_filters(stay)


def _put_back_filters(stay):
    added = len(warnings.filters) - len(stay.filters)
    if added > 0 and warnings.filters[added:] == stay.filters:
        warnings.filters = stay.filters


def _put_back_if_nobody_is_inside():
    _inside.difference_update([stay for stay in _inside if stay() is None])
    if not _inside:
        _put_back(_before)


def _put_back(before):
    for path in list(before):
        _set_threads(path, before[path])
        del before[path]


def _set_threads(path, threads):
    # threadpoolctl from 3.8 on lets a single thread at a time change OpenBLAS and ignores all others without a word,
    # but the last thread inside must be able to put back what the first one has set
    give_up_control = getattr(OpenBLASController, "clear_controlling_thread", lambda force=False: None)
    give_up_control(force=True)
    _libraries[path].set_num_threads(threads)
    give_up_control()


@functools.cache
def _counts_for_the_process(library) -> bool:
    """Return whether another thread sees the one thread that this thread has just set."""
    other = Task(library.get_num_threads)
    other.begin()
    return bool(other.result() == 1)


# ---- threads ------------------------------------------------------------------------------------------------


def thread_count(n_jobs) -> int:
    """Return the number of threads meant by ``n_jobs``; negative numbers count back from all cores, as in joblib."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_jobs is None:
        return cores
    if n_jobs == 0:
        raise ValueError("n_jobs is 0; give a number of threads, or None for all cores")
    return n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)


@undisturbed
def run_in_order(function, items, n_jobs) -> list:
    """Return [function(item) for item in items], computed by the caller and up to n_jobs − 1 helper threads.

    The caller works too, so the call ends even when every thread of the pool is busy elsewhere.
    """
    n_helpers = min(n_jobs, len(items)) - 1
    if n_helpers < 1:
        return [function(item) for item in items]
    results, left = [None] * len(items), collections.deque(range(len(items)))

    @undisturbed  # some libraries count for each thread
    def work():
        while True:
            try:
                i = left.popleft()
            except IndexError:
                return
            results[i] = function(items[i])

    tasks = [Task(work) for _ in range(n_helpers)]
    try:
        for task in tasks:
            task.offer()
        work()
    finally:
        left.clear()  # the caller failed: let the helpers run dry
        for task in tasks:
            task.end()
    return results


class _Ahead:
    """Numbered items that one thread reads for those who work on them, a few at a time, as long as the caller is there.

    Its queues are made in C, so that Ctrl-C cannot leave a lock of theirs taken.
    """

    end = object()

    def __init__(self, n_waiting: int, caller: _Call) -> None:
        self.waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(n_waiting):
            self.room.put(None)
        self.is_called = weakref.ref(caller)
        self.stopped = False
        self.failed: list[BaseException] = []

    def read(self, items: Any) -> None:
        """Read all items, unless somebody stops."""
        try:
            with contextlib.closing(items) if hasattr(items, "close") else contextlib.nullcontext():
                for i, item in enumerate(items):
                    if not self._has_room():
                        break
                    self.waiting.put((i, item))
                    del item  # nobody else may hold it longer
        except BaseException as error:
            self.failed.append(error)
        self.waiting.put(self.end)

    def _has_room(self) -> bool:
        """Wait until an item may be put; return whether anybody still wants one."""
        while not self.stopped and self.is_called():
            with contextlib.suppress(queue.Empty):
                self.room.get(timeout=LOOKS)
                return not self.stopped
        return False

    def taken(self) -> Any:
        """Return the next item, `end` if there is none."""
        while not self.stopped and self.is_called():
            with contextlib.suppress(queue.Empty):
                item = self.waiting.get(timeout=LOOKS)
                if item is self.end:
                    self.waiting.put(item)  # for the others
                else:
                    self.room.put(None)
                return item
        return self.end


@undisturbed
def run_ahead(function: Callable[[Any], object], items: Iterator[Any], n_jobs: int) -> None:
    """Call a function with (i, item i), by the caller and up to n_jobs − 1 helper threads, while one more reads ahead.

    No more than 2 n_jobs + 2 items are held at a time. What a call or the reading raises is raised here. Items from a
    generator are closed however it ends, so that it keeps no file open.
    """
    caller = _Call()
    ahead = _Ahead(n_jobs + 1, caller)

    @undisturbed
    def work():
        try:
            while (item := ahead.taken()) is not ahead.end:
                function(item)
                del item
        except BaseException:
            ahead.stopped = True
            raise

    reading, tasks = Task(lambda: ahead.read(items)), [Task(work) for _ in range(n_jobs - 1)]
    try:
        reading.begin()
        for task in tasks:
            task.offer()
        work()
    finally:
        ahead.stopped = True
        ahead.room.put(None)
        for task in (reading, *tasks):
            task.end()
        ahead.waiting = queue.SimpleQueue()
        tasks.clear()  # an error of theirs would hold this frame, and with it what has been read
    if ahead.failed:
        raise ahead.failed.pop()


# ---- children -----------------------------------------------------------------------------------------------


def _alone():
    """Forget the threads of the parent, of which a forked child has the one that forked."""
    helpers.forget()
    _gone.cache_clear()
    for gone in [stay() for stay in _inside - {_here.stay}]:
        if gone is not None:
            _put_back_filters(gone)
    _inside.intersection_update({_here.stay})
    _put_back_if_nobody_is_inside()
    settings_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=settings_lock.acquire, after_in_parent=settings_lock.release, after_in_child=_alone)
