"""Sparse binary rows: a mixture fitted to a CSR matrix, in time and memory, against dense rows."""

import functools

import numpy as np
from harness.machine import THREADS, resident_mib
from harness.store import at_least, at_most
from harness.timing import Timing, best_of, compared
from harness.workers import Libraries

N, D, K, DENSITY = 200_000, 5_000, 20, 0.002
DENSE_ROWS = 4_000
FEW, MANY = 2, 6
LEAST = 20

HOW = f"""
A Bernoulli mixture of K = {K} components on {N:,} × {D:,} rows in CSR form with {DENSITY:.1%} of ones: seconds per EM
iteration as the difference of {FEW} and {MANY} iterations from the same labels, nothing stops early. `dense` is the
same on the first {DENSE_ROWS:,} rows as uint8, scaled to all: stored dense they would take {N * D / 2**20:,.0f} MiB.
`beyond the data` is the highest resident memory of a fit less that before it, in a fresh process. `agree` is the
largest difference of the probabilities from sparse and dense rows.
"""


@functools.lru_cache(maxsize=1)
def problem():
    """Return the matrix and labels to start from: every class has a tenth of the columns four times as often."""
    import scipy.sparse

    rng = np.random.default_rng(5)
    labels = rng.integers(K, size=N)
    row, per_row = np.arange(N), round(DENSITY * D)
    own = rng.integers(D // 10, size=(N, per_row)) * 10 + (labels % 10)[:, None]
    columns = np.where(rng.random((N, per_row)) < 0.3, own, rng.integers(D, size=(N, per_row)))
    entries = (np.ones(N * per_row, np.uint8), (np.repeat(row, per_row), columns.ravel()))
    X = scipy.sparse.csr_array(entries, shape=(N, D))
    X.data[:] = 1
    start = np.where(rng.random(N) < 0.7, labels, rng.integers(K, size=N))
    return X, start


@functools.lru_cache(maxsize=2)
def rows(dense, count):
    X, start = problem()
    part = X[:count]
    return (part.toarray() if dense else part), start[:count]


def fit(dense, count, iterations):
    import expfam_em as ef

    X, start = rows(dense, count)
    return ef.BernoulliMixture(K, init=start, tol=0, max_iter=iterations, n_jobs=THREADS).fit(X)


def timed(library, dense, count, iterations):
    return best_of(lambda: fit(dense, count, iterations))


def disagreement(library):
    """Return the largest difference of the probabilities from sparse and dense rows."""
    found = [fit(dense, DENSE_ROWS, FEW).probabilities_ for dense in (False, True)]
    return float(np.max(np.abs(found[0] - found[1])))


def beyond_data(library):
    """Return the peak of a sparse fit beyond what was resident before, and the bytes of the matrix, in MiB."""
    X, _ = rows(False, N)
    rows(False, 2000)
    fit(False, 2000, 1)
    before = resident_mib()
    fit(False, N, FEW)
    stored = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    return resident_mib(peak=True) - before, stored / 2**20


def run(quick):
    result = {"title": "Sparse rows", "how": HOW, "rows": [], "columns": []}
    with Libraries() as libraries:
        agree = libraries.call("ours", disagreement)
        ways = {"sparse": (False, N), "dense": (True, DENSE_ROWS)}
        timers = {(way, count): ("ours", timed, *of, count) for way, of in ways.items() for count in (FEW, MANY)}
        best = libraries.take_turns(timers)
    with Libraries() as libraries:
        peak, stored = libraries.call("ours", beyond_data)
    one = {way: Timing.per_step(best[way, FEW], best[way, MANY], MANY - FEW) for way in ways}
    dense = one["dense"].scaled(N / DENSE_ROWS)
    row = {
        "case": f"{N:,} × {D:,}, K = {K}", "ours": one["sparse"].seconds, "dense": dense.seconds, "peak": peak,
        "stored": stored, "agree": agree, **compared("ratio", dense, one["sparse"]),
    }  # fmt: skip
    columns = [
        ("case", "rows × columns", "text"), ("ours", "sparse, s", "seconds"), ("dense", "dense, s", "seconds"),
        ("ratio", "ratio", "times"), ("peak", "beyond the data, MiB", "count"), ("stored", "CSR matrix, MiB", "count"),
        ("agree", "agree", "power"),
    ]  # fmt: skip
    goals = [
        at_least("sparse over dense rows", row["ratio"], LEAST),
        at_most("difference of the probabilities, sparse and dense", agree, 1e-9),
    ]
    return result | {"rows": [row], "columns": columns, "targets": goals}
