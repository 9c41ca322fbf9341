"""Small data, whole calls: Old Faithful with ten starts, and a thousand small mixtures at once."""

import functools
from importlib.metadata import distribution

import numpy as np
from harness import programs
from harness.machine import THREADS
from harness.store import at_least, at_most, judged
from harness.timing import best_of, compared, seconds
from harness.workers import Libraries, missing

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
HOW_CHOICE = """
`ef.select` beside R's `mclustBIC` on Old Faithful: the fourteen models with 1 to 9 components, ours with the one start
that mclust has (`n_init=1`; by default it follows three). R is timed inside R. After the semicolon the ratio of CPU
seconds. BIC has our sign: less is better.
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


def ten_starts_timed(library):
    return best_of(lambda: ten_starts(library), 0.5)


def ten_starts_score(library):
    return float(ten_starts(library).score(faithful()))


def fit_many(library, count):
    """Return the fitted estimators of the data sets."""
    if library == "ours":
        import expfam_em as ef

        return ef.fit_many(ef.GaussianMixture(2, random_state=0), many(count))
    return [_mixture(library, n_components=2, random_state=0).fit(X) for X in many(count)]


def fit_many_timed(library, count):
    return best_of(lambda: fit_many(library, count), 0)


def fit_many_scores(library, count):
    fits = fit_many(library, count)
    return [float(fit.score(X)) for fit, X in zip(fits, many(count), strict=False)]


def run(quick):
    count = MANY // 10 if quick else MANY
    with Libraries() as libraries:
        rows = [old_faithful(libraries)]
        rows.append(thousand(libraries, count))
        choice = [] if missing("mclust") else [choosing(libraries)]
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
        ("ratio", "scikit-learn", "ratio"), ("bound", "bound", "power"), ("met", "met", "text"),
    ]  # fmt: skip
    of_choice = [
        ("case", "call", "text"), ("ours", "ours, s", "seconds"), ("mclust", "mclust, s", "seconds"),
        ("ratio", "mclust", "cpu"), ("K", "K, ours and theirs", "text"), ("bic", "BIC, ours less theirs", "power"),
    ]  # fmt: skip
    tables = [{"columns": columns, "rows": rows}, {"how": [HOW_CHOICE], "columns": of_choice, "rows": choice}]
    tables = tables[: 1 + len(choice)]
    return {"title": "Small data", "how": HOW, "tables": tables, "targets": goals}


def old_faithful(libraries):
    scores = {name: libraries.call(name, ten_starts_score) for name in ("ours", "sklearn")}
    best = libraries.take_turns({name: (name, ten_starts_timed) for name in scores})
    return {
        "key": "faithful", "case": "Old Faithful, K = 2, n_init = 10", **{k: seconds(v) for k, v in best.items()},
        **compared("ratio", best["sklearn"], best["ours"]), "bound": scores["ours"] - scores["sklearn"],
    }  # fmt: skip


def thousand(libraries, count):
    few = min(OF_SKLEARN, count)
    scores = {name: libraries.call(name, fit_many_scores, few) for name in ("ours", "sklearn")}
    timers = {"ours": ("ours", fit_many_timed, count), "sklearn": ("sklearn", fit_many_timed, few)}
    best = libraries.take_turns(timers)
    loop = best["sklearn"].scaled(count / few)
    return {
        "key": "many", "case": f"{count:,} mixtures of {ROWS} × {COLUMNS}, K = 2", "ours": seconds(best["ours"]),
        "sklearn": seconds(loop), **compared("ratio", loop, best["ours"]),
        "bound": float(np.median(np.subtract(scores["ours"], scores["sklearn"]))),
    }  # fmt: skip


def _rows(_):
    return (faithful(),)


def selected(library):
    """Return the Time, the number of components and the BIC of the best model that is found."""
    if library == "mclust":
        folder = programs.stored(_rows, "faithful")
        time, (K, bic) = programs.run("mclust", folder, (), "mclust_choice", *faithful().shape, 0, "all", 0)
        return time, int(K), -float(bic)
    import expfam_em as ef

    def choose():
        return ef.select(faithful(), n_init=1, random_state=0, n_jobs=THREADS)

    best = choose()
    return best_of(choose, 0.5), best.best_.n_components, float(np.nanmin(best.values("bic")))


def selected_time(library):
    return selected(library)[0]


def choosing(libraries):
    found = {name: libraries.call(name, selected) for name in ("ours", "mclust")}
    best = libraries.take_turns({name: (name, selected_time) for name in found})
    return {
        "case": "the best of 14 models, K = 1 to 9", **{name: seconds(timing) for name, timing in best.items()},
        **compared("ratio", best["mclust"], best["ours"]), "K": f"{found['ours'][1]}, {found['mclust'][1]}",
        "bic": found["ours"][2] - found["mclust"][2],
    }  # fmt: skip
