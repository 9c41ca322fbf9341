"""Which optimum is chosen with and without the guard against spurious ones: ``python docs/guard.py``."""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef

FULL = ef.families.Gaussian("full")


def best(X, K, n_init, seed, guard):
    """Return a fit of full covariances and the CPU seconds that it took."""
    model = ef.ExponentialFamilyMixture(
        FULL, K, n_init=n_init, init="k-means++", random_state=seed, guard=guard, max_iter=1000, tol=1e-8, n_jobs=1
    )
    begun = time.process_time()
    model.fit(X)
    return model, time.process_time() - begun


def flowers():
    """Print the log-likelihood of iris with three components, the best of 40 starts, for 6 seeds."""
    X = datasets.load_iris().data
    print("iris, K = 3, 40 starts at rows, log-likelihood\n")
    print("| seed | without guard | with guard | CPU time with / without |\n|-|-|-|-|")
    for seed in range(6):
        (plain, without), (guarded, took) = (best(X, 3, 40, seed, guard) for guard in (False, True))
        print(
            f"| {seed} | {len(X) * plain.lower_bound_:.4f} | {len(X) * guarded.lower_bound_:.4f} "
            f"| {took / without:.2f} |"
        )


def planted():
    """Yield names and rows with a small or flat cluster that is there: its rows come last."""
    rng = np.random.default_rng(0)
    for d in (2, 3, 4):
        for size, width in ((20, 1.0), (10, 1.0), (20, 0.05), (10, 0.1)):
            rows = [rng.normal(size=(1000 - size, d)), rng.normal(6, width, (size, d))]
            yield f"{size} of 1000 rows, {d} columns, width {width}", np.concatenate(rows)
    along = rng.normal(size=100)
    for off in (0.0, 0.01):
        line = np.column_stack([along, 2 * along + 1]) + off * rng.normal(size=(100, 2))
        yield f"100 of 400 rows on a line ± {off}", np.concatenate([2 * rng.normal(size=(300, 2)), line])
    flat = np.column_stack([rng.normal(4, 1, (100, 2)), np.full(100, 0.3)])
    yield "100 of 400 rows, one column constant", np.concatenate([rng.normal(size=(300, 3)), flat])


def clusters():
    """Print what the smallest gain of a component is where every one is there."""
    print("\n| planted | smallest gain | log n | kept |\n|-|-|-|-|")
    for name, X in planted():
        model, _ = best(X, 2, 10, 0, True)
        print(f"| {name} | {model.support_.min():.0f} | {np.log(len(X)):.1f} | {'yes' if model.sound_ else 'no'} |")


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    flowers()
    clusters()
