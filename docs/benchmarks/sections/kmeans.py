"""k-means: whole fits from the same centres to convergence, against the best of six peers."""

import functools
import time
from dataclasses import dataclass

import numpy as np
from harness import programs
from harness.machine import THREADS
from harness.store import at_least, at_most, geometric_mean, judged, largest, lowest
from harness.timing import Fit, Time, Timing, best_of, compared, seconds
from harness.workers import LONG, Libraries

from sections.settings import DATA, SETTINGS, in_settings

MAX_ITER = 2000
TREE_UP_TO = 16
"""Columns up to which mlpack's trees were the fastest of its algorithms, on 5,000 to 20,000 rows."""


@dataclass(frozen=True)
class Case:
    n: int
    d: int
    K: int
    dtype: str = "float64"
    setting: str = "separated"

    def __str__(self):
        return f"{self.n:,} × {self.d}, K = {self.K}, {self.dtype}"


SIZES = ((300_000, 2, 8), (200_000, 16, 64), (60_000, 64, 100), (30_000, 128, 500))
CASES = tuple(Case(*size, dtype) for dtype in ("float64", "float32") for size in SIZES)
QUICK = (Case(200_000, 2, 8), Case(60_000, 16, 64, "float32"))
PEERS = {
    "lloyd": "scikit-learn lloyd", "elkan": "elkan", "sklearnex": "sklearnex", "faiss": "faiss",
    "armadillo": "Armadillo", "mlpack": "mlpack",
}  # fmt: skip
PROCESS = {"lloyd": "sklearn", "elkan": "sklearn"}
LEAST, MEAN, SEEDING = 2.5, 6, 4
AGREE = {"float64": 1e-6, "float32": 1e-4}

HOW = """
Seconds of a whole fit to convergence: from the same centres (the first K rows, which are in random order) until no
label changes (tol = 0; faiss, which knows only a number of iterations, makes as many as Lloyd's algorithm needs;
mlpack stops when all centres together move by less than 10⁻⁵, and its algorithm is pelleg-moore up to 16 columns,
hamerly above). Least of three turns, of two if a fit takes longer than 1.5 s, of one if longer than 5 s. `ratio` is
over the best peer that ends at the same inertia or a lower one, in parentheses the least and the largest of any turn;
faiss has float32 only, mlpack float64, and Armadillo, which
has both, is measured in float64. `worse by` is how far our inertia, computed anew in float64 from the centres
returned, is above the lowest of the peers' (negative: below), relative; equal means 1e-6, in float32 1e-4. Where ties
or rounding lead fits to different optima, it shows here.

Rows are those of the Gaussian mixtures in both settings: `make_blobs` of width 3, or normal clusters of covariance I
with centres 2·N(0, I).
"""


@functools.lru_cache(maxsize=1)
def problem(case):
    """Return rows and K of them as centres to start from."""
    X = DATA[case.setting](case.n, case.d, case.K)[0].astype(case.dtype)
    return X, X[: case.K].copy()


def _estimator(cls, case, **more):
    X, centres = problem(case)
    model = cls(case.K, init=centres, n_init=1, tol=0, max_iter=MAX_ITER, **more).fit(X)
    return Fit((model.cluster_centers_, model.n_iter_))


def ours(case, iterations):
    import expfam_em as ef

    return _estimator(ef.KMeans, case, n_jobs=THREADS)


def lloyd(case, iterations):
    from sklearn.cluster import KMeans

    return _estimator(KMeans, case, algorithm="lloyd")


def elkan(case, iterations):
    from sklearn.cluster import KMeans

    return _estimator(KMeans, case, algorithm="elkan")


def sklearnex(case, iterations):
    from sklearnex.cluster import KMeans

    return _estimator(KMeans, case)


def faiss(case, iterations):
    import faiss as library

    if case.dtype != "float32":
        raise NotImplementedError("float32 only")
    library.omp_set_num_threads(THREADS)
    X, centres = problem(case)
    most = {"min_points_per_centroid": 1, "max_points_per_centroid": case.n}
    model = library.Kmeans(case.d, case.K, niter=iterations, nredo=1, seed=1, **most)
    model.train(X, init_centroids=centres)
    return Fit((model.centroids, iterations))


def armadillo(case, iterations):
    if case.dtype != "float64":
        raise NotImplementedError("measured in float64 only")
    folder, more = programs.stored(problem, case), (case.n, case.d, case.K, MAX_ITER)
    time, centres = programs.run("armadillo", folder, (np.zeros(case.K), problem(case)[1], 0), "kmeans", *more)
    return Fit((centres.reshape(case.K, case.d), 0), None, time)


def mlpack(case, iterations):
    import mlpack as library

    if case.dtype != "float64":
        raise NotImplementedError("float64 only")
    X, centres = problem(case)
    found = library.kmeans(
        input_=X, clusters=case.K, initial_centroids=centres.copy(),  # which it overwrites
        algorithm="pelleg-moore" if case.d <= TREE_UP_TO else "hamerly", max_iterations=MAX_ITER,
        allow_empty_clusters=True, labels_only=True,
    )  # fmt: skip
    return Fit((found["centroid"], 0))


FITS = {
    "ours": ours, "lloyd": lloyd, "elkan": elkan, "sklearnex": sklearnex, "faiss": faiss, "armadillo": armadillo,
    "mlpack": mlpack,
}  # fmt: skip


def timed(library, name, case, iterations):
    return best_of(lambda: FITS[name](case, iterations))


def first_fit(library, name, case, iterations):
    """Return centres, number of iterations and the Time; it warms up as well."""
    start = time.perf_counter(), time.process_time()
    fit = FITS[name](case, iterations)
    spent = Time(time.perf_counter() - start[0], time.process_time() - start[1])
    centres, n_iter = fit.parameters
    return np.array(centres, np.float64), int(n_iter), fit.time or spent


def inertia(case, centres):
    """Return Σ min ‖x − c‖² in float64, from differences for the nearest centre."""
    X, total = problem(case)[0], 0.0
    for first in range(0, case.n, 4096):
        block = X[first : first + 4096].astype(np.float64)
        nearest = np.argmin(np.sum(centres**2, axis=1) - 2 * block @ centres.T, axis=1)
        total += float(np.sum((block - centres[nearest]) ** 2))
    return total


def run(quick):
    tables, rows, seeding = [], [], []
    with Libraries() as libraries:
        for setting, cases in in_settings(QUICK if quick else CASES).items():
            found = judged([measured(libraries, case, 2 if quick else 3) for case in cases], {"ratio": LEAST})
            tables += [{"head": SETTINGS[setting], "columns": COLUMNS, "rows": found}]
            tables += [{"how": ["All peers."], "columns": OF_PEERS, "rows": found}]
            rows += found
            seeding += [] if quick else [seeded(libraries, Case(*size, setting=setting)) for size in SIZES]
    if seeding:
        tables.append(
            {
                "how": [HOW_SEEDING],
                "head": "Seeding",
                "columns": OF_SEEDING,
                "rows": judged(seeding, {"ratio": SEEDING}),
            }
        )
    return {"title": "k-means", "how": HOW, "tables": tables, "targets": targets(rows, seeding)}


COLUMNS = [
    ("case", "rows × columns", "text"), ("ours", "ours, s", "seconds"), ("best", "best peer", "text"),
    ("best_s", "its s", "seconds"), ("ratio", "ratio", "ratio"), ("iterations", "iterations of ours", "count"),
    ("worse", "worse by", "power"), ("met", "met", "text"),
]  # fmt: skip
OF_PEERS = [("case", "rows × columns", "text"), *((f"x_{peer}", name, "times") for peer, name in PEERS.items())]
OF_SEEDING = [
    ("case", "k-means++ of rows × columns", "text"), ("setting", "rows", "text"), ("ours", "ours, s", "seconds"),
    ("sklearn", "scikit-learn, s", "seconds"), ("ratio", "scikit-learn", "ratio"),
    ("inertia", "inertia after one iteration, ours / theirs", "number"), ("met", "met", "text"),
]  # fmt: skip


def targets(rows, seeding):
    goals = []
    for setting in SETTINGS:
        ratios = [row["ratio"] for row in rows if row["setting"] == setting]
        goals += [
            at_least(f"{setting}: geometric mean of the ratios to the best peer", geometric_mean(ratios), MEAN),
            at_least(f"{setting}: least ratio to the best peer", lowest(ratios), LEAST),
        ]
    goals += [at_least("seeding: least ratio", lowest(row["ratio"] for row in seeding), SEEDING)] if seeding else []
    for dtype, bound in AGREE.items():
        excess = largest(row["worse"] for row in rows if row["dtype"] == dtype)
        goals.append(at_most(f"our inertia above the lowest, {dtype}", excess, bound))
    return goals


def measured(libraries, case, repeats):
    """Return the row of one case."""
    process = {name: PROCESS.get(name, name) for name in FITS}
    found, iterations = {}, None
    for name in ("lloyd", *(name for name in FITS if name != "lloyd")):
        result = libraries.attempt(process[name], first_fit, name, case, iterations)
        if result is not None:
            found[name] = result
        iterations = found["lloyd"][1]
    slow = {
        name: Timing.least([spent])
        for name, (_, _, spent) in found.items()
        if name != "ours" and spent.wall > LONG[1]  # ours compiles in its first fit
    }
    timers = {name: (process[name], timed, name, case, iterations) for name in found if name not in slow}
    best = libraries.take_turns(timers, repeats) | slow
    ends = {name: inertia(case, centres) for name, (centres, *_) in found.items()}
    lowest_end = min(value for name, value in ends.items() if name != "ours")
    bound = (1 + AGREE[case.dtype]) * max(lowest_end, ends["ours"])
    equal = [name for name in PEERS if best.get(name) is not None and ends[name] <= bound]
    fastest = min(equal, key=lambda name: best[name].seconds)
    row = {"case": str(case), "dtype": case.dtype, "setting": case.setting}
    row |= {name: seconds(best.get(name)) for name in FITS}
    for name in PEERS:
        row |= compared(f"x_{name}", best.get(name), best["ours"])
    return row | {
        "best": PEERS[fastest], "best_s": seconds(best[fastest]), **compared("ratio", best[fastest], best["ours"]),
        "ratio_of": PEERS[fastest], "iterations": found["ours"][1], "worse": ends["ours"] / lowest_end - 1,
        "inertias": ends,
    }  # fmt: skip


# ---- seeding ------------------------------------------------------------------------------------------------


def one_step(library, case, seed):
    """Return the Time and the inertia of k-means++ and one iteration; without k-means++ if the seed is None."""
    if library == "ours":
        import expfam_em as ef

        cls, more = ef.KMeans, {"n_jobs": THREADS}
    else:
        from sklearn.cluster import KMeans as cls

        more = {}
    X, centres = problem(case)
    init = centres if seed is None else "k-means++"
    model = cls(case.K, init=init, n_init=1, max_iter=1, random_state=seed, **more)
    start = time.perf_counter(), time.process_time()
    model.fit(X)
    return Time(time.perf_counter() - start[0], time.process_time() - start[1]), float(model.inertia_)


def only_time(library, case, seed):
    return one_step(library, case, seed)[0]


HOW_SEEDING = """
Seeding alone: a fit of one iteration from k-means++ less one from given centres, float64; the inertia is the mean of
three seeds.
"""


def seeded(libraries, case):
    """Return the row of the seeding of one case."""
    ends = {
        name: np.mean([libraries.call(name, one_step, case, seed)[1] for seed in range(3)])
        for name in ("ours", "sklearn")
    }
    best = libraries.take_turns({(name, s): (name, only_time, case, s) for name in ends for s in (0, None)}, repeats=5)
    spent = {name: Timing.per_step(best[name, None], best[name, 0], 1) for name in ends}
    return {
        "case": f"{case.n:,} × {case.d}, K = {case.K}", "setting": case.setting,
        **{name: seconds(timing) for name, timing in spent.items()}, "inertia": float(ends["ours"] / ends["sklearn"]),
        **compared("ratio", spent["sklearn"], spent["ours"]),
    }  # fmt: skip
