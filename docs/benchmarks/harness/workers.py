"""Every library in a process of its own, with the same number of threads; they take turns."""

import contextlib
import importlib.util
import io
import multiprocessing
import sys
import time
import warnings

MODULES = {
    "ours": "expfam_em", "gemm": "numpy", "sklearn": "sklearn", "sklearnex": "sklearnex", "tgmm": "tgmm",
    "pomegranate": "pomegranate", "stepmix": "stepmix", "faiss": "faiss",
}  # fmt: skip
CALM = 0.25
"""Seconds to wait before another process works: threads of OpenMP spin that long after their last loop."""


class FailedError(Exception):
    """A library is missing or has raised an error."""


class Library:
    """A fresh process that calls functions for one library: ``function(name, *args)``."""

    def __init__(self, name):
        self.name = name
        if importlib.util.find_spec(MODULES[name]) is None:
            raise FailedError(f"{MODULES[name]} is not installed")
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
        """Return the same, or None after noting the failure."""
        try:
            return self.call(name, function, *args)
        except FailedError as error:
            self.failures[name] = str(error)
            print(f"    {name}: {error}", file=sys.stderr, flush=True)
            return None

    def take_turns(self, timers, repeats=3):
        """Return {key: least seconds}; ``timers`` is {key: (library, function, *args)}, run one after another."""
        best = {}
        for _ in range(repeats):
            for key, (name, function, *args) in timers.items():
                if key in best and best[key] is None:
                    continue
                seconds = self.attempt(name, function, *args)
                best[key] = None if seconds is None else min(seconds, best.get(key, seconds))
        return best


def best_of(function, at_least=0.2):
    """Return the least seconds of calls, one or more, repeated until ``at_least`` seconds have gone."""
    best, total = float("inf"), 0.0
    while best == float("inf") or total < at_least:
        start = time.perf_counter()
        function()
        seconds = time.perf_counter() - start
        best, total = min(best, seconds), total + seconds
    return best
