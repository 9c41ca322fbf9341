"""How often ten starts of each kind find the best maximum known, and how fast.

python docs/starts.py [SEEDS]           generated rows and iris
python docs/starts.py SEEDS FOLDER      data sets of R at the defaults, beside one fit of mclust; see mclust_tables.R
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn import datasets

import expfam_em as ef
from expfam_em.families import Gaussian

INITS = ("k-means++", "random", "mixed")
NEAR = 0.05  # in the log-likelihood of all rows: what counts as the same maximum

BEST = {
    "iris": -180.1855, "faithful": -1114.440, "diabetes": -2303.4918, "crabs": -1223.693, "thyroid": -2238.390,
    "wine": -2781.244, "banknote": -627.0366,
}  # fmt: skip
"""Highest log-likelihoods known of full covariances whose components are sound, with as many components as mclust's."""


def beside_mclust(n_seeds, folder):
    """Print a table: of so many seeds, how many end at the best maximum known or higher, and CPU times."""
    print("| data, K | 1 start | 10 starts | mclust | ms: 1 start, 10 starts, mclust |")
    print("|---|---|---|---|---|")
    for name, best in BEST.items():
        X = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
        mclust = json.loads((folder / f"{name}.json").read_text())["fit"]
        K, hits, times = mclust["n_components"], [], []
        for n_init in (1, 10):
            begun = time.process_time()
            fits = [
                ef.ExponentialFamilyMixture(Gaussian("full"), K, n_init=n_init, random_state=seed, n_jobs=1).fit(X)
                for seed in range(n_seeds)
            ]
            times.append((time.process_time() - begun) / n_seeds)
            hits.append(sum(fit.sound_ and fit.lower_bound_ * len(X) > best - NEAR for fit in fits))
        times = ", ".join(f"{1e3 * took:.0f}" for took in (*times, mclust["cpu"]))
        reached = "yes" if mclust["log_likelihood"] > best - NEAR else "no"
        print(f"| {name}, {K} | {hits[0]} | {hits[1]} | {reached} | {times} |", flush=True)


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
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    if len(sys.argv) > 2:
        warnings.simplefilter("ignore")
        beside_mclust(seeds, Path(sys.argv[2]))
    else:
        main(seeds)
