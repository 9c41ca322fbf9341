"""Every library in a process of its own, with the same number of threads; they take turns."""

import contextlib
import importlib.util
import io
import multiprocessing
import sys
import time
import warnings

from harness import programs
from harness.timing import Timing

MODULES = {
    "ours": "expfam_em", "gemm": "numpy", "sklearn": "sklearn", "sklearnex": "sklearnex", "tgmm": "tgmm",
    "pomegranate": "pomegranate", "stepmix": "stepmix", "faiss": "faiss", "mlpack": "mlpack", "mixle": "mixle",
}  # fmt: skip
CALM = 0.25
"""Seconds to wait before another process works: threads of OpenMP spin that long after their last loop."""
LONG = {1: 5.0, 2: 1.5}
"""Seconds of a call from which on it is made in no more than so many turns."""
MISSING = set()
"""Libraries that are not installed, each of which is reported once."""


class FailedError(Exception):
    """A library is missing or has raised an error."""


def missing(name):
    """Return whether a library is not installed; the first time, say so."""
    if name not in MISSING:
        there = importlib.util.find_spec(MODULES[name]) if name in MODULES else programs.version(name)
        if there:
            return False
        MISSING.add(name)
        print(f"    {name} is not installed", file=sys.stderr, flush=True)
    return True


class Library:
    """A fresh process that calls functions for one library: ``function(name, *args)``."""

    def __init__(self, name):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, name), daemon=True)
        self.process.start()
        other.close()

    def call(self, function, *args):
        """Return function(name, *args), called in the process.

        Raises
        ------
        FailedError
            If the function raises, or the process dies.
        """
        try:
            self.pipe.send((function, args))
            done, result = self.pipe.recv()
        except (EOFError, BrokenPipeError) as error:
            raise FailedError("the process ended") from error
        if not done:
            raise FailedError(result)
        return result

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(None)
        self.process.join(20)


def _serve(pipe, name):
    warnings.simplefilter("ignore")
    while (message := pipe.recv()) is not None:
        function, args = message
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = function(name, *args)
            pipe.send((True, result))
        except Exception as error:
            pipe.send((False, f"{type(error).__name__}: {error}".splitlines()[0][:200]))


class Libraries:
    """The processes of a section, started when first used; a context manager that ends them."""

    def __init__(self):
        self.running, self.last, self.failures = {}, None, {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for library in self.running.values():
            library.close()

    def call(self, name, function, *args):
        """Return function(name, *args) from the library's process, after a pause if another one worked last."""
        if name not in self.running:
            self.running[name] = Library(name)
        if self.last not in (None, name):
            time.sleep(CALM)
        self.last = name
        return self.running[name].call(function, *args)

    def attempt(self, name, function, *args):
        """Return the same; None if the library is missing, or after noting that it failed."""
        if missing(name):
            return None
        try:
            return self.call(name, function, *args)
        except FailedError as error:
            self.failures[name] = str(error)
            print(f"    {name}: {error}", file=sys.stderr, flush=True)
            return None

    def take_turns(self, timers, repeats=3):
        """Return {key: Timing}, None after a failure; ``timers`` is {key: (library, function, *args)}, run in turn.

        Functions return a `Time`. Those that take long make fewer turns.
        """
        times, spent, failed = {key: [] for key in timers}, dict.fromkeys(timers, 0.0), set()
        for turn in range(repeats):
            for key, (name, function, *args) in timers.items():
                if key in failed or spent[key] > LONG.get(turn, float("inf")):
                    continue
                start = time.perf_counter()
                result = self.attempt(name, function, *args)
                spent[key] = time.perf_counter() - start
                if result is None:
                    failed.add(key)
                else:
                    times[key].append(result)
        return {key: None if key in failed else Timing.least(found) for key, found in times.items()}
