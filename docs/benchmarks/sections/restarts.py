"""Restarts: n_init = 20 against twenty separate fits, in time and in how often the best optimum is found."""

import functools
import time

import numpy as np
from harness.machine import THREADS
from harness.workers import Libraries

STARTS, PROBLEMS = 20, 30
SHAPES = ((400, 2, 4), (600, 3, 5), (800, 4, 6))
SETTINGS = {"tol": 1e-6, "max_iter": 1000}
SAME = 2e-4
"""Two optima are the same if their mean bounds differ by less."""

HOW = f"""
{PROBLEMS} problems, ten of each of {", ".join(f"{n:,} × {d}, K = {K}" for n, d, K in SHAPES)}: overlapping normal
clusters of unequal weight. Each is fitted with n_init = {STARTS} and by {STARTS} separate calls with n_init = 1 and
other seeds, of which the best counts; tol = 10⁻⁶, at most 1,000 iterations, k-means starts. `best found` is the share
of problems in which the mean bound comes within {SAME:g} of the highest that any of the rows found. One run of each;
seconds for all problems. No target.
"""


@functools.lru_cache(maxsize=1)
def problem(number):
    """Return the rows and K of a problem."""
    n, d, K = SHAPES[number % len(SHAPES)]
    rng = np.random.default_rng(100 + number)
    centres = 1.5 * rng.standard_normal((K, d))
    scales = 0.4 + rng.random((K, d))
    labels = rng.choice(K, size=n, p=rng.dirichlet(np.full(K, 3.0)))
    return centres[labels] + scales[labels] * rng.standard_normal((n, d)), K


def _fit(library, X, K, **more):
    if library == "ours":
        import expfam_em as ef

        return ef.GaussianMixture(K, n_jobs=THREADS, **SETTINGS, **more).fit(X)
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(K, **SETTINGS, **more).fit(X)


def together(library, number):
    """Return seconds and mean log-likelihood of one call with many starts."""
    X, K = problem(number)
    start = time.perf_counter()
    model = _fit(library, X, K, n_init=STARTS, random_state=number)
    return time.perf_counter() - start, float(model.score(X))


def apart(library, number):
    """Return the same of as many calls with one start."""
    X, K = problem(number)
    start = time.perf_counter()
    models = [_fit(library, X, K, random_state=1000 * number + seed) for seed in range(STARTS)]
    return time.perf_counter() - start, max(float(model.score(X)) for model in models)


WAYS = {
    "ours, n_init = 20": ("ours", together), "ours, 20 calls": ("ours", apart),
    "scikit-learn, n_init = 20": ("sklearn", together),
}  # fmt: skip


def run(quick):
    with Libraries() as libraries:
        count = PROBLEMS // 5 if quick else PROBLEMS
        for library, function in WAYS.values():
            libraries.call(library, function, 0)
        runs = {way: [libraries.call(*call, i) for i in range(count)] for way, call in WAYS.items()}
    best = np.max([[score for _, score in results] for results in runs.values()], axis=0)
    rows = []
    for way, results in runs.items():
        seconds = sum(spent for spent, _ in results)
        scores = np.array([score for _, score in results])
        rows.append({"case": way, "seconds": seconds, "found": float(np.mean(scores > best - SAME))})
    for row in rows:
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
    columns = [
        ("case", "way", "text"), ("seconds", "seconds", "seconds"), ("ratio", "over our n_init = 20", "ratio"),
        ("found", "best found", "share"),
    ]  # fmt: skip
    return {"title": "Restarts", "how": HOW, "columns": columns, "rows": rows, "targets": []}
