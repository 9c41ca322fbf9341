"""Small data, whole calls: Old Faithful with ten starts, and a thousand small mixtures at once."""

import functools
from importlib.metadata import distribution

import numpy as np
from harness.machine import THREADS
from harness.store import at_least, at_most, judged, ratio
from harness.workers import Libraries, best_of

MANY, ROWS, COLUMNS = 1000, 100, 3
OF_SKLEARN = 100
"""Fits of the loop over scikit-learn that are timed; scaled to all."""

LEAST = {"faithful": 10, "many": 30}

HOW = f"""
Whole calls with the default stopping rule of both (the mean bound changes by less than 10⁻³ in a step) and k-means
starts. Old Faithful is 272 × 2 and comes with plotnine. The many data sets are two normal clusters each;
scikit-learn's time is that of a loop over {OF_SKLEARN} of them, scaled. `bound` is the mean bound of ours less
scikit-learn's, of the many the median: 0 where both find the same.
"""


@functools.cache
def faithful():
    """Return eruption and waiting times in minutes, (272, 2)."""
    path = distribution("plotnine").locate_file("plotnine/data/faithful.csv")
    return np.loadtxt(path, delimiter=",", skiprows=1)


@functools.cache
def many(count):
    """Return data sets of two overlapping clusters."""
    rng = np.random.default_rng(3)
    return [
        rng.standard_normal((ROWS, COLUMNS)) + 3 * rng.integers(2, size=(ROWS, 1)) * rng.random(COLUMNS)
        for _ in range(count)
    ]


def _mixture(library, **parameters):
    if library == "ours":
        import expfam_em as ef

        return ef.GaussianMixture(n_jobs=THREADS, **parameters)
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(**parameters)


def ten_starts(library):
    return _mixture(library, n_components=2, n_init=10, random_state=0).fit(faithful())


def ten_starts_seconds(library):
    return best_of(lambda: ten_starts(library), 0.5)


def ten_starts_score(library):
    return float(ten_starts(library).score(faithful()))


def fit_many(library, count):
    """Return the fitted estimators of the data sets."""
    if library == "ours":
        import expfam_em as ef

        return ef.fit_many(ef.GaussianMixture(2, random_state=0), many(count))
    return [_mixture(library, n_components=2, random_state=0).fit(X) for X in many(count)]


def fit_many_seconds(library, count):
    return best_of(lambda: fit_many(library, count), 0)


def fit_many_scores(library, count):
    fits = fit_many(library, count)
    return [float(fit.score(X)) for fit, X in zip(fits, many(count), strict=False)]


def run(quick):
    count = MANY // 10 if quick else MANY
    with Libraries() as libraries:
        rows = [old_faithful(libraries)]
        rows.append(thousand(libraries, count))
    judged(rows, {})
    for row in rows:
        row["met"] = "yes" if row["ratio"] >= LEAST[row["key"]] else "no"
    found = {row["key"]: row for row in rows}
    goals = [
        at_least("Old Faithful, ten starts, over scikit-learn", found["faithful"]["ratio"], LEAST["faithful"]),
        at_least(f"fit_many of {count:,}, over a loop", found["many"]["ratio"], LEAST["many"]),
        at_most("bound of Old Faithful below scikit-learn's", -found["faithful"]["bound"], 1e-3),
    ]
    columns = [
        ("case", "call", "text"), ("ours", "ours, s", "seconds"), ("sklearn", "scikit-learn, s", "seconds"),
        ("ratio", "ratio", "ratio"), ("bound", "bound", "power"), ("met", "met", "text"),
    ]  # fmt: skip
    return {"title": "Small data", "how": HOW, "columns": columns, "rows": rows, "targets": goals}


def old_faithful(libraries):
    scores = {name: libraries.call(name, ten_starts_score) for name in ("ours", "sklearn")}
    best = libraries.take_turns({name: (name, ten_starts_seconds) for name in scores})
    return {
        "key": "faithful", "case": "Old Faithful, K = 2, n_init = 10", **best,
        "ratio": ratio(best["sklearn"], best["ours"]), "bound": scores["ours"] - scores["sklearn"],
    }  # fmt: skip


def thousand(libraries, count):
    few = min(OF_SKLEARN, count)
    scores = {name: libraries.call(name, fit_many_scores, few) for name in ("ours", "sklearn")}
    timers = {"ours": ("ours", fit_many_seconds, count), "sklearn": ("sklearn", fit_many_seconds, few)}
    best = libraries.take_turns(timers)
    loop = best["sklearn"] * count / few
    return {
        "key": "many", "case": f"{count:,} mixtures of {ROWS} × {COLUMNS}, K = 2", "ours": best["ours"],
        "sklearn": loop, "ratio": ratio(loop, best["ours"]),
        "bound": float(np.median(np.subtract(scores["ours"], scores["sklearn"]))),
    }  # fmt: skip
