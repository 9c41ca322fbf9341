"""The same bits for any number of threads."""

import hashlib

import numpy as np
from harness.store import at_most
from harness.workers import Libraries

JOBS = (1, 2, 4)

HOW = """
SHA-256 (its first 12 digits) of the bytes of all fitted arrays after fits of 60,000 rows with 1, 2 and 4 threads.
"""


def _rows():
    rng = np.random.default_rng(4)
    return rng.standard_normal((60_000, 6)) + 3 * rng.integers(5, size=(60_000, 1))


def _fits(jobs):
    import expfam_em as ef

    X = _rows()
    for kind in ("full", "tied", "diag", "spherical"):
        model = ef.GaussianMixture(5, covariance_type=kind, random_state=0, n_jobs=jobs)
        yield f"GaussianMixture, {kind}", model.fit(X)
    bits = (X > X.mean(axis=0)).astype(np.uint8)
    yield "BernoulliMixture", ef.BernoulliMixture(5, random_state=0, max_iter=30, n_jobs=jobs).fit(bits)
    for dtype in (np.float64, np.float32):
        yield f"KMeans, {dtype.__name__}", ef.KMeans(40, random_state=0, n_jobs=jobs).fit(X.astype(dtype))


def digests(library, jobs):
    """Return {fit: digest of its fitted arrays}."""
    found = {}
    for name, model in _fits(jobs):
        digest = hashlib.sha256()
        for key, value in sorted(vars(model).items()):
            if key.endswith("_") and isinstance(value, np.ndarray | float):
                digest.update(np.ascontiguousarray(value).tobytes())
        found[name] = digest.hexdigest()[:12]
    return found


def run(quick):
    with Libraries() as libraries:
        by_jobs = {jobs: libraries.call("ours", digests, jobs) for jobs in JOBS}
    rows = []
    for name in by_jobs[JOBS[0]]:
        row = {"case": name} | {f"jobs_{jobs}": by_jobs[jobs][name] for jobs in JOBS}
        row["same"] = "yes" if len({row[f"jobs_{jobs}"] for jobs in JOBS}) == 1 else "no"
        rows.append(row)
    by_thread = [(f"jobs_{jobs}", f"n_jobs = {jobs}", "text") for jobs in JOBS]
    columns = [("case", "fit", "text"), *by_thread, ("same", "same", "text")]
    goals = [at_most("fits that differ", sum(row["same"] == "no" for row in rows), 0)]
    return {"title": "The same bits", "how": HOW, "columns": columns, "rows": rows, "targets": goals}
