"""Fits from several threads, after a fork, and beside other users of BLAS."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import expfam_em as ef
from expfam_em.rows import grid
from expfam_em.rows import threads as threads_module
from expfam_em.rows.memory import as_rows
from tests.problems import BY_NAME, Problem

NAMES = ["Gaussian-full-2", "Bernoulli", "Poisson", "Rayleigh"]


def fitted(problem):
    return ef.fit(problem.start, problem.X, problem.w, max_iter=5, tol=0, n_jobs=2)


def test_fits_in_four_threads_equal_those_in_one(monkeypatch):
    monkeypatch.setattr(grid, "CHUNK_WORK", 1)
    problems = [Problem(BY_NAME[name], "random", seed=seed) for name in NAMES for seed in range(3)]
    alone = [fitted(problem) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fitted, problems))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.mixture.natural, other.mixture.natural)
        assert np.array_equal(one.bounds, other.bounds)


def test_an_error_in_one_chunk_reaches_the_caller_and_the_next_fit_works(monkeypatch):
    monkeypatch.setattr(grid, "CHUNK_WORK", 1)
    monkeypatch.setattr(grid, "LEAST_ROWS", 1)
    rows = as_rows(np.arange(100.0)[:, None], n_jobs=3)

    def fails(chunk):
        if chunk.first == 42:
            raise KeyError("row 42")
        return chunk.X.sum()

    with pytest.raises(KeyError, match="row 42"):
        rows.reduce(fails, 1)
    assert rows.reduce(lambda chunk: chunk.X.sum(), 1) == 4950


FORK = """
import os
import threading

import numpy as np

import expfam_em as ef
from expfam_em.rows import grid
from expfam_em.rows.memory import as_rows

grid.CHUNK_WORK = grid.LEAST_ROWS = 1
X = np.random.default_rng(0).normal(size=(200, 2))
start = ef.Mixture(ef.families.Gaussian("full"), [0.5, 0.5], [[1, 0, -0.5, 0, -0.5], [-1, 0, -0.5, 0, -0.5]])
before = ef.fit(start, X, max_iter=3, tol=0, n_jobs=2).bounds
child = os.fork()
if child == 0:
    same = np.array_equal(ef.fit(start, X, max_iter=3, tol=0, n_jobs=2).bounds, before)
    meeting = threading.Barrier(2, timeout=20)  # broken unless two threads of the child come
    as_rows(X[:2], n_jobs=2).reduce(lambda chunk: meeting.wait(), 1)
    os._exit(0 if same else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


if hasattr(os, "fork"):

    def test_a_fit_in_a_forked_child_equals_its_parents():
        done = subprocess.run([sys.executable, "-c", FORK], timeout=60, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_of_blas_are_what_they_were(threads):
    problem = Problem(BY_NAME["Gaussian-full-3"])
    fitted(problem)  # load every library first

    def blas():
        return {info["filepath"]: info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}

    with threadpool_limits(threads, user_api="blas"):
        before = blas()
        fitted(problem)
        assert blas() == before
        with pytest.raises(ZeroDivisionError), threads_module.single_threaded_blas():
            raise ZeroDivisionError
        assert blas() == before


def test_blas_is_held_to_one_thread_inside_nested_and_parallel_use():
    inside = []

    def look():
        with threads_module.single_threaded_blas(), threads_module.single_threaded_blas():
            inside.extend(get() for get, _ in threads_module._blas_threads())

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(look) for _ in range(8)]:
            future.result()
    assert len(inside) >= 16  # SciPy's and NumPy's
    assert set(inside) == {1}
