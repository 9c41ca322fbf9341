"""How often ten starts of each kind find the best maximum known, and how fast: ``python docs/starts.py [seeds]``."""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from sklearn import datasets

import expfam_em as ef
from expfam_em.families import Gaussian

INITS = ("k-means++", "random", "mixed")
NEAR = 0.05  # in the log-likelihood of all rows: what counts as the same maximum


def problems():
    """Yield names, families, rows and numbers of components."""
    rng = np.random.default_rng(0)
    yield "iris, full, 3", Gaussian("full"), datasets.load_iris().data, 3
    lots = (([15, 0], 1, 100), ([-30, 0], 20, 200), ([30, 0], 20, 200))
    spheres = np.concatenate([rng.normal(centre, width, (n, 2)) for centre, width, n in lots])
    yield "widths 1 and 20, VII, 2", Gaussian("VII"), spheres, 2
    label, long = rng.integers(0, 4, 200), rng.normal(size=(5, 5)) @ np.diag([30, 3, 1, 0.5, 0.2])
    sizes = 1 + 0.25 * rng.normal(size=(200, 1))
    means = rng.normal(size=(4, 5)) * [0.02, 0.3, 2, 2, 2]
    yield "long clusters, full, 4", Gaussian("full"), (sizes + means[label] + rng.normal(size=(200, 5)) / 4) @ long.T, 4


def fitted(family, X, K, init, seed):
    """Return the log-likelihood of the best of ten starts, whether it is spurious, and the CPU time in s."""
    model = ef.ExponentialFamilyMixture(
        family, K, n_init=10, init=init, acceleration="auto", tol=1e-8, max_iter=2000, guard=False, random_state=seed,
        n_jobs=1,
    )  # fmt: skip
    begun = time.process_time()
    model.fit(X)
    took = time.process_time() - begun
    return model.lower_bound_ * len(X), is_spurious(model, X), took


def is_spurious(model, X):
    """Whether a component has as few rows as would span a plane, or next to no variance in some direction."""
    covariances = model.parameters_.get("covariances")
    if covariances is None or covariances.ndim < 3:
        return False
    few = len(X) * model.weights_.min() <= X.shape[1] + 1
    return few or np.linalg.eigvalsh(covariances / np.outer(X.std(axis=0), X.std(axis=0))).min() < 1e-5


def main(n_seeds):
    """Print a table: of so many seeds, how many find the best maximum, and the median CPU time."""
    warnings.simplefilter("ignore")
    print("| rows, model, K | " + " | ".join(INITS) + " | ms: " + ", ".join(INITS) + " |")
    print("|---|" + "---|" * (len(INITS) + 1))
    for name, family, X, K in problems():
        found = {init: [fitted(family, X, K, init, seed) for seed in range(n_seeds)] for init in INITS}
        best = max(bound for fits in found.values() for bound, bad, _ in fits if not bad)
        times = ", ".join(f"{1e3 * np.median([took for *_, took in fits]):.0f}" for fits in found.values())
        hits = [sum(not bad and bound > best - NEAR for bound, bad, _ in fits) for fits in found.values()]
        print(f"| {name} | " + " | ".join(map(str, hits)) + f" | {times} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
