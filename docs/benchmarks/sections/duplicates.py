"""Repeated rows: a fit to a million rows of which few are distinct, against the price of passing over all of them."""

import functools
import math
import time

import numpy as np
from harness.machine import THREADS
from harness.timing import best_of
from harness.workers import Libraries

N, D, K = 1_000_000, 8, 3
SETTINGS = {"tol": 1e-6, "max_iter": 500, "random_state": 0}

HOW = f"""
A Bernoulli mixture of K = {K} on {N:,} × {D} rows of 0s and 1s (uint8), at most {2**D} of them distinct; tol = 10⁻⁶.
`all rows, every iteration` is the time of one E-step over all rows (`ef.accumulate`, which makes one pass and
compresses nothing) times the passes of that fit. `distinct rows and weights` is a fit to what `np.unique` returns,
with counts as `sample_weight`, the sorting not counted: the bound on what compression can gain. No target.
"""


@functools.cache
def problem():
    rng = np.random.default_rng(6)
    return (rng.random((N, D)) < rng.random((K, D))[rng.integers(K, size=N)]).astype(np.uint8)


def _fit(X, weight=None):
    import expfam_em as ef

    return ef.BernoulliMixture(K, n_jobs=THREADS, **SETTINGS).fit(X, sample_weight=weight)


def whole(library):
    """Return seconds of a fit, its iterations and the mean bound."""
    model = _fit(problem())
    return best_of(lambda: _fit(problem()), 2).wall, model.n_iter_, float(model.lower_bound_)


def one_pass(library):
    """Return seconds of one E-step over all rows."""
    import expfam_em as ef

    mixture = _fit(problem()[:1000]).mixture_
    return best_of(lambda: ef.accumulate(mixture, problem(), n_jobs=THREADS), 2).wall


def distinct(library):
    """Return seconds of a fit to distinct rows, its iterations and the mean bound."""
    X, counts = np.unique(problem(), axis=0, return_counts=True)
    start = time.perf_counter()
    model = _fit(X, counts)
    first = time.perf_counter() - start
    return min(first, best_of(lambda: _fit(X, counts)).wall), model.n_iter_, float(model.lower_bound_)


def run(quick):
    with Libraries() as libraries:
        fit, fewest = (libraries.call("ours", function) for function in (whole, distinct))
        step = libraries.call("ours", one_pass)
    lines = [
        ("as it is", *fit), ("all rows, every iteration", step * (fit[1] + 1), fit[1], math.nan),
        ("distinct rows and weights", *fewest),
    ]  # fmt: skip
    rows = [
        {"case": case, "seconds": seconds, "iterations": n, "bound": None if math.isnan(bound) else bound,
         "ratio": seconds / fit[0]}
        for case, seconds, n, bound in lines
    ]  # fmt: skip
    columns = [
        ("case", "fit", "text"), ("seconds", "seconds", "seconds"), ("iterations", "iterations", "count"),
        ("ratio", "over the fit as it is", "number"), ("bound", "mean bound", "number"),
    ]  # fmt: skip
    return {"title": "Repeated rows", "how": HOW, "columns": columns, "rows": rows, "targets": []}
