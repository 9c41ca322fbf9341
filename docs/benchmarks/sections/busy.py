"""What a fit loses when another process keeps one of the cores busy."""

import contextlib
import os
import subprocess
import sys
import time

import numpy as np
from harness.machine import THREADS
from harness.store import at_least
from harness.timing import Time, seconds
from harness.workers import Libraries

from sections.settings import separated

SHAPES = {"200,000 × 16, K = 16, full": (200_000, 16, 16), "20,000 × 128, K = 10, full": (20_000, 128, 10)}
STEPS, FITS, LEAST = 10, 5, 0.5

HOW = f"""
Seconds of {STEPS} EM iterations of a full-covariance Gaussian mixture on all cores, the mean of {FITS} fits: alone, and
while another process computes without a pause on one core. `kept` is the share of the speed that is left. With two
cores, half is what a single thread would have on the free one.
"""

ENDLESS = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile True: pass"


@contextlib.contextmanager
def a_core_busy(busy):
    """Let another process compute on one of the cores."""
    if not busy:
        yield
        return
    core = str(max(os.sched_getaffinity(0)))
    with subprocess.Popen([sys.executable, "-c", ENDLESS, core], stdout=subprocess.PIPE) as other:
        try:
            other.stdout.readline()
            yield
        finally:
            other.kill()


def timed(library, shape, busy):
    n, d, K = shape
    X, means, variance = separated(n, d, K)
    if library == "ours":
        import expfam_em as ef

        cls, more = ef.GaussianMixture, {"n_jobs": THREADS}
    else:
        from sklearn.mixture import GaussianMixture as cls

        more = {}
    model = cls(
        K, tol=0, max_iter=STEPS, weights_init=np.full(K, 1 / K), means_init=means,
        precisions_init=np.tile(np.eye(d) / variance, (K, 1, 1)), **more,
    )  # fmt: skip
    model.fit(X)
    with a_core_busy(busy):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(FITS):
            model.fit(X)
        return Time((time.perf_counter() - wall) / FITS, (time.process_time() - cpu) / FITS)


def run(quick):
    found = []
    with Libraries() as libraries:
        for case, shape in SHAPES.items():
            for name, called in (("ours", "ours"), ("sklearn", "scikit-learn")):
                turns = {busy: (name, timed, shape, busy) for busy in (False, True)}
                alone, beside = (seconds(timing) for timing in libraries.take_turns(turns).values())
                found.append({
                    "key": name, "case": case, "library": called, "alone": alone, "busy": beside,
                    "kept": alone / beside if alone and beside else None,
                })  # fmt: skip
    goals = [at_least(f"speed kept, {row['case']}", row["kept"], LEAST) for row in found if row["key"] == "ours"]
    columns = [
        ("case", "rows × columns", "text"), ("library", "library", "text"), ("alone", "alone, s", "seconds"),
        ("busy", "one core busy, s", "seconds"), ("kept", "kept", "share"),
    ]  # fmt: skip
    return {"title": "Busy machines", "how": HOW, "columns": columns, "rows": found, "targets": goals}
