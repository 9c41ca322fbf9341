"""Print what labels cost: python docs/labels.py, the table of docs/labels.md."""

import functools
import time

import numpy as np

import expfam_em as ef
from expfam_em.estep.grouped import with_groups
from expfam_em.estep.plan import plan
from expfam_em.rows.memory import ArrayRows

CASES = [
    ("1,000,000 × 2, Gaussian full, K = 3", ef.families.Gaussian("full"), 1_000_000, 2, 3),
    ("100,000 × 10, Gaussian full, K = 5", ef.families.Gaussian("full"), 100_000, 10, 5),
    ("100,000 × 10, Gaussian tied, K = 5", ef.families.Gaussian("tied"), 100_000, 10, 5),
    ("100,000 × 10, Poisson, K = 5", ef.families.Poisson(), 100_000, 10, 5),
    ("100,000 × 32, Bernoulli, K = 5", ef.families.Bernoulli(), 100_000, 32, 5),
]


def rows_of(family, n, d, n_components, rng):
    """Return rows a family may have, and their components."""
    z = rng.integers(0, n_components, n)
    X = rng.normal(size=(n, d)) + z[:, None]
    if isinstance(family, ef.families.Poisson):
        X = np.floor(2 * np.abs(X))
    return (X > 2).astype(np.uint8) if isinstance(family, ef.families.Bernoulli) else X, z


def milliseconds(function, repeats=9):
    """Return the least CPU time of some calls."""
    function()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return 1e3 * min(found)


def main():
    """Print the table."""
    rng = np.random.default_rng(0)
    for name, family, n, d, K in CASES:
        X, z = rows_of(family, n, d, K, rng)
        y = np.where(rng.random(n) < 0.5, z, -1)
        allowed = (y[:, None] == -1) | (np.arange(K) == y[:, None])
        fitted = ef.ExponentialFamilyMixture(family, K, init=z, tol=0, max_iter=0, n_jobs=1).fit(X).mixture_
        kinds = [
            ArrayRows(X, None, 1),
            with_groups(fitted.family, ArrayRows(X, None, 1), allowed=allowed),
            ArrayRows(X, None, 1, offset=np.where(allowed, 0.0, -9.0)),
        ]
        passes = [plan(fitted.family, rows, K) for rows in kinds]
        plain, labels, prior = (milliseconds(functools.partial(one.sums, fitted.scores)) for one in passes)
        print(f"| {name} | {labels / plain:.2f} | {prior / plain:.2f} |")


if __name__ == "__main__":
    main()
