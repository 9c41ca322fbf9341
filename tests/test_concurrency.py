"""Fits from several threads, after a fork, and beside other users of BLAS."""

import contextvars
import functools
import inspect
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import expfam_em as ef
from expfam_em.estimators.shell import EMEstimator
from expfam_em.rows import grid
from expfam_em.rows import threads as threads_module
from expfam_em.rows.helpers import Task, away_from_signals
from expfam_em.rows.memory import as_rows
from tests.problems import BY_NAME, Problem

NAMES = ["Gaussian-full-2", "Bernoulli", "Poisson", "Rayleigh"]


def fitted(problem):
    return ef.fit(problem.start, problem.X, problem.w, max_iter=5, tol=0, n_jobs=2)


def test_fits_in_four_threads_equal_those_in_one(many_chunks):
    problems = [Problem(BY_NAME[name], "random", seed=seed) for name in NAMES for seed in range(3)]
    alone = [fitted(problem) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fitted, problems))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.mixture.natural, other.mixture.natural)
        assert np.array_equal(one.bounds, other.bounds)


def test_an_error_in_one_chunk_reaches_the_caller_and_the_next_fit_works(monkeypatch):
    monkeypatch.setattr(grid, "CHUNK_WORK", 1)
    monkeypatch.setattr(grid, "FEWEST_ROWS", 1)
    rows = as_rows(np.arange(100.0)[:, None], n_jobs=3)

    def fails(chunk):
        if chunk.first == 42:
            raise KeyError("row 42")
        return chunk.X.sum()

    with pytest.raises(KeyError, match="row 42"):
        rows.reduce(fails, 1)
    assert rows.reduce(lambda chunk: chunk.X.sum(), 1) == 4950


def test_a_task_is_done_once_or_taken_back():
    done = []
    task = Task(lambda: done.append(1))
    task.end()  # nobody has begun it
    task.run()
    assert done == []
    for begin in (Task.begin, Task.offer):
        begin(task := Task(lambda: 42))
        assert task.result() == 42
        task.run()
        begin(task := Task(lambda: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            task.result()


def test_tasks_that_wait_for_one_another_have_threads_of_their_own():
    meeting = threading.Barrier(20, timeout=60)
    for _ in range(3):
        for task in (tasks := [Task(meeting.wait) for _ in range(20)]):
            task.offer()
        assert sorted(task.result() for task in tasks) == list(range(20))


FORK = """
import os
import threading

import numpy as np

import expfam_em as ef
from expfam_em.rows import grid
from expfam_em.rows.memory import as_rows

grid.CHUNK_WORK = grid.FEWEST_ROWS = 1
X = np.random.default_rng(0).normal(size=(200, 2))
start = ef.Mixture(ef.families.Gaussian("full"), [0.5, 0.5], [[1, 0, -0.5, 0, -0.5], [-1, 0, -0.5, 0, -0.5]])
before = ef.fit(start, X, max_iter=3, tol=0, n_jobs=2).bounds
child = os.fork()
if child == 0:
    same = np.array_equal(ef.fit(start, X, max_iter=3, tol=0, n_jobs=2).bounds, before)
    meeting = threading.Barrier(2, timeout=60)  # broken unless two threads of the child come
    as_rows(X[:2], n_jobs=2).reduce(lambda chunk: meeting.wait(), 1)
    os._exit(0 if same else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


FORK_MEANWHILE = """
import os
import sys
import threading
import warnings

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

import expfam_em as ef
from expfam_em.rows.threads import cached_property, undisturbed

class Slow:
    @cached_property
    def value(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inside.set()
            go_on.wait()

inside, go_on = threading.Event(), threading.Event()
X = np.random.default_rng(0).normal(size=(60, 2))
model = ef.GaussianMixture(2, random_state=0, max_iter=100, tol=1e-2).fit(X)  # every library is loaded
filters = list(warnings.filters)
threadpool_limits(2, user_api="blas")
other = threading.Thread(target=undisturbed(lambda: Slow().value), daemon=True)
other.start()
inside.wait()
child = os.fork()
if child == 0:
    assert warnings.filters == filters
    go_on.set()
    assert {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"} == {2}
    Slow().value
    model.fit(X)
    assert {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"} == {2}
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
go_on.set()
other.join()
assert warnings.filters == filters
assert {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"} == {2}
raise SystemExit(code)
"""


if hasattr(os, "fork"):

    @pytest.mark.parametrize("script", [FORK, FORK_MEANWHILE], ids=["alone", "meanwhile"])
    def test_a_fit_in_a_forked_child_equals_its_parents(script):
        done = subprocess.run([sys.executable, "-c", script], timeout=300, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_of_blas_are_what_they_were(threads):
    problem = Problem(BY_NAME["Gaussian-full-3"])
    fitted(problem)  # load every library first

    with threadpool_limits(threads, user_api="blas"):
        before = blas_threads()
        fitted(problem)
        assert blas_threads() == before
        with pytest.raises(ZeroDivisionError):
            threads_module.undisturbed(lambda: 1 / 0)()
        assert blas_threads() == before


def test_an_interruption_leaves_nothing_behind_wherever_a_function_begins():
    problem = Problem(BY_NAME["Poisson"])
    fitted(problem)

    def interrupt(frame, event, argument):
        """Raise as the n-th function of the module begins, as Ctrl-C may; other lines are not signals' to choose."""
        nonlocal left
        if event == "call" and frame.f_code.co_filename == threads_module.__file__:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return

    with threadpool_limits(2, user_api="blas"):
        for n in range(1, 200):
            left, before = n, sys.gettrace()
            try:
                sys.settrace(interrupt)
                fitted(problem)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(before)
            assert set(blas_threads()) == {2}, n
            if left > 0:
                break
    assert 20 < n < 199


def test_settings_that_an_interrupted_context_left_are_put_back():
    errors, filters = np.geterr(), warnings.filters

    @threads_module.undisturbed
    def interrupted():
        np.errstate(all="raise").__enter__()
        warnings.catch_warnings().__enter__()
        warnings.simplefilter("error", UserWarning)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert np.geterr() == errors
    assert warnings.filters is filters


def test_blas_is_put_back_where_no_line_of_what_does_it_is_reached(monkeypatch):
    def interrupt(stay):
        raise KeyboardInterrupt

    with threadpool_limits(2, user_api="blas"):
        monkeypatch.setattr(threads_module, "_leave", interrupt)
        with pytest.raises(KeyboardInterrupt):
            threads_module.undisturbed(lambda: None)()
        end = time.monotonic() + 20
        while set(blas_threads()) != {2} and time.monotonic() < end:
            time.sleep(0.001)
        assert set(blas_threads()) == {2}


def test_a_reader_stops_where_its_caller_is_gone_without_a_word(monkeypatch):
    closed = threading.Event()

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.set()

    def interrupt(_):
        raise KeyboardInterrupt

    def set_or_interrupt(ahead, name, value):
        if name == "stopped" and value:
            raise KeyboardInterrupt
        vars(ahead)[name] = value

    monkeypatch.setattr(threads_module._Ahead, "__setattr__", set_or_interrupt)
    with pytest.raises(KeyboardInterrupt):
        threads_module.run_ahead(interrupt, items(), 1)
    assert closed.wait(20)


def blas_threads():
    """Return the threads of every BLAS that is loaded."""
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


def test_blas_is_held_to_one_thread_inside_nested_and_parallel_use():
    look = threads_module.undisturbed(threads_module.undisturbed(blas_threads))

    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(4) as pool:
        inside = [future.result() for future in [pool.submit(look) for _ in range(8)]]
        after = blas_threads()
    assert min(map(len, inside)) >= 2  # SciPy's and NumPy's
    assert {number for numbers in inside for number in numbers} == {1}
    assert set(after) == {2}


def test_the_last_thread_inside_puts_blas_back_for_the_first():
    entered, left = threading.Barrier(2), threading.Event()

    def first():
        threads_module.undisturbed(entered.wait)()
        left.set()

    @threads_module.undisturbed
    def last():
        entered.wait()
        left.wait()
        return blas_threads()

    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(2) as pool:
        inside = [pool.submit(function) for function in (first, last)][1].result()
        assert (set(inside), set(blas_threads())) == ({1}, {2})


def test_what_is_set_is_noted_where_a_forked_child_finds_it(monkeypatch):
    noted, counts = [], threads_module._counts_for_the_process

    def looks(library):
        noted.append(library.filepath in threads_module._before)
        return counts(library)

    monkeypatch.setattr(threads_module, "_counts_for_the_process", looks)
    with threadpool_limits(2, user_api="blas"):
        threads_module.undisturbed(blas_threads)()
        assert set(blas_threads()) == {2}
    assert set(noted) == {True}


class OneNumberForEachThread:
    """A BLAS that keeps a number of threads for each thread that asks, as MKL does."""

    filepath = "libeach.so"

    def __init__(self):
        self.here = threading.local()

    def get_num_threads(self):
        return getattr(self.here, "threads", 4)

    def set_num_threads(self, threads):
        self.here.threads = threads


def test_a_blas_that_is_loaded_inside_and_counts_for_each_thread(monkeypatch):
    late = OneNumberForEachThread()
    found = threads_module.ThreadpoolController

    class Finds:
        def select(self, user_api):
            libraries = found().select(user_api=user_api)
            libraries.lib_controllers.append(late)
            return libraries

    def work(i):
        if i < 2:
            meeting.wait()  # two threads take part
        return late.get_num_threads()

    meeting = threading.Barrier(2, timeout=60)
    monkeypatch.setattr(threads_module, "_libraries", dict(threads_module._libraries))

    @threads_module.undisturbed
    def loads():
        monkeypatch.setattr(threads_module, "ThreadpoolController", Finds)
        monkeypatch.setitem(sys.modules, "a_module_that_brings_a_blas", threading)
        assert late.get_num_threads() == 4
        assert threads_module.run_in_order(work, range(6), 2) == [1] * 6
        assert late.get_num_threads() == 1

    loads()
    assert late.get_num_threads() == 4
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(late.get_num_threads).result() == 4


@pytest.fixture
def ctrl_c():
    """A function that does what Ctrl-C does, from any thread."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell sets it aside in the background
    yield functools.partial(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("times", [1, 2])
def test_what_ctrl_c_finds_in_a_thread_ends_by_itself(times, ctrl_c):
    seen, ended, go_on = [], threading.Event(), threading.Event()

    def work(is_wanted):
        seen.append(is_wanted())
        ctrl_c()
        while is_wanted():
            time.sleep(0.001)
        if times == 2:
            ctrl_c()
            go_on.wait(20)
        seen.append(is_wanted())
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        away_from_signals(work)
    assert ended.is_set() == (times == 1)
    go_on.set()
    assert ended.wait(20)
    assert seen == [True, False]


def test_what_a_thread_returns_or_raises_reaches_the_caller():
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(3)
    assert away_from_signals(lambda is_wanted: (is_wanted(), variable.get())) == (True, 3)
    with pytest.raises(KeyError, match="7"):
        away_from_signals(lambda is_wanted: {}[7])


def test_ctrl_c_that_comes_when_the_result_has_just_been_taken_does_not_wait_for_another(monkeypatch):
    result = Task.result

    def interrupted(task):
        result(task)
        raise KeyboardInterrupt

    monkeypatch.setattr(Task, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        away_from_signals(lambda is_wanted: 1)


def test_without_another_thread_the_caller_does_it(monkeypatch):
    def refuses(*given):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("expfam_em.rows.helpers._thread.start_new_thread", refuses)
    assert away_from_signals(lambda is_wanted: threading.get_ident()) == threading.get_ident()


WRITES = """
import sys, threading, time
from pathlib import Path

from expfam_em.rows.helpers import away_from_signals

def write(is_wanted):
    path.write_text("half")
    begun.set()
    time.sleep(0.5)
    path.unlink()

path, begun = Path(sys.argv[1]), threading.Event()
threading.Thread(target=away_from_signals, args=[write], daemon=True).start()
begun.wait()
"""


def test_the_end_of_the_process_waits_for_what_is_being_written(tmp_path):
    command = [sys.executable, "-c", WRITES, tmp_path / "file"]
    done = subprocess.run(command, timeout=300, capture_output=True, text=True, check=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, []), done.stderr


COMPUTE_NOTHING = {
    "fit_predict", "fit_transform", "plot", "predict", "predict_proba", "score_samples", "stack", "unchecked"
}  # fmt: skip
"""Methods that call others, or put values together."""

CALLED = {"_said_of_all", "_predicted", "_nearest"}
"""What some of these call, where a kernel alone has no answer."""

PLAIN = {"effective_sample_size", "register", "rows_from"}
"""Functions that compute nothing which NumPy may warn of."""


def is_undisturbed(function):
    """Return whether a function, or one that it wraps, is made by `undisturbed`."""
    while function is not None:
        if getattr(function, "__code__", None) is threads_module.undisturbed(print).__code__:
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def test_every_public_function_leaves_settings_as_they_were():
    public = {name: getattr(ef, name) for name in ef.__all__}
    functions = {name: it for name, it in public.items() if inspect.isfunction(it) and name not in PLAIN}
    for kind in (ef.Mixture, *(it for it in public.values() if inspect.isclass(it) and issubclass(it, EMEstimator))):
        own = inspect.getmembers(kind, lambda it: inspect.isfunction(it) and it.__module__.startswith("expfam_em."))
        functions |= {
            f"{kind.__name__}.{name}": it
            for name, it in own
            if name in CALLED or (name[0] != "_" and name not in COMPUTE_NOTHING)
        }
    assert len(functions) > 100
    assert {name.rpartition(".")[2] for name in functions} >= CALLED
    assert [name for name, it in functions.items() if not is_undisturbed(it)] == []
