"""Compares estimated with actual costs of fits: ``python docs/cost.py``. Linux only, for the peak of memory.

Each fit runs in a process of its own, so that no memory of another one is used again. Steps are timed between
callbacks, in seconds of the processor, divided by the number of threads, so that other programs count less. Fits are
without `guard`: what it takes after the last step is not estimated.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings

import numpy as np

import expfam_em as ef

F = ef.families
STEPS = 6


def normal(rng, n, d):
    return rng.normal(size=(n, d)) + rng.integers(3, size=(n, 1))


def counts(rng, n, d):
    return rng.poisson(3.0 + 3 * rng.integers(3, size=(n, 1)), (n, d)).astype(float)


def bits(rng, n, d):
    return rng.binomial(1, 0.2 + 0.3 * rng.integers(3, size=(n, 1)), (n, d)).astype(float)


def positive(rng, n, d):
    return rng.gamma(2.0, 1.0 + rng.integers(3, size=(n, 1)), (n, d))


def shares(rng, n, d):
    return rng.dirichlet(np.full(d, 2.0), n)


SHAPES = [
    (F.Gaussian("full"), normal, 1_000_000, 2, 3, 1),
    (F.Gaussian("full"), normal, 300_000, 8, 16, 1),
    (F.Gaussian("full"), normal, 30_000, 64, 8, 1),
    (F.Gaussian("diag"), normal, 500_000, 8, 8, 2),
    (F.Gaussian("diag"), normal, 100_000, 50, 20, 1),
    (F.Poisson(), counts, 300_000, 10, 8, 1),
    (F.Bernoulli(), bits, 300_000, 32, 10, 1),
    (F.Gamma(), positive, 300_000, 4, 5, 1),
    (F.Gamma(), positive, 3_000_000, 8, 3, 2),
    (F.Dirichlet(), shares, 300_000, 6, 4, 1),
    (F.StudentT(5.0), normal, 100_000, 4, 4, 1),
    (F.Beta(), lambda rng, n, d: rng.beta(2.0, 3.0, (n, d)), 300_000, 2, 3, 1),
]
"""Family, rows, n, d, K, threads."""


def compared(which):
    """Return estimated and actual seconds per step, seconds of a fit, and bytes beyond the data."""
    family, draw, n, d, K, n_jobs = SHAPES[which]
    rng = np.random.default_rng(1)
    X = draw(rng, n, d)
    model = ef.ExponentialFamilyMixture(
        family, K, max_iter=STEPS, tol=0, acceleration=None, random_state=0, n_jobs=n_jobs, guard=False
    )
    warnings.simplefilter("ignore")
    model.fit(X[:1000])  # compiled code is loaded
    times = []
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted from here
    before, start = memory("VmRSS"), time.process_time()
    model.fit(X, callbacks=[lambda state: times.append(time.process_time() / n_jobs)])
    seconds, peak = time.process_time() - start, memory("VmHWM") - before
    cost = ef.estimated_cost(family, n, d, K, n_jobs=n_jobs, n_steps=STEPS)  # after it: no memory is used again
    step = float(np.median(np.diff(times)))
    seconds -= (STEPS + 1) * step * (n_jobs - 1)  # several threads make steps, and one the rest
    return [cost.seconds_per_step, step, cost.seconds, seconds, cost.bytes, peak]


def memory(name):
    """Return an entry of the memory of this process, in bytes."""
    with open("/proc/self/status") as file:
        [line] = [line for line in file if line.startswith(name)]
    return 1024 * int(line.split()[1])


def main():
    print(
        "| family | n | d | K | threads | ms a step | estimate | s a fit | estimate | MB beyond the data | estimate |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    ratios = []
    for which, (family, _, n, d, K, n_jobs) in enumerate(SHAPES):
        done = subprocess.run([sys.executable, __file__, str(which)], stdout=subprocess.PIPE, text=True, check=True)
        found = np.reshape(json.loads(done.stdout), (3, 2))
        ratios.append(found[:, 0] / found[:, 1])
        step, fit, size = found[:, 1]
        print(
            f"| {family!r} | {n:,} | {d} | {K} | {n_jobs} | {1e3 * step:.0f} | {ratios[-1][0]:.2f} | {fit:.2g} | "
            f"{ratios[-1][1]:.2f} | {size / 1e6:.0f} | {ratios[-1][2]:.2f} |", flush=True,
        )  # fmt: skip
    for name, column in zip(("a step", "a fit", "memory"), np.transpose(ratios), strict=True):
        print(f"{name}: estimate/actual {column.min():.2f} to {column.max():.2f}, median {np.median(column):.2f}")


if __name__ == "__main__":
    print(json.dumps(compared(int(sys.argv[1])))) if len(sys.argv) > 1 else main()
