"""Memory: the peak of a fit beyond its data."""

import numpy as np
from harness.machine import THREADS, resident_mib
from harness.store import at_most
from harness.workers import Libraries

N, D, K = 2_000_000, 16, 16
MOST_MIB = 64

HOW = f"""
A full-covariance fit of {N:,} × {D}, K = {K}, in a fresh process each: the highest resident memory during the fit
less the resident memory before it, when the rows exist already and a small fit has loaded and compiled everything.
Five iterations of ours, two of scikit-learn's, from given parameters.
"""


def rows_in_place():
    """Return the rows, made without a copy of them, and the centres."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((K, D))
    X = np.empty((N, D))
    for first in range(0, N, 10_000):
        block = X[first : first + 10_000]
        rng.standard_normal(out=block)
        block += centres[rng.integers(K, size=len(block))]
    return X, centres


def beyond_data(library, iterations):
    """Return the peak of a fit beyond the resident memory before it, and the size of the data, in MiB."""
    if library == "ours":
        import expfam_em as ef

        cls, more = ef.GaussianMixture, {"n_jobs": THREADS}
    else:
        from sklearn.mixture import GaussianMixture as cls

        more = {}
    X, centres = rows_in_place()
    model = cls(
        K, tol=0, max_iter=iterations, weights_init=np.full(K, 1 / K), means_init=centres,
        precisions_init=np.tile(np.eye(D), (K, 1, 1)), **more,
    )  # fmt: skip
    model.fit(X[:5000].copy())
    before = resident_mib()
    model.fit(X)
    return resident_mib(peak=True) - before, X.nbytes / 2**20


def run(quick):
    rows = []
    for library, name, iterations in (("ours", "ours", 5), ("sklearn", "scikit-learn", 2)):
        with Libraries() as libraries:
            result = libraries.attempt(library, beyond_data, iterations)
        if result is not None:
            rows.append({"case": name, "mib": result[0], "data": result[1], "share": result[0] / result[1]})
    columns = [
        ("case", "library", "text"), ("mib", "beyond the data, MiB", "count"), ("data", "data, MiB", "count"),
        ("share", "of the data", "share"),
    ]  # fmt: skip
    goals = [at_most("peak beyond the data, MiB", rows[0]["mib"], MOST_MIB)]
    return {"title": "Memory", "how": HOW, "columns": columns, "rows": rows, "targets": goals}
