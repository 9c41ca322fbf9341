"""Calls that are made a thousand times: predict of one row and of many, and draws of one."""

import math
import time

import numpy as np
from harness.machine import THREADS
from harness.store import at_most
from harness.timing import Time, compared, seconds
from harness.workers import Libraries

D, K, FITTED = 8, 3, 2000
MANY, COLUMNS = 10_000_000, 2
COMPONENTS = 200
MOST_MICROSECONDS = 50

HOW = f"""
Microseconds of a call, least of many, of models with full covariances fitted to {FITTED:,} × {D}, K = {K}. `NumPy` is
what the arithmetic takes there without a library: the same scores by two products and an argmax, and the squared
distances to the centres.
"""
HOW_MANY = f"""
Seconds for {MANY:,} × {COLUMNS} in float64, K = {K}. `copy` is `np.copyto` of the rows into an array that exists, by
one thread: what it takes to read and to write them.
"""


def rows(n, d):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    X += 4 * rng.integers(0, K, (n, 1))
    return X


def model_of(library, kind, n_components=K, **how):
    """Return a model of a library that is not fitted."""
    if library == "ours":
        import expfam_em as ef

        return getattr(ef, kind)(n_components, random_state=0, n_jobs=THREADS, **how)
    from sklearn import cluster, mixture

    return getattr(cluster if kind == "KMeans" else mixture, kind)(n_components, random_state=0, **how)


def fitted(library, kind, n_components=K):
    """Return a model of a library, fitted to few rows."""
    how = {"n_init": 1} if kind == "KMeans" else {"max_iter": 20}
    return model_of(library, kind, n_components, **how).fit(rows(FITTED, D))


def arithmetic(kind):
    """Return a function of one row that gives its label by NumPy alone."""
    model = fitted("sklearn", kind)
    if kind == "KMeans":
        centres = model.cluster_centers_
        return lambda x: np.argmin(((x[:, None] - centres) ** 2).sum(axis=2), axis=1)
    means, roots = model.means_, model.precisions_cholesky_
    constant = np.log(model.weights_) + np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)

    def label(x):
        z = np.einsum("nkd,kde->nke", x[:, None] - means, roots)
        return np.argmax(constant - 0.5 * np.einsum("nke,nke->nk", z, z), axis=1)

    return label


def per_call(function, calls=200, rounds=25):
    """Return the least mean time of some calls in a row."""
    best = Time(math.inf, math.inf)
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            function()
        best = min(best, Time((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls))
    return best


def label_one(library, kind):
    x = rows(1, D)
    if library == "gemm":
        label = arithmetic(kind)
        return per_call(lambda: label(x))
    model = fitted(library, kind)
    return per_call(lambda: model.predict(x))


def draw_one(library):
    model = fitted(library, "GaussianMixture", COMPONENTS)
    return per_call(lambda: model.sample(1), calls=5, rounds=10)


def label_many(library, kind):
    """Return the time of labelling rows, or of copying them."""
    X = rows(MANY, COLUMNS)
    if library == "gemm":
        there = np.empty_like(X)
        return per_call(lambda: np.copyto(there, X), 1, 5)
    model = model_of(library, kind)
    model.fit(X[:FITTED].copy())
    return per_call(lambda: model.predict(X), 1, 3)


def run(quick):
    single, many = [], []
    with Libraries() as libraries:
        for kind in ("GaussianMixture", "KMeans"):
            turns = {name: (name, label_one, kind) for name in ("ours", "gemm", "sklearn")}
            single.append(_row(f"{kind}.predict of one row", libraries.take_turns(turns)))
        turns = {name: (name, draw_one) for name in ("ours", "sklearn")}
        single.append(_row(f"GaussianMixture.sample(1), K = {COMPONENTS}", libraries.take_turns(turns)))
        for kind in () if quick else ("GaussianMixture", "KMeans"):
            turns = {name: (name, label_many, kind) for name in ("ours", "gemm", "sklearn")}
            many.append(_row(f"{kind}.predict", libraries.take_turns(turns), 1.0))
    goals = [
        at_most(f"{row['case']}, µs over NumPy", row["ours"] - row["gemm"], MOST_MICROSECONDS) for row in single[:2]
    ] + [at_most(f"{row['case']} of {MANY:,} rows, over a copy of them", row["over"], 1) for row in many]
    head, last = ("case", "call", "text"), ("ratio", "scikit-learn", "ratio")
    of_one = [
        head, ("ours", "ours, µs", "number"), ("gemm", "NumPy, µs", "number"),
        ("sklearn", "scikit-learn, µs", "number"), last,
    ]  # fmt: skip
    of_many = [
        head, ("ours", "ours, s", "seconds"), ("gemm", "copy, s", "seconds"), ("over", "over a copy", "times"),
        ("sklearn", "scikit-learn, s", "seconds"), last,
    ]  # fmt: skip
    parts = [{"columns": of_one, "rows": single}, {"how": [HOW_MANY], "columns": of_many, "rows": many}]
    return {"title": "Single calls", "how": HOW, "tables": parts[: 1 + bool(many)], "targets": goals}


def _row(case, best, unit=1e6):
    found = {name: None if timing is None else unit * seconds(timing) for name, timing in best.items()}
    over = found["ours"] / found["gemm"] if found.get("gemm") and found["ours"] else None
    return {"case": case, **found, "over": over, **compared("ratio", best["sklearn"], best["ours"])}
