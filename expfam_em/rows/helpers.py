"""Helper threads that Ctrl-C cannot stop in the middle of anything.

A signal's handler runs in the main thread, between any two lines of Python. Locks of `threading` and pools of
`concurrent.futures` have such lines between taking a lock and being sure to give it back: who waits for it later waits
for ever. So helpers are started, given work and waited for by functions made in C alone.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import contextvars
import functools
import os
import queue
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

_away: list[bool] = []
"""An entry for each function that is being called away from signals."""


LOOKS = 0.1
"""Seconds after which who waits looks again: for signals, as one that comes just before a wait does not end it, and
whether what is waited for is still wanted."""


class Task:
    """A function that another thread calls, unless it is taken back before."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.claims = [True]
        """Who takes the one entry decides what becomes of the task."""
        self.done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def begin(self) -> None:
        """Let a thread of its own call the function."""
        _thread.start_new_thread(self.run, ())

    def offer(self) -> None:
        """Let one of the helper threads call the function, when one is free."""
        _helpers().take(self)

    def run(self) -> None:
        """Call the function, in the thread that comes first."""
        if self._is_claimed():
            try:
                self.done.put((self.function(), None))
            except BaseException as error:
                self.done.put((None, error))
            self.done.put((None, None))  # Ctrl-C may come when the first has just been taken: who waits again gets this

    def _is_claimed(self) -> bool:
        try:
            return self.claims.pop()
        except IndexError:
            return False

    def result(self) -> Any:
        """Wait until it is done, and return what the function returned, or raise what it raised."""
        value, error = self._taken()
        if error is not None:
            raise error
        return value

    def _taken(self) -> tuple[Any, BaseException | None]:
        while True:
            with contextlib.suppress(queue.Empty):
                return self.done.get(timeout=LOOKS)

    def wait(self) -> None:
        """Take the task back if nobody has begun it; else wait until it is done, even if one has waited before."""
        if not self._is_claimed():
            self._taken()

    def end(self) -> None:
        """Take the task back if nobody has begun it; else wait until it is done, and raise what it raised."""
        if not self._is_claimed():
            self.result()


def away_from_signals(function: Callable[[Callable[[], bool]], Result]) -> Result:
    """Call a function in a thread that no signal reaches, wait for it, and return what it returns.

    So what it opens it closes. Ctrl-C ends the wait once the function has ended; Ctrl-C a second time ends it at once.
    Where the system gives no more threads, the caller's own calls it.

    Parameters
    ----------
    function : callable (is_wanted) -> result
        It may ask ``is_wanted()``, which is false once Ctrl-C has come.
    """
    wanted, context = [True], contextvars.copy_context()

    def noted() -> Result:
        _away.append(True)
        try:
            return context.run(function, lambda: bool(wanted))
        finally:
            _away.pop()

    task = Task(noted)
    try:
        try:
            task.begin()
        except RuntimeError:  # the system gives no more threads, or the process is about to end
            task.run()
        return task.result()
    except BaseException:
        wanted.clear()
        task.wait()
        raise


class _Helpers:
    """Threads that wait for tasks: as many as were wanted at one time, up to a most."""

    def __init__(self) -> None:
        self.most = max(32, os.cpu_count() or 1)
        self.tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self.free: list[bool] = []
        """An entry for each thread that waits and has not been given a task."""
        self.begun: list[bool] = []

    def take(self, task: Task) -> None:
        """Let a thread do a task."""
        try:
            self.free.pop()
        except IndexError:
            if len(self.begun) < self.most:
                with contextlib.suppress(RuntimeError):  # the system gives no more threads: who calls works alone
                    _thread.start_new_thread(self._serve, ())
                    self.begun.append(True)
        self.tasks.put(task)

    def _serve(self) -> None:
        while True:
            self.tasks.get().run()
            self.free.append(True)


@functools.cache
def _helpers() -> _Helpers:
    return _Helpers()


def forget() -> None:
    """Forget the threads of the parent, of which a forked child has none."""
    _helpers.cache_clear()
    _away.clear()


@atexit.register
def _wait_for_away() -> None:
    """Let threads that write end by themselves, which the end of the process would cut short."""
    while _away:
        time.sleep(0.001)
