"""k-means: whole fits from the same centres to convergence, against the best of four peers."""

import functools
import time
from dataclasses import dataclass

import numpy as np
from harness.machine import THREADS
from harness.store import at_least, at_most, geometric_mean, judged, lowest, ratio
from harness.workers import Libraries, best_of

MAX_ITER = 2000


@dataclass(frozen=True)
class Case:
    n: int
    d: int
    K: int
    dtype: str = "float64"

    def __str__(self):
        return f"{self.n:,} × {self.d}, K = {self.K}, {self.dtype}"


SIZES = ((300_000, 2, 8), (200_000, 16, 64), (60_000, 64, 100), (30_000, 128, 500))
CASES = tuple(Case(*size, dtype) for dtype in ("float64", "float32") for size in SIZES)
QUICK = (Case(200_000, 2, 8), Case(60_000, 16, 64, "float32"))
PEERS = {"lloyd": "scikit-learn lloyd", "elkan": "elkan", "sklearnex": "sklearnex", "faiss": "faiss"}
PROCESS = {"lloyd": "sklearn", "elkan": "sklearn"}
LEAST, MEAN = 1.8, 5
AGREE = {"float64": 1e-6, "float32": 1e-4}

HOW = """
Seconds of a whole fit to convergence: from the same centres (random rows) until no label changes (tol = 0; faiss,
which knows only a number of iterations, makes as many as Lloyd's algorithm needs). Least of three turns. `ratio` is
over the best peer that ends at the same inertia or a lower one; faiss has float32 only. `worse by` is how far our
inertia, computed anew in float64 from the centres returned, is above the lowest of the peers' (negative: below),
relative; equal means 1e-6, in float32 1e-4. Where ties or rounding lead fits to different optima, it shows here.
Rows: K normal clusters of covariance I with centres 2·N(0, I).
"""


@functools.lru_cache(maxsize=1)
def problem(case):
    """Return rows and K of them as centres to start from."""
    rng = np.random.default_rng(2)
    X = 2 * rng.standard_normal((case.K, case.d))[rng.integers(case.K, size=case.n)]
    X += rng.standard_normal((case.n, case.d))
    centres = X[rng.choice(case.n, case.K, replace=False)]
    return X.astype(case.dtype), centres.astype(case.dtype)


def _estimator(cls, case, **more):
    X, centres = problem(case)
    model = cls(case.K, init=centres, n_init=1, tol=0, max_iter=MAX_ITER, **more).fit(X)
    return model.cluster_centers_, model.n_iter_


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
    return model.centroids, iterations


FITS = {"ours": ours, "lloyd": lloyd, "elkan": elkan, "sklearnex": sklearnex, "faiss": faiss}


def seconds(library, name, case, iterations):
    return best_of(lambda: FITS[name](case, iterations))


def centres_found(library, name, case, iterations):
    """Return centres and number of iterations; it warms up as well."""
    centres, n_iter = FITS[name](case, iterations)
    return np.array(centres, np.float64), int(n_iter)


def inertia(case, centres):
    """Return Σ min ‖x − c‖² in float64, from differences for the nearest centre."""
    X, total = problem(case)[0], 0.0
    for first in range(0, case.n, 4096):
        block = X[first : first + 4096].astype(np.float64)
        nearest = np.argmin(np.sum(centres**2, axis=1) - 2 * block @ centres.T, axis=1)
        total += float(np.sum((block - centres[nearest]) ** 2))
    return total


def run(quick):
    with Libraries() as libraries:
        rows = [measured(libraries, case, 2 if quick else 3) for case in (QUICK if quick else CASES)]
        seeding = [] if quick else [seeded(libraries, *size) for size in SIZES]
    judged(rows, {"ratio": LEAST})
    columns = [
        ("case", "rows × columns", "text"), ("ours", "ours, s", "seconds"),
        *((peer, f"{name}, s", "seconds") for peer, name in PEERS.items()), ("best", "best peer", "text"),
        ("ratio", "ratio", "ratio"), ("iterations", "iterations of ours", "count"), ("worse", "worse by", "power"),
        ("met", "met", "text"),
    ]  # fmt: skip
    ratios = [row["ratio"] for row in rows]
    goals = [
        at_least("geometric mean of the ratios to the best peer", geometric_mean(ratios), MEAN),
        at_least("least ratio to the best peer", lowest(ratios), LEAST),
        *(
            at_most(f"our inertia above the lowest, {dtype}", max(excess, default=None), bound)
            for dtype, bound in AGREE.items()
            for excess in [[row["worse"] for row in rows if row["dtype"] == dtype]]
        ),
    ]
    return {
        "title": "k-means", "how": HOW, "columns": columns, "rows": rows, "targets": goals, "seeding": seeding,
        "after": seeding_table(seeding),
    }  # fmt: skip


def measured(libraries, case, repeats):
    """Return the row of one case."""
    process = {name: PROCESS.get(name, name) for name in FITS}
    found, iterations = {}, None
    for name in ("lloyd", "ours", "elkan", "sklearnex", "faiss"):
        result = libraries.attempt(process[name], centres_found, name, case, iterations)
        if result is not None:
            found[name] = result
        iterations = found["lloyd"][1]
    best = libraries.take_turns({name: (process[name], seconds, name, case, iterations) for name in found}, repeats)
    ends = {name: inertia(case, centres) for name, (centres, _) in found.items()}
    lowest_end = min(value for name, value in ends.items() if name != "ours")
    bound = (1 + AGREE[case.dtype]) * max(lowest_end, ends["ours"])
    equal = [name for name in PEERS if best.get(name) is not None and ends[name] <= bound]
    fastest = min(equal, key=best.get)
    return {
        "case": str(case), "dtype": case.dtype, **{name: best.get(name) for name in FITS}, "best": PEERS[fastest],
        "ratio": ratio(best[fastest], best["ours"]), "iterations": found["ours"][1],
        "worse": ends["ours"] / lowest_end - 1, "inertias": ends,
    }  # fmt: skip


# ---- seeding ------------------------------------------------------------------------------------------------


def one_step(library, case, seed):
    """Return seconds and inertia of k-means++ and one iteration; without k-means++ if the seed is None."""
    if library == "ours":
        import expfam_em as ef

        cls, more = ef.KMeans, {"n_jobs": THREADS}
    else:
        from sklearn.cluster import KMeans as cls

        more = {}
    X, centres = problem(case)
    init = centres if seed is None else "k-means++"
    model = cls(case.K, init=init, n_init=1, max_iter=1, random_state=seed, **more)
    start = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - start, float(model.inertia_)


def only_seconds(library, case, seed):
    return one_step(library, case, seed)[0]


def seeded(libraries, n, d, K):
    """Return the row of the seeding of one size."""
    case = Case(n, d, K)
    seeds = range(5)
    ends = {name: np.mean([libraries.call(name, one_step, case, s)[1] for s in seeds]) for name in ("ours", "sklearn")}
    best = libraries.take_turns(
        {(name, seed): (name, only_seconds, case, seed) for name in ends for seed in (0, None)}, repeats=5
    )
    spent = {name: max(best[name, 0] - best[name, None], 1e-9) for name in ends}
    return {
        "case": f"{n:,} × {d}, K = {K}", "ours": spent["ours"], "sklearn": spent["sklearn"],
        "ratio": ratio(spent["sklearn"], spent["ours"]), "inertia": float(ends["ours"] / ends["sklearn"]),
    }  # fmt: skip


def seeding_table(rows):
    from harness.report import table

    if not rows:
        return []
    columns = [
        ("case", "k-means++ of rows × columns", "text"), ("ours", "ours, s", "seconds"),
        ("sklearn", "scikit-learn, s", "seconds"), ("ratio", "ratio", "ratio"),
        ("inertia", "inertia after one iteration, ours / theirs", "number"),
    ]  # fmt: skip
    how = (
        "Seeding alone: a fit of one iteration from k-means++ less one from given centres, float64; the inertia is the "
        "mean of five seeds. No target."
    )
    return [how, table(columns, rows)]
